"""Seeded groups: what the first start creates. Administrators may change all of it afterwards."""

from dataclasses import dataclass
from typing import Final

from tokenopen.core.group import GroupPolicy, Limits, Visibility
from tokenopen.core.money import PPM_ONE

EVERYDAY_MODELS: Final = (
    "claude-haiku-4-5",
    "claude-haiku-5-5",
    "deepseek-flash",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3.8-flash",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-5.4-mini",
    "gpt-5.4-nano",
    "gpt-6-luna",
    "ministral-8b-2512",
    "mistral-small-2603",
    "text-embedding-3-large",
    "text-embedding-3-small",
)
# Patterns, so that a maker's next release is there for VIP as soon as it has a price.
HIGH_PERFORMANCE_MODELS: Final = (
    "claude-fable-*",
    "claude-opus-*",
    "claude-sonnet-*",
    "deepseek-v4-pro*",
    "gemini-2.5-pro*",
    "gemini-3*",
    "gemini-4*",
    "gpt-4.1*",
    "gpt-5*",
    "gpt-6*",
    "grok-4*",
    "mistral-large-*",
    "mistral-medium-*",
    "o3*",
    "o4-mini*",
)
NEWLY_RELEASED_MODELS: Final = "gpt-6*"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedGroup:
    """A group and its first policy."""

    slug: str
    name: str
    suitable_for: str
    visibility: Visibility
    custom_terms: bool
    policy: GroupPolicy


SEED_GROUPS: Final = (
    SeedGroup(
        slug="default",
        name="Default",
        suitable_for="Regular users; standard pricing",
        visibility="public",
        custom_terms=False,
        policy=GroupPolicy(
            allowed_models=EVERYDAY_MODELS,
            multiplier_ppm=PPM_ONE,
            model_multipliers={},
            limits=Limits(requests_per_minute=60, requests_per_day=1_000),
        ),
    ),
    SeedGroup(
        slug="vip",
        name="VIP",
        suitable_for="High-frequency users; discounted pricing",
        visibility="entitled",
        custom_terms=False,
        policy=GroupPolicy(
            allowed_models=EVERYDAY_MODELS + HIGH_PERFORMANCE_MODELS,
            multiplier_ppm=800_000,
            model_multipliers={NEWLY_RELEASED_MODELS: 900_000},
            limits=Limits(requests_per_minute=600, requests_per_day=20_000),
        ),
    ),
    SeedGroup(
        slug="enterprise",
        name="Enterprise",
        suitable_for="Large-volume usage; tailored discounts",
        visibility="entitled",
        custom_terms=True,
        policy=GroupPolicy(
            allowed_models=("*",),
            # A discount is each customer's own term; until one is agreed the list price holds.
            multiplier_ppm=PPM_ONE,
            model_multipliers={},
            # Only customers whom an administrator let in are here; their limits are their own terms too, and
            # what they can spend is bounded by their credit.
            limits=Limits(requests_per_minute=None, requests_per_day=None),
        ),
    ),
)
