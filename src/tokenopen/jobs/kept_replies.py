"""Dropping the replies that were kept for Idempotency-Keys, once their day is over."""

from tokenopen.core.kept_reply import KEPT_MS
from tokenopen.ports.storage import Storage
from tokenopen.storage.kept_reply import drop_kept_replies


async def drop_old_replies(storage: Storage) -> None:
    """Drop every reply that may no longer be given again. Raises StorageAway."""
    dropped = 1
    while dropped:
        async with storage.write() as tx:
            dropped = await drop_kept_replies(tx, claimed_before_ms=tx.now_ms - KEPT_MS)
