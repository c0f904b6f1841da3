"""Storage: where accounts, limits and calls live. One promise, whatever the engine behind it.

Whatever ``post`` answers is durable before it is answered, and was decided on rows that no other
transaction could change meanwhile. Where the engine is away every method raises ``StorageAway``; what
was being written is then either whole or not there at all.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tokenopen.core.admission import (
    Admission,
    Admitted,
    AlreadyResolved,
    Lapsed,
    Resolution,
    Resolved,
    Stale,
)
from tokenopen.core.call import CallFacts
from tokenopen.core.caller import Caller
from tokenopen.core.catalog import Catalog
from tokenopen.core.errors import Refusal
from tokenopen.core.frozen import Frozen
from tokenopen.core.kept_reply import AlreadyMade


class StorageAway(Exception):
    """The engine cannot be reached or written. The text is for operators."""


class OutcomeUnknown(StorageAway):
    """The connection was lost while committing: all of it may have been done, or nothing."""


class AccountsBusy(StorageAway):
    """Somebody else holds these accounts' rows for longer than a batch waits. Nothing was written."""

    def __init__(self, account_ids: frozenset[str]) -> None:
        super().__init__(f"locked by others: {', '.join(sorted(account_ids))}")
        self.account_ids = account_ids


class Batch(Frozen, frozen=True, kw_only=True):
    """What one transaction of the till does: resolutions first, then admissions in arrival order.

    ``repeated`` says that an earlier try may have committed; calls that it already applied are then
    found and answered as they stand.
    """

    resolutions: Sequence[Resolution]
    admissions: Sequence[Admission]
    repeated: bool = False


ResolutionAnswer = Resolved | AlreadyResolved
AdmissionAnswer = Admitted | AlreadyMade | Stale | Lapsed | Refusal


# What a renewal finds: the lease had not lapsed; it had, and lives again, but never admits again; somebody
# has taken it away.
Lease = Literal["kept", "revived", "taken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker whose lease nobody has taken away. ``machine`` is as in ports/presence.py."""

    id: str
    machine: str
    lapsed: bool


class BatchAnswer(Frozen, frozen=True, kw_only=True):
    """One answer per item, in the batch's order."""

    resolutions: Sequence[ResolutionAnswer]
    admissions: Sequence[AdmissionAnswer]
    # How long COMMIT took; None where nothing was written.
    commit_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What cached terms are compared with, and the database's time.

    ``account`` is None where there is no such account.
    """

    now_ms: int
    catalog: int
    account: int | None


class Transaction(Protocol):
    """A control-plane transaction. Statements are SQLAlchemy Core; rows are mappings by column name."""

    now_ms: int

    async def fetch_all(self, statement: Any) -> Sequence[Mapping[str, Any]]:
        """Return every row."""

    async def fetch_one(self, statement: Any) -> Mapping[str, Any] | None:
        """Return the first row, or None."""

    async def execute(self, statement: Any) -> int:
        """Carry the statement out and return how many rows it changed."""


class Storage(Protocol):
    """The database."""

    async def post(self, batch: Batch) -> BatchAnswer:
        """Decide and write one batch in one transaction. Raises StorageAway, AccountsBusy, OutcomeUnknown.

        Any other exception means that an item of the batch is at fault, and that nothing was written.
        """

    async def load_catalog(self) -> Catalog:
        """Return models, prices, routes, groups and platform settings, all of one catalog version."""

    async def find_caller(self, key_hash: bytes, catalog: Catalog) -> Caller | Stale | None:
        """Return the caller behind a key's keyed hash, or None.

        The group is the catalog's; STALE where the catalog is older than the key's group.
        """

    async def find_versions(self, account_id: str | None) -> Versions:
        """Return the versions as they are now."""

    async def register_worker(self, worker_id: str, *, machine: str, lease_ms: int) -> None:
        """Record a worker whose lease runs from now."""

    async def renew_lease(self, worker_id: str, *, lease_ms: int) -> Lease:
        """Extend a lease that nobody has taken away; one that has lapsed never admits again."""

    async def retire_worker(self, worker_id: str) -> bool:
        """Forget a worker that has no open holds left; tell whether it is forgotten."""

    async def list_workers(self) -> Sequence[WorkerView]:
        """Return every worker whose lease nobody has taken away."""

    async def take_lease(self, worker_id: str, *, only_lapsed: bool) -> bool:
        """Take a lease away: nothing is admitted under it afterwards. Tell whether it was there to take."""

    async def list_orphans(self, *, limit: int) -> Sequence[CallFacts]:
        """Return calls whose hold is open and whose worker's lease was taken away."""

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """A read-write transaction, committed at the end and rolled back where an exception leaves it."""

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """A read-only transaction on one snapshot."""

    async def close(self) -> None:
        """Let go of the engine."""
