"""Worker: this process as the database knows it. Its holds live as long as its lease is renewed."""

from typing import Final

import structlog

from tokenopen.core.identifier import new_id
from tokenopen.ports.clock import Clock
from tokenopen.ports.storage import Storage

LEASE_MS: Final = 30_000

_log = structlog.get_logger()


class Worker:
    """Admits calls under ``id``; a lease that lapsed is never revived, the worker goes on under a new id."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._renew_by_ms = 0
        self.id = ""

    async def enroll(self) -> None:
        """Take a new id and lease."""
        worker_id = new_id("wrk", self._clock.now_ms())
        begun_ms = self._clock.monotonic_ms()
        await self._storage.register_worker(worker_id, lease_ms=LEASE_MS)
        self.id = worker_id
        self._renew_by_ms = begun_ms + LEASE_MS

    async def renew(self) -> None:
        """Extend the lease; where it has lapsed, enroll anew. Raises StorageAway."""
        begun_ms = self._clock.monotonic_ms()
        if await self._storage.renew_lease(self.id, lease_ms=LEASE_MS):
            self._renew_by_ms = begun_ms + LEASE_MS
        else:
            _log.warning("lease_lapsed", worker=self.id)
            await self.enroll()

    async def current_id(self) -> str:
        """Return the id to admit under, a new one where the lease has lapsed (the machine may have slept)."""
        if self._clock.monotonic_ms() >= self._renew_by_ms:
            await self.renew()
        return self.id

    async def retire(self) -> None:
        """Leave; the row stays where holds are still open, until they have been voided."""
        await self._storage.retire_worker(self.id)
