"""The real server on PostgreSQL: calls, a kill with calls under way, and a start with what was left."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import on_postgresql
from tests.e2e.running import Platform, Server
from tests.engines import PostgresqlServer
from tokenopen.simulator.process import SimulatorProcess

CALLS = 24
# 3 x 0.15 + 4 x 0.6 credits per million.
CHARGE = Fraction("0.00000285")
RUNNING = 6


@pytest.fixture
def platform_on_postgresql(postgresql_server: PostgresqlServer, tmp_path: Path) -> Iterator[Platform]:
    """A platform with a model and the simulated provider."""
    with (
        on_postgresql(postgresql_server) as environment,
        Server(tmp_path / "data", environment=environment) as server,
        SimulatorProcess() as simulator,
    ):
        platform = Platform(server, simulator)
        platform.add_model("small")
        platform.add_upstream(["small"])
        platform.add_group("open")
        yield platform
        platform.admin.close()
        assert not (tmp_path / "data").exists()


def chat(platform: Platform, key: str, *, stream: bool = False, **simulate: int) -> httpx.Response:
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": "one two three"}],
        "max_tokens": 4,
        "stream": stream,
        "simulate": simulate,
    }
    with platform.caller(key) as caller:
        return caller.post("/chat/completions", json=body)


def account(platform: Platform, user: str) -> tuple[Fraction, Fraction]:
    """Return balance and held."""
    shown = platform.ask("GET", f"/api/admin/users/{user}")
    return Fraction(shown["balance"]), Fraction(shown["held"])


def test_calls_cost_the_same_and_a_killed_worker_s_calls_nothing_once_it_is_started_again(
    platform_on_postgresql: Platform,
) -> None:
    platform = platform_on_postgresql
    user = platform.add_user()
    key = platform.add_key(user, "open")
    with ThreadPoolExecutor(CALLS) as pool:
        replies = list(pool.map(lambda number: chat(platform, key, stream=number % 2 == 0), range(CALLS)))
    assert [reply.status_code for reply in replies] == [200] * CALLS
    balance = 10 - CALLS * CHARGE
    assert account(platform, user) == (balance, Fraction(0))

    with ThreadPoolExecutor(RUNNING) as pool:
        running = [pool.submit(chat, platform, key, delay_ms=60_000) for _ in range(RUNNING)]
        deadline = time.monotonic() + 10
        while len(platform.ask("GET", "/api/admin/calls?state=held")["data"]) < RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        platform.server.kill()
        assert all(isinstance(call.exception(), httpx.TransportError) for call in running)
    platform.server.start()

    # What ran on this machine has ended, as its kernel knows: nobody waits for the lease.
    assert account(platform, user) == (balance, Fraction(0))
    assert chat(platform, key).status_code == 200
    assert account(platform, user) == (balance - CHARGE, Fraction(0))
    listed = platform.ask("GET", "/api/admin/calls?state=expired")["data"]
    assert len(listed) == RUNNING
    platform.audit()
    assert platform.server.stop() == 0
    platform.audit()
