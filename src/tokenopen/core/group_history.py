"""A group as its administrators see it: the revisions with who wrote each, when and why, and how one
change leads to the next.

A revision says the whole of a group: its description, which always binds at once, and its policy, which
may be scheduled. A change made before a scheduled revision is carried into it, except for what that
revision changes itself: it was written to change that, and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypedDict

from tokenopen.core.group import (
    LIMIT_NAMES,
    Group,
    GroupPolicy,
    GroupRevision,
    GroupState,
    InterruptionRule,
    Visibility,
)
from tokenopen.core.money import format_multiplier


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDescription:
    """What a group is called and to whom it is open."""

    slug: str
    name: str
    suitable_for: str
    visibility: Visibility
    custom_terms: bool
    state: GroupState


DESCRIPTION_FIELDS: Final = tuple(field.name for field in fields(GroupDescription))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupContent:
    """All that one revision says."""

    description: GroupDescription
    policy: GroupPolicy


class GroupChanges(TypedDict, total=False):
    """The fields that a change of a group may name. None is unlimited, for limits."""

    slug: str
    name: str
    suitable_for: str
    visibility: Visibility
    custom_terms: bool
    state: GroupState
    allowed_models: Sequence[str]
    multiplier_ppm: int
    model_multipliers: Mapping[str, int]
    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None
    default_max_output_tokens: int
    interruption_rule: InterruptionRule
    read_on_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRecord:
    """A revision with who wrote it, when and why."""

    id: str
    number: int
    effective_from_ms: int
    content: GroupContent
    actor_id: str
    actor_email: str | None
    reason: str | None
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A group with the revision in force and those to come. Counts are of what is not revoked or ended."""

    id: str
    description: GroupDescription
    in_force: RevisionRecord
    coming: Sequence[RevisionRecord]
    key_count: int
    entitlement_count: int
    created_at_ms: int

    @property
    def policy(self) -> GroupPolicy:
        """What binds calls now."""
        return self.in_force.content.policy

    @property
    def content(self) -> GroupContent:
        """All that the group says now."""
        return GroupContent(description=self.description, policy=self.policy)

    @property
    def version(self) -> str:
        """What a change of the group, or a scheduled revision that begins, makes another."""
        return ".".join(str(record.number) for record in (self.in_force, *self.coming))

    @property
    def group(self) -> Group:
        """The group as calls see it."""
        return Group(
            id=self.id,
            **{name: getattr(self.description, name) for name in DESCRIPTION_FIELDS},
            revisions=[
                GroupRevision(
                    id=record.id,
                    group_id=self.id,
                    number=record.number,
                    effective_from_ms=record.effective_from_ms,
                    policy=record.content.policy,
                )
                for record in (self.in_force, *self.coming)
            ],
        )


def content_fields(content: GroupContent) -> dict[str, Any]:
    """Return every field of a revision under the name that a change of it goes by."""
    policy = content.policy
    return {
        **{name: getattr(content.description, name) for name in DESCRIPTION_FIELDS},
        "allowed_models": list(policy.allowed_models),
        "multiplier_ppm": policy.multiplier_ppm,
        "model_multipliers": dict(policy.model_multipliers),
        **{name: getattr(policy.limits, name) for name in LIMIT_NAMES},
        "default_max_output_tokens": policy.default_max_output_tokens,
        "interruption_rule": policy.interruption_rule,
        "read_on_seconds": policy.read_on_seconds,
    }


def describe_content(content: GroupContent) -> dict[str, Any]:
    """Return every field of a revision as people read it: multipliers as decimal strings."""
    described = content_fields(content)
    described["multiplier"] = format_multiplier(described.pop("multiplier_ppm"))
    described["model_multipliers"] = {
        pattern: format_multiplier(multiplier_ppm)
        for pattern, multiplier_ppm in described["model_multipliers"].items()
    }
    return described


def apply_changes(content: GroupContent, changes: Mapping[str, Any]) -> GroupContent:
    """Return what a revision says with some fields changed. Raises InvalidGroup."""
    description = {name: value for name, value in changes.items() if name in DESCRIPTION_FIELDS}
    limits = {name: value for name, value in changes.items() if name in LIMIT_NAMES}
    policy = {name: value for name, value in changes.items() if name not in description | limits}
    return GroupContent(
        description=replace(content.description, **description),
        policy=replace(content.policy, limits=replace(content.policy.limits, **limits), **policy),
    )


def carry_forward(
    changes: Mapping[str, Any], before: GroupContent, scheduled: Sequence[GroupContent]
) -> Sequence[GroupContent]:
    """Return what the scheduled revisions say after a change of the content that comes before them."""
    carried, previous, result = dict(changes), content_fields(before), []
    for content in scheduled:
        own = content_fields(content)
        carried = {name: value for name, value in carried.items() if own[name] == previous[name]}
        result.append(apply_changes(content, carried))
        previous = own
    return result
