"""The gateway on a database of its own, for one test."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import MovableClock
from tests.gateway.world import Furnished, World, furnish, open_world
from tokenopen.storage.migrate import upgrade_sqlite
from tokenopen.storage.sqlite import SqliteStorage


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep what the gateway logs of failures off the screen; rendering their tracebacks takes seconds."""
    with capture_logs():
        yield


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Furnished]:
    """A database to be copied, and what is in it; to fill one anew would take longer than most tests."""
    path = tmp_path_factory.mktemp("furnished") / "tokenopen.sqlite3"
    upgrade_sqlite(path)

    async def fill() -> Furnished:
        clock = MovableClock()
        storage = SqliteStorage(path, clock)
        found = await furnish(storage, clock)
        await storage.close()
        return found

    return path, asyncio.run(fill())


@pytest.fixture
async def world(
    furnished: tuple[Path, Furnished], database_directory: Path, clock: MovableClock
) -> AsyncIterator[World]:
    """A gateway, a provider, and a user with credit and a key."""
    path = database_directory / "tokenopen.sqlite3"
    shutil.copy(furnished[0], path)
    storage = SqliteStorage(path, clock)
    world = await open_world(storage, clock, furnished[1])
    yield world
    world.storage.undisturbed()
    # A test that failed may have left calls that wait for what never comes.
    world.api.stop_admitting(cut_after_s=10)
    await world.api.drain()
    await world.gateway.till.close()
    await storage.close()
