"""Terms: what applies to one call after resolving group revision, entitlement and model.

Multiplier precedence: entitlement's model pattern > entitlement > group's model pattern > group.
Of an entitlement's own limits, one that is absent inherits the group's, and None is unlimited.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tokenopen.core.frozen import Frozen
from tokenopen.core.group import (
    LIMIT_NAMES,
    MODEL_PATTERN,
    GroupPolicy,
    GroupRevision,
    InvalidGroup,
    Limits,
    matches_any,
    may_meet,
    most_specific,
    specificity,
)
from tokenopen.core.money import format_multiplier


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """An account's access to a group that is by request, optionally on own terms, until a date."""

    id: str
    account_id: str
    group_id: str
    multiplier_ppm: int | None = None
    model_multipliers: Mapping[str, int] = field(default_factory=dict)
    # Only the limits that are the entitlement's own; a value of None is unlimited.
    own_limits: Mapping[str, int | None] = field(default_factory=dict)
    extra_models: Sequence[str] = ()
    expires_at_ms: int | None = None

    def __post_init__(self) -> None:
        for pattern in (*self.extra_models, *self.model_multipliers):
            if not MODEL_PATTERN.fullmatch(pattern):
                raise InvalidGroup(f"{pattern!r} is not a model name or * pattern")
        for name in self.own_limits:
            if name not in LIMIT_NAMES:
                raise InvalidGroup(f"{name!r} is not a limit")

    def in_force(self, now_ms: int) -> bool:
        """Tell whether the entitlement has not ended."""
        return self.expires_at_ms is None or now_ms < self.expires_at_ms

    @property
    def has_own_terms(self) -> bool:
        """Tell whether anything differs from what the group says."""
        return bool(
            self.multiplier_ppm is not None or self.model_multipliers or self.own_limits or self.extra_models
        )


class Terms(Frozen, frozen=True, kw_only=True):
    """What applies to one call."""

    group_revision_id: str
    entitlement_id: str | None
    multiplier_ppm: int
    multiplier_rule: str
    limits: Limits


def limits_for(policy: GroupPolicy, entitlement: Entitlement | None) -> Limits:
    """Return the limits that bind an account within the group."""
    if entitlement is None or not entitlement.own_limits:
        return policy.limits
    return replace(policy.limits, **entitlement.own_limits)


def allows(policy: GroupPolicy, entitlement: Entitlement | None, model: str) -> bool:
    """Tell whether group and entitlement together let a key call the model."""
    return policy.allows(model) or (entitlement is not None and matches_any(entitlement.extra_models, model))


def multiplier_for(policy: GroupPolicy, entitlement: Entitlement | None, model: str) -> tuple[int, str]:
    """Return the multiplier in parts per million and the rule that won, as stored on the call."""
    if entitlement is not None:
        pattern = most_specific(entitlement.model_multipliers, model)
        if pattern is not None:
            return entitlement.model_multipliers[pattern], f"entitlement model {pattern}"
        if entitlement.multiplier_ppm is not None:
            return entitlement.multiplier_ppm, "entitlement"
    pattern = most_specific(policy.model_multipliers, model)
    if pattern is not None:
        return policy.model_multipliers[pattern], f"group model {pattern}"
    return policy.multiplier_ppm, "group"


def base_multiplier(policy: GroupPolicy, entitlement: Entitlement | None) -> tuple[int, str]:
    """Return the multiplier where no model pattern has its own, and whose it is."""
    if entitlement is not None and entitlement.multiplier_ppm is not None:
        return entitlement.multiplier_ppm, "entitlement"
    return policy.multiplier_ppm, "group"


def model_multipliers(policy: GroupPolicy, entitlement: Entitlement | None) -> Mapping[str, int]:
    """Return the patterns with a multiplier of their own; an entitlement's for all hides the group's."""
    if entitlement is None:
        return policy.model_multipliers
    if entitlement.multiplier_ppm is not None:
        return entitlement.model_multipliers
    return {**policy.model_multipliers, **entitlement.model_multipliers}


def allowed_models(policy: GroupPolicy, entitlement: Entitlement | None) -> Sequence[str]:
    """Return the names and patterns that group and entitlement together allow."""
    extra = () if entitlement is None else entitlement.extra_models
    return list(dict.fromkeys((*policy.allowed_models, *extra)))


def resolve_terms(revision: GroupRevision, entitlement: Entitlement | None, model: str) -> Terms:
    """Return the terms of a call to ``model``; that it is allowed is decided before."""
    multiplier_ppm, rule = multiplier_for(revision.policy, entitlement, model)
    return Terms(
        group_revision_id=revision.id,
        entitlement_id=None if entitlement is None else entitlement.id,
        multiplier_ppm=multiplier_ppm,
        multiplier_rule=rule,
        limits=limits_for(revision.policy, entitlement),
    )


CUSTOM: Final = "Custom"


def display_multiplier(
    policy: GroupPolicy, entitlement: Entitlement | None = None, *, custom: bool = False
) -> str:
    """Return the multiplier as people see it: ``0.8x``, ``From 0.8x`` where there are several, ``Custom``.

    ``custom`` says that the group's terms are made per customer; an account that has its own sees them.
    """
    own = entitlement is not None and (
        entitlement.multiplier_ppm is not None or bool(entitlement.model_multipliers)
    )
    if custom and not own:
        return CUSTOM
    levels = _levels(policy, entitlement if own else None)
    reachable = _reachable_multipliers(levels, allowed_models(policy, entitlement))
    # A group that lets nothing in has a multiplier all the same.
    lowest = f"{format_multiplier(min(reachable or {policy.multiplier_ppm}))}x"
    return lowest if len(reachable) <= 1 else f"From {lowest}"


def _levels(policy: GroupPolicy, entitlement: Entitlement | None) -> Sequence[Mapping[str, int]]:
    """Return multipliers by pattern, by the precedence at the top of this file."""
    levels: list[Mapping[str, int]] = []
    if entitlement is not None:
        levels.append(entitlement.model_multipliers)
        if entitlement.multiplier_ppm is not None:
            levels.append({"*": entitlement.multiplier_ppm})
    return [*levels, policy.model_multipliers, {"*": policy.multiplier_ppm}]


def _reachable_multipliers(levels: Sequence[Mapping[str, int]], allowed: Sequence[str]) -> set[int]:
    """Return every multiplier that some model may come under of those that are allowed."""
    found: set[int] = set()
    passed: list[str] = []
    for level in levels:
        for pattern in sorted(level, key=specificity, reverse=True):
            # A pattern that fits the text of another, stars included, fits whatever that one fits.
            if not matches_any(passed, pattern) and any(
                may_meet(pattern, each) and not matches_any(passed, each) for each in allowed
            ):
                found.add(level[pattern])
            passed.append(pattern)
    return found
