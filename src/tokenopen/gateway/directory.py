"""Directory: who calls, and under what catalog; cached, yet never stale where it matters.

A cached caller is as good as its versions. The till compares them in its own transaction, and what is
refused without reaching the till is confirmed here first, so a change binds every call that reaches the
gateway after the change was answered.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from tokenopen.core.admission import Stale
from tokenopen.core.caller import Caller
from tokenopen.core.catalog import Catalog
from tokenopen.core.errors import InvalidApiKey, StorageUnavailable
from tokenopen.ports.storage import Storage

CALLERS_MAX: Final = 100_000
_TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A caller with the catalog it was resolved under.

    Everything here holds from ``as_of_ms``, the database's time, until a version changes or
    ``valid_until_ms`` is reached, the earliest instant at which something changes by itself.
    """

    caller: Caller
    catalog: Catalog
    as_of_ms: int
    valid_until_ms: int | None
    # What was found out under it (gateway/check.py): holding as long, it need not be found out for each call.
    found: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)


class Directory:
    """Resolves keyed hashes of API keys to callers."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._catalog: Catalog | None = None
        self._catalog_valid_until_ms: int | None = None
        self._callers: OrderedDict[bytes, Resolved] = OrderedDict()

    async def find(self, key_hash: bytes) -> Resolved:
        """Return the caller behind a key's keyed hash, maybe from the cache. Refuses InvalidApiKey."""
        cached = self._callers.get(key_hash)
        if cached is not None:
            return cached
        return await self._load(key_hash)

    async def is_current(self, resolved: Resolved) -> bool:
        """Tell whether nothing that the caller was resolved under has changed, as the database has it now."""
        versions = await self._storage.find_versions(resolved.caller.key.account_id)
        in_time = resolved.valid_until_ms is None or versions.now_ms < resolved.valid_until_ms
        return (
            in_time
            and versions.catalog == resolved.catalog.version
            and versions.account == resolved.caller.account_version
        )

    def forget(self, key_hash: bytes) -> None:
        """Drop a cached caller, so that the next ``find`` reads the database."""
        self._callers.pop(key_hash, None)

    async def find_current(self, key_hash: bytes) -> Resolved:
        """Return the caller as the database has it now, for what does not pass the till."""
        for _ in range(_TRIES):
            resolved = await self.find(key_hash)
            if await self.is_current(resolved):
                return resolved
            self.forget(key_hash)
        raise StorageUnavailable

    async def _load(self, key_hash: bytes) -> Resolved:
        for _ in range(_TRIES):
            versions = await self._storage.find_versions(None)
            catalog = await self._current_catalog(versions.catalog, versions.now_ms)
            caller = await self._storage.find_caller(key_hash, catalog)
            if caller is None:
                raise InvalidApiKey("This API key does not exist. Check it, or create a new one.")
            if isinstance(caller, Stale):
                continue
            ends = [caller.valid_until_ms(versions.now_ms), self._catalog_valid_until_ms]
            resolved = Resolved(
                caller=caller,
                catalog=catalog,
                as_of_ms=versions.now_ms,
                valid_until_ms=min((end for end in ends if end is not None), default=None),
            )
            self._callers[key_hash] = resolved
            if len(self._callers) > CALLERS_MAX:
                self._callers.popitem(last=False)
            return resolved
        raise StorageUnavailable

    async def _current_catalog(self, version: int, now_ms: int) -> Catalog:
        lapsed = self._catalog_valid_until_ms is not None and now_ms >= self._catalog_valid_until_ms
        if self._catalog is None or self._catalog.version != version or lapsed:
            self._catalog = await self._storage.load_catalog()
            self._catalog_valid_until_ms = self._catalog.next_change_ms(now_ms)
        return self._catalog
