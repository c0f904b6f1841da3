"""Group cards: groups side by side, each with what it costs and allows, as people compare them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from tokenopen.control.actor import Actor
from tokenopen.control.group_terms import GroupChoice, GroupTerms
from tokenopen.control.usage import Period, UsageWanted, sum_usage
from tokenopen.core.catalog import Model, PriceRevision
from tokenopen.core.group import LIMIT_NAMES
from tokenopen.ports.storage import Transaction
from tokenopen.web import format as as_text
from tokenopen.web.guide_fact import EXAMPLE_MODEL
from tokenopen.web.text import Catalogue

MODELS_COMPARED: Final = 4
# Always shown; the further limits only where a group sets them.
_MAIN_LIMITS: Final = ("requests_per_minute", "requests_per_day")

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCard:
    """What templates/macros/group.html shows of a group. ``rates`` are pairs of model and text."""

    slug: str
    name: str
    suitable_for: str
    multiplier: str
    badge: str
    badge_tone: str
    facts: Pairs
    rates: Pairs
    is_open: bool
    is_default: bool


async def list_models_compared(tx: Transaction, actor: Actor | None, choice: GroupChoice) -> Sequence[Model]:
    """Return a few models to compare groups by: those the actor used most lately, then well-known ones."""
    used: Sequence[str] = []
    if actor is not None:
        report = await sum_usage(
            tx, account_id=actor.account_id, period=Period(), wanted=UsageWanted(group_by="model")
        )
        by_charge = sorted(report.sums, key=lambda one: (-one.charge, -one.calls, one.label or ""))
        used = [one.label for one in by_charge if one.label is not None]
    offered = {model.name: model for model in choice.offered}
    openness = {
        name: -sum(terms.allows(name) for terms in choice.groups) for name in offered if name not in used
    }
    others = sorted(openness, key=lambda name: (name != EXAMPLE_MODEL, openness[name], name))
    names = [name for name in (*used, *others) if name in offered]
    return [offered[name] for name in names[:MODELS_COMPARED]]


def group_cards(
    choice: GroupChoice,
    text: Catalogue,
    *,
    compared: Sequence[Model],
    asked_for: Collection[str] = (),
) -> Sequence[GroupCard]:
    """Return every group that there is; ``asked_for`` are ids of those with a request without an answer."""
    return [_card(terms, choice, text, compared, asked_for) for terms in choice.groups]


def _card(
    terms: GroupTerms,
    choice: GroupChoice,
    text: Catalogue,
    compared: Sequence[Model],
    asked_for: Collection[str],
) -> GroupCard:
    description = terms.group.description
    badge, tone = _badge(terms, choice, asked_for)
    available = sum(terms.allows(model.name) for model in choice.offered)
    return GroupCard(
        slug=description.slug,
        name=description.name,
        suitable_for=description.suitable_for,
        multiplier=terms.display_multiplier,
        badge=text(f"group_terms.badge.{badge}"),
        badge_tone=tone,
        facts=[
            *limit_facts(terms, text),
            (
                text("group_terms.available_models"),
                text("group_terms.some_of", count=available, offered=len(choice.offered)),
            ),
        ],
        rates=[(model.name, rate_text(terms, model, choice.now_ms, text)) for model in compared],
        is_open=terms.is_open,
        is_default=terms.group.id == choice.default_group_id,
    )


def _badge(terms: GroupTerms, choice: GroupChoice, asked_for: Collection[str]) -> tuple[str, str]:
    if not terms.is_open:
        return ("asked_for", "warn") if terms.group.id in asked_for else ("by_request", "plain")
    if terms.entitlement is not None and terms.entitlement.has_own_terms:
        return "own_terms", "accent"
    if terms.group.id == choice.default_group_id:
        return "default", "good"
    return ("public", "good") if terms.group.description.visibility == "public" else ("access", "accent")


def limit_facts(terms: GroupTerms, text: Catalogue) -> Pairs:
    """Return a group's limits as its user finds them, those that nothing is set for only where usual."""
    facts = []
    for name in LIMIT_NAMES:
        value = getattr(terms.limits, name)
        if value is not None or name in _MAIN_LIMITS:
            shown = text("common.unlimited") if value is None else as_text.number(value)
            facts.append((text(f"group_terms.limit.{name}"), shown))
    return facts


def is_by_agreement(terms: GroupTerms) -> bool:
    """Tell whether what a group costs is agreed with each customer, and nothing has been with this one."""
    return terms.group.description.custom_terms and not terms.is_open


def price_in_force(model: Model, now_ms: int) -> PriceRevision:
    """Return the price of an offered model."""
    revision = model.price_at(now_ms)
    assert revision is not None, "an offered model has a price"
    return revision


def rate_text(terms: GroupTerms, model: Model, now_ms: int, text: Catalogue) -> str:
    """Return what a model costs in a group, input / output per million, or why there is no such rate."""
    if not terms.allows(model.name):
        return text("group_terms.not_available")
    if is_by_agreement(terms):
        return terms.display_multiplier
    prices = price_in_force(model, now_ms).prices
    multiplier_ppm, _ = terms.multiplier_for(model.name)
    classes = ("input", "output") if model.max_output_tokens else ("input",)
    return " / ".join(as_text.rate(prices.per_million[name], multiplier_ppm) for name in classes)
