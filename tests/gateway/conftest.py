"""The gateway on a database of its own, for one test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import MovableClock
from tests.gateway.world import World, build_world
from tokenopen.control.actor import Actor
from tokenopen.storage.sqlite import SqliteStorage


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep what the gateway logs of failures off the screen; rendering their tracebacks takes seconds."""
    with capture_logs():
        yield


@pytest.fixture
async def world(
    storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor
) -> AsyncIterator[World]:
    """A gateway, a provider, and a user with credit and a key."""
    world = await build_world(storage, clock, administrator, user)
    yield world
    world.storage.undisturbed()
    await world.api.drain()
    await world.gateway.till.close()
