"""A disk that fills up while calls run: they are told so, none is given away, and it heals by itself."""

import asyncio
import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from trials.books import read_log, read_sqlite_books
from trials.check import Asked, check_end
from trials.crash import CREDIT, KEYS, groups_with
from trials.load import Load
from trials.setup import Trial

from tests.e2e.mounting import mounted
from tests.e2e.running import Platform, Server
from tokenopen.simulator.process import SimulatorProcess

DISK = "size=24m"
HEALS_WITHIN_S = 10
ANSWERED_WITHIN_S = 10
# JSON waits for its settlement for 30 s, a stream for 60 s (gateway/reply.py, gateway/stream.py).
JSON_GIVES_UP_S = 30


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no byte of room on a disk, for a while."""
    filler = disk / "filler"
    block = bytes(4096)
    with filler.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(block) == len(block):
                pass
        try:
            yield
        finally:
            filler.unlink()


@contextmanager
def unwritable(process_id: int) -> Iterator[None]:
    """Let every write of a process to a file fail, for a while; a superuser too is refused by that."""
    soft, hard = resource.prlimit(process_id, resource.RLIMIT_FSIZE)
    resource.prlimit(process_id, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(process_id, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def running_platform(data_dir: Path) -> Iterator[Platform]:
    """A platform with one model and a group that is open."""
    with Server(data_dir) as server, SimulatorProcess() as simulator:
        platform = Platform(server, simulator)
        platform.add_model("small")
        platform.add_upstream(["small"])
        platform.add_group("open")
        yield platform
        platform.admin.close()


@contextmanager
def platform_in(
    trouble: str, tmp_path: Path
) -> Iterator[tuple[Platform, Callable[[], AbstractContextManager[None]]]]:
    """A running platform, and what brings the trouble."""
    if trouble == "files cannot be written":
        with running_platform(tmp_path / "data") as platform:
            yield platform, lambda: unwritable(platform.server.pid)
        return
    with mounted(tmp_path / "disk", DISK) as disk:
        data_dir = disk / "data" if trouble == "the disk is full, the log on it" else disk
        with running_platform(data_dir) as platform:
            yield platform, lambda: full(disk)


def a_body(*, stream: bool, **simulate: int) -> dict[str, Any]:
    """A call that costs 3 x 0.15 + 5 x 0.6 credits per million."""
    return {
        "model": "small",
        "max_tokens": 5,
        "stream": stream,
        "messages": [{"role": "user", "content": "a b c"}],
        "simulate": simulate,
    }


def call_many(caller: httpx.Client, count: int) -> list[httpx.Response]:
    """Make calls, JSON and SSE by turns, a few at a time."""
    with ThreadPoolExecutor(8) as threads:
        bodies = [a_body(stream=index % 2 == 1) for index in range(count)]
        return list(threads.map(lambda body: caller.post("/chat/completions", json=body), bodies))


def wait_until_calls_are_answered(caller: httpx.Client) -> None:
    """Wait until the trouble is over for callers."""
    deadline = time.monotonic() + HEALS_WITHIN_S
    while (reply := caller.post("/chat/completions", json=a_body(stream=False))).status_code != 200:
        assert reply.json()["error"]["code"] == "storage_unavailable"
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    "trouble", ["the disk is full", "the disk is full, the log on it", "files cannot be written"]
)
def test_while_nothing_can_be_written_calls_are_told_so_and_go_on_once_it_can(
    tmp_path: Path, trouble: str
) -> None:
    with platform_in(trouble, tmp_path) as (platform, begin_trouble):
        user = platform.add_user()
        top_up = partial(
            platform.admin.post,
            f"/api/admin/users/{user}/credits",
            json={"amount": "1", "reason": "test"},
            headers={"Idempotency-Key": "once"},
        )
        with platform.caller(platform.add_key(user, "open")) as caller:
            caller.timeout = httpx.Timeout(ANSWERED_WITHIN_S)
            assert caller.post("/chat/completions", json=a_body(stream=False)).status_code == 200
            with begin_trouble():
                # What fits into pages already there may still be written; soon nothing does.
                replies = call_many(caller, 40)
                refused = [reply for reply in replies if reply.status_code != 200]
                assert len(refused) > 20
                assert {(reply.status_code, reply.json()["error"]["code"]) for reply in refused} == {
                    (503, "storage_unavailable")
                }
                assert all(int(reply.headers["retry-after"]) > 0 for reply in refused)
                # What only reads goes on.
                assert caller.get("/models").status_code == 200
                assert caller.get("/credits").json()["held"] == "0"
                refused_top_up = top_up()
                assert refused_top_up.status_code == 503
                assert refused_top_up.json()["error"]["code"] == "storage_unavailable"
            wait_until_calls_are_answered(caller)
            assert top_up().is_success
            assert top_up().is_success
        platform.wait_until_nothing_is_held(user)
        calls = platform.ask("GET", "/api/admin/calls?limit=200")["data"]
        charge = sum((Fraction(call["charge"]) for call in calls), Fraction(0))
        assert charge == Fraction("0.00000345") * sum(call["state"] == "settled" for call in calls)
        balance = Fraction(platform.ask("GET", f"/api/admin/users/{user}")["balance"])
        assert balance == 10 + 1 - charge
        platform.audit()


def test_a_call_that_runs_when_the_disk_fills_up_is_whole_and_charged_or_neither(tmp_path: Path) -> None:
    """There is no room for longer than JSON waits, and not for as long as a stream does."""
    with platform_in("the disk is full, the log on it", tmp_path) as (platform, begin_trouble):
        user = platform.add_user()
        with platform.caller(platform.add_key(user, "open")) as caller, ThreadPoolExecutor(2) as threads:
            json_call, stream_call = (
                threads.submit(caller.post, "/chat/completions", json=a_body(stream=stream, delay_ms=1_000))
                for stream in (False, True)
            )
            time.sleep(0.5)
            with begin_trouble():
                call_many(caller, 8)
                refused = json_call.result()
                assert not stream_call.done()
            whole = stream_call.result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_unavailable")
        assert whole.status_code == 200
        assert whole.text.endswith("data: [DONE]\n\n")
        assert whole.text.count(": keepalive\n\n") >= JSON_GIVES_UP_S // 10 - 1
        platform.wait_until_nothing_is_held(user)
        calls = {call["id"]: call for call in platform.ask("GET", "/api/admin/calls?limit=200")["data"]}
        stopped, charged = (calls[reply.headers["x-request-id"]] for reply in (refused, whole))
        # Voided by the call itself, expired where its worker's lease lapsed meanwhile, or charged by a commit
        # whose outcome was unknown for as long as there was no room, and then given back.
        assert stopped["state"] in ("voided", "expired", "settled")
        assert stopped["charge"] == (stopped["refunded"] if stopped["state"] == "settled" else "0")
        assert (charged["state"], charged["charge"]) == ("settled", "0.00000345")
        platform.audit()


def test_under_load_on_a_disk_that_fills_up_again_and_again_no_reply_is_given_away(tmp_path: Path) -> None:
    """The crash trial's load and checker, with the disk taken away instead of the server."""
    provider_log = tmp_path / "provider.jsonl"
    with (
        mounted(tmp_path / "disk", DISK) as disk,
        SimulatorProcess(log_path=provider_log) as simulator,
        Server(disk) as server,
    ):
        platform = Platform(server, simulator)
        trial = Trial(platform, groups=groups_with(100, 100), keys=KEYS, credit=CREDIT)
        load = asyncio.run(fill_under_load(trial, server.url, disk))
        for user_id in trial.users.values():
            platform.wait_until_nothing_is_held(user_id)
        platform.audit()
        platform.admin.close()
        assert server.stop() == 0
        books = read_sqlite_books(disk, tmp_path / "books")
        assert '"level": "error"' not in server.log_path.read_text()
    asked = read_log(provider_log, Asked)
    assert list(check_end(trial.plan, load.seen, asked, books, paid_in=load.paid_in)) == []
    answers = {(one.status, one.code) for one in load.seen if one.status is not None}
    assert (503, "storage_unavailable") in answers
    assert {status for status, _ in answers} <= {200, 400, 402, 429, 502, 503}
    assert {one.end for one in load.seen} <= {"whole", "left"}


async def fill_under_load(trial: Trial, url: str, disk: Path) -> Load:
    """Run the load while the disk is full for two seconds, three times."""
    load = Load(trial, [url], seed=1, callers=20, topped_up="bob", one_call_a_connection=True)
    for _ in range(3):
        await asyncio.sleep(1.5)
        with full(disk):
            await asyncio.sleep(2)
    await asyncio.sleep(1.5)
    await load.end()
    return load
