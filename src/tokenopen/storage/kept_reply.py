"""Kept replies outside the till: reading one to give it again, and dropping those whose day is over."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import delete, select

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import calls, kept_replies

_PAGE: Final = 500


async def find_kept_reply(
    tx: Transaction, *, account_id: str, key_id: str, idempotency_key: str, call_id: str
) -> Mapping[str, Any] | None:
    """Return headers, body and charge of a call's kept reply; None where it is no longer the key's."""
    kept = kept_replies.c
    return await tx.fetch_one(
        select(kept.headers, kept.body, calls.c.charge)
        .join(calls, (calls.c.account_id == kept.account_id) & (calls.c.id == kept.call_id))
        .where(
            kept.account_id == account_id,
            kept.key_id == key_id,
            kept.idempotency_key == idempotency_key,
            kept.call_id == call_id,
        )
    )


async def drop_kept_replies(tx: Transaction, *, claimed_before_ms: int) -> int:
    """Delete claims of before an instant with their replies, some at a time; return how many there were."""
    old = kept_replies.c
    # What the till is writing just now is left for the next time: nobody waits for anybody.
    rows = await tx.fetch_all(
        select(old.account_id, old.key_id, old.idempotency_key)
        .where(old.claimed_at_ms < claimed_before_ms)
        .order_by(old.claimed_at_ms)
        .limit(_PAGE)
        .with_for_update(skip_locked=True)
    )
    for row in rows:
        await tx.execute(
            delete(kept_replies).where(
                *(old[name] == value for name, value in row.items()), old.claimed_at_ms < claimed_before_ms
            )
        )
    return len(rows)
