"""Waits grow, end, and never lock anybody out for good."""

from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.throttle import NO_ATTEMPTS, SIGN_IN_OF_USER, Attempts, Throttle

NOW_MS = 1_780_315_200_000
THROTTLE = Throttle(free=3, first_wait_ms=1_000, longest_wait_ms=60_000, forgotten_after_ms=3_600_000)


def tried(times: int, *, at_ms: int = NOW_MS) -> Attempts:
    attempts = NO_ATTEMPTS
    for _ in range(times):
        attempts = THROTTLE.after_one_more(attempts, at_ms)
    return attempts


def test_the_first_attempts_are_free_and_then_each_doubles_the_wait() -> None:
    waits_ms = [THROTTLE.wait_ms(tried(times), NOW_MS) for times in range(10)]
    assert waits_ms == [0, 0, 0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]


def test_after_the_wait_one_more_may_be_made() -> None:
    assert THROTTLE.wait_ms(tried(5), NOW_MS + 3_999) == 1
    assert THROTTLE.wait_ms(tried(5), NOW_MS + 4_000) == 0


def test_after_a_while_everything_is_forgotten() -> None:
    later_ms = NOW_MS + THROTTLE.forgotten_after_ms
    assert THROTTLE.after_one_more(tried(50), later_ms).count == 1
    assert THROTTLE.after_one_more(tried(50), later_ms - 1).count == 51


@given(times=st.integers(0, 10_000), passed_ms=st.integers(-(10**9), 10**9))
def test_nobody_ever_waits_longer_than_the_longest_wait(times: int, passed_ms: int) -> None:
    attempts = Attempts(count=times, newest_ms=NOW_MS)
    assert 0 <= THROTTLE.wait_ms(attempts, NOW_MS + passed_ms) <= THROTTLE.longest_wait_ms
    assert THROTTLE.wait_ms(attempts, NOW_MS + THROTTLE.longest_wait_ms) == 0


def test_a_year_of_guessing_one_password_is_no_more_than_forty_thousand_guesses() -> None:
    attempts, now_ms, guesses = NO_ATTEMPTS, NOW_MS, 0
    while now_ms < NOW_MS + 365 * 24 * 3_600_000:
        attempts = SIGN_IN_OF_USER.after_one_more(attempts, now_ms)
        guesses += 1
        now_ms += SIGN_IN_OF_USER.wait_ms(attempts, now_ms)
    assert guesses < 40_000
