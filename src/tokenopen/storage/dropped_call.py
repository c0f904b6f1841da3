"""Dropped calls: records of old calls are deleted, and what they add up to is kept per key.

Up to which instant calls may be missing stands in ``versions``; it is only ever raised, in the transaction
that drops them. Their ledger entries, rollups and limits stay as they are.
"""

from typing import Final

from sqlalchemy import and_, delete, func, select, text, update

from tokenopen.core.identifier import first_id
from tokenopen.ports.storage import Transaction
from tokenopen.storage.keyset import Stretch
from tokenopen.storage.schema import calls, versions

CALLS_DROPPED_UNTIL: Final = "calls_dropped_until"

# Both engines take these as they stand.
_BEGIN: Final = text("INSERT INTO versions (name, value) VALUES (:name, 0) ON CONFLICT (name) DO NOTHING")
_ADD: Final = text("""
    INSERT INTO dropped_calls (account_id, key_id, calls, charge)
    VALUES (:account_id, :key_id, :calls, :charge)
    ON CONFLICT (account_id, key_id) DO UPDATE SET calls = dropped_calls.calls + excluded.calls,
      charge = dropped_calls.charge + excluded.charge""")


async def read_dropped_until(tx: Transaction) -> int:
    """Return the instant since which every call is still there; 0 where none was ever dropped."""
    row = await tx.fetch_one(select(versions.c.value).where(versions.c.name == CALLS_DROPPED_UNTIL))
    return 0 if row is None else int(row["value"])


async def take_turn(tx: Transaction) -> bool:
    """Let nobody else drop calls until the transaction ends; False while another worker does."""
    await tx.execute(_BEGIN.bindparams(name=CALLS_DROPPED_UNTIL))
    row = await tx.fetch_one(
        select(versions.c.value)
        .where(versions.c.name == CALLS_DROPPED_UNTIL)
        .with_for_update(skip_locked=True)
    )
    return row is not None


async def find_account_to_drop_from(tx: Transaction, until_ms: int) -> str | None:
    """Return the account of the oldest call that arrived and was resolved before the instant, or None."""
    old = Stretch(by=calls.c.id, before=first_id("call", until_ms))
    row = await tx.fetch_one(
        select(calls.c.account_id)
        .where(old.where(), calls.c.resolved_at_ms < until_ms)
        .order_by(calls.c.id)
        .limit(1)
    )
    return None if row is None else str(row["account_id"])


async def drop_calls(tx: Transaction, account_id: str, *, until_ms: int, limit: int) -> int:
    """Delete at most so many old calls of an account whose row is locked; return how many there were.

    A call that runs stays, however old: what resolves it needs its row.
    """
    old = Stretch(by=calls.c.id, prefix=[(calls.c.account_id, account_id)], before=first_id("call", until_ms))
    resolved = calls.c.resolved_at_ms < until_ms
    going = (
        select(calls.c.id, calls.c.key_id, calls.c.state, calls.c.charge)
        .where(old.where(), resolved)
        .order_by(*old.order())
        .limit(limit)
    ).subquery("going")
    settled = going.c.state == "settled"
    rows = await tx.fetch_all(
        select(
            going.c.key_id,
            func.min(going.c.id).label("first_id"),
            func.count().label("dropped"),
            func.count().filter(settled).label("settled"),
            func.coalesce(func.sum(going.c.charge).filter(settled), 0).label("charge"),
        )
        .group_by(going.c.key_id)
        .order_by(going.c.key_id)
    )
    if not rows:
        return 0
    for row in rows:
        sums = {"calls": row["settled"], "charge": int(row["charge"])}
        await tx.execute(_ADD.bindparams(account_id=account_id, key_id=row["key_id"], **sums))
    first = min(row["first_id"] for row in rows)
    dropped = await tx.execute(delete(calls).where(and_(old.where(), resolved, calls.c.id >= first)))
    assert dropped == sum(row["dropped"] for row in rows), "a call changed under its account's lock"
    await tx.execute(
        update(versions)
        .where(versions.c.name == CALLS_DROPPED_UNTIL, versions.c.value < until_ms)
        .values(value=until_ms)
    )
    return dropped
