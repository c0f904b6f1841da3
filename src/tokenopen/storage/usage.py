"""Usage statements: sums over the hourly rollups of what was called and of what was refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Label, Table, func, select

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import api_keys, groups, refused_hours, usage_hours

Row = Mapping[str, Any]

SUMMED = ("calls", "input_units", "output_units", "charge", "absorbed")


def _within(
    table: Table, account_id: str | None, from_hour: int, until_hour: int
) -> list[ColumnElement[bool]]:
    conditions = [table.c.hour >= from_hour, table.c.hour < until_hour]
    if account_id is not None:
        conditions.append(table.c.account_id == account_id)
    return conditions


def _sums() -> list[Label[Any]]:
    return [func.sum(usage_hours.c[column]).label(column) for column in SUMMED]


async def sum_usage(
    tx: Transaction, *, account_id: str | None, from_hour: int, until_hour: int, by: str
) -> Sequence[Row]:
    """Return the rollups' sums per value of the column ``by``; hours are hours since 1970 UTC."""
    column = usage_hours.c[by]
    return await tx.fetch_all(
        select(column, *_sums())
        .where(*_within(usage_hours, account_id, from_hour, until_hour))
        .group_by(column)
        .order_by(column)
    )


async def sum_refused(
    tx: Transaction, *, account_id: str | None, from_hour: int, until_hour: int
) -> Sequence[Row]:
    """Return per code how many calls were refused, and in which hour last."""
    return await tx.fetch_all(
        select(
            refused_hours.c.code,
            func.sum(refused_hours.c.calls).label("calls"),
            func.max(refused_hours.c.hour).label("last_hour"),
        )
        .where(*_within(refused_hours, account_id, from_hour, until_hour))
        .group_by(refused_hours.c.code)
        .order_by(func.sum(refused_hours.c.calls).desc(), refused_hours.c.code)
    )


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
