"""The limits trial's judge: it finds nothing in sound records, and each kind of fault in unsound ones."""

from collections.abc import Sequence
from typing import Any

import pytest
from trials.caller import Seen, Wish
from trials.limits import judge, most_in_window

NOON_MS = 1_767_268_800_000
WISH = Wish(
    key="2",
    model="small",
    words=1,
    max_tokens=1,
    stream=False,
    include_usage=False,
    simulate={},
    leave_after_s=None,
)


def admitted(*seconds: float) -> list[dict[str, Any]]:
    return [
        {"admitted_at_ms": NOON_MS + int(second * 1000), "worker_id": f"wrk_{second}"} for second in seconds
    ]


def answered(second: float, status: int = 200, code: str | None = None) -> Seen:
    at_ms = NOON_MS + int(second * 1000)
    return Seen(wish=WISH, began_ms=at_ms - 10, ended_ms=at_ms + 10, status=status, code=code, whole=True)


def refused(count: int) -> list[Seen]:
    return [answered(1, 429, "rpm_exceeded") for _ in range(count)]


def test_as_many_as_the_limit_in_each_minute_are_no_violation() -> None:
    outcome = judge(2, admitted(0, 1, 60.1, 61.1), [*map(answered, (0, 1, 60.1, 61.1)), *refused(8)])
    assert outcome.violations == []
    assert (outcome.most_in_60_s, outcome.in_first_60_s, outcome.refused) == (2, 2, 8)


@pytest.mark.parametrize(
    ("calls", "seen", "says"),
    [
        (admitted(0, 1, 60), [*map(answered, (0, 1, 60)), *refused(9)], "RPM 2: 3 calls in 60 s"),
        # The database says otherwise than what callers saw.
        (admitted(0, 1, 61), [*map(answered, (0, 1, 40)), *refused(9)], "callers saw 3 calls within 60 s"),
        (admitted(0), [answered(0), *refused(9)], "1 calls admitted in the first 60 s"),
        (admitted(0, 1), [*map(answered, (0, 1)), *refused(7)], "only 9 calls were offered"),
        (admitted(0, 1), [*map(answered, (0, 1)), *refused(7), answered(2, 502, "x")], "(502, 'x'): 1"),
        (admitted(0, 1), [*map(answered, (0, 1, 61)), *refused(7)], "2 calls admitted, 3 were answered"),
    ],
)
def test_each_fault_is_found(calls: list[dict[str, Any]], seen: Sequence[Seen], says: str) -> None:
    violations = judge(2, calls, seen).violations
    assert any(says in violation for violation in violations), violations


def test_a_busy_machine_is_no_violation_where_nobody_was_let_in_beyond_the_limit() -> None:
    late = answered(2, 503, "storage_unavailable")
    outcome = judge(2, admitted(0, 1), [answered(0), late, *refused(8)])
    assert (outcome.violations, outcome.unavailable) == ([], 1)


def test_a_window_of_sixty_seconds_holds_both_its_ends() -> None:
    assert most_in_window([]) == 0
    assert most_in_window([0, 60_000, 60_001]) == 2
    assert most_in_window([0, 30_000, 60_000, 120_001]) == 3
