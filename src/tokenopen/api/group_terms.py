"""Group terms: what a user sees of the groups before choosing one for a key."""

from collections.abc import Mapping

from fastapi import APIRouter
from pydantic import BaseModel

from tokenopen.api.authentication import CurrentUser
from tokenopen.api.json_types import InstantOut, MultiplierOut
from tokenopen.api.services import CurrentServices
from tokenopen.control.group_terms import GroupChoice, GroupTerms, list_my_groups
from tokenopen.core.catalog import PER_CALL, Model, Prices
from tokenopen.core.group import LIMIT_NAMES, Limits, Visibility
from tokenopen.core.money import PPM_ONE, format_rate

router = APIRouter(tags=["groups"])


class LimitsOut(BaseModel):
    """Limits per account within the group; null is none."""

    requests_per_minute: int | None
    requests_per_day: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None


class GroupRefOut(BaseModel):
    """A group by name; ``open`` tells whether its keys' owner may use it now."""

    slug: str
    name: str
    open: bool


class RatesOut(BaseModel):
    """Credits per million units by class (``per_call``: per call): list price, and times the multiplier."""

    list_prices: dict[str, str]
    credit_consumption_rates: dict[str, str]


class StepOut(RatesOut):
    """The rates of a call with more input than this."""

    above_input_tokens: int


class ModelTermsOut(RatesOut):
    """What a model costs in a group."""

    model: str
    context_window: int | None
    max_output_tokens: int | None
    multiplier: MultiplierOut
    multiplier_rule: str
    steps: list[StepOut]


class GroupTermsOut(LimitsOut):
    """A group as one user finds it, with their own terms where they have any.

    The limits stand here under the names that a group has them by, and together as ``limits``.
    """

    slug: str
    name: str
    suitable_for: str
    visibility: Visibility
    open: bool
    how: str
    is_default: bool
    custom_terms: bool
    own_terms: bool
    display_multiplier: str
    multiplier: MultiplierOut
    multiplier_rule: str
    model_multipliers: dict[str, MultiplierOut]
    allowed_models: list[str]
    models: list[ModelTermsOut]
    limits: LimitsOut
    expires_at: InstantOut | None


class MyGroupsOut(BaseModel):
    """The groups that are open to the user, and those that they may ask for."""

    data: list[GroupTermsOut]
    by_request: list[GroupTermsOut]
    next_cursor: None = None


def show_limits(limits: Limits) -> LimitsOut:
    """Return limits as they are shown."""
    return LimitsOut(**{name: getattr(limits, name) for name in LIMIT_NAMES})


def show_group_ref(terms: GroupTerms) -> GroupRefOut:
    """Return a group's name as it is shown beside what points at it."""
    description = terms.group.description
    return GroupRefOut(slug=description.slug, name=description.name, open=terms.is_open)


def _rates(prices: Prices, multiplier_ppm: int) -> Mapping[str, str]:
    named = dict(prices.per_million)
    if prices.per_call:
        named[PER_CALL] = prices.per_call
    return {name: format_rate(price, multiplier_ppm) for name, price in named.items()}


def _show_model(terms: GroupTerms, model: Model, now_ms: int) -> ModelTermsOut:
    revision = model.price_at(now_ms)
    assert revision is not None, "an offered model has a price"
    multiplier_ppm, rule = terms.multiplier_for(model.name)
    return ModelTermsOut(
        model=model.name,
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        multiplier=multiplier_ppm,
        multiplier_rule=rule,
        list_prices=dict(_rates(revision.prices, PPM_ONE)),
        credit_consumption_rates=dict(_rates(revision.prices, multiplier_ppm)),
        steps=[
            StepOut(
                above_input_tokens=step.above_input_units,
                list_prices=dict(_rates(step.prices, PPM_ONE)),
                credit_consumption_rates=dict(_rates(step.prices, multiplier_ppm)),
            )
            for step in revision.steps
        ],
    )


def _how(terms: GroupTerms) -> str:
    if terms.group.description.visibility == "public":
        return "Open to everyone"
    return "By request" if terms.entitlement is None else "Group access"


def _show(terms: GroupTerms, choice: GroupChoice) -> GroupTermsOut:
    description, entitlement = terms.group.description, terms.entitlement
    return GroupTermsOut(
        slug=description.slug,
        name=description.name,
        suitable_for=description.suitable_for,
        visibility=description.visibility,
        open=terms.is_open,
        how=_how(terms),
        is_default=terms.group.id == choice.default_group_id,
        custom_terms=description.custom_terms,
        own_terms=entitlement is not None and entitlement.has_own_terms,
        display_multiplier=terms.display_multiplier,
        multiplier=terms.multiplier_ppm,
        multiplier_rule=terms.multiplier_rule,
        model_multipliers=dict(terms.model_multipliers),
        allowed_models=list(terms.allowed_models),
        models=[
            _show_model(terms, model, choice.now_ms) for model in choice.offered if terms.allows(model.name)
        ],
        limits=show_limits(terms.limits),
        **show_limits(terms.limits).model_dump(),
        expires_at=None if entitlement is None else entitlement.expires_at_ms,
    )


@router.get("/api/me/groups")
async def list_my_groups_with_terms(services: CurrentServices, actor: CurrentUser) -> MyGroupsOut:
    """The groups a key of one's own may be created in, with terms; beside them those by request."""
    async with services.storage.read() as tx:
        choice = await list_my_groups(tx, actor)
    shown = [_show(terms, choice) for terms in choice.groups]
    return MyGroupsOut(
        data=[group for group in shown if group.open],
        by_request=[group for group in shown if not group.open],
    )
