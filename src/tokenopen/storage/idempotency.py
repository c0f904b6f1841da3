"""Idempotency statements: the answers of money POSTs, by who asked and the key that they gave."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import idempotency_keys, users


async def lock_actor(tx: Transaction, actor_id: str) -> None:
    """Let an actor's money POSTs pass one after the other, so that a repeat finds the answer it repeats."""
    await tx.fetch_one(select(users.c.id).where(users.c.id == actor_id).with_for_update(key_share=True))


async def find_answer(tx: Transaction, actor_id: str, key: str) -> Mapping[str, Any] | None:
    """Return what was answered under a key, or None."""
    return await tx.fetch_one(
        select(idempotency_keys).where(idempotency_keys.c.actor_id == actor_id, idempotency_keys.c.key == key)
    )


async def insert_answer(
    tx: Transaction, actor_id: str, key: str, *, request_hash: bytes, status: int, body: bytes
) -> None:
    """Keep an answer for repeats."""
    await tx.execute(
        insert(idempotency_keys).values(
            actor_id=actor_id,
            key=key,
            request_hash=request_hash,
            status=status,
            body=body,
            created_at_ms=tx.now_ms,
        )
    )
