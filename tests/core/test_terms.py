"""Terms: which multiplier wins, which limits bind, and what people are shown."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.group import LIMIT_NAMES, GroupPolicy, GroupRevision, InvalidGroup, Limits
from tokenopen.core.terms import Entitlement, allows, display_multiplier, limits_for, resolve_terms

LIMITS = Limits(requests_per_minute=600, requests_per_day=20_000, tokens_per_minute=None, concurrent_calls=8)


def policy_of(
    multiplier_ppm: int = 1_000_000,
    model_multipliers: Mapping[str, int] | None = None,
    allowed_models: tuple[str, ...] = ("gpt-4o*",),
) -> GroupPolicy:
    return GroupPolicy(
        allowed_models=allowed_models,
        multiplier_ppm=multiplier_ppm,
        model_multipliers=model_multipliers or {},
        limits=LIMITS,
    )


def entitlement_of(**own: Any) -> Entitlement:
    return Entitlement(id="etl_1", account_id="acc_1", group_id="grp_1", **own)


def terms_of(policy: GroupPolicy, entitlement: Entitlement | None, model: str) -> tuple[int, str]:
    revision = GroupRevision(id="grv_7", group_id="grp_1", number=7, effective_from_ms=0, policy=policy)
    terms = resolve_terms(revision, entitlement, model)
    assert terms.group_revision_id == "grv_7"
    assert terms.entitlement_id == (None if entitlement is None else "etl_1")
    return terms.multiplier_ppm, terms.multiplier_rule


# What is there: the entitlement's pattern for the model, the entitlement's multiplier, the group's
# pattern for the model, a group's multiplier other than 1.0 -> what wins.
PRECEDENCE = {
    (1, 1, 1, 1): (700_000, "entitlement model gpt-5*"),
    (1, 1, 1, 0): (700_000, "entitlement model gpt-5*"),
    (1, 1, 0, 1): (700_000, "entitlement model gpt-5*"),
    (1, 1, 0, 0): (700_000, "entitlement model gpt-5*"),
    (1, 0, 1, 1): (700_000, "entitlement model gpt-5*"),
    (1, 0, 1, 0): (700_000, "entitlement model gpt-5*"),
    (1, 0, 0, 1): (700_000, "entitlement model gpt-5*"),
    (1, 0, 0, 0): (700_000, "entitlement model gpt-5*"),
    (0, 1, 1, 1): (750_000, "entitlement"),
    (0, 1, 1, 0): (750_000, "entitlement"),
    (0, 1, 0, 1): (750_000, "entitlement"),
    (0, 1, 0, 0): (750_000, "entitlement"),
    (0, 0, 1, 1): (900_000, "group model gpt-5-*"),
    (0, 0, 1, 0): (900_000, "group model gpt-5-*"),
    (0, 0, 0, 1): (800_000, "group"),
    (0, 0, 0, 0): (1_000_000, "group"),
}


@pytest.mark.parametrize("there", list(product([0, 1], repeat=4)))
def test_the_precedence_of_multipliers(there: tuple[int, int, int, int]) -> None:
    """Others' patterns stand beside each, and are never taken."""
    by_entitlement_pattern, by_entitlement, by_group_pattern, by_group = there
    policy = policy_of(
        multiplier_ppm=800_000 if by_group else 1_000_000,
        model_multipliers={"o1*": 10_000} | ({"gpt-5-*": 900_000} if by_group_pattern else {}),
    )
    entitlement = entitlement_of(
        multiplier_ppm=750_000 if by_entitlement else None,
        model_multipliers={"o3*": 20_000} | ({"gpt-5*": 700_000} if by_entitlement_pattern else {}),
    )
    assert terms_of(policy, entitlement, "gpt-5-mini") == PRECEDENCE[there]
    if not (by_entitlement_pattern or by_entitlement):
        assert terms_of(policy, None, "gpt-5-mini") == PRECEDENCE[there]


def test_within_a_rule_the_most_specific_pattern_wins() -> None:
    policy = policy_of(800_000, {"gpt-5*": 900_000, "gpt-5-mini": 850_000, "*": 990_000})
    assert terms_of(policy, None, "gpt-5-mini") == (850_000, "group model gpt-5-mini")
    assert terms_of(policy, None, "gpt-5") == (900_000, "group model gpt-5*")
    assert terms_of(policy, None, "o1") == (990_000, "group model *")


def test_a_multiplier_of_zero_is_a_multiplier_and_not_an_absent_one() -> None:
    assert terms_of(policy_of(800_000), entitlement_of(multiplier_ppm=0), "m") == (0, "entitlement")
    free = entitlement_of(multiplier_ppm=500_000, model_multipliers={"m": 0})
    assert terms_of(policy_of(800_000), free, "m") == (0, "entitlement model m")


@pytest.mark.parametrize("name", LIMIT_NAMES)
def test_a_limit_that_is_absent_inherits_and_one_that_is_null_is_unlimited(name: str) -> None:
    others = {other: getattr(LIMITS, other) for other in LIMIT_NAMES if other != name}
    for own, expected in (({}, getattr(LIMITS, name)), ({name: None}, None), ({name: 0}, 0), ({name: 7}, 7)):
        found = limits_for(policy_of(), entitlement_of(own_limits=own))
        assert {other: getattr(found, other) for other in LIMIT_NAMES} == {**others, name: expected}
    assert limits_for(policy_of(), None) == LIMITS


def test_a_limit_that_does_not_exist_is_refused_and_named() -> None:
    with pytest.raises(InvalidGroup, match="rpm"):
        entitlement_of(own_limits={"rpm": 1})


@pytest.mark.parametrize("limit", [-1, 10**9 + 1])
def test_an_own_limit_beyond_the_bounds_makes_no_limits(limit: int) -> None:
    with pytest.raises(InvalidGroup, match="requests_per_minute"):
        limits_for(policy_of(), entitlement_of(own_limits={"requests_per_minute": limit}))


def test_a_pattern_of_an_entitlement_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidGroup):
        entitlement_of(extra_models=("a b",))
    with pytest.raises(InvalidGroup):
        entitlement_of(model_multipliers={"": 1})


def test_an_entitlement_may_add_models_and_takes_none_away() -> None:
    policy, extra = policy_of(), entitlement_of(extra_models=("o1*",))
    assert allows(policy, None, "gpt-4o-mini")
    assert allows(policy, extra, "gpt-4o-mini")
    assert allows(policy, extra, "o1-mini")
    assert not allows(policy, None, "o1-mini")
    assert not allows(policy, extra, "gpt-5")
    assert not allows(policy, entitlement_of(), "o1-mini")


def test_an_entitlement_is_in_force_until_the_millisecond_of_its_end() -> None:
    ending = entitlement_of(expires_at_ms=1_000)
    assert [ending.in_force(now_ms) for now_ms in (0, 999, 1_000, 1_001)] == [True, True, False, False]
    assert entitlement_of().in_force(10**15)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, False),
        ({"expires_at_ms": 5}, False),
        ({"multiplier_ppm": 0}, True),
        ({"model_multipliers": {"m": 1}}, True),
        ({"own_limits": {"requests_per_day": None}}, True),
        ({"extra_models": ("m",)}, True),
    ],
)
def test_which_entitlements_have_own_terms(own: dict[str, Any], expected: bool) -> None:
    assert entitlement_of(**own).has_own_terms is expected


@pytest.mark.parametrize(
    ("policy", "entitlement", "custom", "shown"),
    [
        (policy_of(1_000_000), None, False, "1.0x"),
        (policy_of(800_000), None, False, "0.8x"),
        (policy_of(850_000), None, False, "0.85x"),
        (policy_of(800_000, {"gpt-5*": 900_000}), None, False, "From 0.8x"),
        (policy_of(1_000_000, {"a*": 900_000, "b*": 700_000}), None, False, "From 0.7x"),
        (policy_of(800_000, {"gpt-5*": 800_000}), None, False, "0.8x"),
        (policy_of(1_000_000), None, True, "Custom"),
        # an account that has terms of its own sees them
        (policy_of(1_000_000), entitlement_of(multiplier_ppm=600_000), True, "0.6x"),
        (policy_of(1_000_000), entitlement_of(multiplier_ppm=600_000), False, "0.6x"),
        # the entitlement's multiplier goes before the group's patterns, so those never apply
        (policy_of(1_000_000, {"a*": 100_000}), entitlement_of(multiplier_ppm=600_000), False, "0.6x"),
        (
            policy_of(800_000),
            entitlement_of(multiplier_ppm=600_000, model_multipliers={"a*": 500_000}),
            False,
            "From 0.5x",
        ),
        (policy_of(800_000), entitlement_of(model_multipliers={"a*": 900_000}), False, "From 0.8x"),
        # limits and models of its own say nothing about the multiplier
        (policy_of(800_000), entitlement_of(own_limits={"requests_per_day": 5}), False, "0.8x"),
        (policy_of(800_000), entitlement_of(extra_models=("o1",)), True, "Custom"),
    ],
)
def test_the_multiplier_as_people_see_it(
    policy: GroupPolicy, entitlement: Entitlement | None, custom: bool, shown: str
) -> None:
    policy = replace(policy, allowed_models=("*",))
    assert display_multiplier(policy, entitlement, custom=custom) == shown


@pytest.mark.parametrize(
    ("multipliers", "allowed", "shown"),
    [
        # of a model that the group does not have
        ({"gpt-5*": 100_000}, ("gpt-4o*", "o1"), "1.0x"),
        ({"gpt-5-mini": 100_000}, ("gpt-4o*", "*-nano"), "1.0x"),
        ({"*-mini": 100_000}, ("gpt-4o*", "o1"), "From 0.1x"),
        ({"gpt-*-mini": 100_000}, ("gpt-4o", "claude-*"), "1.0x"),
        # the group's own multiplier, where a pattern takes all that it has
        ({"gpt-*": 900_000}, ("gpt-4o*", "gpt-5"), "0.9x"),
        ({"gpt-*": 900_000}, ("gpt-4o*", "o1"), "From 0.9x"),
        # a pattern beside a more specific one that takes all that it would
        ({"gpt-4o*": 100_000, "gpt-4o-mini": 500_000}, ("gpt-4o-mini",), "0.5x"),
        ({"gpt-4o*": 100_000, "gpt-4o-mini": 500_000}, ("gpt-4o-*",), "From 0.1x"),
        ({"gpt-4o": 100_000}, (), "1.0x"),
    ],
)
def test_a_multiplier_of_models_that_the_group_lacks_is_not_shown(
    multipliers: Mapping[str, int], allowed: tuple[str, ...], shown: str
) -> None:
    assert display_multiplier(policy_of(1_000_000, multipliers, allowed)) == shown


def test_what_a_model_of_an_entitlement_comes_under_is_shown() -> None:
    policy = policy_of(1_000_000, {"o*": 500_000}, ("gpt-4o",))
    assert display_multiplier(policy, entitlement_of(extra_models=("o1",))) == "From 0.5x"


@given(
    st.dictionaries(st.text("ab*", min_size=1, max_size=4), st.integers(1, 9), max_size=4),
    st.lists(st.text("ab*", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_no_model_comes_under_less_than_is_shown(multipliers: dict[str, int], allowed: list[str]) -> None:
    """Every name of up to five letters is tried; of those that are charged alike, that is what is shown."""
    policy = policy_of(
        10 * 10_000, {pattern: ppm * 10_000 for pattern, ppm in multipliers.items()}, tuple(allowed)
    )
    names = ("".join(letters) for size in range(1, 6) for letters in product("abc", repeat=size))
    charged = {terms_of(policy, None, name)[0] for name in names if policy.allows(name)}
    shown = display_multiplier(policy)
    lowest = int(Decimal(shown.removeprefix("From ").removesuffix("x")) * 1_000_000)
    assert all(lowest <= ppm for ppm in charged)
    if shown.startswith("From") or not charged:
        return
    assert charged == {lowest}


def test_a_multiplier_that_no_call_can_come_under_is_not_shown() -> None:
    policy = policy_of(1_000_000, {"gpt-5*": 500_000}, ("*",))
    entitlement = entitlement_of(model_multipliers={"gpt-5*": 900_000})
    assert terms_of(policy, entitlement, "gpt-5") == (900_000, "entitlement model gpt-5*")
    assert display_multiplier(policy, entitlement) == "From 0.9x"
