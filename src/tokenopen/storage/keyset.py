"""Keyset: a list that is read along an index, from one key to another, and never counted or skipped through.

A stretch is written as comparisons of rows, ``(key_id, id) < (:key_id, :before)``, and not as equalities: of
an equality a planner knows that it says nothing about the order, and where it takes the rest of the order
from another index it may read the whole table for a key that has been quiet for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, UnaryExpression, and_, literal_column, true, tuple_


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


def _row(members: Sequence[Any]) -> Any:
    return members[0] if len(members) == 1 else tuple_(*members)
