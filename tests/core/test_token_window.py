"""Tokens a minute: the window against a plain list of what was added, and the waits that it foretells."""

from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.rate_limit import SLOTS, LimitUse
from tokenopen.core.token_window import TokenWindow

NOW_MS = 1_800_000_000_000
ADDED = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 50)), max_size=30)


def filled(added: list[tuple[int, int]]) -> tuple[TokenWindow, list[tuple[int, int]], int]:
    """Return a window, what was added to it when, and the time."""
    window, now_ms, history = TokenWindow(), NOW_MS, []
    for passed_ms, tokens in added:
        now_ms += passed_ms
        window.add(tokens, now_ms)
        history.append((now_ms, tokens))
        window = TokenWindow(window.counts)
    return window, history, now_ms


@given(ADDED, st.integers(0, 100_000))
def test_used_is_what_the_last_61_seconds_hold(added: list[tuple[int, int]], passed_ms: int) -> None:
    window, history, now_ms = filled(added)
    now_ms += passed_ms
    expected = sum(tokens for at_ms, tokens in history if at_ms // 1000 > now_ms // 1000 - SLOTS)
    assert window.used(now_ms) == expected


@given(ADDED, st.integers(0, 300))
def test_a_call_passes_exactly_when_it_was_told(added: list[tuple[int, int]], limit: int) -> None:
    window, _, now_ms = filled(added)
    wait_s = window.passes_in_s(limit, now_ms)
    assert (wait_s == 0) == (window.used(now_ms) < limit)
    if limit and wait_s:
        assert window.used(now_ms + wait_s * 1000) < limit
        # A second earlier, as far as whole seconds go, it does not.
        assert window.used((now_ms // 1000 + wait_s - 1) * 1000) >= limit


@given(ADDED)
def test_the_window_is_empty_again_when_its_use_says(added: list[tuple[int, int]]) -> None:
    window, _, now_ms = filled(added)
    use = window.use(100, now_ms)
    assert (use.limit, use.used) == (100, window.used(now_ms))
    assert window.used(now_ms + use.resets_in_s * 1000) == 0


@given(ADDED)
def test_what_is_stored_stays_small(added: list[tuple[int, int]]) -> None:
    assert len(filled(added)[0].counts) <= SLOTS


def test_a_limit_of_zero_never_passes() -> None:
    assert TokenWindow().passes_in_s(0, NOW_MS) == SLOTS
    assert TokenWindow().use(0, NOW_MS) == LimitUse(limit=0, used=0, resets_in_s=0)
