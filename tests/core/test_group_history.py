"""Group history: a change made before a scheduled revision is carried into it, and undoes nothing there."""

from dataclasses import replace
from typing import Any

import pytest

from tokenopen.core.group import GroupPolicy, InvalidGroup, Limits
from tokenopen.core.group_history import (
    GroupContent,
    GroupDescription,
    apply_changes,
    carry_forward,
    content_fields,
    describe_content,
)

VIP = GroupContent(
    description=GroupDescription(
        slug="vip",
        name="VIP",
        suitable_for="High-frequency users",
        visibility="entitled",
        custom_terms=False,
        state="active",
    ),
    policy=GroupPolicy(
        allowed_models=("gpt-4o*",),
        multiplier_ppm=800_000,
        model_multipliers={"gpt-5*": 900_000},
        limits=Limits(requests_per_minute=600, requests_per_day=20_000),
    ),
)
# A value for every field that differs from VIP's.
OTHER: dict[str, Any] = {
    "slug": "very-important",
    "name": "Very important",
    "suitable_for": "",
    "visibility": "public",
    "custom_terms": True,
    "state": "archived",
    "allowed_models": ["o1"],
    "multiplier_ppm": 700_000,
    "model_multipliers": {},
    "requests_per_minute": None,
    "requests_per_day": 0,
    "tokens_per_minute": 5,
    "concurrent_calls": 6,
    "default_max_output_tokens": 7,
    "interruption_rule": "delivered_only",
    "read_on_seconds": 60,
}


def vip(**changes: Any) -> GroupContent:
    return apply_changes(VIP, changes)


def test_every_field_of_a_revision_has_a_name_that_a_change_goes_by() -> None:
    assert set(content_fields(VIP)) == set(OTHER)


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_change_of_one_field_changes_that_one(name: str) -> None:
    before, after = content_fields(VIP), content_fields(vip(**{name: OTHER[name]}))
    assert after == before | {name: OTHER[name]}
    assert before[name] != after[name]


def test_a_change_to_what_no_group_may_say_is_refused() -> None:
    with pytest.raises(InvalidGroup):
        vip(requests_per_minute=-1)
    with pytest.raises(InvalidGroup):
        vip(allowed_models=["a b"])


def test_a_change_is_carried_into_the_revisions_to_come_except_what_they_change_themselves() -> None:
    # Scheduled: first another multiplier, then more requests a day besides.
    first = vip(multiplier_ppm=750_000)
    second = vip(multiplier_ppm=750_000, requests_per_day=50_000)
    changes = {"name": "Gold", "multiplier_ppm": 850_000, "requests_per_day": 30_000}
    carried = carry_forward(changes, VIP, [first, second])
    assert list(carried) == [
        vip(name="Gold", multiplier_ppm=750_000, requests_per_day=30_000),
        vip(name="Gold", multiplier_ppm=750_000, requests_per_day=50_000),
    ]


def test_what_a_scheduled_revision_has_taken_over_later_ones_keep() -> None:
    first, second = vip(multiplier_ppm=750_000), vip(multiplier_ppm=800_000)
    assert list(carry_forward({"multiplier_ppm": 600_000}, VIP, [first, second])) == [first, second]


def test_nothing_is_carried_where_nothing_is_scheduled() -> None:
    assert not carry_forward({"name": "Gold"}, VIP, [])


def test_people_read_multipliers_as_decimals() -> None:
    described = describe_content(replace(VIP))
    assert described["multiplier"] == "0.8"
    assert described["model_multipliers"] == {"gpt-5*": "0.9"}
    assert not [name for name in described if "ppm" in name]
