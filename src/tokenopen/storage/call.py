"""Call statements: one call, and the one row that a receipt is made of. Lists are in ``call_search``."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, func, select, update

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import (
    api_keys,
    calls,
    group_revisions,
    groups,
    price_revisions,
    users,
)

Row = Mapping[str, Any]


async def find_account_id(tx: Transaction, call_id: str) -> str | None:
    """Return the id of the account that a call is of, or None."""
    row = await tx.fetch_one(select(calls.c.account_id).where(calls.c.id == call_id))
    return None if row is None else str(row["account_id"])


async def get_call(tx: Transaction, account_id: str, call_id: str) -> Row:
    """Return a call's row as it stands."""
    row = await tx.fetch_one(select(calls).where(calls.c.account_id == account_id, calls.c.id == call_id))
    assert row is not None, f"there is no call {call_id}"
    return row


async def add_to_adjusted(tx: Transaction, account_id: str, call_id: str, amount: int) -> None:
    """Note on a call that an adjustment gave back, or took, so much more."""
    changed = await tx.execute(
        update(calls)
        .where(calls.c.account_id == account_id, calls.c.id == call_id)
        .values(adjusted=func.coalesce(calls.c.adjusted, 0) + amount)
    )
    assert changed == 1


async def mark_reviewed(tx: Transaction, account_id: str, call_id: str, *, at_ms: int, by: str) -> None:
    """Note on a flagged call who has looked at it."""
    changed = await tx.execute(
        update(calls)
        .where(calls.c.account_id == account_id, calls.c.id == call_id)
        .values(reviewed_at_ms=at_ms, reviewed_by=by)
    )
    assert changed == 1


async def find_call(tx: Transaction, call_id: str, *, account_id: str | None) -> Row | None:
    """Return one call with the names its ids stand for, or None where it is not the account's."""
    statement = select_with_names().where(calls.c.id == call_id)
    if account_id is not None:
        statement = statement.where(calls.c.account_id == account_id)
    return await tx.fetch_one(statement)


def select_with_names() -> Select[Any]:
    """Return the statement for calls with the names that their ids stand for; conditions are to come."""
    return (
        select(
            calls,
            groups.c.slug.label("group_slug"),
            groups.c.name.label("group_name"),
            group_revisions.c.number.label("group_revision_number"),
            price_revisions.c.number.label("price_revision_number"),
            api_keys.c.name.label("key_name"),
            api_keys.c.last_four.label("key_last_four"),
            users.c.email.label("user_email"),
        )
        .outerjoin(groups, groups.c.id == calls.c.group_id)
        .outerjoin(group_revisions, group_revisions.c.id == calls.c.group_revision_id)
        .outerjoin(price_revisions, price_revisions.c.id == calls.c.price_revision_id)
        .outerjoin(api_keys, api_keys.c.id == calls.c.key_id)
        .outerjoin(users, users.c.id == calls.c.user_id)
    )
