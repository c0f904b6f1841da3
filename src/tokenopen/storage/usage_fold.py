"""Usage folds: everybody's rollups, made of the till's own once an hour is over.

The till writes rollups inside one account only, so that accounts never wait for each other; a chart of
everybody would have to read all of them. An hour is folded once nothing can be added to it any more: time on
an account never runs backwards, and what is decided in an hour is committed seconds later. A clock that was
set back, or counts of refusals that waited for the database, can still add to an hour that is folded: each
day is compared once more a day later, and what differs is set right. Weeks are made of days after that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, delete, func, insert, select, text, update

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import (
    key_usage_days,
    platform_refused_hours,
    platform_usage_hours,
    refused_hours,
    usage_hours,
    versions,
)
from tokenopen.storage.schema_rollup import SUMMED

Row = Mapping[str, Any]

HOURS_A_DAY: Final = 24
DAYS_A_WEEK: Final = 7
FOLDED_UNTIL: Final = "usage_folded_until"
FOLDED_WEEKS_UNTIL: Final = "usage_weeks_folded_until"
_SUMS: Final = ", ".join(f"SUM({name})" for name in SUMMED)
_NAMES: Final = ", ".join(SUMMED)

# Both engines take these as they stand.
_FOLD_USAGE: Final = text(f"""
    INSERT INTO platform_usage_hours (hour, group_id, model, {_NAMES})
    SELECT hour, group_id, model, {_SUMS} FROM usage_hours WHERE hour = :hour GROUP BY hour, group_id, model
    """)  # noqa: S608 the names are ours
_FOLD_REFUSED: Final = text("""
    INSERT INTO platform_refused_hours (hour, group_id, code, calls)
    SELECT hour, group_id, code, SUM(calls) FROM refused_hours WHERE hour = :hour
    GROUP BY hour, group_id, code""")
_FOLD_KEYS: Final = text("""
    INSERT INTO key_usage_days (day, account_id, key_id, calls, input_units, output_units, charge, absorbed)
    SELECT hour / 24, account_id, key_id, SUM(calls), SUM(input_units), SUM(output_units), SUM(charge),
      SUM(absorbed)
    FROM usage_hours WHERE hour = :hour GROUP BY hour, account_id, key_id
    ON CONFLICT (day, account_id, key_id) DO UPDATE SET calls = key_usage_days.calls + excluded.calls,
      input_units = key_usage_days.input_units + excluded.input_units,
      output_units = key_usage_days.output_units + excluded.output_units,
      charge = key_usage_days.charge + excluded.charge,
      absorbed = key_usage_days.absorbed + excluded.absorbed""")

_FOLD_WEEK: Final = text(f"""
    INSERT INTO key_usage_weeks (week, account_id, key_id, {_NAMES})
    SELECT day / 7, account_id, key_id, {_SUMS} FROM key_usage_days
    WHERE day >= :week * 7 AND day < :week * 7 + 7 GROUP BY day / 7, account_id, key_id""")  # noqa: S608 the names are ours

# Each folded table and what it is folded from.
_SOURCES: Final[Mapping[Table, Table]] = {
    platform_usage_hours: usage_hours,
    key_usage_days: usage_hours,
    platform_refused_hours: refused_hours,
}
_BEGIN_TO_FOLD: Final = text(
    "INSERT INTO versions (name, value) VALUES (:name, :hour) ON CONFLICT (name) DO NOTHING"
)


async def read_folded_until(tx: Transaction) -> int:
    """Return the first hour, since 1970 UTC, that is not folded; 0 where none is."""
    return await _read_mark(tx, FOLDED_UNTIL) or 0


async def read_folded_weeks_until(tx: Transaction) -> int:
    """Return the first week, since 1970 UTC, that everybody's keys are not folded by; 0 where none is."""
    return await _read_mark(tx, FOLDED_WEEKS_UNTIL) or 0


async def _read_mark(tx: Transaction, name: str) -> int | None:
    row = await tx.fetch_one(select(versions.c.value).where(versions.c.name == name))
    return None if row is None else int(row["value"])


async def lock_folded_until(tx: Transaction) -> int | None:
    """Return the first hour that is not folded, of all at the start; None while another worker folds."""
    first = await tx.fetch_one(
        select(
            select(func.min(usage_hours.c.hour)).scalar_subquery().label("used"),
            select(func.min(refused_hours.c.hour)).scalar_subquery().label("refused"),
        )
    )
    assert first is not None
    hours = [hour for hour in first.values() if hour is not None]
    if not hours:
        return None
    await tx.execute(_BEGIN_TO_FOLD.bindparams(name=FOLDED_UNTIL, hour=min(hours)))
    row = await tx.fetch_one(
        select(versions.c.value).where(versions.c.name == FOLDED_UNTIL).with_for_update(skip_locked=True)
    )
    return None if row is None else int(row["value"])


async def fold_hour(tx: Transaction, hour: int) -> None:
    """Add an hour that is over to everybody's rollups; the lock on how far they go is held."""
    for statement in (_FOLD_USAGE, _FOLD_REFUSED, _FOLD_KEYS):
        await tx.execute(statement.bindparams(hour=hour))
    await tx.execute(update(versions).where(versions.c.name == FOLDED_UNTIL).values(value=hour + 1))


async def find_week_to_fold(tx: Transaction) -> int | None:
    """Return the first week that is not folded, of all days that there are; None where there are none."""
    week = await _read_mark(tx, FOLDED_WEEKS_UNTIL)
    if week is None:
        row = await tx.fetch_one(select(func.min(key_usage_days.c.day).label("day")))
        assert row is not None
        week = None if row["day"] is None else row["day"] // DAYS_A_WEEK
    return week


async def fold_week(tx: Transaction, week: int) -> None:
    """Sum up a week whose days change no more; the lock on how far hours are folded is held."""
    await tx.execute(_BEGIN_TO_FOLD.bindparams(name=FOLDED_WEEKS_UNTIL, hour=week))
    await tx.execute(_FOLD_WEEK.bindparams(week=week))
    await tx.execute(update(versions).where(versions.c.name == FOLDED_WEEKS_UNTIL).values(value=week + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRow:
    """A row of everybody's rollups: its key and its sums, by column; no sums where there should be no row."""

    table: Table
    key: Row
    sums: Row | None


async def list_differing(tx: Transaction, day: int) -> Sequence[FoldedRow]:
    """Return what the folded rows of a day should be, of those that are not what the till's rollups say."""
    found = []
    for table, source in _SOURCES.items():
        names = [column.name for column in table.primary_key]
        summed = [column.name for column in table.c if column.name not in names]
        stored = {
            tuple(row[name] for name in names): {name: row[name] for name in summed}
            for row in await tx.fetch_all(select(table).where(_of_day(table, day)))
        }
        due: dict[tuple[Any, ...], dict[str, int]] = {}
        by = [source.c[name] for name in names if name != "day"]
        sums = [func.sum(source.c[name]).label(name) for name in summed]
        for row in await tx.fetch_all(select(*by, *sums).where(_of_day(source, day)).group_by(*by)):
            key = tuple(day if name == "day" else row[name] for name in names)
            due[key] = {name: int(row[name]) for name in summed}
        found += [
            FoldedRow(table=table, key=dict(zip(names, key, strict=True)), sums=due.get(key))
            for key in stored.keys() | due.keys()
            if stored.get(key) != due.get(key)
        ]
    return found


def _of_day(table: Table, day: int) -> ColumnElement[bool]:
    if "day" in table.c:
        return table.c.day == day
    return (table.c.hour >= day * HOURS_A_DAY) & (table.c.hour < (day + 1) * HOURS_A_DAY)


async def set_folded_row(tx: Transaction, row: FoldedRow) -> None:
    """Make a folded row what it should be."""
    await tx.execute(
        delete(row.table).where(*(row.table.c[name] == value for name, value in row.key.items()))
    )
    if row.sums is not None:
        await tx.execute(insert(row.table).values(**row.key, **row.sums))
