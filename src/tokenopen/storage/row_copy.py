"""Row copy: every row of one database into an empty one of the other engine, a page at a time.

Tables are copied in the order of their foreign keys, in one transaction of the target: whole or not at all.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import Table

from tokenopen.storage.schema import metadata

TABLES: Final[Sequence[Table]] = metadata.sorted_tables
ROWS_A_PAGE: Final = 2_000

Rows = Sequence[Sequence[Any]]


class RowsDiffer(Exception):
    """A table has other rows after copying than before; nothing was written."""


class RowSource(Protocol):
    """A database as it stands, on one snapshot. Values of a row are in the order of the schema's columns."""

    async def count(self, table: Table) -> int:
        """Return how many rows a table has."""

    def pages(self, table: Table) -> AsyncIterator[Rows]:
        """Yield every row of a table, some thousand at a time."""


class RowTarget(Protocol):
    """An empty database with every table, inside a transaction."""

    async def count(self, table: Table) -> int:
        """Return how many rows a table has."""

    async def insert(self, table: Table, rows: Rows) -> None:
        """Write rows."""


def columns_of(table: Table) -> list[str]:
    """Return the names of a table's columns, in the order that rows are copied in."""
    return [column.name for column in table.columns]


async def count_rows(source: RowSource) -> Mapping[str, int]:
    """Return how many rows each table has."""
    return {table.name: await source.count(table) for table in TABLES}


async def copy_rows(
    source: RowSource, target: RowTarget, expected: Mapping[str, int], on_copied: Callable[[int], None]
) -> None:
    """Copy every table and compare the counts at the end; raise RowsDiffer where they are not as expected.

    ``on_copied`` is told how many rows each page had.
    """
    for table in TABLES:
        async for rows in source.pages(table):
            await target.insert(table, rows)
            on_copied(len(rows))
    for table in TABLES:
        there = await target.count(table)
        if there != expected[table.name]:
            raise RowsDiffer(
                f"{table.name} has {expected[table.name]:,} rows in the source, {there:,} copied"
            )
