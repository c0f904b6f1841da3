"""Books with a bit of everything, for the tests of the audit."""

import pytest

from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.control.audit import audit
from tokenopen.control.audit_report import AuditReport
from tokenopen.control.flagged_call import adjust_call
from tokenopen.control.ledger import adjust, refund
from tokenopen.core.money import Nanocredits
from tokenopen.ports.storage import Storage
from tokenopen.storage.sqlite import SqliteStorage


@pytest.fixture
async def till(storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    """An account with a bit of everything: settled, voided, running, refunded and adjusted calls."""
    till = await start_calls(storage, clock, administrator, user)
    await till.call(input=1_234, output=56)
    clock.move(seconds=1)
    refunded = await till.call(input=7, cached_input=3, output=5)
    await till.void(await till.admit())
    flagged = await till.flagged(hold=1_000)
    clock.move(seconds=1)
    await till.admit(hold=5_000)
    other = await till.with_key(credit_limit=10**9)
    await other.call(hold=10**6, input=1, output=1)
    async with storage.write() as tx:
        await refund(tx, administrator, call_id=refunded, amount=Nanocredits(100), reason="Test")
        await adjust_call(tx, administrator, call_id=flagged, amount=Nanocredits(-10), reason="Test")
        await adjust(tx, administrator, user_id=user.user_id, amount=Nanocredits(-50), reason="Test")
    return till


async def audited(storage: Storage) -> AuditReport:
    async with storage.read() as tx:
        return await audit(tx)
