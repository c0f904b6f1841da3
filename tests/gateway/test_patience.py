"""Patience: each answer that does not come in time is noticed once, whatever else is waited for."""

import asyncio
import random
from functools import partial

from tests.gateway.world import until
from tokenopen.gateway.patience import Patience, wake


def answer() -> asyncio.Future[None]:
    """Return an answer that has not come."""
    return asyncio.get_running_loop().create_future()


async def test_what_is_not_answered_in_time_is_acted_upon_once_and_what_is_answered_never() -> None:
    patience, late = Patience(), list[int]()
    answers = [answer() for _ in range(6)]
    for number, each in enumerate(answers):
        patience.end_after(0.02, each, partial(late.append, number))
    for number in (0, 3, 5):
        answers[number].set_result(None)
    await until(lambda: len(late) == 3)
    await asyncio.sleep(0.05)
    assert late == [1, 2, 4]


async def test_a_shorter_time_is_kept_to_while_nothing_else_is_due() -> None:
    patience, late = Patience(), list[str]()
    first = answer()
    patience.end_after(3_600, first, partial(late.append, "first"))
    first.set_result(None)
    patience.end_after(0.01, answer(), partial(late.append, "second"))
    await until(lambda: late == ["second"])


async def test_each_is_acted_upon_in_its_own_time() -> None:
    patience, late = Patience(), list[float]()
    loop = asyncio.get_running_loop()
    chance = random.Random(5)
    begun: list[float] = []

    def note(number: int) -> None:
        late.append(loop.time() - begun[number])

    for number in range(40):
        begun.append(loop.time())
        patience.end_after(0.1, answer(), partial(note, number))
        await asyncio.sleep(chance.random() * 0.01)
    await until(lambda: len(late) == 40)
    assert min(late) >= 0.1


async def test_answers_that_came_are_not_kept_for_as_long_as_they_would_have_had() -> None:
    patience = Patience()
    for _ in range(1_000):
        each = answer()
        patience.end_after(3_600, each, each.cancel)
        each.set_result(None)
    assert len(patience._waiting) <= 1


async def test_an_act_that_ends_the_wait_itself_is_seen_by_who_waits() -> None:
    patience, waiter = Patience(), answer()
    patience.end_after(0.01, waiter, partial(wake, waiter))
    await waiter
    wake(waiter)
