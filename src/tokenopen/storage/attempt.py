"""Attempts: how often something that is throttled was tried, one row for each subject."""

from typing import Final

from sqlalchemy import delete, select, text, update

from tokenopen.core.throttle import Attempts
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import attempts

# Both engines take this as it stands.
_ENSURE_ROW: Final = text("""
    INSERT INTO attempts (subject_hash, count, newest_ms) VALUES (:subject_hash, 0, 0)
    ON CONFLICT (subject_hash) DO NOTHING""")


async def lock_attempts(tx: Transaction, subject_hash: bytes) -> Attempts:
    """Return a subject's attempts; no other transaction counts one until this one ends."""
    await tx.execute(_ENSURE_ROW.bindparams(subject_hash=subject_hash))
    row = await tx.fetch_one(
        select(attempts.c.count, attempts.c.newest_ms)
        .where(attempts.c.subject_hash == subject_hash)
        .with_for_update(key_share=True)
    )
    assert row is not None
    return Attempts(count=row["count"], newest_ms=row["newest_ms"])


async def store_attempts(tx: Transaction, subject_hash: bytes, counted: Attempts) -> None:
    """Store a subject's attempts, whose row is locked."""
    await tx.execute(
        update(attempts)
        .where(attempts.c.subject_hash == subject_hash)
        .values(count=counted.count, newest_ms=counted.newest_ms)
    )


async def forget_attempts(tx: Transaction, subject_hash: bytes) -> None:
    """Forget a subject's attempts."""
    await tx.execute(delete(attempts).where(attempts.c.subject_hash == subject_hash))


async def delete_attempts_before(tx: Transaction, newest_ms: int) -> None:
    """Forget subjects that nothing was tried on since."""
    await tx.execute(delete(attempts).where(attempts.c.newest_ms < newest_ms))
