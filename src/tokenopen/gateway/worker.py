"""Worker: this process as the database knows it. Its holds live as long as its lease is renewed.

A lease that lapsed admits nothing any more, and the worker goes on under a new id. Its running calls go on
under the former one, whose lease is renewed for them as long as nobody has taken it away: after an outage of
the database nobody has. Once it is taken their holds are expired, and their replies are cut.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from tokenopen.core.identifier import new_id
from tokenopen.ports.clock import Clock
from tokenopen.ports.presence import Presence
from tokenopen.ports.storage import Storage

LEASE_MS: Final = 30_000

_log = structlog.get_logger()


class Worker:
    """Admits calls under ``id``. ``renew`` has to be called three times in ``lease_ms``."""

    def __init__(
        self, storage: Storage, clock: Clock, presence: Presence, *, lease_ms: int = LEASE_MS
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._presence = presence
        self._lease_ms = lease_ms
        self._replacing = asyncio.Lock()
        # Under which calls may still run.
        self._former_ids: list[str] = []
        self._renewed_ms = 0
        # Since when the lease was renewed without a gap.
        self._steady_since_ms: int | None = None
        self.id = ""

    @property
    def ids(self) -> Collection[str]:
        """Every id that this process answers for."""
        return (self.id, *self._former_ids)

    @property
    def is_steady(self) -> bool:
        """Tell whether the lease was renewed without a gap for a full term, up to now.

        Who could not renew it may not conclude anything from others not having renewed theirs.
        """
        now_ms = self._clock.monotonic_ms()
        return (
            self._steady_since_ms is not None
            and now_ms - self._steady_since_ms >= self._lease_ms
            and now_ms - self._renewed_ms <= self._lease_ms // 2
        )

    async def enroll(self) -> None:
        """Take a new id and lease. Raises StorageAway."""
        worker_id = new_id("wrk", self._clock.now_ms())
        begun_ms = self._clock.monotonic_ms()
        # Before anybody can know of it, or it would be taken for dead.
        self._presence.announce(worker_id)
        try:
            await self._storage.register_worker(
                worker_id, machine=self._presence.machine, lease_ms=self._lease_ms
            )
        except BaseException:
            self._presence.withdraw(worker_id)
            raise
        if self.id:
            self._former_ids.append(self.id)
        self.id = worker_id
        self._renewed_ms = self._steady_since_ms = begun_ms

    async def replace(self, lapsed_id: str) -> None:
        """Go on under a new id, unless that has been done already. Raises StorageAway."""
        async with self._replacing:
            if self.id == lapsed_id:
                _log.warning("lease_lapsed", worker=lapsed_id)
                await self.enroll()

    async def renew(self) -> None:
        """Extend the lease, and those of former ids whose calls still run. Raises StorageAway."""
        begun_ms = self._clock.monotonic_ms()
        steady_since_ms, self._steady_since_ms = self._steady_since_ms, None
        worker_id = self.id
        lease = await self._storage.renew_lease(worker_id, lease_ms=self._lease_ms)
        if lease != "kept":
            await self.replace(worker_id)
            return
        if begun_ms - self._renewed_ms > self._lease_ms // 2 or steady_since_ms is None:
            steady_since_ms = begun_ms
        self._renewed_ms, self._steady_since_ms = begun_ms, steady_since_ms
        for former_id in tuple(self._former_ids):
            await self._renew_former(former_id)

    async def _renew_former(self, former_id: str) -> None:
        """Keep a former id for its running calls; forget it once there are none, or it was taken."""
        if not await self._storage.retire_worker(former_id):
            lease = await self._storage.renew_lease(former_id, lease_ms=self._lease_ms)
            if lease != "taken":
                return
            _log.warning("lease_taken", worker=former_id)
        self._former_ids.remove(former_id)
        self._presence.withdraw(former_id)

    async def retire(self) -> None:
        """Leave. The row of an id that still has open holds stays until they have been expired."""
        for worker_id in self.ids:
            await self._storage.retire_worker(worker_id)
