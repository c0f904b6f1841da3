"""Everybody's rollups: what charts say is the same before and after hours were folded; on both engines."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from sqlalchemy import select

from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.jobs.usage_fold import compare_day, fold_usage
from tokenopen.ports.storage import Storage
from tokenopen.storage.refused_call import add_refused_hour
from tokenopen.storage.schema import key_usage_weeks, usage_hours
from tokenopen.storage.schema_rollup import SUMMED
from tokenopen.storage.usage import Told, sum_key_usage, sum_platform_usage, sum_refused
from tokenopen.storage.usage_fold import (
    DAYS_A_WEEK,
    HOURS_A_DAY,
    read_folded_until,
    read_folded_weeks_until,
)

HOUR_MS = 3_600_000
HOURS = 30

pytestmark = [
    pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
]

Sums = Mapping[tuple[object, ...], tuple[int, ...]]


@pytest.fixture
async def calls(storage: Storage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)


def _summed(rows: Sequence[Mapping[str, object]], summed: Sequence[str]) -> Sums:
    """Add up what may come twice, as whoever draws a chart has to."""
    sums: dict[tuple[object, ...], Counter[str]] = {}
    for row in rows:
        key = tuple(value for name, value in row.items() if name not in summed)
        sums.setdefault(key, Counter()).update({name: int(str(row[name])) for name in summed})
    return {key: tuple(sum_[name] for name in summed) for key, sum_ in sums.items()}


async def _everything(storage: Storage, first_hour: int) -> tuple[Sums, Sums, Sums]:
    first_hour -= first_hour % HOURS_A_DAY
    end = first_hour + 4 * HOURS_A_DAY
    async with storage.read() as tx:
        usage = await sum_platform_usage(
            tx, from_hour=first_hour, until_hour=end, told=Told(by=("hour", "group_id", "model"))
        )
        keys = await sum_key_usage(tx, from_hour=first_hour, until_hour=end, by=("account_id", "key_id"))
        refused = await sum_refused(
            tx, account_id=None, from_hour=first_hour, until_hour=end, told=Told(by=("hour", "code"))
        )
    return _summed(usage, SUMMED), _summed(keys, SUMMED), _summed(refused, ("calls",))


async def _refuse(calls: TillCalls, hour: int, count: int) -> None:
    caller = await calls.find_caller()
    row = {
        "account_id": caller.key.account_id,
        "hour": hour,
        "key_id": caller.key.id,
        "group_id": caller.group.id,
        "code": "rpm_exceeded",
        "calls": count,
    }
    async with calls.storage.write() as tx:
        await add_refused_hour(tx, row)


async def _live(calls: TillCalls, clock: MovableClock) -> int:
    """Make calls with two keys over more than a day; return the first hour."""
    first_hour = clock.now_ms() // HOUR_MS
    second = await calls.with_key()
    for number in range(HOURS):
        await calls.call(input=100 + number, output=number)
        if number % 3 == 0:
            await second.call(input=7, output=number)
            await _refuse(calls, first_hour + number, number + 1)
        clock.move(milliseconds=HOUR_MS)
    return first_hour


async def test_charts_say_the_same_before_and_after_folding(
    storage: Storage, calls: TillCalls, clock: MovableClock
) -> None:
    first_hour = await _live(calls, clock)
    before = await _everything(storage, first_hour)
    assert sum(row[0] for row in before[0].values()) == HOURS + HOURS // 3
    assert await fold_usage(storage) >= HOURS - 1
    async with storage.read() as tx:
        assert await read_folded_until(tx) > first_hour + HOURS - 2
    assert await _everything(storage, first_hour) == before
    # What is called from now on is added to what is folded.
    await calls.call(input=1, output=1)
    after = await _everything(storage, first_hour)
    assert sum(row[0] for row in after[0].values()) == HOURS + HOURS // 3 + 1
    assert await fold_usage(storage) == 0


async def test_the_hour_that_runs_is_not_folded(storage: Storage, calls: TillCalls) -> None:
    await calls.call(input=1, output=1)
    assert await fold_usage(storage) == 0


async def test_what_is_added_to_a_folded_hour_is_found_when_its_day_is_compared(
    storage: Storage, calls: TillCalls, clock: MovableClock
) -> None:
    first_hour = await _live(calls, clock)
    await fold_usage(storage)
    await _refuse(calls, first_hour, 5)
    before = await _everything(storage, first_hour)
    assert await compare_day(storage, first_hour // HOURS_A_DAY) == 1
    after = await _everything(storage, first_hour)
    assert after[:2] == before[:2]
    assert sum(row[0] for row in after[2].values()) == sum(row[0] for row in before[2].values()) + 5
    assert await compare_day(storage, first_hour // HOURS_A_DAY) == 0


async def test_whole_weeks_say_what_their_days_say_wherever_a_chart_begins_and_ends(
    storage: Storage, calls: TillCalls, clock: MovableClock
) -> None:
    first_day = clock.now_ms() // HOUR_MS // HOURS_A_DAY
    second = await calls.with_key()
    for number in range(24):
        await calls.call(input=100 + number, output=number)
        if number % 5 == 0:
            await second.call(input=7, output=number)
        clock.move(seconds=86_400)
    await fold_usage(storage)
    async with storage.read() as tx:
        weeks = await tx.fetch_all(select(key_usage_weeks))
        hours = await tx.fetch_all(select(usage_hours))
        # Days of the week before last may change until they have been compared.
        assert await read_folded_weeks_until(tx) == (first_day + 24 - 3) // DAYS_A_WEEK
        assert sum(row["calls"] for row in weeks) > 14
        for first, end in ((0, 28), (0, 1), (3, 9), (1, 8), (2, 23), (9, 24), (23, 30), (40, 41), (0, 14)):
            found = await sum_key_usage(
                tx,
                from_hour=(first_day + first) * HOURS_A_DAY,
                until_hour=(first_day + end) * HOURS_A_DAY,
                by=("key_id",),
            )
            within = [row for row in hours if first <= row["hour"] // HOURS_A_DAY - first_day < end]
            due = [{name: row[name] for name in ("key_id", *SUMMED)} for row in within]
            assert _summed(found, SUMMED) == _summed(due, SUMMED), (first, end)
