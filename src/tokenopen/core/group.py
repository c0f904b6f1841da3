"""Group: the policy that keys point at: allowed models, multiplier, limits; versioned in revisions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Visibility = Literal["public", "entitled"]
GroupState = Literal["active", "archived"]
# What is charged for a stream whose caller leaves, or whose provider breaks off.
InterruptionRule = Literal[
    "read_on",  # what the provider did: it is read on for its usage, for at most read_on_seconds
    "delivered_only",  # what reached the caller, as an estimate, and never more than the provider reported
]

READ_ON_SECONDS: Final = 30
READ_ON_SECONDS_MAX: Final = 600

DEFAULT_MAX_OUTPUT_TOKENS: Final = 16_384
LIMIT_MAX: Final = 10**9
SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
MODEL_PATTERN: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*._:/@+-]{0,199}", re.ASCII)


class InvalidGroup(ValueError):
    """A policy that cannot be: the text names the field and what it may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits per account within the group; None is unlimited."""

    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_minute: int | None = None
    concurrent_calls: int | None = None

    def __post_init__(self) -> None:
        for name in LIMIT_NAMES:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= LIMIT_MAX:
                raise InvalidGroup(f"{name} must be between 0 and {LIMIT_MAX}, or null for unlimited")


LIMIT_NAMES: Final = ("requests_per_minute", "requests_per_day", "tokens_per_minute", "concurrent_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPolicy:
    """What a revision of a group says."""

    allowed_models: Sequence[str]
    multiplier_ppm: int
    model_multipliers: Mapping[str, int]
    limits: Limits
    default_max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS
    interruption_rule: InterruptionRule = "read_on"
    read_on_seconds: int = READ_ON_SECONDS

    def __post_init__(self) -> None:
        for pattern in (*self.allowed_models, *self.model_multipliers):
            if not MODEL_PATTERN.fullmatch(pattern):
                raise InvalidGroup(f"{pattern!r} is not a model name or * pattern")
        if min(self.multipliers_ppm) < 0:
            raise InvalidGroup("a multiplier must not be negative")
        if self.default_max_output_tokens < 1:
            raise InvalidGroup("default_max_output_tokens must be at least 1")
        if not 1 <= self.read_on_seconds <= READ_ON_SECONDS_MAX:
            raise InvalidGroup(f"read_on_seconds must be between 1 and {READ_ON_SECONDS_MAX}")

    @property
    def read_on_s(self) -> int:
        """For how long a stream is read on whose caller has left."""
        return 0 if self.interruption_rule == "delivered_only" else self.read_on_seconds

    def allows(self, model: str) -> bool:
        """Tell whether the group's keys may call the model; anything absent is refused."""
        return matches_any(self.allowed_models, model)

    @property
    def multipliers_ppm(self) -> Sequence[int]:
        """Every multiplier a call may come under, the group's own first."""
        return (self.multiplier_ppm, *self.model_multipliers.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRevision:
    """One immutable state of a group's policy, in force from an instant on."""

    id: str
    group_id: str
    number: int
    effective_from_ms: int
    policy: GroupPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group with its revisions, oldest first; the one in force is the last that has begun."""

    id: str
    slug: str
    name: str
    suitable_for: str
    visibility: Visibility
    # Terms are made per customer: the multiplier is shown as "Custom".
    custom_terms: bool
    state: GroupState
    revisions: Sequence[GroupRevision]

    def revision_at(self, now_ms: int) -> GroupRevision:
        """Return the revision in force. A group always has one: its first begins when it is created."""
        found = None
        for revision in self.revisions:
            if revision.effective_from_ms <= now_ms:
                found = revision
        assert found is not None, f"group {self.slug} has no revision in force"
        return found

    def next_change_ms(self, now_ms: int) -> int | None:
        """Return when the next scheduled revision begins, or None."""
        coming = [r.effective_from_ms for r in self.revisions if r.effective_from_ms > now_ms]
        return min(coming, default=None)


def matches(pattern: str, model: str) -> bool:
    """Tell whether a model name fits a pattern, in which ``*`` stands for any run of characters.

    The parts between the stars are looked for from left to right, each as early as it goes, so the time is
    linear: users write patterns too, and a regular expression of many stars would run for ever.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == model
    *middle, last = rest
    if len(model) < len(first) + len(last) or not model.startswith(first) or not model.endswith(last):
        return False
    at, end = len(first), len(model) - len(last)
    for part in middle:
        found = model.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def matches_any(patterns: Iterable[str], model: str) -> bool:
    """Tell whether a model name fits at least one of the patterns."""
    return any(matches(pattern, model) for pattern in patterns)


def may_meet(first: str, second: str) -> bool:
    """Tell whether there may be a model name that fits both of two patterns."""
    if "*" not in first:
        return matches(second, first)
    if "*" not in second:
        return matches(first, second)
    # What lies between the outer stars of one can stand inside a star of the other, so only the ends decide.
    heads = first.split("*")[0], second.split("*")[0]
    tails = first.split("*")[-1], second.split("*")[-1]
    return (heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])) and (
        tails[0].endswith(tails[1]) or tails[1].endswith(tails[0])
    )


def specificity(pattern: str) -> tuple[bool, int, str]:
    """Return what patterns are told apart by: a plain name beats all, then the most literal characters win.

    Equally specific patterns are told apart by their text, so that the answer never depends on order.
    """
    return "*" not in pattern, len(pattern.replace("*", "")), pattern


def most_specific(patterns: Iterable[str], model: str) -> str | None:
    """Return the most specific of the patterns that fit a model, or None."""
    return max((each for each in patterns if matches(each, model)), key=specificity, default=None)
