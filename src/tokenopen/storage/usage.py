"""Usage statements: sums over the hourly rollups of what was called and of what was refused.

An account's are read in the rollups that the till writes. Everybody's are read in those that
``storage.usage_fold`` makes of them, and where that has not been yet in the till's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Integer,
    Label,
    Table,
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
from tokenopen.storage.usage_fold import (
    DAYS_A_WEEK,
    HOURS_A_DAY,
    read_folded_until,
    read_folded_weeks_until,
)

Row = Mapping[str, Any]

SUMMED: Final = ("calls", "input_units", "output_units", "charge", "absorbed")
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


def _columns(source: FromClause, by: Sequence[str], cut: DayCut) -> list[ColumnElement[Any]]:
    # Written out: PostgreSQL would not see that two parameters in two places are one number.
    ahead, a_day = literal_column(str(cut.ahead_min), Integer), literal_column(str(_MINUTES_A_DAY), Integer)
    return [
        ((source.c.hour * 60 + ahead) // a_day).label("day") if name == "day" else source.c[name]
        for name in by
    ]


async def _sum(
    tx: Transaction,
    table: Table,
    by: Sequence[str],
    summed: Iterable[ColumnElement[Any]],
    cuts: Sequence[DayCut],
    *where: ColumnElement[bool],
) -> list[Row]:
    """Return the sums of a table's rows per combination of columns, in the hours of each cut."""
    found: list[Row] = []
    for cut in cuts:
        if cut.from_hour < cut.until_hour:
            columns = _columns(table, by, cut)
            hours = _between(table.c.hour, cut.from_hour, cut.until_hour)
            groups = [column.element if isinstance(column, Label) else column for column in columns]
            found += await tx.fetch_all(select(*columns, *summed).where(*where, hours).group_by(*groups))
    return found


def _sums(source: FromClause) -> list[ColumnElement[Any]]:
    return [func.sum(source.c[name]).label(name) for name in SUMMED]


def _cuts(hours: tuple[int, int], days: Sequence[DayCut] | None, by: Sequence[str]) -> Sequence[DayCut]:
    """Return the cuts of a stretch of hours; one where nothing is summed by day."""
    if days is None:
        assert "day" not in by
        return [DayCut(from_hour=hours[0], until_hour=hours[1], ahead_min=0)]
    return [cut.within(*hours) for cut in days]


async def sum_account_usage(
    tx: Transaction,
    account_id: str,
    *,
    from_hour: int,
    until_hour: int,
    by: Sequence[str],
    days: Sequence[DayCut] | None = None,
) -> Sequence[Row]:
    """Return what an account used per combination of the columns ``by``; hours are hours since 1970 UTC.

    For ``day`` among them ``days`` says how days are cut; combinations with it may come twice.
    """
    own = usage_hours
    cuts = _cuts((from_hour, until_hour), days, by)
    return await _sum(tx, own, by, _sums(own), cuts, own.c.account_id == account_id)


async def sum_platform_usage(
    tx: Transaction,
    *,
    from_hour: int,
    until_hour: int,
    by: Sequence[str],
    days: Sequence[DayCut] | None = None,
) -> Sequence[Row]:
    """Return what everybody used per combination of hour or day, group_id and model.

    A combination may come twice: of the hours that are folded, and of those that are not.
    """
    folded = await _folded(tx, from_hour, until_hour)
    table = platform_usage_hours
    return [
        *await _sum(tx, table, by, _sums(table), _cuts((from_hour, folded), days, by)),
        *await _sum(tx, usage_hours, by, _sums(usage_hours), _cuts((folded, until_hour), days, by)),
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
    cuts = _cuts((folded, until_hour), None, by)
    return [
        *await tx.fetch_all(select(*columns, *_sums(folds)).group_by(*columns)),
        *await _sum(tx, usage_hours, by, _sums(usage_hours), cuts),
    ]


async def _folded(tx: Transaction, from_hour: int, until_hour: int) -> int:
    """Return up to which hour of a stretch of hours everybody's rollups go."""
    return min(max(await read_folded_until(tx), from_hour), until_hour)


async def sum_refused(
    tx: Transaction,
    *,
    account_id: str | None,
    from_hour: int,
    until_hour: int,
    by: Sequence[str],
    days: Sequence[DayCut] | None = None,
) -> Sequence[Row]:
    """Return how many calls of an account, or of everybody, were refused, per combination of hour or day,
    group_id and code, and the ``last_hour`` of each; combinations may come twice."""
    own, folds = refused_hours, platform_refused_hours
    if account_id is not None:
        cuts = _cuts((from_hour, until_hour), days, by)
        return await _sum(tx, own, by, _refused_sums(own), cuts, own.c.account_id == account_id)
    folded = await _folded(tx, from_hour, until_hour)
    return [
        *await _sum(tx, folds, by, _refused_sums(folds), _cuts((from_hour, folded), days, by)),
        *await _sum(tx, own, by, _refused_sums(own), _cuts((folded, until_hour), days, by)),
    ]


def _refused_sums(table: Table) -> list[ColumnElement[Any]]:
    return [func.sum(table.c.calls).label("calls"), func.max(table.c.hour).label("last_hour")]


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
