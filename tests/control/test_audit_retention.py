"""The audit tells calls that retention dropped from records that were lost."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import delete, select, update

from tests.control.conftest import audited
from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls
from tokenopen.control.platform import update_platform
from tokenopen.jobs.retention import drop_old_calls
from tokenopen.ports.storage import Transaction
from tokenopen.storage import schema
from tokenopen.storage.dropped_call import CALLS_DROPPED_UNTIL

DAY_S = 24 * 3600


def _call_deleted(tx: Transaction) -> Awaitable[int]:
    """A settled call that is younger than what retention drops."""
    return tx.execute(delete(schema.calls).where(schema.calls.c.state == "settled"))


def _horizon_raised(tx: Transaction) -> Awaitable[int]:
    return tx.execute(
        update(schema.versions).where(schema.versions.c.name == CALLS_DROPPED_UNTIL).values(value=2**45)
    )


async def _call_deleted_below_the_horizon(tx: Transaction) -> int:
    return await _horizon_raised(tx) and await _call_deleted(tx)


def _dropped_sum_off(tx: Transaction) -> Awaitable[int]:
    table = schema.dropped_calls
    return tx.execute(update(table).values(charge=table.c.charge + 1).where(table.c.calls == 2))


def _dropped_count_off(tx: Transaction) -> Awaitable[int]:
    table = schema.dropped_calls
    return tx.execute(update(table).values(calls=table.c.calls + 1).where(table.c.calls == 2))


async def _refund_beyond_a_dropped_charge(tx: Transaction) -> int:
    """The refund gives back ten credits more; the balances follow, so that I1 and I6 still hold."""
    entries, more = schema.ledger_entries, 10**10
    row = await tx.fetch_one(select(entries).where(entries.c.kind == "refund"))
    assert row is not None
    await tx.execute(update(entries).values(amount=entries.c.amount + more).where(entries.c.id == row["id"]))
    later = (entries.c.account_id == row["account_id"]) & (entries.c.number >= row["number"])
    await tx.execute(update(entries).values(balance_after=entries.c.balance_after + more).where(later))
    accounts = schema.accounts
    return await tx.execute(
        update(accounts).values(balance=accounts.c.balance + more).where(accounts.c.id == row["account_id"])
    )


@pytest.mark.parametrize(
    ("plant", "broken"),
    [
        (_call_deleted, {"I5", "I11"}),
        (_call_deleted_below_the_horizon, {"I5", "I11"}),
        (_dropped_sum_off, {"I5", "I11"}),
        (_dropped_count_off, {"I5"}),
        (_refund_beyond_a_dropped_charge, {"I5"}),
    ],
)
async def test_the_audit_tells_retention_from_records_that_were_lost(
    till: TillCalls,
    clock: MovableClock,
    plant: Callable[[Transaction], Awaitable[int]],
    broken: set[str],
) -> None:
    async with till.storage.write() as tx:
        await update_platform(tx, till.administrator, {"call_retention_days": 2})
    clock.move(seconds=3 * DAY_S)
    await till.call(input=1, output=1)
    await drop_old_calls(till.storage)
    assert (await audited(till.storage)).drift == []
    async with till.storage.write() as tx:
        assert await plant(tx)
    assert {drift.invariant for drift in (await audited(till.storage)).drift} == broken
