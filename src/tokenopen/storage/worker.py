"""Workers, their leases, and the calls that a vanished one left open.

A row is a lease. It lives until ``lease_until_ms``, and admits until ``admits_until_ms``: one that lapsed may
be renewed for the calls that run under it, yet never admits again. Who takes a lease away deletes its row,
under the row's lock; every batch that admits holds that row (shared), so no call is admitted after it.
"""

import os
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import delete, exists, insert, select, text, true, update

from tokenopen.core.call import CallFacts
from tokenopen.core.group import Limits
from tokenopen.core.terms import Terms
from tokenopen.ports.storage import Lease, Transaction, WorkerView
from tokenopen.storage.schema import calls, workers

# Written out, not bound: SQLite uses the partial index only where it sees the same condition.
IS_HELD: Final = text("calls.state = 'held'")


async def register_worker(tx: Transaction, worker_id: str, *, machine: str, lease_ms: int) -> None:
    """Record a worker whose lease runs from now."""
    await tx.execute(
        insert(workers).values(
            id=worker_id,
            host=machine,
            process_id=os.getpid(),
            started_at_ms=tx.now_ms,
            lease_until_ms=tx.now_ms + lease_ms,
            admits_until_ms=tx.now_ms + lease_ms,
        )
    )


async def forget_other_workers(tx: Transaction, kept_ids: Collection[str]) -> None:
    """Take every lease away but those of the ids."""
    await tx.execute(delete(workers).where(workers.c.id.not_in(kept_ids)))


async def renew_lease(tx: Transaction, worker_id: str, *, lease_ms: int) -> Lease:
    """Extend a lease that nobody has taken away; only one that has not lapsed goes on admitting."""
    row = await tx.fetch_one(
        select(workers.c.admits_until_ms).where(workers.c.id == worker_id).with_for_update(key_share=True)
    )
    if row is None:
        return "taken"
    until_ms = tx.now_ms + lease_ms
    kept = row["admits_until_ms"] > tx.now_ms
    extended = {"lease_until_ms": until_ms, **({"admits_until_ms": until_ms} if kept else {})}
    await tx.execute(update(workers).where(workers.c.id == worker_id).values(extended))
    return "kept" if kept else "revived"


async def retire_worker(tx: Transaction, worker_id: str) -> bool:
    """Forget a worker that has no open holds left, and tell whether it is forgotten."""
    open_calls = exists().where(calls.c.worker_id == worker_id, IS_HELD)
    changed = await tx.execute(delete(workers).where(workers.c.id == worker_id, ~open_calls))
    return changed == 1


async def list_workers(tx: Transaction) -> Sequence[WorkerView]:
    """Return every worker whose lease nobody has taken away."""
    rows = await tx.fetch_all(select(workers.c.id, workers.c.host, workers.c.lease_until_ms))
    return [
        WorkerView(id=row["id"], machine=row["host"], lapsed=row["lease_until_ms"] <= tx.now_ms)
        for row in rows
    ]


async def take_lease(tx: Transaction, worker_id: str, *, only_lapsed: bool) -> bool:
    """Take a lease away, from which on its worker's open calls are orphans; tell whether it was there."""
    lapsed = workers.c.lease_until_ms <= tx.now_ms if only_lapsed else true()
    return await tx.execute(delete(workers).where(workers.c.id == worker_id, lapsed)) == 1


async def list_orphans(tx: Transaction, *, limit: int) -> Sequence[CallFacts]:
    """Return open calls that no worker answers for."""
    known = exists().where(workers.c.id == calls.c.worker_id)
    rows = await tx.fetch_all(select(calls).where(IS_HELD, ~known).limit(limit))
    return [
        CallFacts(
            call_id=row["id"],
            account_id=row["account_id"],
            user_id=row["user_id"],
            key_id=row["key_id"],
            group_id=row["group_id"],
            surface=row["surface"],
            stream=bool(row["stream"]),
            model=row["model"],
            price_revision_id=row["price_revision_id"],
            terms=Terms(
                group_revision_id=row["group_revision_id"],
                entitlement_id=row["entitlement_id"],
                multiplier_ppm=row["multiplier_ppm"],
                multiplier_rule=row["multiplier_rule"],
                limits=Limits(
                    requests_per_minute=row["requests_per_minute"],
                    requests_per_day=row["requests_per_day"],
                ),
            ),
        )
        for row in rows
    ]
