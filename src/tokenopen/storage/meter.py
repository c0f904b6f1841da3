"""Statements of monitoring: sums over accounts, open holds, workers, and the names of what is counted."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import accounts, calls, groups, upstreams, workers


async def sum_accounts(tx: Transaction) -> Mapping[str, Any]:
    """Return balance and held of all accounts together."""
    sums = (func.coalesce(func.sum(accounts.c[name]), 0).label(name) for name in ("balance", "held"))
    row = await tx.fetch_one(select(*sums))
    assert row is not None
    return {name: int(value) for name, value in row.items()}


async def count_open_holds(tx: Transaction) -> int:
    """Return how many holds are open; a partial index knows them."""
    row = await tx.fetch_one(
        select(func.count().label("open")).select_from(calls).where(calls.c.state == "held")
    )
    assert row is not None
    return int(row["open"])


async def count_workers(tx: Transaction, *, now_ms: int) -> int:
    """Return how many workers may admit."""
    row = await tx.fetch_one(
        select(func.count().label("alive")).select_from(workers).where(workers.c.admits_until_ms > now_ms)
    )
    assert row is not None
    return int(row["alive"])


async def list_group_slugs(tx: Transaction) -> Mapping[str, str]:
    """Return the slugs of all groups by id, archived ones too."""
    return {row["id"]: row["slug"] for row in await tx.fetch_all(select(groups.c.id, groups.c.slug))}


async def list_upstream_names(tx: Transaction) -> Mapping[str, str]:
    """Return the names of all upstreams by id."""
    return {row["id"]: row["name"] for row in await tx.fetch_all(select(upstreams.c.id, upstreams.c.name))}
