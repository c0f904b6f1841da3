"""Usage statements: sums over the hourly rollups of what was called and of what was refused.

An account's are read in the rollups that the till writes. Everybody's are read in those that
``storage.usage_fold`` makes of them, and where that has not been yet in the till's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, func, select

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import (
    accounts,
    api_keys,
    groups,
    key_usage_days,
    platform_refused_hours,
    platform_usage_hours,
    refused_hours,
    usage_hours,
    users,
)
from tokenopen.storage.usage_fold import HOURS_A_DAY, read_folded_until

Row = Mapping[str, Any]

SUMMED: Final = ("calls", "input_units", "output_units", "charge", "absorbed")


async def _sum(
    tx: Transaction, by: Sequence[Column[Any]], summed: Iterable[str], *where: ColumnElement[bool]
) -> Sequence[Row]:
    """Return the sums of a table's rows per combination of columns."""
    table = by[0].table
    return await tx.fetch_all(
        select(*by, *(func.sum(table.c[name]).label(name) for name in summed)).where(*where).group_by(*by)
    )


def _between(column: Column[int], first: int, end: int) -> ColumnElement[bool]:
    return (column >= first) & (column < end)


def _columns(table: Table, names: Sequence[str]) -> list[Column[Any]]:
    return [table.c[name] for name in names]


async def sum_account_usage(
    tx: Transaction, account_id: str, *, from_hour: int, until_hour: int, by: Sequence[str]
) -> Sequence[Row]:
    """Return what an account used per combination of the columns ``by``; hours are hours since 1970 UTC."""
    return await _sum(
        tx,
        _columns(usage_hours, by),
        SUMMED,
        usage_hours.c.account_id == account_id,
        _between(usage_hours.c.hour, from_hour, until_hour),
    )


async def sum_platform_usage(
    tx: Transaction, *, from_hour: int, until_hour: int, by: Sequence[str]
) -> Sequence[Row]:
    """Return what everybody used per combination of hour, group_id and model.

    A combination may come twice: of the hours that are folded, and of those that are not.
    """
    folded = await _folded(tx, from_hour, until_hour)
    table = platform_usage_hours
    return [
        *await _sum(tx, _columns(table, by), SUMMED, _between(table.c.hour, from_hour, folded)),
        *await _sum(tx, _columns(usage_hours, by), SUMMED, _between(usage_hours.c.hour, folded, until_hour)),
    ]


async def sum_key_usage(
    tx: Transaction, *, from_hour: int, until_hour: int, by: Sequence[str]
) -> Sequence[Row]:
    """Return what everybody used per account_id or key_id, in whole days UTC; combinations may come twice.

    ``from_hour`` begins a day, and ``until_hour`` ends one or lies behind all that is folded.
    """
    folded = await _folded(tx, from_hour, until_hour)
    assert from_hour % HOURS_A_DAY == 0
    days = _between(key_usage_days.c.day, from_hour // HOURS_A_DAY, -(-folded // HOURS_A_DAY))
    return [
        *await _sum(tx, _columns(key_usage_days, by), SUMMED, days),
        *await _sum(tx, _columns(usage_hours, by), SUMMED, _between(usage_hours.c.hour, folded, until_hour)),
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
    by: Sequence[str] = ("hour", "code"),
) -> Sequence[Row]:
    """Return how many calls of an account, or of everybody, were refused, per combination of hour, group_id
    and code; everybody's combinations may come twice."""
    own, folds = refused_hours, platform_refused_hours
    names, summed = by, ("calls",)
    if account_id is not None:
        within = _between(own.c.hour, from_hour, until_hour)
        return await _sum(tx, _columns(own, names), summed, own.c.account_id == account_id, within)
    folded = await _folded(tx, from_hour, until_hour)
    return [
        *await _sum(tx, _columns(folds, names), summed, _between(folds.c.hour, from_hour, folded)),
        *await _sum(tx, _columns(own, names), summed, _between(own.c.hour, folded, until_hour)),
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
