"""Old calls are dropped, and nothing that was ever charged is lost sight of; on both engines."""

import pytest
from sqlalchemy import select

from tests.conftest import make_user
from tests.control.conftest import audited
from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.control.ledger import list_entries, refund
from tokenopen.control.page import PageRequest
from tokenopen.control.platform import update_platform
from tokenopen.control.receipt import get_receipt
from tokenopen.core.admission import Admission
from tokenopen.core.errors import NotFound
from tokenopen.core.money import Nanocredits
from tokenopen.jobs import retention
from tokenopen.jobs.retention import drop_old_calls
from tokenopen.ports.storage import Storage
from tokenopen.storage import schema
from tokenopen.storage.dropped_call import take_turn

pytestmark = pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])

DAY_S = 24 * 3600
KEPT = ("accounts", "api_keys", "ledger_entries", "usage_hours", "rate_windows", "kept_replies")


@pytest.fixture
async def till(storage: Storage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_DROPPED_AT_ONCE", 3)
    monkeypatch.setattr(retention, "_PAUSE_S", 0)


async def keep_calls(till: TillCalls, *, days: int | None) -> None:
    async with till.storage.write() as tx:
        await update_platform(tx, till.administrator, {"call_retention_days": days})


async def rows(storage: Storage, table: str) -> list[dict[str, object]]:
    columns = schema.metadata.tables[table].primary_key.columns
    async with storage.read() as tx:
        return [
            dict(row) for row in await tx.fetch_all(select(schema.metadata.tables[table]).order_by(*columns))
        ]


async def call_ids(storage: Storage) -> set[object]:
    return {row["id"] for row in await rows(storage, "calls")}


async def make_history(till: TillCalls) -> tuple[list[str], Admission]:
    """Two keys' calls of one day: settled, refunded, voided; return the settled and one that still runs."""
    settled = [await till.call(input=100 + number, output=5) for number in range(7)]
    async with till.storage.write() as tx:
        await refund(tx, till.administrator, call_id=settled[0], amount=Nanocredits(1_000), reason="Test")
    await till.void(await till.admit())
    running = await till.admit(hold=5_000)
    other = await till.with_key(credit_limit=10**9)
    settled += [await other.call(hold=10**6, input=9, output=9) for _ in range(2)]
    return settled, running


async def test_every_call_is_kept_until_the_operator_says_otherwise(
    till: TillCalls, clock: MovableClock
) -> None:
    await make_history(till)
    clock.move(seconds=1_000 * DAY_S)
    assert await drop_old_calls(till.storage) == 0
    await keep_calls(till, days=None)
    assert await drop_old_calls(till.storage) == 0
    assert len(await call_ids(till.storage)) == 11


async def test_old_calls_go_and_what_they_cost_stays(till: TillCalls, clock: MovableClock) -> None:
    settled, running = await make_history(till)
    stranger = await start_calls(
        till.storage,
        clock,
        till.administrator,
        await make_user(till.storage, till.administrator, "eve@b.com"),
    )
    await stranger.call(input=3, output=4)
    await keep_calls(till, days=30)
    before = {table: await rows(till.storage, table) for table in KEPT}
    clock.move(seconds=30 * DAY_S - 1)
    assert await drop_old_calls(till.storage) == 0

    clock.move(seconds=2)
    young = await till.call(input=1, output=1)
    before |= {table: await rows(till.storage, table) for table in KEPT}
    # Nine settled, one voided, and the stranger's; what runs is not touched.
    assert await drop_old_calls(till.storage) == 11
    assert await call_ids(till.storage) == {running.facts.call_id, young}
    assert {table: await rows(till.storage, table) for table in KEPT} == before
    report = await audited(till.storage)
    assert report.drift == []
    assert report.checked["dropped calls"] == 10
    assert await drop_old_calls(till.storage) == 0

    # The one that ran is settled as ever, and is dropped when its own time has come.
    await till.settle(running, {"input": 1, "output": 1})
    assert await drop_old_calls(till.storage) == 0
    clock.move(seconds=30 * DAY_S + 1)
    assert await drop_old_calls(till.storage) == 2
    assert (await audited(till.storage)).drift == []
    assert await call_ids(till.storage) == set()
    assert len(settled) == 9


async def test_what_was_dropped_is_told_plainly(
    till: TillCalls, clock: MovableClock, administrator: Actor
) -> None:
    settled, _ = await make_history(till)
    await keep_calls(till, days=2)
    clock.move(seconds=3 * DAY_S)
    await drop_old_calls(till.storage)
    account_id = till.user.account_id
    async with till.storage.read() as tx:
        for owner in (account_id, None):
            with pytest.raises(NotFound, match=r"records of calls before .* UTC have been dropped"):
                await get_receipt(tx, owner, settled[0])
        with pytest.raises(NotFound, match=r"^There is no call call_zz\.$"):
            await get_receipt(tx, account_id, "call_zz")
        with pytest.raises(NotFound, match=r"^There is no call cabbage\.$"):
            await get_receipt(tx, account_id, "cabbage")
        page = await list_entries(tx, administrator, call_id=settled[0], page=PageRequest(limit=10))
    assert {posting.entry.kind for posting in page.items} == {"charge", "refund"}
    async with till.storage.write() as tx:
        with pytest.raises(NotFound, match="have been dropped"):
            await refund(tx, administrator, call_id=settled[1], amount=None, reason="Late")


async def test_limits_and_what_a_key_has_spent_go_on_where_they_were(
    till: TillCalls, clock: MovableClock
) -> None:
    await till.call(input=100, output=5)
    await keep_calls(till, days=2)
    before = await rows(till.storage, "rate_windows")
    clock.move(seconds=5 * DAY_S)
    assert await drop_old_calls(till.storage) == 1
    assert await rows(till.storage, "rate_windows") == before
    await till.call(input=100, output=5)
    assert (await audited(till.storage)).drift == []


async def test_only_one_worker_drops_at_a_time(till: TillCalls, clock: MovableClock, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("one process, one writer")
    await make_history(till)
    await keep_calls(till, days=2)
    assert await drop_old_calls(till.storage) == 0
    clock.move(seconds=3 * DAY_S)
    async with till.storage.write() as tx:
        assert await take_turn(tx)
        assert await drop_old_calls(till.storage) == 0
    assert await drop_old_calls(till.storage) == 10
