"""Any change of a group before any scheduled ones: each still changes what it was written to change."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.group import GroupPolicy, Limits
from tokenopen.core.group_history import (
    GroupContent,
    GroupDescription,
    GroupRecord,
    RevisionRecord,
    apply_changes,
    carry_forward,
    content_fields,
)

CONTENT = GroupContent(
    description=GroupDescription(
        slug="vip", name="VIP", suitable_for="", visibility="entitled", custom_terms=False, state="active"
    ),
    policy=GroupPolicy(
        allowed_models=["gpt-4o*"],
        multiplier_ppm=800_000,
        model_multipliers={"gpt-4o": 900_000},
        limits=Limits(requests_per_minute=60, requests_per_day=None),
    ),
)

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "slug": st.sampled_from(["vip", "gold"]),
        "multiplier_ppm": st.integers(0, 3),
        "requests_per_minute": st.one_of(st.none(), st.integers(0, 3)),
        "allowed_models": st.sampled_from([["a"], ["b"]]),
        "model_multipliers": st.sampled_from([{}, {"a": 1}]),
    },
)


@given(CHANGES)
def test_a_change_changes_what_it_names_and_nothing_else(changes: dict[str, Any]) -> None:
    assert content_fields(apply_changes(CONTENT, changes)) == content_fields(CONTENT) | changes


@given(CHANGES)
def test_every_field_of_a_revision_can_be_changed_under_its_name(changes: dict[str, Any]) -> None:
    content = apply_changes(CONTENT, changes)
    assert apply_changes(CONTENT, content_fields(content)) == content


@given(CHANGES, st.lists(CHANGES, max_size=4))
def test_a_scheduled_revision_still_changes_what_it_was_written_to_change(
    change: dict[str, Any], scheduled_changes: list[dict[str, Any]]
) -> None:
    """As if the change had come first and the scheduled ones had been written after it."""
    scheduled = []
    content = CONTENT
    for scheduled_change in scheduled_changes:
        content = apply_changes(content, scheduled_change)
        scheduled.append(content)
    before = [CONTENT, *scheduled]
    after = [apply_changes(CONTENT, change), *carry_forward(change, CONTENT, scheduled)]
    for earlier, later, new_earlier, new_later in zip(before, before[1:], after, after[1:], strict=False):
        fields = zip(
            content_fields(earlier).items(),
            content_fields(later).values(),
            content_fields(new_earlier).values(),
            content_fields(new_later).values(),
            strict=True,
        )
        for (name, was), became, now_is, becomes in fields:
            if was != became:
                assert becomes == became, f"{name} was scheduled"
            elif name in change:
                assert becomes == now_is, f"{name} follows the change"
            else:
                assert becomes == was, f"{name} was not touched"


def test_a_record_is_the_group_that_calls_see() -> None:
    def revision(number: int, effective_from_ms: int) -> RevisionRecord:
        policy = replace(CONTENT.policy, multiplier_ppm=number)
        return RevisionRecord(
            id=f"grv_{number}",
            number=number,
            effective_from_ms=effective_from_ms,
            content=replace(CONTENT, policy=policy),
            actor_id="usr_1",
            actor_email=None,
            reason=None,
            created_at_ms=0,
        )

    record = GroupRecord(
        id="grp_1",
        description=CONTENT.description,
        in_force=revision(1, 10),
        coming=[revision(2, 20)],
        key_count=0,
        entitlement_count=0,
        created_at_ms=0,
    )
    assert record.group.slug == "vip"
    assert record.group.revision_at(19).policy == record.policy
    assert record.group.revision_at(20).policy.multiplier_ppm == 2
    assert record.content.policy.multiplier_ppm == 1
