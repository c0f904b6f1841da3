"""Starting on PostgreSQL: one process after the other, each with the schema that it was written against."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import structlog
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from tokenopen.ports.storage import StorageAway
from tokenopen.storage.migrate import check_revision, newest_revision, upgrade_schema
from tokenopen.storage.postgresql_connection import (
    START_SESSION,
    Connection,
    away_errors,
    close,
    connect,
    require_durable,
)

_log = structlog.get_logger()

# Of this database only; any number that nobody else locks.
_LOCK: Final = 0x746F_6B65_6E6F  # "tokeno"
_TURN_MAX_S: Final = 60
_TRIES_PER_S: Final = 10
# Less than a batch waits for a lock.
_QUEUE_MAX_MS: Final = 500
_QUEUE_PAUSE_S: Final = 1
_QUEUE_TRIES: Final = 60


@asynccontextmanager
async def starting_postgresql(url: str) -> AsyncIterator[None]:
    """Bring the schema up to date; until the end no other process starts on this database.

    Raises SchemaTooNew, ServerUnusable, StorageAway.
    """
    async with starting_alone(url):
        with away_errors():
            await upgrade_postgresql(url)
        yield


@asynccontextmanager
async def starting_alone(url: str) -> AsyncIterator[None]:
    """Let no other process start on this database until the end. Raises ServerUnusable, StorageAway.

    The lock goes with the connection, however the process ends.
    """
    connection = await connect(url, START_SESSION)
    try:
        with away_errors(connection):
            if not await require_durable(connection):
                _log.warning("fsync_is_off", means="a crash of the database's machine can lose charges")
            await _take_turn(connection)
        yield
    finally:
        await close(connection)


async def _take_turn(connection: Connection) -> None:
    """Wait until no other process starts.

    By asking again, since an index that another one builds waits for every statement that has begun: a wait
    for the lock inside one would be waited for by the one that has it.
    """
    for _ in range(_TURN_MAX_S * _TRIES_PER_S):
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return
        await asyncio.sleep(1 / _TRIES_PER_S)
    raise StorageAway("another process has been starting on it for a minute")


async def upgrade_postgresql(url: str) -> None:
    """Carry out the migrations that the database lacks. Raises SchemaTooNew, StorageAway."""

    async def make() -> Connection:
        return await connect(url, START_SESSION)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=make, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            if await connection.run_sync(check_revision) == newest_revision():
                return
            # Each migration then has its own transaction, and may leave it to build an index beside workers.
            await connection.rollback()
            event.listen(connection.sync_connection, "begin", _wait_briefly)
            await _upgrade_schema(connection)
    except DBAPIError as error:
        # What the server said, without the statement, which would fill the screen.
        raise StorageAway(f"its tables cannot be brought up to date: {error.orig}") from error
    finally:
        await engine.dispose()


def _wait_briefly(connection: SyncConnection) -> None:
    # Ends with the transaction: an index that is built beside workers, outside any, waits without a queue.
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_QUEUE_MAX_MS}ms'")


async def _upgrade_schema(connection: AsyncConnection) -> None:
    """Carry out the migrations.

    Who changes a table waits until nobody reads it, and whoever comes after them waits too, such as every
    worker's calls: so a change gives up soon, lets all of those pass, and tries again.
    """
    for _ in range(_QUEUE_TRIES):
        try:
            await connection.run_sync(upgrade_schema)
        except DBAPIError as error:
            await connection.rollback()
            if getattr(error.orig, "sqlstate", None) != asyncpg.LockNotAvailableError.sqlstate:
                raise
        else:
            return
        await asyncio.sleep(_QUEUE_PAUSE_S)
    raise StorageAway(
        "its tables cannot be brought up to date while somebody reads them, such as an audit or a backup; "
        "start again when that has ended"
    )
