"""Recovery: the holds of workers that are gone are expired; their calls cost nothing.

First the lease is taken away, then the holds are expired: from the taking on the worker can neither admit
nor keep them alive, so whatever it still settles finds them resolved. A lease is taken where the worker has
certainly ended (ports/presence.py), or where it has lapsed and we have renewed ours without a gap for a full
term: after an outage of the database every lease has lapsed, and nobody is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Protocol

import structlog

from tokenopen.core.admission import Resolution
from tokenopen.core.call import Outcome
from tokenopen.ports.presence import Presence
from tokenopen.ports.storage import Storage

_PAGE: Final = 500

_log = structlog.get_logger()

Resolve = Callable[[Resolution], Awaitable[object]]


class OwnLease(Protocol):
    """What a reaper has to know of the worker that it belongs to."""

    @property
    def ids(self) -> Collection[str]:
        """The ids that are never taken."""

    @property
    def is_steady(self) -> bool:
        """Tell whether the own lease was renewed without a gap for a full term."""


class Reaper:
    """Takes leases away and expires what is left of their workers."""

    def __init__(self, storage: Storage, presence: Presence, own: OwnLease, resolve: Resolve) -> None:
        self._storage = storage
        self._presence = presence
        self._own = own
        self._resolve = resolve

    async def reap(self) -> None:
        """Look once. Raises StorageAway."""
        for worker in await self._storage.list_workers():
            if worker.id in self._own.ids:
                continue
            gone = self._presence.is_gone(worker.id, worker.machine)
            if not gone and not (worker.lapsed and self._own.is_steady):
                continue
            if await self._storage.take_lease(worker.id, only_lapsed=not gone):
                _log.warning("lease_taken_away", worker=worker.id, ended=gone)
        await expire_orphans(self._storage, self._resolve)


async def expire_orphans(storage: Storage, resolve: Resolve) -> int:
    """Expire every hold that no worker answers for, through the till; return how many there were.

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
