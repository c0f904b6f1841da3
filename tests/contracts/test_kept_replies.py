"""What every Storage promises of calls with an Idempotency-Key, run on every engine."""

import asyncio
from dataclasses import replace

import pytest

from tests.contracts.test_storage import World, settle, void
from tests.fakes.clock import MovableClock
from tokenopen.core.admission import Admission, Admitted, AlreadyResolved
from tokenopen.core.call import IdempotencyClaim
from tokenopen.core.errors import CallStillRunning, IdempotencyConflict
from tokenopen.core.kept_reply import AlreadyMade, KeptReply
from tokenopen.ports.storage import Batch, Storage

CLAIM = IdempotencyClaim(key="order-7", request_hash=b"h" * 32)
REPLY = KeptReply(headers=[(b"content-type", b"text/plain")], parts=[b"a\0", b"b"])


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.fixture
async def world(storage: Storage, clock: MovableClock) -> World:
    world = World(storage=storage, clock=clock)
    await world.set_up(balance=1_000)
    return world


def claimed(world: World, claim: IdempotencyClaim = CLAIM) -> Admission:
    """Return a call with an Idempotency-Key that asks to be admitted."""
    admission = world.admission()
    return admission.changed(facts=admission.facts.changed(claim=claim))


async def test_a_key_is_claimed_with_its_call_and_keeps_its_reply_with_the_charge(world: World) -> None:
    first, same = claimed(world), claimed(world)
    other = claimed(world, replace(CLAIM, request_hash=b"i" * 32))
    answers = await world.admit(first, same)
    assert [type(answer) for answer in answers] == [Admitted, CallStillRunning]
    answers = await world.admit(same, other)
    assert [type(answer) for answer in answers] == [CallStillRunning, IdempotencyConflict]

    await world.resolve(settle(first, 30).changed(kept=REPLY))
    made, conflict = await world.admit(same, other)
    assert made == AlreadyMade(call_id=first.facts.call_id)
    assert isinstance(conflict, IdempotencyConflict)
    row = await world.row("kept_replies")
    assert (row["call_id"], row["body"]) == (first.facts.call_id, b"a\0b")
    assert row["headers"] == '[["content-type","text/plain"],["x-tokenopen-charge","0.00000003"]]'
    assert len(await world.rows("calls")) == 1
    assert (await world.row("accounts"))["held"] == 0


async def test_keys_of_two_api_keys_and_different_keys_are_apart(world: World) -> None:
    answers = await world.admit(claimed(world), claimed(world, replace(CLAIM, key="order-8")))
    assert [type(answer) for answer in answers] == [Admitted, Admitted]
    assert len(await world.rows("kept_replies")) == 2


async def test_a_void_frees_its_key_in_the_same_batch(world: World) -> None:
    first, again = claimed(world), claimed(world)
    await world.admit(first)
    answer = await world.storage.post(Batch(resolutions=[void(first)], admissions=[again]))
    assert isinstance(answer.admissions[0], Admitted)
    assert (await world.row("kept_replies"))["call_id"] == again.facts.call_id


async def test_a_settlement_pins_its_key_in_the_same_batch(world: World) -> None:
    first, again = claimed(world), claimed(world)
    await world.admit(first)
    answer = await world.storage.post(Batch(resolutions=[settle(first, 1)], admissions=[again]))
    assert answer.admissions[0] == AlreadyMade(call_id=first.facts.call_id)


async def test_a_charge_that_is_given_back_frees_its_key(world: World) -> None:
    first, again = claimed(world), claimed(world)
    await world.admit(first)
    await world.resolve(settle(first, 30).changed(kept=REPLY), void(first, must_not_cost=True))
    assert await world.rows("kept_replies") == []
    assert isinstance((await world.admit(again))[0], Admitted)


async def test_a_key_of_a_day_ago_is_claimed_anew_without_its_former_reply(world: World) -> None:
    first, again = claimed(world), claimed(world)
    await world.admit(first)
    await world.resolve(settle(first, 30).changed(kept=REPLY))
    world.clock.move(seconds=24 * 60 * 60)
    assert isinstance((await world.admit(again))[0], Admitted)
    row = await world.row("kept_replies")
    assert (row["call_id"], row["headers"], row["body"]) == (again.facts.call_id, None, None)


async def test_a_batch_that_is_repeated_finds_its_claim(world: World) -> None:
    call = claimed(world)
    await world.admit(call)
    answer = await world.storage.post(Batch(resolutions=(), admissions=[call], repeated=True))
    assert isinstance(answer.admissions[0], Admitted)
    assert len(await world.rows("calls")) == 1


async def test_of_many_same_calls_in_batches_at_once_one_is_admitted(world: World) -> None:
    # As many as workers: each puts one batch at a time, which waits two seconds for an account at most.
    answers = await asyncio.gather(*(world.admit(claimed(world)) for _ in range(6)))
    admitted = [answer for (answer,) in answers if isinstance(answer, Admitted)]
    assert len(admitted) == 1
    assert len(await world.rows("calls")) == 1


async def test_a_charge_stands_once_its_reply_was_given_again(world: World) -> None:
    first = claimed(world)
    await world.admit(first)
    await world.resolve(settle(first, 30).changed(kept=REPLY))
    assert await world.admit(claimed(world)) == [AlreadyMade(call_id=first.facts.call_id)]
    (answer,) = await world.resolve(void(first, must_not_cost=True))
    assert isinstance(answer, AlreadyResolved)
    assert len(await world.rows("ledger_entries")) == 1
    assert (await world.row("kept_replies"))["replayed_at_ms"] == world.clock.now_ms()
