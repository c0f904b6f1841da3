"""Refused calls as stored: counts by the hour, and the newest of each account in full.

Reads of them are in the call lists; here is what the gateway's log of refusals writes, best effort.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import delete, insert, select, text

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import refused_calls

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
