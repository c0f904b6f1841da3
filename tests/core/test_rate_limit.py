"""Rate limit: the minute's window against a plain list of admissions."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tokenopen.core.rate_limit import Day, LimitUse, RateWindow

START_MS = 1_800_000_000_000
# A day that never ends, so that these tests are about the minute alone.
ONE_DAY = Day(ordinal=1, starts_at_ms=0, ends_at_ms=10**15)


def copy_of(window: RateWindow) -> RateWindow:
    """Return the window as storage would give it back."""
    return RateWindow(
        newest_second=window.newest_second,
        slots=window.slots,
        day_ordinal=window.day_ordinal,
        day_count=window.day_count,
    )


class MinuteMachine(RuleBasedStateMachine):
    """Admissions in milliseconds beside the window; every figure is counted anew from the list."""

    def __init__(self) -> None:
        super().__init__()
        self.window = RateWindow()
        self.now_ms = START_MS
        self.limit = 1
        # Each admission with the limit of its own terms (I9).
        self.admissions: list[tuple[int, int]] = []

    def used_at(self, now_ms: int) -> int:
        """Count the admissions that lie in the 61 one-second slots up to an instant's own."""
        return sum(at_ms // 1000 > now_ms // 1000 - 61 for at_ms, _ in self.admissions)

    @initialize(limit=st.integers(1, 5), offset_ms=st.integers(0, 1_999))
    def begin(self, limit: int, offset_ms: int) -> None:
        self.limit = limit
        self.now_ms += offset_ms

    @rule(
        passed_ms=st.one_of(
            st.sampled_from([0, 1, 999, 1_000, 1_001, 58_999, 59_000, 60_000, 60_001, 61_000, 122_000]),
            st.integers(0, 30_000),
        ),
    )
    def wait(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    @rule(limit=st.integers(1, 6))
    def change_the_limit(self, limit: int) -> None:
        self.limit = limit

    @rule(calls=st.integers(1, 4))
    def call(self, calls: int) -> None:
        self.window.advance(self.now_ms, ONE_DAY)
        for _ in range(calls):
            assert self.window.used_minute == self.used_at(self.now_ms)
            if self.window.used_minute >= self.limit:
                self.check_refusal()
                return
            self.window.count()
            self.admissions.append((self.now_ms, self.limit))

    def check_refusal(self) -> None:
        in_61_s = [at_ms for at_ms, _ in self.admissions if at_ms > self.now_ms - 61_000]
        assert len(in_61_s) >= self.limit, "refused although the last 61 s hold fewer"
        retry_after_s = self.window.passes_in_s(self.limit, self.now_ms)
        instants = range(1, 62)
        assert retry_after_s == next(s for s in instants if self.used_at(self.now_ms + 1000 * s) < self.limit)
        for waited_s, passes in ((retry_after_s, True), (retry_after_s - 1, False)):
            then_ms = self.now_ms + 1000 * waited_s
            later = copy_of(self.window)
            later.advance(then_ms, ONE_DAY)
            assert (later.used_minute < self.limit) is passes

    @precondition(lambda self: self.admissions)
    @rule(back_ms=st.one_of(st.integers(0, 5_000), st.integers(0, 10**9)))
    def let_time_run_backwards(self, back_ms: int) -> None:
        self.window.advance(self.now_ms, ONE_DAY)
        before = (self.window.slots, self.window.newest_second, self.window.used_minute)
        self.window.advance(self.now_ms - back_ms, ONE_DAY)
        assert (self.window.slots, self.window.newest_second, self.window.used_minute) == before

    @rule()
    def store_and_read_back(self) -> None:
        used = self.window.used_minute
        stored = self.window.slots
        assert len(stored) == 61 * 4
        self.window = copy_of(self.window)
        assert (self.window.slots, self.window.used_minute) == (stored, used)

    @rule()
    def ask_when_the_minute_is_empty(self) -> None:
        self.window.advance(self.now_ms, ONE_DAY)
        used = [self.used_at(self.now_ms + 1000 * s) for s in range(62)]
        assert self.window.empty_in_s(self.now_ms) == used.index(0)

    @invariant()
    def no_60_s_hold_more_than_the_limit(self) -> None:
        """Half-open and closed, up to each admission: more than any clock's minute could be."""
        instants = [at_ms for at_ms, _ in self.admissions]
        for index, (at_ms, limit) in enumerate(self.admissions):
            until_now = instants[: index + 1]
            assert sum(at_ms - 60_000 < other <= at_ms for other in until_now) <= limit
            assert sum(at_ms - 60_000 <= other <= at_ms for other in until_now) <= limit

    @invariant()
    def every_admission_is_counted_for_the_day(self) -> None:
        assert self.window.day_count == len(self.admissions)


MinuteMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
test_the_minute_agrees_with_a_list_of_admissions = MinuteMachine.TestCase


def window_at(now_ms: int, calls: int = 0) -> RateWindow:
    window = RateWindow()
    window.advance(now_ms, ONE_DAY)
    for _ in range(calls):
        window.count()
    return window


@pytest.mark.parametrize(
    ("admitted_at_ms", "now_ms", "used", "passes_in_s"),
    [
        # Counted at 0.000 s of second 0, free again from second 61 on.
        (0, 0, 1, 61),
        (0, 1, 1, 61),
        (0, 1_000, 1, 60),
        (0, 1_001, 1, 60),
        (0, 60_000, 1, 1),
        (0, 60_999, 1, 1),
        (0, 61_000, 0, None),
        # Counted at its very end, it is free after 60.001 s.
        (999, 60_999, 1, 1),
        (999, 61_000, 0, None),
    ],
)
def test_a_call_counts_for_61_one_second_slots(
    admitted_at_ms: int, now_ms: int, used: int, passes_in_s: int | None
) -> None:
    window = window_at(START_MS + admitted_at_ms, calls=1)
    window.advance(START_MS + now_ms, ONE_DAY)
    assert window.used_minute == used
    if passes_in_s is not None:
        assert window.passes_in_s(1, START_MS + now_ms) == passes_in_s
        assert window.empty_in_s(START_MS + now_ms) == passes_in_s


def test_after_a_limit_was_lowered_as_many_have_to_fall_out_as_are_too_many() -> None:
    window = window_at(START_MS)
    for second in range(10):
        window.advance(START_MS + 1000 * second, ONE_DAY)
        window.count()
    now_ms = START_MS + 9_000
    # Of ten, admitted at seconds 0 to 9, all but limit - 1 must be gone; that of second s is after 61 + s.
    for limit in range(1, 11):
        assert window.passes_in_s(limit, now_ms) == (10 - limit) + 61 - 9


def test_an_hour_without_calls_empties_the_minute_but_not_the_day() -> None:
    window = window_at(START_MS, calls=7)
    window.advance(START_MS + 3_600_000, ONE_DAY)
    assert (window.used_minute, window.day_count) == (0, 7)
    assert window.slots == bytes(244)
    assert window.empty_in_s(START_MS + 3_600_000) == 0


def test_a_new_day_begins_at_zero_and_an_earlier_one_does_not_come_back() -> None:
    window = window_at(START_MS, calls=3)
    tomorrow = Day(ordinal=2, starts_at_ms=START_MS + 1, ends_at_ms=10**15)
    window.advance(START_MS + 1, tomorrow)
    assert (window.day_ordinal, window.day_count, window.used_minute) == (2, 0, 3)
    window.count()
    window.advance(START_MS, ONE_DAY)
    assert (window.day_ordinal, window.day_count) == (2, 1)


def test_a_window_of_the_wrong_size_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        RateWindow(slots=bytes(240))


@pytest.mark.parametrize(
    ("limit", "used", "remaining"), [(5, 0, 5), (5, 4, 1), (5, 5, 0), (5, 9, 0), (0, 0, 0)]
)
def test_what_remains_of_a_limit_is_never_negative(limit: int, used: int, remaining: int) -> None:
    assert LimitUse(limit=limit, used=used, resets_in_s=1).remaining == remaining
