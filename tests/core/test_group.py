"""Group: patterns against an independent matcher, the most specific one, revisions and bounds."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import permutations
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.group import (
    LIMIT_MAX,
    LIMIT_NAMES,
    SLUG,
    Group,
    GroupPolicy,
    GroupRevision,
    InvalidGroup,
    Limits,
    matches,
    matches_any,
    most_specific,
)

UNLIMITED = Limits(requests_per_minute=None, requests_per_day=None)
PATTERNS = st.text("ab*.-", min_size=1, max_size=6)
NAMES = st.text("ab.-", max_size=6)


def fits(pattern: str, name: str) -> bool:
    """The tests' own matcher: fnmatch, with all but the star made literal."""
    return fnmatchcase(
        name, "".join("[[]" if char == "[" else "[?]" if char == "?" else char for char in pattern)
    )


@given(PATTERNS, NAMES)
def test_a_star_stands_for_any_run_of_characters_and_nothing_else_is_special(pattern: str, name: str) -> None:
    assert matches(pattern, name) == fits(pattern, name)


@given(st.text("a*?[]!.+^$\\()|\n", max_size=5), st.text("a?[]!.+^$\\()|\n", max_size=5))
def test_no_character_but_the_star_is_special(pattern: str, name: str) -> None:
    assert matches(pattern, name) == fits(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("gpt-4o", ["gpt-4o"], ["gpt-4o-mini", "GPT-4o", "xgpt-4o", ""]),
        ("gpt-4o*", ["gpt-4o", "gpt-4o-mini"], ["gpt-4", "my-gpt-4o"]),
        ("*", ["gpt-4o", "a/b:c", ""], []),
        ("*-mini", ["gpt-4o-mini", "-mini"], ["mini", "gpt-4o-mini-2024"]),
        ("claude-*-4*", ["claude-opus-4", "claude-sonnet-4-5"], ["claude-4", "claude-3-5"]),
        ("o1.5", ["o1.5"], ["o1x5"]),
    ],
)
def test_patterns_by_hand(pattern: str, fitting: list[str], other: list[str]) -> None:
    assert all(matches(pattern, name) for name in fitting)
    assert not any(matches(pattern, name) for name in other)


@contextmanager
def cpu_seconds_at_most(seconds: float) -> Iterator[None]:
    """End what never ends: by the process's own time, so that a busy machine fails nothing."""

    def give_up(signal_number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds} s of CPU")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("pattern", ["*" * 30 + "x", "*a" * 30 + "*x"])
def test_a_pattern_of_many_stars_is_answered_at_once(pattern: str) -> None:
    with cpu_seconds_at_most(1):
        assert not matches(pattern, "a" * 60)


@given(st.lists(PATTERNS, max_size=4), NAMES)
def test_a_name_fits_any_of_the_patterns(patterns: list[str], name: str) -> None:
    assert matches_any(patterns, name) == any(fits(pattern, name) for pattern in patterns)


# Of few characters, so that several fit and some of those are equally specific.
TIES = st.lists(st.text("a*", min_size=1, max_size=4), unique=True, max_size=4)


@given(TIES | st.lists(PATTERNS, unique=True, max_size=4), st.text("a", max_size=4) | NAMES)
def test_the_most_specific_pattern_does_not_depend_on_order(patterns: list[str], name: str) -> None:
    assert len({most_specific(order, name) for order in permutations(patterns)}) == 1


@given(st.lists(PATTERNS, max_size=6), NAMES)
def test_the_most_specific_pattern_is_the_name_itself_or_has_the_most_literal_characters(
    patterns: list[str], name: str
) -> None:
    fitting = [pattern for pattern in patterns if fits(pattern, name)]
    found = most_specific(patterns, name)
    if not fitting:
        assert found is None
    elif name in fitting:
        assert found == name
    else:
        assert found in fitting
        assert len(found.replace("*", "")) == max(len(pattern.replace("*", "")) for pattern in fitting)


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], None),
        (["gpt-4*"], None),
        (["*", "gpt-5*"], "gpt-5*"),
        (["gpt-5*", "gpt-5-mini*", "*"], "gpt-5-mini*"),
        (["gpt-5-mini", "gpt-5-mini*"], "gpt-5-mini"),
        (["*gpt-5-mini*", "gpt-5*"], "*gpt-5-mini*"),
    ],
)
def test_the_most_specific_pattern_of_gpt_5_mini(patterns: list[str], found: str | None) -> None:
    assert most_specific(patterns, "gpt-5-mini") == found


def policy_of(
    *allowed: str, multiplier_ppm: int = 1_000_000, default_max_output_tokens: int = 16_384
) -> GroupPolicy:
    return GroupPolicy(
        allowed_models=allowed,
        multiplier_ppm=multiplier_ppm,
        model_multipliers={},
        limits=UNLIMITED,
        default_max_output_tokens=default_max_output_tokens,
    )


def test_a_group_without_allowed_models_allows_none() -> None:
    assert not policy_of().allows("gpt-4o")
    assert not policy_of("gpt-4o").allows("gpt-4o-mini")
    assert policy_of("claude-*", "gpt-4o*").allows("gpt-4o-mini")


@pytest.mark.parametrize("pattern", ["", " ", "a b", "a\n", "-a", "a?", "[a]", "é", "a" * 201, "a,b"])
def test_what_is_no_model_name_or_pattern_is_refused_and_named(pattern: str) -> None:
    with pytest.raises(InvalidGroup, match=re.escape(repr(pattern))):
        policy_of("gpt-4o", pattern)
    with pytest.raises(InvalidGroup):
        GroupPolicy(allowed_models=(), multiplier_ppm=1, model_multipliers={pattern: 1}, limits=UNLIMITED)


@pytest.mark.parametrize("pattern", ["*", "gpt-4o*", "meta/llama-3.1:70b@x_y+z", "a" * 200, "*-mini", "4"])
def test_model_names_and_patterns_as_makers_write_them_are_taken(pattern: str) -> None:
    assert policy_of(pattern).allows(pattern)


@pytest.mark.parametrize("tokens", [0, -1])
def test_a_default_output_maximum_is_at_least_one(tokens: int) -> None:
    with pytest.raises(InvalidGroup, match="default_max_output_tokens"):
        policy_of(default_max_output_tokens=tokens)


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_a_limit_is_a_count_within_bounds_or_none(name: str) -> None:
    fields: dict[str, int | None] = {"requests_per_minute": None, "requests_per_day": None}
    for possible in (None, 0, 1, LIMIT_MAX):
        assert getattr(Limits(**fields | {name: possible}), name) == possible
    for impossible in (-1, LIMIT_MAX + 1):
        with pytest.raises(InvalidGroup, match=name):
            Limits(**fields | {name: impossible})


@pytest.mark.parametrize("slug", ["vip", "a", "0", "team-2", "a" * 64])
def test_slugs_that_are_taken(slug: str) -> None:
    assert SLUG.fullmatch(slug)


@pytest.mark.parametrize("slug", ["", "VIP", "-a", "a-", "a_b", "a b", "a\n", "é", "a" * 65])
def test_slugs_that_are_not(slug: str) -> None:
    assert not SLUG.fullmatch(slug)


def revision_of(number: int, effective_from_ms: int) -> GroupRevision:
    return GroupRevision(
        id=f"grv_{number}",
        group_id="grp_1",
        number=number,
        effective_from_ms=effective_from_ms,
        policy=policy_of("*", multiplier_ppm=number),
    )


def test_the_revision_in_force_is_the_last_that_has_begun_to_the_millisecond() -> None:
    group = Group(
        id="grp_1",
        slug="vip",
        name="VIP",
        suitable_for="",
        visibility="public",
        custom_terms=False,
        state="active",
        revisions=[revision_of(1, 100), revision_of(2, 200), revision_of(3, 200), revision_of(4, 300)],
    )
    instants = [100, 199, 200, 299, 300, 10**15]
    assert [group.revision_at(now_ms).number for now_ms in instants] == [1, 1, 3, 3, 4, 4]
    assert [group.next_change_ms(now_ms) for now_ms in instants] == [200, 200, 300, 300, None, None]
    with pytest.raises(AssertionError):
        group.revision_at(99)
