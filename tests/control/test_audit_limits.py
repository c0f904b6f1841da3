"""The audit re-derives I9: no call was admitted over a limit of its own terms."""

import pytest
from sqlalchemy import insert, select

from tests.control.conftest import audited
from tests.till_calls import TillCalls
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import calls


async def _admitted(tx: Transaction, call: object, at_ms: int, number: int, limit: int | None) -> None:
    assert isinstance(call, dict)
    row = {**call, "id": f"call_{number:04d}", "admitted_at_ms": at_ms, "resolved_at_ms": at_ms}
    await tx.execute(insert(calls).values({**row, "requests_per_minute": limit, "day_ordinal": 1}))


@pytest.mark.parametrize(
    ("admissions", "drift"),
    [
        # Sixty seconds and a millisecond apart, the first is out of sight.
        ([(0, 2), (0, 2), (60_001, 1)], 0),
        ([(0, 2), (0, 2), (60_000, 2)], 1),
        # A limit that was raised, or lowered, within one millisecond: there is an order that obeys it.
        ([(0, 1), (0, 3), (0, 3)], 0),
        ([(0, None), (0, 1), (0, None)], 0),
        ([(0, 1), (0, 1), (0, 3)], 1),
        # Calls without a limit count too.
        ([(0, None), (1, None), (2, 2)], 1),
    ],
)
async def test_requests_per_minute_are_counted_over_every_sixty_seconds(
    till: TillCalls, admissions: list[tuple[int, int | None]], drift: int
) -> None:
    async with till.storage.write() as tx:
        call = await tx.fetch_one(select(calls).where(calls.c.state == "voided", calls.c.flag.is_(None)))
        assert call is not None
        for number, (after_ms, limit) in enumerate(admissions):
            at_ms = call["admitted_at_ms"] + 10**9 + after_ms
            await _admitted(tx, dict(call), at_ms, number, limit)
    report = await audited(till.storage)
    assert report.drift_counts["I9"] == report.drift_count == drift, report.drift


@pytest.mark.parametrize(
    ("spans", "drift"),
    [
        ([(0, 10, 1), (10, 20, 1), (11, None, 2)], 0),
        ([(0, 10, 2), (5, 20, 1)], 1),
        ([(0, 10, None), (5, 20, None), (6, 20, 2)], 1),
        # Ended and begun within one millisecond: there is an order that obeys the limit.
        ([(0, 5, 1), (5, 5, 1), (5, 9, 1)], 0),
    ],
)
async def test_calls_at_the_same_time_are_counted_at_each_admission(
    till: TillCalls, spans: list[tuple[int, int | None, int | None]], drift: int
) -> None:
    async with till.storage.write() as tx:
        call = await tx.fetch_one(select(calls).where(calls.c.state == "voided", calls.c.flag.is_(None)))
        assert call is not None
        for number, (begun, ended, limit) in enumerate(spans):
            at_ms = call["admitted_at_ms"] + 10**9
            row = {**call, "id": f"call_{number:04d}", "admitted_at_ms": at_ms + begun, "day_ordinal": 1}
            # One more of the account's calls still runs.
            row |= {
                "concurrent_calls": None if limit is None else limit + 1,
                "resolved_at_ms": at_ms + (10**6 if ended is None else ended),
            }
            await tx.execute(insert(calls).values(row))
    report = await audited(till.storage)
    assert report.drift_counts["I9"] == report.drift_count == drift, report.drift


@pytest.mark.parametrize(
    ("after_ms", "tokens", "drift"), [(1, 99, 0), (1, 100, 1), (60_001, 100, 0), (0, 100, 0)]
)
async def test_tokens_of_the_minute_before_are_counted_at_each_admission(
    till: TillCalls, after_ms: int, tokens: int, drift: int
) -> None:
    async with till.storage.write() as tx:
        call = await tx.fetch_one(select(calls).where(calls.c.state == "voided", calls.c.flag.is_(None)))
        assert call is not None
        at_ms = call["admitted_at_ms"] + 10**9
        limited = {**call, "tokens_per_minute": 100, "day_ordinal": 1}
        begun = {"id": "call_0001", "admitted_at_ms": at_ms, "resolved_at_ms": at_ms}
        later = {"id": "call_0002", "admitted_at_ms": at_ms + after_ms, "resolved_at_ms": at_ms + after_ms}
        units = {"state": "settled", "input_units": tokens - 1, "output_units": 1}
        await tx.execute(insert(calls).values(limited | begun | units))
        await tx.execute(insert(calls).values(limited | later))
    report = await audited(till.storage)
    assert report.drift_counts["I9"] == drift, report.drift
