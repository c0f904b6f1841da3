"""Workers, their leases, and the calls that a vanished one left open."""

import os
import socket
from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, exists, insert, select, text, update

from tokenopen.core.call import CallFacts
from tokenopen.core.group import Limits
from tokenopen.core.terms import Terms
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import calls, workers

# Written out, not bound: SQLite uses the partial index only where it sees the same condition.
IS_HELD: Final = text("calls.state = 'held'")


async def register_worker(tx: Transaction, worker_id: str, *, lease_ms: int) -> None:
    """Record a worker whose lease runs from now."""
    await tx.execute(
        insert(workers).values(
            id=worker_id,
            host=socket.gethostname(),
            process_id=os.getpid(),
            started_at_ms=tx.now_ms,
            lease_until_ms=tx.now_ms + lease_ms,
        )
    )


async def forget_workers(tx: Transaction) -> None:
    """Forget every worker; their open calls are orphans from then on."""
    await tx.execute(delete(workers))


async def forget_lapsed_workers(tx: Transaction) -> None:
    """Forget every worker whose lease has lapsed: to its open calls that is the same."""
    await tx.execute(delete(workers).where(workers.c.lease_until_ms <= tx.now_ms))


async def renew_lease(tx: Transaction, worker_id: str, *, lease_ms: int) -> bool:
    """Extend a lease that has not lapsed; tell whether it was."""
    changed = await tx.execute(
        update(workers)
        .where(workers.c.id == worker_id, workers.c.lease_until_ms > tx.now_ms)
        .values(lease_until_ms=tx.now_ms + lease_ms)
    )
    return changed == 1


async def retire_worker(tx: Transaction, worker_id: str) -> None:
    """Forget a worker that has no open holds left; one that has keeps its row until they are voided."""
    open_calls = exists().where(calls.c.worker_id == worker_id, IS_HELD)
    await tx.execute(delete(workers).where(workers.c.id == worker_id, ~open_calls))


async def list_orphans(tx: Transaction, *, limit: int) -> Sequence[CallFacts]:
    """Return open calls whose worker's lease has lapsed or that have no worker at all."""
    alive = exists().where(workers.c.id == calls.c.worker_id, workers.c.lease_until_ms > tx.now_ms)
    rows = await tx.fetch_all(select(calls).where(IS_HELD, ~alive).limit(limit))
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
