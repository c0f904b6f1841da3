"""Group preview: what a group would mean for calls before it is saved: models, multipliers and rates."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenopen.core.catalog import Model, PriceRevision
from tokenopen.core.group import GroupPolicy, matches, matches_any, most_specific
from tokenopen.core.terms import display_multiplier, multiplier_for


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRate:
    """An offered model that the group allows: its list prices, and the multiplier that would apply.

    ``pattern`` is the entry of the available models that lets it in, ``own_pattern`` the one that the
    multiplier is of; None where it is the group's.
    """

    model: str
    price: PriceRevision
    multiplier_ppm: int
    pattern: str
    own_pattern: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternMatch:
    """An entry of the available models with the offered models that it lets in."""

    pattern: str
    models: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPreview:
    """``gained`` and ``lost`` are offered models, compared with what the group allows now.

    ``idle_multipliers`` are patterns with a multiplier that no model of the group comes under.
    """

    display_multiplier: str
    rates: Sequence[ModelRate]
    patterns: Sequence[PatternMatch]
    idle_multipliers: Sequence[str]
    gained: Sequence[str]
    lost: Sequence[str]


def preview_group(
    policy: GroupPolicy,
    *,
    custom_terms: bool,
    offered: Sequence[Model],
    now_ms: int,
    before: GroupPolicy | None,
) -> GroupPreview:
    """Return what a policy means for the models that are on offer; ``before`` is the one in force."""
    rates = [rate for model in offered if (rate := _rate(policy, model, now_ms)) is not None]
    allowed = [rate.model for rate in rates]
    allowed_before = [] if before is None else [model.name for model in offered if before.allows(model.name)]
    used = {rate.own_pattern for rate in rates}
    return GroupPreview(
        display_multiplier=display_multiplier(policy, custom=custom_terms),
        rates=rates,
        patterns=[
            PatternMatch(
                pattern=pattern, models=[model.name for model in offered if matches(pattern, model.name)]
            )
            for pattern in policy.allowed_models
        ],
        idle_multipliers=[pattern for pattern in policy.model_multipliers if pattern not in used],
        gained=[name for name in allowed if name not in allowed_before] if before is not None else [],
        lost=[name for name in allowed_before if name not in allowed],
    )


def _rate(policy: GroupPolicy, model: Model, now_ms: int) -> ModelRate | None:
    if not matches_any(policy.allowed_models, model.name):
        return None
    price, pattern = model.price_at(now_ms), most_specific(policy.allowed_models, model.name)
    assert price is not None, "an offered model has a price"
    assert pattern is not None, "what is allowed is so by a pattern"
    return ModelRate(
        model=model.name,
        price=price,
        multiplier_ppm=multiplier_for(policy, None, model.name)[0],
        pattern=pattern,
        own_pattern=most_specific(policy.model_multipliers, model.name),
    )
