"""Copying rows out of a PostgreSQL database, and into an empty one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import Table

from tokenopen.storage.migrate import newest_revision
from tokenopen.storage.postgresql_connection import (
    NOW_MS,
    START_SESSION,
    Connection,
    away_errors,
    close,
    connect,
)
from tokenopen.storage.postgresql_start import starting_alone, starting_postgresql
from tokenopen.storage.row_copy import ROWS_A_PAGE, TABLES, Rows, columns_of

_TABLES_THERE: Final = """
    SELECT relname FROM pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm') AND relnamespace = current_schema()::regnamespace"""
_LIVING: Final = f"SELECT count(*) FROM workers WHERE lease_until_ms > {NOW_MS}"  # noqa: S608 a constant


class DatabaseUnsuitable(Exception):
    """The database cannot be copied from or to; the text says why and what to do."""


class PostgresqlRows:
    """Rows of a database, inside a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def count(self, table: Table) -> int:
        with away_errors(self._connection):
            return int(await self._connection.fetchval(f"SELECT count(*) FROM {table.name}"))  # noqa: S608

    async def pages(self, table: Table) -> AsyncIterator[Rows]:
        columns = ", ".join(columns_of(table))
        with away_errors(self._connection):
            cursor = await self._connection.cursor(f"SELECT {columns} FROM {table.name}")  # noqa: S608
            while rows := await cursor.fetch(ROWS_A_PAGE):
                yield [tuple(row) for row in rows]

    async def insert(self, table: Table, rows: Rows) -> None:
        with away_errors(self._connection):
            await self._connection.copy_records_to_table(table.name, records=rows, columns=columns_of(table))


@asynccontextmanager
async def filling_postgresql(url: str) -> AsyncIterator[PostgresqlRows]:
    """Make every table in an empty database and fill them, all of it or nothing.

    No server starts on it meanwhile. Raises DatabaseUnsuitable where there is anything in it, StorageAway.
    """
    # Before anything is changed: a database that was named by mistake stays as it is.
    await _require_empty(url)
    async with starting_postgresql(url):
        connection = await connect(url, START_SESSION)
        try:
            async with connection.transaction():
                yield PostgresqlRows(connection)
            with away_errors(connection):
                # Else the first statements would be planned for tables without a row.
                await connection.execute("ANALYZE")
        finally:
            await close(connection)


async def _require_empty(url: str) -> None:
    connection = await connect(url, START_SESSION)
    try:
        with away_errors(connection):
            there = {row["relname"] for row in await connection.fetch(_TABLES_THERE)}
            ours = {table.name for table in TABLES}
            if there - ours - {"alembic_version"} or (there and "alembic_version" not in there):
                strange = min(there - ours, default=min(there))
                raise DatabaseUnsuitable(
                    f"The target holds tables that are not TokenOpen's ({strange}). Create an empty "
                    "database: CREATE DATABASE tokenopen."
                )
            for name in sorted(there & ours):
                if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})"):  # noqa: S608
                    raise DatabaseUnsuitable(
                        f"The target is not empty: {name} has rows. Name an empty database; nothing "
                        "was changed."
                    )
    finally:
        await close(connection)


@asynccontextmanager
async def reading_postgresql(url: str) -> AsyncIterator[PostgresqlRows]:
    """Read a database that nothing serves, on one snapshot; no server starts on it meanwhile.

    Raises DatabaseUnsuitable where a server runs or the schema is another version's, StorageAway.
    """
    async with starting_alone(url):
        connection = await connect(url, START_SESSION)
        try:
            with away_errors(connection):
                await _require_at_rest(connection)
                transaction = connection.transaction(isolation="repeatable_read", readonly=True)
                await transaction.start()
            yield PostgresqlRows(connection)
        finally:
            await close(connection)


async def _require_at_rest(connection: Connection) -> None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        raise DatabaseUnsuitable("There is no TokenOpen in the source.")
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    if revision != newest_revision():
        raise DatabaseUnsuitable(
            f"The source's schema is {revision}, this version's is {newest_revision()}: run "
            "tokenopen db upgrade."
        )
    if living := await connection.fetchval(_LIVING):
        raise DatabaseUnsuitable(
            f"{living} workers serve the source. Stop them first: what they would still write would be lost."
        )
