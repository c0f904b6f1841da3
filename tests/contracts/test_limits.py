"""What every Storage promises of tokens a minute and of concurrent calls, run on every engine."""

import asyncio

import pytest

from tests.contracts.test_storage import World, settle, void
from tests.fakes.clock import MovableClock
from tokenopen.core.admission import Admission, Admitted, Resolution
from tokenopen.core.errors import ConcurrencyExceeded, TpmExceeded
from tokenopen.core.group import Limits
from tokenopen.ports.storage import Batch, Storage

TOKENS = Limits(requests_per_minute=None, requests_per_day=None, tokens_per_minute=1_000)
CROWD = Limits(requests_per_minute=None, requests_per_day=None, concurrent_calls=3)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.fixture
async def world(storage: Storage, clock: MovableClock) -> World:
    world = World(storage=storage, clock=clock)
    await world.set_up(balance=10**9)
    return world


def used(admission: Admission, tokens: int) -> Resolution:
    """Return the settlement of a call that used so many tokens."""
    resolution = settle(admission, 1)
    outcome = resolution.outcome.changed(input_units=tokens - 1, output_units=1)
    return resolution.changed(outcome=outcome)


async def test_tokens_are_added_at_settlement_and_admission_waits_until_they_are_gone(world: World) -> None:
    first, second = world.admission(limits=TOKENS), world.admission(limits=TOKENS)
    assert all(isinstance(answer, Admitted) for answer in await world.admit(first, second))
    await world.resolve(used(first, 999))
    (third,) = await world.admit(world.admission(limits=TOKENS))
    assert isinstance(third, Admitted)
    assert third.tokens is not None
    assert (third.tokens.used, third.tokens.remaining) == (999, 1)
    world.clock.move(seconds=20)
    await world.resolve(used(second, 500))
    (refused,) = await world.admit(world.admission(limits=TOKENS))
    assert isinstance(refused, TpmExceeded)
    assert (refused.facts["used"], refused.retry_after_s) == (1_499, 41)
    world.clock.move(seconds=40)
    assert isinstance((await world.admit(world.admission(limits=TOKENS)))[0], TpmExceeded)
    world.clock.move(seconds=1)
    assert isinstance((await world.admit(world.admission(limits=TOKENS)))[0], Admitted)
    (window,) = await world.rows("token_windows")
    assert window["account_id"] == "acc_1"


async def test_each_group_counts_its_own_tokens_and_voided_calls_none(world: World) -> None:
    first, second = world.admission(limits=TOKENS), world.admission(limits=TOKENS)
    await world.admit(first, second)
    await world.resolve(void(second))
    assert await world.rows("token_windows") == []
    await world.resolve(used(first, 1_000))
    here, there = world.admission(limits=TOKENS), world.admission(limits=TOKENS, group_id="grp_2")
    assert [type(answer) for answer in await world.admit(here, there)] == [TpmExceeded, Admitted]


async def test_tokens_of_a_batch_bind_its_own_admissions(world: World) -> None:
    first = world.admission(limits=TOKENS)
    await world.admit(first)
    batch = Batch(resolutions=[used(first, 1_000)], admissions=[world.admission(limits=TOKENS)])
    assert isinstance((await world.storage.post(batch)).admissions[0], TpmExceeded)


async def test_a_settlement_that_is_repeated_adds_its_tokens_once(world: World) -> None:
    first = world.admission(limits=TOKENS)
    await world.admit(first)
    await world.resolve(used(first, 600))
    await world.resolve(used(first, 600), repeated=True)
    assert isinstance((await world.admit(world.admission(limits=TOKENS)))[0], Admitted)


async def test_no_more_calls_run_at_the_same_time_than_their_limit(world: World) -> None:
    calls = [world.admission(limits=CROWD) for _ in range(5)]
    answers = await world.admit(*calls)
    assert [type(answer) for answer in answers] == [Admitted] * 3 + [ConcurrencyExceeded] * 2
    refused = answers[3]
    assert isinstance(refused, ConcurrencyExceeded)
    assert (refused.facts["limit"], refused.facts["used"], refused.retry_after_s) == (3, 3, 1)
    there = world.admission(limits=CROWD, group_id="grp_2")
    assert isinstance((await world.admit(there))[0], Admitted)
    batch = Batch(resolutions=[void(calls[0])], admissions=[world.admission(limits=CROWD), calls[4]])
    answers = list((await world.storage.post(batch)).admissions)
    assert [type(answer) for answer in answers] == [Admitted, ConcurrencyExceeded]


async def test_a_limit_that_is_set_later_counts_the_calls_that_run_already(world: World) -> None:
    await world.admit(*(world.admission() for _ in range(3)))
    assert isinstance((await world.admit(world.admission(limits=CROWD)))[0], ConcurrencyExceeded)


async def test_of_many_batches_at_once_exactly_the_limit_is_admitted(world: World) -> None:
    answers = await asyncio.gather(*(world.admit(world.admission(limits=CROWD)) for _ in range(20)))
    assert sum(isinstance(answer, Admitted) for (answer,) in answers) == 3
