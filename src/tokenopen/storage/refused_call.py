"""Refused calls as stored: counts by the hour, and the newest of each account in full.

What the gateway's log of refusals writes, best effort, and the list of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, insert, select, text

from tokenopen.ports.storage import Transaction
from tokenopen.storage.keyset import Stretch
from tokenopen.storage.schema import api_keys, groups, refused_calls

# Both engines take this as it stands.
_ADD_REFUSED_HOUR: Final = text("""
    INSERT INTO refused_hours (account_id, hour, key_id, group_id, code, calls)
    VALUES (:account_id, :hour, :key_id, :group_id, :code, :calls)
    ON CONFLICT (account_id, hour, key_id, group_id, code)
      DO UPDATE SET calls = refused_hours.calls + excluded.calls""")


async def add_refused_hour(tx: Transaction, row: Mapping[str, Any]) -> None:
    """Add to the count of an (account, key, group, code, hour)."""
    await tx.execute(_ADD_REFUSED_HOUR.bindparams(**row))


async def insert_refused_call(tx: Transaction, row: Mapping[str, Any]) -> None:
    """Keep one refusal in full."""
    await tx.execute(insert(refused_calls).values(**row))


async def trim_refused_calls(tx: Transaction, account_id: str, *, keep: int) -> None:
    """Drop all but the newest refusals of an account."""
    oldest_kept = await tx.fetch_one(
        select(refused_calls.c.id)
        .where(refused_calls.c.account_id == account_id)
        .order_by(refused_calls.c.id.desc())
        .offset(keep - 1)
        .limit(1)
    )
    if oldest_kept is not None:
        await tx.execute(
            delete(refused_calls).where(
                refused_calls.c.account_id == account_id, refused_calls.c.id < oldest_kept["id"]
            )
        )


async def list_refused_calls(
    tx: Transaction, *, account_id: str | None, code: str | None, before_id: str | None, limit: int
) -> Sequence[Mapping[str, Any]]:
    """Return refused calls, of one account or of all, newest first, with the names of key and group."""
    column = refused_calls.c
    conditions: list[ColumnElement[bool]] = []
    prefix: list[tuple[ColumnElement[Any], Any]] = []
    if account_id is not None:
        # An account has few of them, so its own index serves for every code.
        prefix = [(column.account_id, account_id)]
        conditions = [] if code is None else [column.code == code]
    elif code is not None:
        prefix = [(column.code, code)]
    stretch = Stretch(by=column.id, prefix=prefix, before=before_id)
    return await tx.fetch_all(
        select(
            refused_calls,
            groups.c.slug.label("group_slug"),
            groups.c.name.label("group_name"),
            api_keys.c.name.label("key_name"),
        )
        .outerjoin(groups, groups.c.id == refused_calls.c.group_id)
        .outerjoin(api_keys, api_keys.c.id == refused_calls.c.key_id)
        .where(stretch.where(), *conditions)
        .order_by(*stretch.order())
        .limit(limit)
    )
