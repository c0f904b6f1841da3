"""Forgetting what has ended by itself: sessions, one-time links, and attempts that no throttle remembers."""

from typing import Final

from tokenopen.core.throttle import (
    MAIL_TO_ADDRESS,
    SIGN_IN_FROM_ADDRESS,
    SIGN_IN_OF_USER,
    SIGN_UP_FROM_ADDRESS,
)
from tokenopen.ports.storage import Storage
from tokenopen.storage.attempt import delete_attempts_before
from tokenopen.storage.one_time_link import delete_expired_links
from tokenopen.storage.session import delete_ended_sessions

_REMEMBERED_MS: Final = max(
    throttle.forgotten_after_ms
    for throttle in (SIGN_IN_OF_USER, SIGN_IN_FROM_ADDRESS, MAIL_TO_ADDRESS, SIGN_UP_FROM_ADDRESS)
)


async def forget_ended(storage: Storage) -> None:
    """Delete the rows of what nobody can use any more. Raises StorageAway."""
    async with storage.write() as tx:
        await delete_ended_sessions(tx)
        await delete_expired_links(tx)
        await delete_attempts_before(tx, tx.now_ms - _REMEMBERED_MS)
