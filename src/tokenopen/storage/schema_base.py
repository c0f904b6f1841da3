"""Schema base: what every table shares: text, room for new versions of rows, names, partial indexes."""

from typing import Any

from sqlalchemy import Column, Index, MetaData, Table, text
from sqlalchemy import Text as AnyText

# Compared byte by byte on both engines: one order everywhere, and no index that an operating system's new
# sorting rules could break.
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")
# Room on each page for the next versions of rows that every call changes, so that no index has to follow.
HOT = {"postgresql_with": {"fillfactor": 50}}

# What partial indexes hold. A statement that is to use one says the same in the same words.
HELD = "state = 'held'"
NOT_CHARGED = "state IN ('voided', 'expired')"
FLAGGED = "flag IS NOT NULL"
NOT_COVERED = "absorbed > 0"
NOT_A_CHARGE = "kind <> 'charge'"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def partial_index(name: str, condition: str, *columns: Column[Any]) -> None:
    """Index the rows that a condition holds for; both engines read it in the same words."""
    where = text(condition)
    Index(name, *columns, sqlite_where=where, info={"postgresql_where": where})


def with_postgresql_options() -> MetaData:
    """Return the tables with what only PostgreSQL is told of them, for what makes or compares tables.

    It is kept in their ``info``, since an argument that begins with ``postgresql_`` loads that dialect: 2 MB,
    which a process on SQLite has no use for.
    """
    for table in metadata.tables.values():
        things: list[Table | Index] = [table, *table.indexes]
        for thing in things:
            thing.dialect_kwargs.update(thing.info)
    return metadata
