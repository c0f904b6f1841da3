"""Copying rows out of an SQLite file, and into one that nobody has opened yet."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Table

from tokenopen.storage.row_copy import ROWS_A_PAGE, Rows, columns_of
from tokenopen.storage.sqlite import connect


class SqliteRows:
    """Rows of a file, read or written on the loop's own thread: nothing else runs meanwhile."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def count(self, table: Table) -> int:
        return int(self._connection.execute(f"SELECT COUNT(*) FROM {table.name}").fetchone()[0])  # noqa: S608 names are ours

    async def pages(self, table: Table) -> AsyncIterator[Rows]:
        flags = [place for place, column in enumerate(table.columns) if isinstance(column.type, Boolean)]
        columns = ", ".join(columns_of(table))
        cursor = self._connection.execute(f"SELECT {columns} FROM {table.name}")  # noqa: S608 names are ours
        while rows := cursor.fetchmany(ROWS_A_PAGE):
            yield [_with_booleans(row, flags) for row in rows] if flags else rows

    async def insert(self, table: Table, rows: Rows) -> None:
        names = columns_of(table)
        self._connection.executemany(
            f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",  # noqa: S608
            rows,
        )


def _with_booleans(row: tuple[Any, ...], flags: list[int]) -> list[Any]:
    """SQLite keeps 0 and 1; the other engine takes nothing but what a column is declared as."""
    values = list(row)
    for place in flags:
        if values[place] is not None:
            values[place] = bool(values[place])
    return values


@contextmanager
def reading_sqlite(path: Path) -> Iterator[SqliteRows]:
    """Read a file on one snapshot."""
    connection = connect(path, read_only=True)
    try:
        connection.execute("BEGIN")
        yield SqliteRows(connection)
    finally:
        connection.close()


@contextmanager
def filling_sqlite(path: Path) -> Iterator[SqliteRows]:
    """Write into a new file that has every table: all of it or nothing."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN IMMEDIATE")
        yield SqliteRows(connection)
        connection.execute("COMMIT")
    finally:
        connection.close()
