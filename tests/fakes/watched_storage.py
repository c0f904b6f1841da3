"""A real database, watched: how often it is used, what the till posts, and failures around a real commit."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from tokenopen.core.admission import Stale
from tokenopen.core.call import CallFacts
from tokenopen.core.caller import Caller
from tokenopen.core.catalog import Catalog
from tokenopen.ports.storage import Batch, BatchAnswer, Lease, Storage, Transaction, Versions, WorkerView

Hook = Callable[[Batch], Awaitable[None]]


async def _nothing(_batch: Batch) -> None:
    pass


class WatchedStorage:
    """The Storage port. ``before_post`` and ``after_post`` run around each real post and may raise or wait;
    what the first one raises was never written, what the second one raises was."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.accesses = 0
        self.batches: list[Batch] = []
        self.posting = False
        self.before_post: Hook = _nothing
        self.after_post: Hook = _nothing

    def undisturbed(self) -> None:
        """Take away what happens around a post."""
        self.before_post = self.after_post = _nothing

    async def post(self, batch: Batch) -> BatchAnswer:
        self.accesses += 1
        self.batches.append(batch)
        self.posting = True
        try:
            await self.before_post(batch)
            answer = await self._storage.post(batch)
            await self.after_post(batch)
        finally:
            self.posting = False
        return answer

    async def load_catalog(self) -> Catalog:
        self.accesses += 1
        return await self._storage.load_catalog()

    async def find_caller(self, key_hash: bytes, catalog: Catalog) -> Caller | Stale | None:
        self.accesses += 1
        return await self._storage.find_caller(key_hash, catalog)

    async def find_versions(self, account_id: str | None) -> Versions:
        self.accesses += 1
        return await self._storage.find_versions(account_id)

    async def register_worker(self, worker_id: str, *, machine: str, lease_ms: int) -> None:
        self.accesses += 1
        await self._storage.register_worker(worker_id, machine=machine, lease_ms=lease_ms)

    async def renew_lease(self, worker_id: str, *, lease_ms: int) -> Lease:
        self.accesses += 1
        return await self._storage.renew_lease(worker_id, lease_ms=lease_ms)

    async def retire_worker(self, worker_id: str) -> bool:
        self.accesses += 1
        return await self._storage.retire_worker(worker_id)

    async def list_workers(self) -> Sequence[WorkerView]:
        self.accesses += 1
        return await self._storage.list_workers()

    async def take_lease(self, worker_id: str, *, only_lapsed: bool) -> bool:
        self.accesses += 1
        return await self._storage.take_lease(worker_id, only_lapsed=only_lapsed)

    async def list_orphans(self, *, limit: int) -> Sequence[CallFacts]:
        self.accesses += 1
        return await self._storage.list_orphans(limit=limit)

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        self.accesses += 1
        return self._storage.write()

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        self.accesses += 1
        return self._storage.read()

    async def close(self) -> None:
        await self._storage.close()
