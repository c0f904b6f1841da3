"""Credit given, corrected and refunded: balances follow from their entries and never go below zero."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.control.audit import audit
from tokenopen.control.ledger import Posting, adjust, list_entries, refund, top_up
from tokenopen.control.page import PageRequest
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from tokenopen.core.money import AMOUNT_MAX, Nanocredits
from tokenopen.storage import schema
from tokenopen.storage.sqlite import SqliteStorage


@pytest.fixture
async def till(storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user, credit="1")


async def _top_up(till: TillCalls, amount: int) -> Posting:
    async with till.storage.write() as tx:
        return await top_up(
            tx, till.administrator, user_id=till.user.user_id, amount=Nanocredits(amount), reason="Paid"
        )


async def _adjust(till: TillCalls, amount: int) -> Posting:
    async with till.storage.write() as tx:
        return await adjust(
            tx, till.administrator, user_id=till.user.user_id, amount=Nanocredits(amount), reason="Wrong"
        )


async def _refund(till: TillCalls, call_id: str, amount: int | None = None) -> Posting:
    async with till.storage.write() as tx:
        wanted = None if amount is None else Nanocredits(amount)
        return await refund(tx, till.administrator, call_id=call_id, amount=wanted, reason="Sorry")


async def _account(till: TillCalls) -> Any:
    async with till.storage.read() as tx:
        return await tx.fetch_one(select(schema.accounts).where(schema.accounts.c.id == till.user.account_id))


async def _call(till: TillCalls, call_id: str) -> Any:
    async with till.storage.read() as tx:
        return await tx.fetch_one(select(schema.calls).where(schema.calls.c.id == call_id))


async def _assert_sound(till: TillCalls) -> None:
    async with till.storage.read() as tx:
        report = await audit(tx)
    assert report.drift == []


async def test_a_top_up_adds_credit_and_says_by_whom_and_why(till: TillCalls) -> None:
    posting = await _top_up(till, 5)
    entry = posting.entry
    assert posting.user_id == till.user.user_id
    assert (entry.kind, entry.amount, entry.balance_after, entry.number) == ("top_up", 5, 10**9 + 5, 2)
    assert (entry.actor_id, entry.reason) == (till.administrator.user_id, "Paid")
    assert (await _account(till))["balance"] == 10**9 + 5
    await _assert_sound(till)


@pytest.mark.parametrize("amount", [0, -1])
async def test_a_top_up_that_adds_nothing_is_refused(till: TillCalls, amount: int) -> None:
    with pytest.raises(InvalidRequest):
        await _top_up(till, amount)


async def test_an_adjustment_takes_available_credit_and_never_what_is_held(till: TillCalls) -> None:
    await till.admit(hold=4 * 10**8)
    with pytest.raises(Conflict) as refused:
        await _adjust(till, -6 * 10**8 - 1)
    assert refused.value.facts["available"] == "0.6"
    assert (await _adjust(till, -6 * 10**8)).entry.balance_after == 4 * 10**8
    await _assert_sound(till)


async def test_an_adjustment_of_nothing_is_refused(till: TillCalls) -> None:
    with pytest.raises(InvalidRequest):
        await _adjust(till, 0)


async def test_a_balance_beyond_the_bound_is_refused_and_leaves_no_trace(till: TillCalls) -> None:
    with pytest.raises(Conflict):
        await _top_up(till, AMOUNT_MAX)
    account = await _account(till)
    assert (account["balance"], account["entry_count"]) == (10**9, 1)
    await _assert_sound(till)


async def test_a_refund_without_an_amount_gives_back_all_that_is_left(till: TillCalls) -> None:
    call_id = await till.call(input=1_234, output=56)
    charge = (await _call(till, call_id))["charge"]
    await _refund(till, call_id, 1_000)
    posting = await _refund(till, call_id)
    assert posting.entry.amount == charge - 1_000
    assert (await _account(till))["balance"] == 10**9
    assert (await _call(till, call_id))["refunded"] == charge
    with pytest.raises(Conflict):
        await _refund(till, call_id)
    await _assert_sound(till)


async def test_a_refund_leaves_what_the_key_has_spent(till: TillCalls) -> None:
    call_id = await till.call(input=1_234, output=56)
    await _refund(till, call_id)
    async with till.storage.read() as tx:
        key = await tx.fetch_one(select(schema.api_keys))
    assert key is not None
    assert key["spent"] == (await _call(till, call_id))["charge"]


async def test_what_was_not_charged_cannot_be_refunded(till: TillCalls) -> None:
    running = await till.admit()
    voided = await till.admit()
    await till.void(voided)
    free = await till.call(hold=1, input=0)
    for call_id in (running.facts.call_id, voided.facts.call_id, free):
        with pytest.raises(Conflict):
            await _refund(till, call_id, 1)
        with pytest.raises(Conflict):
            await _refund(till, call_id)
    with pytest.raises(NotFound):
        await _refund(till, "call_none", 1)


@pytest.mark.parametrize("amount", [0, -5])
async def test_a_refund_gives_something(till: TillCalls, amount: int) -> None:
    call_id = await till.call()
    with pytest.raises(InvalidRequest):
        await _refund(till, call_id, amount)


async def test_an_unknown_user_has_no_balance_to_change(till: TillCalls) -> None:
    async with till.storage.write() as tx:
        with pytest.raises(NotFound):
            await top_up(tx, till.administrator, user_id="usr_none", amount=Nanocredits(1), reason="x")
        with pytest.raises(NotFound):
            await adjust(tx, till.administrator, user_id="usr_none", amount=Nanocredits(1), reason="x")


async def test_users_change_no_balance_and_read_no_ledger(till: TillCalls) -> None:
    call_id = await till.call()
    async with till.storage.write() as tx:
        for change in (
            top_up(tx, till.user, user_id=till.user.user_id, amount=Nanocredits(1), reason="x"),
            adjust(tx, till.user, user_id=till.user.user_id, amount=Nanocredits(1), reason="x"),
            refund(tx, till.user, call_id=call_id, amount=None, reason="x"),
            list_entries(tx, till.user, page=PageRequest()),
        ):
            with pytest.raises(PermissionDenied):
                await change


async def test_refunds_at_once_never_give_back_more_than_was_charged(till: TillCalls) -> None:
    call_id = await till.call(input=1_000, output=0)
    charge = (await _call(till, call_id))["charge"]
    third = charge // 3
    answers = await asyncio.gather(
        *(_refund(till, call_id, third) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(answer, Posting) for answer in answers) == 3
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7
    assert (await _call(till, call_id))["refunded"] == 3 * third <= charge
    await _assert_sound(till)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    units=st.integers(0, 10**6),
    parts=st.lists(st.one_of(st.none(), st.integers(-5, 2 * 10**8)), max_size=6),
)
async def test_whatever_is_refunded_the_sum_stays_within_the_charge(
    till: TillCalls, units: int, parts: list[int | None]
) -> None:
    before = (await _account(till))["balance"]
    call_id = await till.call(hold=10**8, input=units)
    till.clock.move(seconds=61)
    charge = (await _call(till, call_id))["charge"]
    given = 0
    for part in parts:
        try:
            posting = await _refund(till, call_id, part)
        except (Conflict, InvalidRequest):
            assert part is None or part <= 0 or given + part > charge or charge == given
            assert part is not None or given == charge
            continue
        given += posting.entry.amount
        assert posting.entry.amount > 0
        assert given <= charge
    assert (await _call(till, call_id))["refunded"] == given
    assert (await _account(till))["balance"] == before - charge + given
    await _assert_sound(till)


async def test_an_accounts_entries_are_listed_in_the_order_in_which_its_balance_changed(
    till: TillCalls,
) -> None:
    """A long call's charge carries the id of when the call came, and yet comes after the top-up meanwhile."""
    running = await till.admit(hold=10**6)
    till.clock.move(seconds=10)
    await _top_up(till, 7)
    till.clock.move(seconds=10)
    await till.settle(running, {"input": 10})
    listed = []
    page = PageRequest(limit=2)
    while True:
        async with till.storage.read() as tx:
            found = await list_entries(tx, till.administrator, user_id=till.user.user_id, page=page)
        listed += [posting.entry for posting in found.items]
        if found.next_cursor is None:
            break
        page = PageRequest(limit=2, after=found.next_cursor)
    assert [entry.number for entry in listed] == [3, 2, 1]
    assert [entry.kind for entry in listed] == ["charge", "top_up", "top_up"]


async def test_entries_are_found_by_kind_call_and_account(till: TillCalls, other_user: Actor) -> None:
    call_id = await till.call()
    await _refund(till, call_id, 1)
    await _adjust(till, -1)

    async def kinds(**wanted: Any) -> list[str]:
        async with till.storage.read() as tx:
            found = await list_entries(tx, till.administrator, page=PageRequest(), **wanted)
        return sorted(posting.entry.kind for posting in found.items)

    assert await kinds() == ["adjustment", "charge", "refund", "top_up"]
    assert await kinds(kind="refund") == ["refund"]
    assert await kinds(call_id=call_id) == ["charge", "refund"]
    assert await kinds(account_id=till.user.account_id, kind="top_up") == ["top_up"]
    assert await kinds(user_id=other_user.user_id) == []
    assert await kinds(user_id=other_user.user_id, call_id=call_id) == []
    assert await kinds(call_id="call_none") == []
