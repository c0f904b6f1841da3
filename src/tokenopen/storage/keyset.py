"""Keyset: a list that is read along an index, from one key to another, and never counted or skipped through.

A stretch is written as comparisons of rows, ``(key_id, id) < (:key_id, :before)``, and not as equalities: of
an equality a planner knows that it says nothing about the order, and where it takes the rest of the order
from another index it may read the whole table for a key that has been quiet for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, UnaryExpression, and_, literal_column, true, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of an index, newest first: rows that agree in ``prefix``, by the column ``by``.

    ``first`` is where it ends, ``before`` where it begins; None leaves that side open. ``always`` is what a
    partial index holds for all of its rows.
    """

    by: ColumnElement[Any]
    prefix: Sequence[tuple[ColumnElement[Any], Any]] = ()
    always: Sequence[ColumnElement[bool]] = ()
    first: Any = None
    before: Any = None

    def where(self) -> ColumnElement[bool]:
        """Return what holds for the rows of the stretch."""
        conditions = list(self.always)
        columns, values = [column for column, _ in self.prefix], [value for _, value in self.prefix]
        if self.first is not None:
            conditions.append(_row([*columns, self.by]) >= _row([*values, self.first]))
        elif columns:
            conditions.append(_row(columns) >= _row(values))
        if self.before is not None:
            conditions.append(_row([*columns, self.by]) < _row([*values, self.before]))
        elif columns:
            conditions.append(_row(columns) <= _row(values))
        return and_(true(), *conditions)

    def order(self) -> list[UnaryExpression[Any]]:
        """Return the order of the index, backwards."""
        return [*(column.desc() for column, _ in self.prefix), self.by.desc()]


def as_indexed(condition: str) -> ColumnElement[bool]:
    """Return a partial index's condition in the index's own words, so that SQLite knows it again.

    It has no type: SQLAlchemy would compare a Boolean with 1 there, and no index is of that.
    """
    return literal_column(condition)


class _OnSqlite(ColumnElement[bool]):
    """Holds by itself elsewhere."""

    inherit_cache = False

    def __init__(self, condition: ColumnElement[bool]) -> None:
        self.condition = condition


@compiles(_OnSqlite)
def _elsewhere(_element: _OnSqlite, _compiler: SQLCompiler, **_options: Any) -> str:
    return "true"


@compiles(_OnSqlite, "sqlite")
def _on_sqlite(element: _OnSqlite, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.condition, **options)


def told_sqlite(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return a condition that SQLite is told besides, though it follows from what PostgreSQL is told.

    SQLite reads ``state IN ('voided', 'expired')``, there for a partial index's sake, as where to begin, and
    goes through all that is voided to what has expired; an equality it prefers.
    """
    return _OnSqlite(condition)


def _row(members: Sequence[Any]) -> Any:
    return members[0] if len(members) == 1 else tuple_(*members)
