"""Recovery: the holds of workers that are gone are expired; their calls cost nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from tokenopen.core.admission import Resolution
from tokenopen.core.call import Outcome
from tokenopen.ports.storage import Storage

_PAGE: Final = 500

_log = structlog.get_logger()


async def expire_orphans(storage: Storage, resolve: Callable[[Resolution], Awaitable[object]]) -> int:
    """Expire every hold whose worker's lease has lapsed, through the till; return how many there were.

    A settlement of the same call that comes later finds the hold resolved and changes nothing.
    """
    expired = 0
    outcome = Outcome(resolution="expire", end_reason="worker_gone")
    while orphans := await storage.list_orphans(limit=_PAGE):
        await asyncio.gather(*(resolve(Resolution(facts=facts, outcome=outcome)) for facts in orphans))
        expired += len(orphans)
    if expired:
        _log.warning("holds_expired", calls=expired)
    return expired
