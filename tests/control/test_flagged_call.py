"""Flagged calls: listed for administrators, who mark them as reviewed or correct what they have cost."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.control.audit import audit
from tokenopen.control.flagged_call import adjust_call, list_flagged_calls, review_call
from tokenopen.control.ledger import Posting, refund
from tokenopen.control.page import PageRequest
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from tokenopen.core.ledger import adjustable
from tokenopen.core.money import Nanocredits
from tokenopen.storage import schema
from tokenopen.storage.sqlite import SqliteStorage

HOLD = 10**6


@pytest.fixture
async def till(storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user, credit="1")


async def adjusted(till: TillCalls, call_id: str, amount: int, *, actor: Actor | None = None) -> Posting:
    async with till.storage.write() as tx:
        return await adjust_call(
            tx,
            actor or till.administrator,
            call_id=call_id,
            amount=Nanocredits(amount),
            reason="It was 12 tokens",
        )


async def flagged_and_charged(till: TillCalls) -> str:
    """Make a call that is charged 150, and flagged; return its id."""
    admission = await till.admit(hold=HOLD)
    outcome = await till.outcome(admission, {"input": 1})
    await till.resolve(admission, outcome.changed(flag="beyond_context_window"))
    return admission.facts.call_id


async def row_of(till: TillCalls, call_id: str) -> Any:
    async with till.storage.read() as tx:
        return await tx.fetch_one(select(schema.calls).where(schema.calls.c.id == call_id))


async def balance(till: TillCalls) -> int:
    async with till.storage.read() as tx:
        row = await tx.fetch_one(select(schema.accounts).where(schema.accounts.c.id == till.user.account_id))
    assert row is not None
    return int(row["balance"])


async def assert_sound(till: TillCalls) -> None:
    async with till.storage.read() as tx:
        assert (await audit(tx)).drift == []


async def ids(till: TillCalls, **wanted: Any) -> list[str]:
    async with till.storage.read() as tx:
        page = await list_flagged_calls(tx, till.administrator, page=PageRequest(), **wanted)
    return [call.id for call in page.items]


async def test_flagged_calls_are_listed_until_and_after_they_were_reviewed(till: TillCalls) -> None:
    await till.call()
    first = await till.flagged()
    till.clock.move(seconds=1)
    second = await till.flagged()
    async with till.storage.write() as tx:
        call = await review_call(tx, till.administrator, call_id=first, note="Nothing to do")
    assert call.reviewed_at_ms == till.clock.now_ms()
    assert call.reviewed_by == till.administrator.user_id
    assert (call.flag, call.flag_detail) == ("impossible_usage", "-1 units of input")
    assert await ids(till) == [second, first]
    assert await ids(till, reviewed=False) == [second]
    assert await ids(till, reviewed=True) == [first]


async def test_a_second_review_changes_nothing_and_is_not_logged(till: TillCalls) -> None:
    call_id = await till.flagged()
    for _ in range(2):
        async with till.storage.write() as tx:
            call = await review_call(tx, till.administrator, call_id=call_id)
        till.clock.move(seconds=5)
    assert call.reviewed_at_ms == till.clock.now_ms() - 10_000
    async with till.storage.read() as tx:
        log = await tx.fetch_all(select(schema.audit_log).where(schema.audit_log.c.action == "call.review"))
    assert [entry["subject_id"] for entry in log] == [call_id]


async def test_an_adjustment_takes_what_a_call_should_have_cost_and_names_the_call(till: TillCalls) -> None:
    call_id = await till.flagged(hold=HOLD)
    entry = (await adjusted(till, call_id, -1_800)).entry
    assert (entry.kind, entry.amount, entry.call_id) == ("adjustment", -1_800, call_id)
    assert (entry.reason, entry.actor_id) == ("It was 12 tokens", till.administrator.user_id)
    assert await balance(till) == 10**9 - 1_800
    row = await row_of(till, call_id)
    assert (row["adjusted"], row["charge"], row["state"]) == (-1_800, 0, "voided")
    assert row["reviewed_by"] == till.administrator.user_id
    assert await ids(till, reviewed=False) == []
    await assert_sound(till)


async def test_an_adjustment_gives_back_at_most_what_the_call_has_cost(till: TillCalls) -> None:
    call_id = await flagged_and_charged(till)
    with pytest.raises(Conflict) as refused:
        await adjusted(till, call_id, 151)
    assert refused.value.facts["gives_max"] == "0.00000015"
    await adjusted(till, call_id, 100)
    async with till.storage.write() as tx:
        with pytest.raises(Conflict):
            await refund(
                tx, till.administrator, call_id=call_id, amount=Nanocredits(51), reason="Both at once"
            )
        rest = await refund(tx, till.administrator, call_id=call_id, amount=None, reason="The rest")
    assert rest.entry.amount == 50
    assert await balance(till) == 10**9
    with pytest.raises(Conflict):
        await adjusted(till, call_id, 1)
    await assert_sound(till)


async def test_an_adjustment_takes_at_most_up_to_what_the_call_could_have_cost(till: TillCalls) -> None:
    call_id = await till.flagged(hold=HOLD)
    await adjusted(till, call_id, -HOLD + 5)
    with pytest.raises(Conflict) as refused:
        await adjusted(till, call_id, -6)
    assert refused.value.facts["takes_max"] == "0.000000005"
    await adjusted(till, call_id, -5)
    # What was taken in error can be given back.
    await adjusted(till, call_id, HOLD)
    assert await balance(till) == 10**9
    await assert_sound(till)


async def test_an_adjustment_never_takes_what_is_not_available(till: TillCalls) -> None:
    call_id = await till.flagged(hold=10**9)
    await till.admit(hold=10**9 - 1_000)
    with pytest.raises(Conflict) as refused:
        await adjusted(till, call_id, -1_001)
    assert refused.value.facts["available"] == "0.000001"
    assert (await row_of(till, call_id))["adjusted"] is None
    await adjusted(till, call_id, -1_000)
    await assert_sound(till)


async def test_of_two_adjustments_at_once_the_second_sees_the_first(till: TillCalls) -> None:
    call_id = await till.flagged(hold=HOLD)
    answers = await asyncio.gather(
        *(adjusted(till, call_id, -HOLD) for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Posting"]
    assert await balance(till) == 10**9 - HOLD
    await assert_sound(till)


async def test_only_a_flagged_call_is_reviewed_or_adjusted(till: TillCalls) -> None:
    usual, running = await till.call(), (await till.admit()).facts.call_id
    for call_id, refusal in ((usual, Conflict), (running, Conflict), ("call_none", NotFound)):
        with pytest.raises(refusal):
            await adjusted(till, call_id, -1)
        async with till.storage.write() as tx:
            with pytest.raises(refusal):
                await review_call(tx, till.administrator, call_id=call_id)


async def test_nothing_is_no_adjustment_and_users_may_not(till: TillCalls) -> None:
    call_id = await till.flagged()
    with pytest.raises(InvalidRequest):
        await adjusted(till, call_id, 0)
    with pytest.raises(PermissionDenied):
        await adjusted(till, call_id, -1, actor=till.user)
    async with till.storage.write() as tx:
        with pytest.raises(PermissionDenied):
            await review_call(tx, till.user, call_id=call_id)


@pytest.mark.parametrize(
    ("hold", "charge", "refunded", "given", "takes_max", "gives_max"),
    [
        (100, 0, 0, 0, 100, 0),
        (100, 40, 0, 0, 60, 40),
        (100, 40, 40, 0, 100, 0),
        (100, 40, 0, -60, 0, 100),
        (100, 150, 0, 0, 0, 150),
        (100, 150, 0, 150, 150, 0),
    ],
)
def test_what_a_call_costs_in_all_stays_between_nothing_and_its_bound(
    hold: int, charge: int, refunded: int, given: int, takes_max: int, gives_max: int
) -> None:
    bounds = adjustable(hold=hold, charge=charge, refunded=refunded, adjusted=given)
    assert bounds == (takes_max, gives_max)
