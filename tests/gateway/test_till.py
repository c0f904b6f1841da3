"""The till: what has gathered goes into one transaction; whatever fails, nothing doubles or is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.watched_storage import WatchedStorage
from tests.gateway.till_items import TillItems
from tests.gateway.world import World, price, until
from tokenopen.core.admission import Admitted, AlreadyResolved, Resolved
from tokenopen.core.errors import InsufficientCredit, StorageUnavailable
from tokenopen.gateway.till import Till
from tokenopen.ports.storage import Batch, OutcomeUnknown, StorageAway


@pytest.fixture
def items(world: World) -> TillItems:
    return TillItems(world=world)


@pytest.fixture
def till(world: World) -> Till:
    return world.gateway.till


@pytest.fixture
async def gate(world: World) -> AsyncIterator[asyncio.Event]:
    """Holds every post back until it is set."""
    gate = asyncio.Event()

    async def wait(_batch: Batch) -> None:
        await gate.wait()

    world.storage.before_post = wait
    yield gate
    gate.set()


async def posted(storage: WatchedStorage, batches: int) -> None:
    """Wait until so many batches have been given to the database."""
    await until(lambda: len(storage.batches) >= batches)


def sizes(storage: WatchedStorage) -> list[tuple[int, int]]:
    """Return how many resolutions and admissions each batch held."""
    return [(len(batch.resolutions), len(batch.admissions)) for batch in storage.batches]


def fail(
    storage: WatchedStorage, *, before: list[Exception] | None = None, after: list[Exception] | None = None
) -> None:
    """Make the next posts fail, one error each: before anything is written, or after it is committed."""
    errors_before, errors_after = list(before or ()), list(after or ())

    async def fail_before(_batch: Batch) -> None:
        if errors_before:
            raise errors_before.pop(0)

    async def fail_after(_batch: Batch) -> None:
        if errors_after:
            raise errors_after.pop(0)

    storage.before_post, storage.after_post = fail_before, fail_after


async def test_what_gathers_while_a_commit_runs_is_written_as_one_batch(
    world: World, till: Till, items: TillItems, gate: asyncio.Event
) -> None:
    calls = [await items.admission() for _ in range(6)]
    running = [asyncio.create_task(till.admit(calls[0]))]
    await posted(world.storage, 1)
    running += [asyncio.create_task(till.admit(call)) for call in calls[1:]]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*running)
    assert all(isinstance(answer, Admitted) for answer in answers)
    assert sizes(world.storage) == [(0, 1), (0, 5)]


async def test_a_batch_holds_at_most_512_items_and_resolutions_go_first(
    world: World, till: Till, items: TillItems, gate: asyncio.Event
) -> None:
    first, *calls = [await items.admission() for _ in range(11)]
    admitted = [asyncio.create_task(till.admit(first))]
    await posted(world.storage, 1)
    admitted += [asyncio.create_task(till.admit(call)) for call in calls]
    await asyncio.sleep(0)
    voided = [till.put(void) for void in items.voids_of_nothing(600, first.facts)]
    assert till.backlog == 610
    gate.set()
    assert all(isinstance(answer, Admitted) for answer in await asyncio.gather(*admitted))
    assert await asyncio.gather(*voided) == [AlreadyResolved(state="voided")] * 600
    assert sizes(world.storage) == [(0, 1), (512, 0), (88, 10)]


async def test_credit_that_a_settlement_frees_serves_an_admission_that_came_before_it(
    world: World, till: Till, items: TillItems
) -> None:
    running, waiting = await items.admission(max_tokens=1_000), await items.admission(max_tokens=900)
    await world.set_credit(items.hold_of(running))
    assert isinstance(await till.admit(running), Admitted)
    admitting = asyncio.create_task(till.admit(waiting))
    await asyncio.sleep(0)
    resolving = till.put(items.settlement(running, output=1))
    assert isinstance(await admitting, Admitted)
    assert isinstance(await resolving, Resolved)
    assert sizes(world.storage)[1:] == [(1, 1)]


async def test_admissions_are_decided_in_the_order_in_which_they_came(
    world: World, till: Till, items: TillItems, gate: asyncio.Event
) -> None:
    calls = [await items.admission() for _ in range(5)]
    await world.set_credit(3 * items.hold_of(calls[0]))
    running = [asyncio.create_task(till.admit(call)) for call in calls]
    gate.set()
    answers = await asyncio.gather(*running)
    assert [type(answer) for answer in answers] == [Admitted] * 3 + [InsufficientCredit] * 2


async def test_while_the_database_is_away_calls_are_refused_and_resolutions_wait(
    world: World, till: Till, items: TillItems
) -> None:
    running, refused = await items.admission(), await items.admission()
    assert isinstance(await till.admit(running), Admitted)
    fail(world.storage, before=[StorageAway("gone")] * 3)
    settling = till.put(items.settlement(running, output=5))
    assert isinstance(await till.admit(refused), StorageUnavailable)
    assert not settling.done()
    async with asyncio.timeout(5):
        settled = await settling
    assert isinstance(settled, Resolved)
    assert await world.charges() == [price(output=5)]
    assert len(await world.rows("calls")) == 1
    await world.assert_sound()


async def test_a_commit_whose_answer_was_lost_is_found_and_not_done_again(
    world: World, till: Till, items: TillItems
) -> None:
    calls = [await items.admission() for _ in range(3)]
    fail(world.storage, after=[OutcomeUnknown("lost")])
    answers = await asyncio.gather(*(till.admit(call) for call in calls))
    assert all(isinstance(answer, Admitted) for answer in answers)
    assert [batch.repeated for batch in world.storage.batches] == [False, True]
    assert (await world.account())["held"] == sum(items.hold_of(call) for call in calls)
    (window,) = await world.rows("rate_windows")
    assert window["day_count"] == 3

    fail(world.storage, after=[OutcomeUnknown("lost"), StorageAway("gone"), OutcomeUnknown("lost")])
    settled = [till.put(items.settlement(call, output=number)) for number, call in enumerate(calls)]
    answers_to_settling = await asyncio.gather(*settled)
    assert [getattr(answer, "charge", None) for answer in answers_to_settling] == [
        price(output=number) for number in range(3)
    ]
    assert await world.charges() == [price(output=number) for number in range(3)]
    await world.assert_sound()


async def test_a_commit_that_did_not_happen_is_done_once(world: World, till: Till, items: TillItems) -> None:
    call = await items.admission()
    fail(world.storage, before=[OutcomeUnknown("lost"), OutcomeUnknown("lost again")])
    assert isinstance(await till.admit(call), Admitted)
    fail(world.storage, before=[OutcomeUnknown("lost")])
    assert isinstance(await till.put(items.settlement(call, output=9)), Resolved)
    assert await world.charges() == [price(output=9)]
    await world.assert_sound()


async def test_a_fault_met_after_a_commit_whose_answer_was_lost_makes_nobody_pay_twice(
    world: World, till: Till, items: TillItems
) -> None:
    """The halves in which the culprit is sought are repeats too."""
    calls = [await items.admission() for _ in range(2)]
    fail(world.storage, after=[OutcomeUnknown("lost"), RuntimeError("a bug")])
    answers = await asyncio.gather(*(till.admit(call) for call in calls))
    assert all(isinstance(answer, Admitted) for answer in answers)
    assert [batch.repeated for batch in world.storage.batches] == [False, True, True, True]
    assert (await world.account())["held"] == sum(items.hold_of(call) for call in calls)

    fail(world.storage, after=[OutcomeUnknown("lost"), RuntimeError("a bug")])
    settled = await asyncio.gather(*(till.put(items.settlement(call, output=9)) for call in calls))
    assert [getattr(answer, "charge", None) for answer in settled] == [price(output=9)] * 2
    assert await world.charges() == [price(output=9)] * 2
    await world.assert_sound()


async def test_a_refund_whose_commit_was_lost_is_given_once(
    world: World, till: Till, items: TillItems
) -> None:
    call = await items.admission()
    await till.admit(call)
    await till.put(items.settlement(call, output=9))
    fail(world.storage, after=[OutcomeUnknown("lost")])
    await till.put(items.must_not_cost(call.facts))
    assert await world.charges() == [price(output=9), -price(output=9)]
    await world.assert_sound()


@pytest.mark.parametrize("culprit", [0, 3, 7])
async def test_an_item_at_fault_is_found_and_only_it_fails(
    world: World, till: Till, items: TillItems, gate: asyncio.Event, culprit: int
) -> None:
    calls = [await items.admission() for _ in range(16)]
    gate.set()
    for call in calls[:8]:
        assert isinstance(await till.admit(call), Admitted)
    gate.clear()
    unknown = await items.admission()
    # A settlement of a call that was never admitted cannot be.
    settlements = [items.settlement(call, output=1) for call in calls[:7]]
    settlements.insert(culprit, items.settlement(unknown, output=1))
    settling = [till.put(settlement) for settlement in settlements]
    admitting = [asyncio.create_task(till.admit(call)) for call in calls[8:]]
    await asyncio.sleep(0)
    gate.set()
    settled = await asyncio.gather(*settling, return_exceptions=True)
    assert isinstance(settled.pop(culprit), AssertionError)
    assert all(isinstance(answer, Resolved) for answer in settled)
    assert all(isinstance(answer, Admitted) for answer in await asyncio.gather(*admitting))
    assert await world.charges() == [price(output=1)] * 7
    await asyncio.gather(*(till.put(items.void(call.facts)) for call in calls[7:]))
    await world.assert_sound()


async def test_an_admission_at_fault_fails_alone(world: World, till: Till, items: TillItems) -> None:
    calls = [await items.admission() for _ in range(5)]
    culprit = calls[2].facts.call_id

    async def choke(batch: Batch) -> None:
        if any(admission.facts.call_id == culprit for admission in batch.admissions):
            raise ValueError("this one cannot be written")

    world.storage.before_post = choke
    answers = await asyncio.gather(*(till.admit(call) for call in calls), return_exceptions=True)
    assert isinstance(answers.pop(2), ValueError)
    assert all(isinstance(answer, Admitted) for answer in answers)
    assert len(await world.rows("calls")) == 4


async def test_a_database_that_goes_away_while_a_culprit_is_sought_costs_nobody_twice(
    world: World, till: Till, items: TillItems
) -> None:
    calls = [await items.admission() for _ in range(4)]
    for call in calls:
        await till.admit(call)
    unknown = await items.admission()
    posts = len(world.storage.batches)

    async def go_away(_batch: Batch) -> None:
        if len(world.storage.batches) == posts + 3:
            raise StorageAway("gone")

    world.storage.before_post = go_away
    settlements = [items.settlement(call, output=2) for call in calls]
    settling = [
        till.put(item) for item in (*settlements[:2], items.settlement(unknown, output=2), *settlements[2:])
    ]
    settled = await asyncio.gather(*settling, return_exceptions=True)
    assert isinstance(settled.pop(2), AssertionError)
    assert all(isinstance(answer, Resolved) for answer in settled)
    assert await world.charges() == [price(output=2)] * 4
    await world.assert_sound()


async def test_an_admission_whose_waiter_has_gone_is_voided(
    world: World, till: Till, items: TillItems, gate: asyncio.Event
) -> None:
    call = await items.admission()
    waiting = asyncio.create_task(till.admit(call))
    await posted(world.storage, 1)
    waiting.cancel()
    await asyncio.sleep(0)
    gate.set()
    await posted(world.storage, 2)
    await world.settled()
    row = await world.only_call()
    assert (row["state"], row["end_reason"], row["charge"]) == ("voided", "abandoned", 0)
    await world.assert_sound()


async def test_an_admission_that_is_given_up_before_its_batch_is_never_written(
    world: World, till: Till, items: TillItems, gate: asyncio.Event
) -> None:
    first, second = await items.admission(), await items.admission()
    admitting = asyncio.create_task(till.admit(first))
    await posted(world.storage, 1)
    waiting = asyncio.create_task(till.admit(second))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    gate.set()
    await admitting
    await world.settled()
    assert [row["id"] for row in await world.rows("calls")] == [first.facts.call_id]


async def test_closing_writes_what_has_gathered(world: World, till: Till, items: TillItems) -> None:
    calls = [await items.admission() for _ in range(3)]
    for call in calls:
        await till.admit(call)
    settling = [till.put(items.settlement(call, output=1)) for call in calls]
    async with asyncio.timeout(5):
        await till.close()
    assert all(isinstance(future.result(), Resolved) for future in settling)
    assert await world.charges() == [price(output=1)] * 3


async def test_closing_does_not_wait_for_a_database_that_is_away(
    world: World, till: Till, items: TillItems
) -> None:
    call = await items.admission()
    await till.admit(call)
    fail(world.storage, before=[StorageAway("gone")] * 1_000)
    till.put(items.settlement(call, output=1))
    async with asyncio.timeout(5):
        await till.close()
    assert (await world.only_call())["state"] == "held"


async def test_calls_are_refused_while_the_database_goes_away_in_the_middle_of_a_commit(
    world: World, till: Till, items: TillItems
) -> None:
    """DESIGN 4: infrastructure trouble is a 5xx, not a call that waits until the trouble is over."""
    lost, later = await items.admission(), await items.admission()
    fail(world.storage, before=[OutcomeUnknown("lost"), *[StorageAway("gone")] * 1_000])
    waiting = asyncio.create_task(till.admit(lost))
    await posted(world.storage, 3)
    try:
        async with asyncio.timeout(0.5):
            assert isinstance(await till.admit(later), StorageUnavailable)
    finally:
        world.storage.undisturbed()
        await waiting


async def test_closing_does_not_wait_for_a_database_that_went_away_in_the_middle_of_a_commit(
    world: World, till: Till, items: TillItems
) -> None:
    call = await items.admission()
    await till.admit(call)
    fail(world.storage, before=[OutcomeUnknown("lost"), *[StorageAway("gone")] * 1_000])
    till.put(items.settlement(call, output=1))
    posts = len(world.storage.batches)
    await posted(world.storage, posts + 2)
    try:
        async with asyncio.timeout(0.5):
            await asyncio.shield(asyncio.create_task(till.close()))
    finally:
        world.storage.undisturbed()
