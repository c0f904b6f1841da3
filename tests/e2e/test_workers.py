"""Several workers on one port: killed, stopped, replaced by turns, and ended with calls under way."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.e2e.conftest import on_postgresql
from tests.e2e.running import Platform, Server
from tests.engines import PostgresqlServer
from tokenopen.simulator.process import SimulatorProcess

WORKERS = 2
LEASE_S = 3
# 3 x 0.15 + 4 x 0.6 credits per million.
CHARGE = Fraction("0.00000285")


@pytest.fixture(scope="module")
def served(
    postgresql_server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Platform, str]]:
    """A platform of two workers with a model and the simulated provider, and its database's URL."""
    with on_postgresql(postgresql_server) as environment:
        server = Server(
            tmp_path_factory.mktemp("workers") / "data",
            environment={**environment, "TOKENOPEN_LEASE_SECONDS": str(LEASE_S)},
            workers=WORKERS,
        )
        with server, SimulatorProcess() as simulator:
            platform = Platform(server, simulator)
            platform.add_model("small")
            platform.add_upstream(["small"])
            platform.add_group("open")
            yield platform, environment["TOKENOPEN_DATABASE_URL"]
            platform.admin.close()


def worker_pids(platform: Platform) -> set[int]:
    return children_of(platform.server.pid)


def children_of(pid: int) -> set[int]:
    """Return the processes that a process has started and that have not ended (proc(5))."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_running(pid: int) -> bool:
    try:
        # A process that has ended stays a zombie until whoever adopted it looks.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], object], *, within_s: float = 20) -> float:
    """Wait for something, and return how long it took."""
    begun_s = time.monotonic()
    while not condition():
        assert time.monotonic() - begun_s < within_s
        time.sleep(0.05)
    return time.monotonic() - begun_s


def query(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    return asyncio.run(ask())


def chat_body(*, stream: bool = False, **simulate: int) -> dict[str, Any]:
    return {
        "model": "small",
        "messages": [{"role": "user", "content": "one two three"}],
        "max_tokens": 4,
        "stream": stream,
        "simulate": simulate,
    }


def chat(platform: Platform, key: str, *, stream: bool = False, **simulate: int) -> httpx.Response:
    # A connection of its own for each call, so that either worker may take it.
    with platform.caller(key) as caller:
        return caller.post("/chat/completions", json=chat_body(stream=stream, **simulate))


def holders(url: str) -> dict[int, list[str]]:
    """Return the calls that run, by the process that they run in."""
    rows = query(
        url,
        "SELECT process_id, calls.id FROM calls JOIN workers ON workers.id = worker_id WHERE state = 'held'",
    )
    found: dict[int, list[str]] = {}
    for process_id, call_id in rows:
        found.setdefault(process_id, []).append(call_id)
    return found


def account(platform: Platform, user: str) -> tuple[Fraction, Fraction]:
    shown = platform.ask("GET", f"/api/admin/users/{user}")
    return Fraction(shown["balance"]), Fraction(shown["held"])


def test_a_killed_worker_is_replaced_and_its_holds_are_free_within_5_s(served: tuple[Platform, str]) -> None:
    platform, url = served
    user = platform.add_user("killed@example.com")
    key = platform.add_key(user, "open")
    before = worker_pids(platform)
    assert len(before) == WORKERS
    with ThreadPoolExecutor(12) as pool:
        running = [pool.submit(chat, platform, key, delay_ms=8_000) for _ in range(12)]
        until(lambda: sum(map(len, holders(url).values())) == 12)
        victim, theirs = max(holders(url).items(), key=lambda item: len(item[1]))
        os.kill(victim, signal.SIGKILL)
        ids = "SELECT count(*) FROM calls WHERE id = ANY($1) AND state = 'held'"
        until(lambda: query(url, ids, theirs)[0][0] == 0, within_s=5)
        until(lambda: len(worker_pids(platform)) == WORKERS)
        assert victim not in worker_pids(platform)
        statuses = [reply.result().status_code for reply in running if reply.exception() is None]
    # The other worker's calls went on, and are all that was charged.
    assert statuses == [200] * (12 - len(theirs))
    platform.wait_until_nothing_is_held(user)
    assert account(platform, user)[0] == 10 - len(statuses) * CHARGE
    platform.audit()


def test_a_worker_stopped_beyond_its_lease_settles_nothing_of_it_and_admits_under_a_new_id(
    served: tuple[Platform, str],
) -> None:
    platform, url = served
    user = platform.add_user("stopped@example.com")
    key = platform.add_key(user, "open")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(chat, platform, key, stream=True, chunk_delay_ms=700)
        until(lambda: holders(url))
        (stopped, (call_id,)) = next(iter(holders(url).items()))
        (former,) = query(url, "SELECT worker_id FROM calls WHERE id = $1", call_id)
        os.kill(stopped, signal.SIGSTOP)
        try:
            state = "SELECT state FROM calls WHERE id = $1"
            until(lambda: query(url, state, call_id)[0][0] == "expired", within_s=LEASE_S * 3)
            # The port goes on being served.
            assert chat(platform, key).status_code == 200
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert isinstance(running.exception(), httpx.RemoteProtocolError)
    until(lambda: query(url, "SELECT 1 FROM workers WHERE process_id = $1", stopped))
    (renewed,) = query(url, "SELECT id FROM workers WHERE process_id = $1", stopped)
    assert renewed[0] != former[0]
    assert worker_pids(platform) >= {stopped}
    platform.wait_until_nothing_is_held(user)
    assert account(platform, user)[0] == 10 - CHARGE
    platform.audit()


def test_a_rolling_restart_under_load_loses_no_call(served: tuple[Platform, str]) -> None:
    platform, _ = served
    user = platform.add_user("rolling@example.com")
    key = platform.add_key(user, "open")
    before = worker_pids(platform)
    done = threading.Event()

    def keep_calling(number: int) -> list[int]:
        statuses = []
        with platform.caller(key) as caller:
            while not done.is_set():
                body = chat_body(stream=number % 2 == 0, delay_ms=20 * number)
                statuses.append(caller.post("/chat/completions", json=body).status_code)
        return statuses

    with ThreadPoolExecutor(4) as pool:
        calling = [pool.submit(keep_calling, number) for number in range(4)]
        os.kill(platform.server.pid, signal.SIGHUP)
        try:
            until(
                lambda: not before & worker_pids(platform) and len(worker_pids(platform)) == WORKERS,
                within_s=60,
            )
        finally:
            done.set()
        statuses = [status for each in calling for status in each.result()]
    assert len(statuses) > 20
    assert set(statuses) == {200}
    platform.wait_until_nothing_is_held(user)
    assert account(platform, user)[0] == 10 - len(statuses) * CHARGE
    platform.audit()


def test_sigterm_refuses_calls_ends_streams_cuts_at_a_second_one_and_leaves_nothing_held(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    with on_postgresql(postgresql_server) as environment:
        url = environment["TOKENOPEN_DATABASE_URL"]
        server = Server(tmp_path / "data", environment=environment, workers=WORKERS)
        with server, SimulatorProcess() as simulator, ThreadPoolExecutor(8) as pool:
            platform = Platform(server, simulator)
            platform.add_model("small")
            platform.add_upstream(["small"])
            platform.add_group("open")
            key = platform.add_key(platform.add_user(), "open")
            platform.admin.close()
            ending = [pool.submit(chat, platform, key, stream=True, chunk_delay_ms=400) for _ in range(3)]
            endless: list[Future[httpx.Response]] = [
                pool.submit(chat, platform, key, stream=stream, delay_ms=60_000) for stream in (True, False)
            ]
            until(lambda: sum(map(len, holders(url).values())) == 5)
            with pytest.raises(httpx.TransportError):
                _stop_and_call(platform, server, key)
            replies = [reply.result() for reply in ending]
            assert all(reply.text.rstrip().endswith("data: [DONE]") for reply in replies)
            os.kill(server.pid, signal.SIGTERM)
            assert server.wait(timeout_s=20) == 0
            assert all(reply.exception() or reply.result().status_code >= 500 for reply in endless)
            platform.audit()
        states = query(url, "SELECT state, count(*), sum(charge)::bigint FROM calls GROUP BY state")
        assert {row[0]: (row[1], row[2]) for row in states} == {"settled": (4, 4 * 2_850), "voided": (2, 0)}
        assert query(url, "SELECT count(*) FROM workers")[0][0] == 0
        assert query(url, "SELECT sum(held)::bigint FROM accounts")[0][0] == 0


def _stop_and_call(platform: Platform, server: Server, key: str) -> None:
    """Make a call, send SIGTERM and go on calling on the connection; raises once nobody takes calls."""
    with platform.caller(key) as caller:
        assert caller.post("/chat/completions", json=chat_body(chunk_delay_ms=0)).status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        while True:
            reply = caller.post("/chat/completions", json={**chat_body(), "model": "none"})
            assert reply.status_code in (404, 503), reply.text
            if reply.status_code == 503:
                assert json.loads(reply.text)["error"]["code"] == "server_stopping"
                assert reply.headers["retry-after"]


def test_workers_end_in_order_where_their_supervisor_is_gone(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    with on_postgresql(postgresql_server) as environment:
        server = Server(tmp_path / "data", environment=environment, workers=WORKERS)
        server.start()
        children = children_of(server.pid)
        assert len(children) == WORKERS
        server.kill()
        until(lambda: not any(is_running(child) for child in children))
        url = environment["TOKENOPEN_DATABASE_URL"]
        assert query(url, "SELECT count(*) FROM workers")[0][0] == 0


def test_several_workers_on_the_embedded_database_are_refused_with_what_to_set(tmp_path: Path) -> None:
    done = Server(tmp_path / "data").run_cli("serve", "--workers", "2")
    assert done.returncode == 1
    assert "2 workers need PostgreSQL" in done.stderr
    assert "Set TOKENOPEN_DATABASE_URL to postgresql://" in done.stderr
    assert not (tmp_path / "data").exists()


def test_where_no_worker_can_start_the_reason_is_told_once_and_it_ends(tmp_path: Path) -> None:
    address = "postgresql://nobody@127.0.0.1:1/none"
    server = Server(
        tmp_path / "data",
        environment={"TOKENOPEN_DATABASE_URL": address, "TOKENOPEN_SECRET_KEY": "s" * 32},
    )
    done = server.run_cli("serve", "--workers", "3")
    assert done.returncode == 1
    assert done.stderr.count("TokenOpen cannot start: The database that TOKENOPEN_DATABASE_URL names") == 1


def test_whichever_worker_is_asked_tells_what_all_of_them_counted(served: tuple[Platform, str]) -> None:
    platform, _ = served
    platform.add_group("counted")
    key = platform.add_key(platform.add_user("counted@example.com"), "counted")
    for _ in range(12):
        assert chat(platform, key).status_code == 200
    told = 'tokenopen_calls_total{api="chat",end_reason="completed",group="counted",model="small"} 12.0'

    def tell() -> list[bool]:
        # A connection of its own for each, so that either worker may answer.
        return [
            told in httpx.get(f"{platform.server.url}/metrics", headers=platform.admin.headers).text
            for _ in range(6)
        ]

    until(lambda: all(tell()))
