"""Engine: the database that the platform runs on. TOKENOPEN_DATABASE_URL alone decides which."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError

from tokenopen.ports.clock import Clock, SystemClock
from tokenopen.ports.storage import Storage, StorageAway, Transaction
from tokenopen.settings import Settings
from tokenopen.storage.migrate import SchemaTooNew, upgrade_sqlite_apart
from tokenopen.storage.secret import (
    DerivedKeys,
    SecretUnusable,
    check_secret,
    derive_keys,
    read_or_create_secret,
)
from tokenopen.storage.sqlite import (
    DATABASE_FILE,
    DataDirectoryUnusable,
    SqliteReader,
    SqliteStorage,
    lock_data_directory,
)


class StartupError(Exception):
    """The platform cannot start; the text says why and what to do."""


@asynccontextmanager
async def starting(
    settings: Settings, clock: Clock, stack: AsyncExitStack
) -> AsyncIterator[tuple[Storage, DerivedKeys]]:
    """Open the database with its schema up to date; it stays open as long as the stack.

    Until this context ends no other process starts on the same database. Raises StartupError.
    """
    start = _start_postgresql if names_postgresql(settings) else _start_sqlite
    try:
        async with start(settings, clock, stack) as (storage, keys):
            async with storage.write() as tx:
                await check_secret(tx, keys)
            yield storage, keys
    except (SchemaTooNew, SecretUnusable) as error:
        raise StartupError(str(error)) from error


@asynccontextmanager
async def open_reader(settings: Settings) -> AsyncIterator[Transaction]:
    """Read the database beside whatever process serves it. Raises StartupError."""
    read = _read_postgresql if names_postgresql(settings) else _read_sqlite
    try:
        async with read(settings) as tx:
            yield tx
    except StorageAway as error:
        raise StartupError(f"The database cannot be read: {error}") from error


def names_postgresql(settings: Settings) -> bool:
    """Tell whether the database is PostgreSQL rather than the embedded one. Raises StartupError."""
    if not settings.database_url:
        return False
    if settings.database_url.startswith(("postgresql://", "postgres://")):
        return True
    raise StartupError(
        "TOKENOPEN_DATABASE_URL names an engine that this version does not have. Set it to "
        "postgresql://USER:PASSWORD@HOST/DATABASE. Unset it to use the embedded database in "
        "TOKENOPEN_DATA_DIR."
    )


def require_shared_engine(settings: Settings, *, workers: int) -> None:
    """Raise StartupError where the database is one process's alone."""
    if not names_postgresql(settings):
        raise StartupError(
            f"{workers} workers need PostgreSQL: the embedded database belongs to one process. Set "
            "TOKENOPEN_DATABASE_URL to postgresql://USER:PASSWORD@HOST/DATABASE, or start one worker "
            "(--workers 1, or TOKENOPEN_WORKERS=1)."
        )


def given_secret(settings: Settings) -> str | None:
    """Return the secret that the operator has set, None where it lies in the data directory."""
    return settings.secret_key.get_secret_value() if settings.secret_key else None


@asynccontextmanager
async def _start_sqlite(
    settings: Settings, clock: Clock, stack: AsyncExitStack
) -> AsyncIterator[tuple[Storage, DerivedKeys]]:
    try:
        # For the life of the process, so no other one can start on the file either.
        stack.callback(os.close, lock_data_directory(settings.data_dir))
        keys = derive_keys(given_secret(settings) or read_or_create_secret(settings.data_dir))
        path = settings.data_dir / DATABASE_FILE
        await asyncio.to_thread(upgrade_sqlite_apart, path)
        storage = SqliteStorage(path, clock)
        stack.push_async_callback(storage.close)
        yield storage, keys
    except DataDirectoryUnusable as error:
        raise StartupError(str(error)) from error
    except (sqlite3.Error, SQLAlchemyError, StorageAway) as error:
        raise StartupError(
            f"The database cannot be opened ({error}). Check that its file is whole and can be written, "
            "and that the disk is not full."
        ) from error


@asynccontextmanager
async def _start_postgresql(
    settings: Settings, _clock: Clock, stack: AsyncExitStack
) -> AsyncIterator[tuple[Storage, DerivedKeys]]:
    # Here, not at the top: the driver takes as long to load as the rest of the command line.
    from tokenopen.storage.postgresql import open_postgresql
    from tokenopen.storage.postgresql_connection import ServerUnusable
    from tokenopen.storage.postgresql_start import starting_postgresql

    secret = given_secret(settings)
    if secret is None:
        raise StartupError(
            "TOKENOPEN_SECRET_KEY is required with PostgreSQL, the same one for every process on a database: "
            "API keys are told and upstream credentials opened with it. Make one with: openssl rand -hex 32"
        )
    try:
        async with starting_postgresql(settings.database_url):
            storage = await open_postgresql(settings.database_url)
            stack.push_async_callback(storage.close)
            yield storage, derive_keys(secret)
    except ServerUnusable as error:
        raise StartupError(f"The database cannot be used: {error}") from error
    except StorageAway as error:
        raise StartupError(
            f"The database that TOKENOPEN_DATABASE_URL names cannot be used ({error}). Check the address, "
            "the user with its rights and its password, and that the server runs."
        ) from error


@asynccontextmanager
async def _read_sqlite(settings: Settings) -> AsyncIterator[Transaction]:
    path = settings.data_dir / DATABASE_FILE
    if not path.exists():
        raise StartupError(
            f"There is no database in {settings.data_dir}. Set TOKENOPEN_DATA_DIR to its directory."
        )
    reader = SqliteReader(path, SystemClock())
    try:
        async with reader.read() as tx:
            yield tx
    finally:
        reader.close()


@asynccontextmanager
async def _read_postgresql(settings: Settings) -> AsyncIterator[Transaction]:
    # Here, not at the top: as above.
    from tokenopen.storage.postgresql import read_postgresql

    async with read_postgresql(settings.database_url) as tx:
        yield tx
