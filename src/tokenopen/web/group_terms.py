"""Groups and pricing: every group with what it allows, and every model with what it costs in one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request, Response

from tokenopen.control.group_terms import GroupChoice, GroupTerms, list_my_groups, list_public_groups
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.control.upgrade_request import list_my_upgrade_requests
from tokenopen.core.catalog import Model, Prices
from tokenopen.core.money import PPM_ONE, Nanocredits
from tokenopen.core.usage import COUNTED_CLASSES
from tokenopen.web import format as as_text
from tokenopen.web.group_card import group_cards, is_by_agreement, list_models_compared, price_in_force
from tokenopen.web.render import render
from tokenopen.web.text import Catalogue
from tokenopen.web.viewer import CurrentServices, CurrentVisit, require_viewer

router = APIRouter()

MODELS_SHOWN: Final = 50
REQUESTS_LOOKED_AT: Final = 50
_MAIN_CLASSES: Final = ("input", "cached_input", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model and what it costs in the group that is looked at.

    ``rates`` are those of input, cached input and output, empty where the group lacks the model or its terms
    are agreed with each customer; ``multiplier`` is empty where it lacks it. ``steps`` are pairs of input
    tokens and rates above them, ``further`` pairs of another usage class that is priced and its rate.
    """

    name: str
    maker: str
    context_window: int | None
    list_prices: Sequence[str]
    multiplier: str
    rates: Sequence[str]
    steps: Sequence[tuple[int, Sequence[str]]]
    further: Sequence[tuple[str, str]]
    gives_output: bool
    groups: Sequence[str]


@router.get("/groups")
async def list_groups(request: Request, services: CurrentServices, visit: CurrentVisit) -> Response:
    """The groups and the price list: one's own, or everybody's where the operator lets visitors see it.

    ``?group=`` is the slug of the group that models are priced in, ``?q=`` looks for models by name or maker,
    ``?show=available`` leaves out those that the group lacks.
    """
    if visit.viewer is None and not (visit.platform and visit.platform.public_prices):
        require_viewer(request)
    query = request.query_params
    asked_for: set[str] = set()
    async with services.storage.read() as tx:
        if visit.viewer is None:
            choice = await list_public_groups(tx)
        else:
            choice = await list_my_groups(tx, visit.viewer.actor)
            pending = await list_my_upgrade_requests(
                tx, visit.viewer.actor, page=PageRequest(limit=REQUESTS_LOOKED_AT), state="pending"
            )
            asked_for = {one.group_id for one in pending.items}
        actor = None if visit.viewer is None else visit.viewer.actor
        compared = await list_models_compared(tx, actor, choice)
    terms = _chosen(choice, query.get("group", ""))
    return render(
        request,
        "group_terms/groups.html",
        cards=group_cards(choice, visit.text, compared=compared, asked_for=asked_for),
        terms=terms,
        groups=[
            (one.group.description.slug, f"{one.group.description.name}, {one.display_multiplier}")
            for one in choice.groups
        ],
        models=find_models(choice, terms, query, visit.text),
        any_model=bool(choice.offered),
    )


def _chosen(choice: GroupChoice, slug: str) -> GroupTerms:
    """Return the group that was asked for, or the default."""
    by_slug = {terms.group.description.slug: terms for terms in choice.groups}
    default = next(terms for terms in choice.groups if terms.group.id == choice.default_group_id)
    return by_slug.get(slug, default)


def find_models(
    choice: GroupChoice, terms: GroupTerms, query: Mapping[str, str], text: Catalogue
) -> Page[ModelRow]:
    """Return the models that a query looks for, by name, priced in a group."""
    wanted, after = query.get("q", "").strip().lower(), query.get("cursor", "")
    found = [
        model
        for model in choice.offered
        if model.name > after
        and (wanted in model.name.lower() or wanted in model.maker.lower())
        and (query.get("show") != "available" or terms.allows(model.name))
    ]
    page = PageRequest(limit=MODELS_SHOWN)
    rows = [_row(choice, terms, model, text) for model in found[: page.fetch]]
    return cut_page(rows, page, cursor_of=lambda row: row.name)


def _row(choice: GroupChoice, terms: GroupTerms, model: Model, text: Catalogue) -> ModelRow:
    revision = price_in_force(model, choice.now_ms)
    priced = terms.allows(model.name) and not is_by_agreement(terms)
    multiplier_ppm, _ = terms.multiplier_for(model.name)
    further = sorted(revision.named - {*_MAIN_CLASSES, "per_call"})
    rates = dict(revision.prices.per_million)
    named = [
        (text(f"usage_class.{name}"), _further(name, rates[name], multiplier_ppm, text)) for name in further
    ]
    if revision.prices.per_call:
        named.append((text("usage_class.per_call"), as_text.rate(revision.prices.per_call, multiplier_ppm)))
    return ModelRow(
        name=model.name,
        maker=model.maker,
        context_window=model.context_window,
        list_prices=_rates(revision.prices, PPM_ONE),
        multiplier=_multiplier(terms, model, multiplier_ppm),
        rates=_rates(revision.prices, multiplier_ppm) if priced else (),
        steps=[(step.above_input_units, _rates(step.prices, multiplier_ppm)) for step in revision.steps]
        if priced
        else (),
        further=named if priced else (),
        gives_output=bool(model.max_output_tokens),
        groups=[one.group.description.name for one in choice.groups if one.allows(model.name)],
    )


def _further(name: str, price: Nanocredits, multiplier_ppm: int, text: Catalogue) -> str:
    if name in COUNTED_CLASSES:
        return text("group_terms.per_thousand", rate=as_text.rate_per_thousand(price, multiplier_ppm))
    return as_text.rate(price, multiplier_ppm)


def _multiplier(terms: GroupTerms, model: Model, multiplier_ppm: int) -> str:
    if not terms.allows(model.name):
        return ""
    return terms.display_multiplier if is_by_agreement(terms) else as_text.multiplier(multiplier_ppm)


def _rates(prices: Prices, multiplier_ppm: int) -> Sequence[str]:
    return [as_text.rate(prices.per_million[name], multiplier_ppm) for name in _MAIN_CLASSES]
