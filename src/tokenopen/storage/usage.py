"""Usage statements: sums over the hourly rollups of what was called and of what was refused.

An account's are read in the rollups that the till writes. Everybody's are read in those that
``storage.usage_fold`` makes of them, and where that has not been yet in the till's own.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    case,
    cast,
    func,
    literal_column,
    select,
    union_all,
)

from tokenopen.core.money import ceil_div
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import (
    accounts,
    api_keys,
    groups,
    key_usage_days,
    key_usage_weeks,
    platform_refused_hours,
    platform_usage_hours,
    refused_hours,
    usage_hours,
    users,
)
from tokenopen.storage.schema_rollup import SUMMED
from tokenopen.storage.usage_fold import (
    DAYS_A_WEEK,
    HOURS_A_DAY,
    read_folded_until,
    read_folded_weeks_until,
)

Row = Mapping[str, Any]

_MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCut:
    """Hours, ``[from_hour, until_hour)`` since 1970 UTC, all of them ``ahead_min`` minutes ahead of UTC.

    What is summed by ``day`` is cut so; days are counted since 1970 there, of the hours that begin in them.
    """

    from_hour: int
    until_hour: int
    ahead_min: int

    def within(self, from_hour: int, until_hour: int) -> "DayCut":
        """Return the part of it that lies in other hours too."""
        return replace(
            self, from_hour=max(self.from_hour, from_hour), until_hour=min(self.until_hour, until_hour)
        )


def _between(column: Column[int], first: int, end: int) -> ColumnElement[bool]:
    return (column >= first) & (column < end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What sums are told apart by: columns, for ``day`` with how days are cut.

    Of the last column only ``labels`` are told apart, where they are given; all others are None together.
    """

    by: Sequence[str]
    days: Sequence[DayCut] | None = None
    labels: Collection[str] | None = None

    def cuts(self, from_hour: int, until_hour: int) -> Sequence[DayCut]:
        """Return how a stretch of hours is cut; into one where nothing is summed by day."""
        if self.days is None:
            assert "day" not in self.by
            return [DayCut(from_hour=from_hour, until_hour=until_hour, ahead_min=0)]
        return [cut.within(from_hour, until_hour) for cut in self.days]

    def columns(self, source: FromClause, cut: DayCut) -> list[ColumnElement[Any]]:
        """Return the columns of a table, in the hours of a cut."""
        return [self._column(source, name, cut) for name in self.by]

    def _column(self, source: FromClause, name: str, cut: DayCut) -> ColumnElement[Any]:
        if name == "day":
            return ((source.c.hour * 60 + cut.ahead_min) // _MINUTES_A_DAY).label("day")
        if self.labels is not None and name == self.by[-1]:
            return case((source.c[name].in_(self.labels), source.c[name]), else_=None).label(name)
        return source.c[name]


async def _sum(
    tx: Transaction,
    table: Table,
    told: Told,
    summed: Sequence[ColumnElement[Any]],
    hours: tuple[int, int],
    *where: ColumnElement[bool],
) -> list[Row]:
    """Return the sums of a table's rows of some hours per combination of columns."""
    found: list[Row] = []
    for cut in told.cuts(*hours):
        if cut.from_hour < cut.until_hour:
            columns = told.columns(table, cut)
            within = _between(table.c.hour, cut.from_hour, cut.until_hour)
            statement = select(*columns, *summed).where(*where, within)
            found += await tx.fetch_all(_grouped(statement, len(columns)))
    return found


def _grouped(statement: Select[Any], count: int) -> Select[Any]:
    """Group by the first columns, by place: PostgreSQL does not see that two parameters are the same."""
    return statement.group_by(*(literal_column(str(place + 1)) for place in range(count)))


def _sums(source: FromClause) -> list[ColumnElement[Any]]:
    # As large as what is summed: else PostgreSQL makes them numeric, which are slow to read.
    return [cast(func.sum(source.c[name]), BigInteger).label(name) for name in SUMMED]


async def sum_account_usage(
    tx: Transaction, account_id: str, *, from_hour: int, until_hour: int, told: Told
) -> Sequence[Row]:
    """Return what an account used per combination of columns; hours are hours since 1970 UTC.

    A combination with a day may come twice.
    """
    own = usage_hours
    return await _sum(tx, own, told, _sums(own), (from_hour, until_hour), own.c.account_id == account_id)


async def sum_platform_usage(
    tx: Transaction, *, from_hour: int, until_hour: int, told: Told
) -> Sequence[Row]:
    """Return what everybody used per combination of hour or day, group_id and model.

    A combination may come twice: of the hours that are folded, and of those that are not.
    """
    folded = await _folded(tx, from_hour, until_hour)
    table = platform_usage_hours
    return [
        *await _sum(tx, table, told, _sums(table), (from_hour, folded)),
        *await _sum(tx, usage_hours, told, _sums(usage_hours), (folded, until_hour)),
    ]


async def sum_key_usage(
    tx: Transaction, *, from_hour: int, until_hour: int, by: Sequence[str]
) -> Sequence[Row]:
    """Return what everybody used per account_id or key_id, in whole days UTC; combinations may come twice.

    ``from_hour`` begins a day, and ``until_hour`` ends one or lies behind all that is folded.
    """
    folded = await _folded(tx, from_hour, until_hour)
    assert from_hour % HOURS_A_DAY == 0
    first, end = from_hour // HOURS_A_DAY, ceil_div(folded, HOURS_A_DAY)
    first_week = ceil_div(first, DAYS_A_WEEK)
    end_week = max(first_week, min(end // DAYS_A_WEEK, await read_folded_weeks_until(tx)))
    days, weeks = key_usage_days.c, key_usage_weeks.c
    parts = [
        (key_usage_days, _between(days.day, first, min(end, first_week * DAYS_A_WEEK))),
        (key_usage_weeks, _between(weeks.week, first_week, end_week)),
        (key_usage_days, _between(days.day, max(first, end_week * DAYS_A_WEEK), end)),
    ]
    folds = union_all(
        *(select(*(table.c[name] for name in (*by, *SUMMED))).where(where) for table, where in parts)
    ).subquery("folds")
    columns = [folds.c[name] for name in by]
    return [
        *await tx.fetch_all(_grouped(select(*columns, *_sums(folds)), len(columns))),
        *await _sum(tx, usage_hours, Told(by=by), _sums(usage_hours), (folded, until_hour)),
    ]


async def _folded(tx: Transaction, from_hour: int, until_hour: int) -> int:
    """Return up to which hour of a stretch of hours everybody's rollups go."""
    return min(max(await read_folded_until(tx), from_hour), until_hour)


async def sum_refused(
    tx: Transaction, *, account_id: str | None, from_hour: int, until_hour: int, told: Told
) -> Sequence[Row]:
    """Return how many calls of an account, or of everybody, were refused, per combination of hour or day,
    group_id and code, and the ``last_hour`` of each; combinations may come twice."""
    own, folds = refused_hours, platform_refused_hours
    if account_id is not None:
        hours = from_hour, until_hour
        return await _sum(tx, own, told, _refused_sums(own), hours, own.c.account_id == account_id)
    folded = await _folded(tx, from_hour, until_hour)
    return [
        *await _sum(tx, folds, told, _refused_sums(folds), (from_hour, folded)),
        *await _sum(tx, own, told, _refused_sums(own), (folded, until_hour)),
    ]


def _refused_sums(table: Table) -> list[ColumnElement[Any]]:
    return [
        cast(func.sum(table.c.calls), BigInteger).label("calls"),
        func.max(table.c.hour).label("last_hour"),
    ]


async def list_key_names(tx: Transaction, key_ids: Sequence[str]) -> Mapping[str, str]:
    """Return the names of API keys by id."""
    rows = await tx.fetch_all(select(api_keys.c.id, api_keys.c.name).where(api_keys.c.id.in_(key_ids)))
    return {row["id"]: row["name"] for row in rows}


async def list_group_names(tx: Transaction, group_ids: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Return slug and name of groups by id."""
    rows = await tx.fetch_all(
        select(groups.c.id, groups.c.slug, groups.c.name).where(groups.c.id.in_(group_ids))
    )
    return {row["id"]: (row["slug"], row["name"]) for row in rows}


async def list_account_users(tx: Transaction, account_ids: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Return id and mail address of the users whose accounts these are, by the account's id."""
    rows = await tx.fetch_all(
        select(accounts.c.id, accounts.c.user_id, users.c.email)
        .join(users, users.c.id == accounts.c.user_id)
        .where(accounts.c.id.in_(account_ids))
    )
    return {row["id"]: (row["user_id"], row["email"]) for row in rows}
