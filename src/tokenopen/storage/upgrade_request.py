"""Upgrade requests: their rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, insert, select, update

from tokenopen.core.upgrade_request import UpgradeRequest, UpgradeRequestState
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import accounts, groups, upgrade_requests, users


def _rows() -> Select[Any]:
    return (
        select(
            upgrade_requests,
            users.c.id.label("user_id"),
            users.c.email.label("user_email"),
            groups.c.slug.label("group_slug"),
            groups.c.name.label("group_name"),
        )
        .join(accounts, accounts.c.id == upgrade_requests.c.account_id)
        .join(users, users.c.id == accounts.c.user_id)
        .join(groups, groups.c.id == upgrade_requests.c.group_id)
    )


def _from_row(row: Mapping[str, Any]) -> UpgradeRequest:
    return UpgradeRequest(**row)


async def insert_upgrade_request(
    tx: Transaction, request_id: str, *, account_id: str, group_id: str, reason: str
) -> None:
    """Store a new request, on which nothing has been decided."""
    await tx.execute(
        insert(upgrade_requests).values(
            id=request_id,
            account_id=account_id,
            group_id=group_id,
            reason=reason,
            state="pending",
            created_at_ms=tx.now_ms,
        )
    )


async def find_upgrade_request(tx: Transaction, request_id: str) -> UpgradeRequest | None:
    """Return a request, or None."""
    row = await tx.fetch_one(_rows().where(upgrade_requests.c.id == request_id))
    return None if row is None else _from_row(row)


async def find_pending(tx: Transaction, *, account_id: str, group_id: str) -> UpgradeRequest | None:
    """Return an account's request for a group on which nothing has been decided yet, or None."""
    row = await tx.fetch_one(
        _rows().where(
            upgrade_requests.c.account_id == account_id,
            upgrade_requests.c.group_id == group_id,
            upgrade_requests.c.state == "pending",
        )
    )
    return None if row is None else _from_row(row)


async def count_pending(tx: Transaction, group_id: str) -> int:
    """Return how many requests for a group wait for a decision."""
    row = await tx.fetch_one(
        select(func.count().label("count"))
        .select_from(upgrade_requests)
        .where(upgrade_requests.c.group_id == group_id, upgrade_requests.c.state == "pending")
    )
    assert row is not None
    return int(row["count"])


async def list_upgrade_requests(
    tx: Transaction,
    *,
    account_id: str | None,
    state: UpgradeRequestState | None,
    before_id: str | None,
    limit: int,
) -> Sequence[UpgradeRequest]:
    """Return requests, newest first; a filter that is None is not one."""
    statement = _rows().order_by(upgrade_requests.c.id.desc()).limit(limit)
    if account_id is not None:
        statement = statement.where(upgrade_requests.c.account_id == account_id)
    if state is not None:
        statement = statement.where(upgrade_requests.c.state == state)
    if before_id is not None:
        statement = statement.where(upgrade_requests.c.id < before_id)
    return [_from_row(row) for row in await tx.fetch_all(statement)]


async def decide(
    tx: Transaction,
    request_id: str,
    *,
    state: UpgradeRequestState,
    answer: str | None,
    decided_by: str,
) -> None:
    """Store what became of a request, now."""
    await tx.execute(
        update(upgrade_requests)
        .where(upgrade_requests.c.id == request_id)
        .values(state=state, answer=answer, decided_by=decided_by, decided_at_ms=tx.now_ms)
    )
