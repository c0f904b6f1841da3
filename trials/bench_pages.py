"""Bench of the pages that list: loads a log of calls, starts the real server on it, and asks for every list.

    python -m trials.bench_pages --calls 100000

One account has made most of the calls. Prints CPU in the server (all its threads, by the kernel's count),
wall time, and what each page weighs uncompressed with all that it loads at once. Ends with 1 where the CPU of
one is above the 200 ms that a list may take. Then pages are opened in a real browser, where there is one.
"""

import argparse
import asyncio
import html
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import typer
from tests.browser.chromium import HOW_TO_INSTALL, find_chromium, started_chromium
from tests.browser.window import Window
from tests.e2e.running import Platform, Server
from tests.sessions import PASSWORD, give_password

from tokenopen.ports.clock import SystemClock
from tokenopen.simulator.process import SimulatorProcess
from tokenopen.storage.migrate import upgrade_sqlite
from tokenopen.storage.sqlite import SqliteStorage
from tokenopen.web.call_query import CALL_RANGES, OUTCOMES
from tokenopen.web.usage import BYS, USAGE_RANGES
from trials.bench_logs import load
from trials.call_log import CODES, MODELS, RARE_MODEL, LogAccount
from trials.call_log_load import Loader, SqliteLoader
from trials.call_log_queries import LogWorld, Who
from trials.process import run_ns

ANSWER_MAX_MS: Final = 200
_TIMES: Final = 5
_ADMINISTRATOR: Final = "root@example.com"
_USER: Final = "user0@example.com"
_TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')
_LOADED: Final = re.compile(r'(?:<script src|<link rel="[a-z]+" href)="([^"]+)"')
# When something was seen first; when the page was read and its scripts had run, so that it answers; and all.
_MOMENTS: Final = """
() => {
  const [page] = performance.getEntriesByType("navigation");
  const [seen] = performance.getEntriesByName("first-contentful-paint");
  return [seen?.startTime ?? 0, page.domContentLoadedEventEnd, page.loadEventEnd];
}
"""
_NEXT: Final = re.compile(r'href="([^"]*[?&;]cursor=[^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a page took each time, in ms, and how many bytes it has with its style, scripts and mark."""

    cpu_ms: Sequence[float]
    wall_ms: Sequence[float]
    size: int


async def _load(path: Path, *, calls: int, accounts: int) -> LogWorld:
    upgrade_sqlite(path)
    storage = SqliteStorage(path, SystemClock())

    async def loader() -> Loader:
        return SqliteLoader(path)

    loaded = await load(storage, loader, calls=calls, accounts=accounts, skew=2)
    await give_password(storage, loaded.world.accounts[0].user_id)
    await storage.close()
    return loaded.world


def _furnish(platform: Platform) -> None:
    """Give the platform an administrator, the models that were called, and all that makers list prices of."""
    wanted = {"email": _ADMINISTRATOR, "name": "Root", "role": "administrator", "password": PASSWORD}
    platform.ask("POST", "/api/admin/users", wanted)
    platform.ask("POST", "/api/admin/models/import", {})
    for model in (*MODELS, RARE_MODEL):
        platform.add_model(model)
    platform.add_upstream([*MODELS, RARE_MODEL])


def pages(world: LogWorld) -> Iterator[tuple[Who, str]]:
    """Return every page that lists or sums, with each value of each filter, and who asks for it."""
    largest = world.accounts[0]
    for path in ("/home", "/keys", "/keys/new", "/groups", "/upgrade", "/credit", "/try", "/profile"):
        yield "user", path
    yield "user", f"/keys/{largest.key_ids[0]}"
    for query in _call_filters(world, largest):
        yield "user", f"/calls{query}"
    for query in _refused_filters(world, largest):
        yield "user", f"/calls/refused{query}"
    for by in BYS:
        for name in USAGE_RANGES:
            yield "user", f"/usage?by={by}&range={name}"
    yield from (("administrator", path) for path in _admin_pages(world, largest))


def _call_filters(world: LogWorld, largest: LogAccount) -> Iterator[str]:
    yield ""
    yield from (f"?range={name}" for name in CALL_RANGES)
    yield from (f"?key={key}" for key in largest.key_ids[:2])
    yield from (f"?group={slug}" for slug in world.groups)
    yield from (f"?model={model}" for model in (MODELS[0], RARE_MODEL, "never-used"))
    yield from (f"?api={name}" for name in ("messages", "embeddings"))
    yield from (f"?outcome={name}" for name in OUTCOMES)
    yield f"?outcome=not_charged&model={MODELS[0]}&group={world.groups[0]}&range=90d"


def _refused_filters(world: LogWorld, largest: LogAccount) -> Iterator[str]:
    yield ""
    yield from (f"?code={code}" for code in (*CODES, "ip_not_allowed"))
    yield f"?key={largest.key_ids[0]}&range=30d"
    yield f"?group={world.groups[0]}&model={MODELS[0]}"


def _admin_pages(world: LogWorld, largest: LogAccount) -> Iterator[str]:
    yield from (
        "/admin", "/admin/groups", "/admin/groups/_new", "/admin/groups/default",
        "/admin/groups/default/history", "/admin/groups/default/archive", "/admin/models",
        "/admin/models?q=gpt", "/admin/models/_import", f"/admin/models/{MODELS[0]}", "/admin/upstreams",
        "/admin/users", "/admin/users?q=user1", f"/admin/users/{largest.user_id}", "/admin/upgrade-requests",
        "/admin/upgrade-requests?state=all", "/admin/settings", "/admin/audit-log",
        "/admin/audit-log?action=group.create", "/admin/calls/flagged", "/admin/calls/flagged?reviewed=yes",
        "/admin/ledger", f"/admin/ledger?user={_USER}", f"/admin/ledger?call={world.call_id}",
    )  # fmt: skip
    for kind in ("top_up", "charge", "refund", "adjustment"):
        yield f"/admin/ledger?kind={kind}"
        yield f"/admin/ledger?kind={kind}&user={_USER}"
    for query in (*_call_filters(world, largest), f"?user={_USER}", f"?user={_USER}&outcome=not_charged"):
        yield f"/admin/calls{query}"
    for query in (*_refused_filters(world, largest), f"?user={_USER}"):
        yield f"/admin/calls/refused{query}"


def _sign_in(url: str, email: str) -> httpx.Client:
    # Cookies of signing in are taken over plain http only from this name.
    origin = url.replace("127.0.0.1", "localhost")
    client = httpx.Client(base_url=origin, headers={"Origin": origin, "Accept": "text/html"}, timeout=60)
    token = _TOKEN.search(client.get("/sign-in").text)
    assert token is not None
    form = {"form_token": token[1], "email": email, "password": PASSWORD}
    assert client.post("/sign-in", data=form).status_code == 303, email
    return client


def ask(client: httpx.Client, path: str, pid: int, *, times: int = _TIMES) -> tuple[Answer, str]:
    """Ask for a page so often, after once for what is put together once in a process's life."""
    cpu, wall, text = [], [], ""
    for _ in range(1 + times):
        used, began = run_ns(pid), time.perf_counter()
        reply = client.get(path)
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((run_ns(pid) - used) / 1_000_000)
        assert reply.status_code == 200, f"{path}: {reply.status_code}"
        text = reply.text
    files = [client.get(address).content for address in _LOADED.findall(text)]
    return Answer(cpu_ms=cpu[1:], wall_ms=wall[1:], size=len(text.encode()) + sum(map(len, files))), text


def _report(path: str, answer: Answer) -> bool:
    """Print a line and tell whether the page is slow."""
    cpu_ms = statistics.median(answer.cpu_ms)
    slow = cpu_ms > ANSWER_MAX_MS
    typer.echo(
        f"{path:72} {cpu_ms:8.1f} {statistics.median(answer.wall_ms):8.1f} {max(answer.wall_ms):8.1f}"
        f" {answer.size / 1000:8.1f} {'slow' if slow else ''}"
    )
    return slow


def main() -> None:
    """Load, serve and ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--only", default="", help="pages whose address holds this")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tokenopen-pages-") as directory, SimulatorProcess() as simulator:
        data_dir = Path(directory) / "data"
        data_dir.mkdir()
        world = asyncio.run(
            _load(data_dir / "tokenopen.sqlite3", calls=wanted.calls, accounts=wanted.accounts)
        )
        with Server(data_dir) as server:
            platform = Platform(server, simulator)
            _furnish(platform)
            slow = _ask_all(server, world, wanted.only)
            if find_chromium() is None:
                typer.echo(HOW_TO_INSTALL)
            else:
                _open_all(server)
            platform.admin.close()
    typer.echo(f"{slow} above {ANSWER_MAX_MS} ms" if slow else f"all within {ANSWER_MAX_MS} ms")
    sys.exit(1 if slow else 0)


def _open_all(server: Server) -> None:
    """Print when pages can be read and used in a browser that has nothing of them yet, in ms, medians."""
    typer.echo(f"{'in chromium, nothing cached':72} {'painted':>8} {'usable':>8} {'loaded':>8}")
    with started_chromium() as browser:
        for path, email in (
            ("/guide", None),
            ("/sign-in", None),
            ("/home", _USER),
            ("/usage", _USER),
            ("/admin", _ADMINISTRATOR),
        ):
            signed_in = Window(browser, server.url)
            if email is not None:
                signed_in.sign_in(email, PASSWORD)
            state, taken = signed_in.context.storage_state(), []
            for _ in range(_TIMES):
                window = Window(browser, server.url, state=state)
                window.open(path)
                taken.append(window.page.evaluate(_MOMENTS))
                window.close()
            signed_in.close()
            figures = " ".join(f"{statistics.median(column):8.0f}" for column in zip(*taken, strict=True))
            typer.echo(f"{path:72} {figures}")


def _ask_all(server: Server, world: LogWorld, only: str) -> int:
    clients = {"user": _sign_in(server.url, _USER), "administrator": _sign_in(server.url, _ADMINISTRATOR)}
    typer.echo(f"{'':72} {'CPU ms':>8} {'wall ms':>8} {'at most':>8} {'KB':>8}")
    slow = 0
    for who, path in pages(world):
        if only not in path:
            continue
        answer, text = ask(clients[who], path, server.pid)
        slow += _report(path, answer)
        further = _NEXT.search(text)
        if "?" not in path and further is not None:
            answer, _ = ask(clients[who], html.unescape(further[1]), server.pid)
            slow += _report(f"{path}, the next page", answer)
    for client in clients.values():
        client.close()
    return slow


if __name__ == "__main__":
    main()
