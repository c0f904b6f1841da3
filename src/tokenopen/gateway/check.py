"""Check: may this caller make this call, under which terms, and what can it cost? Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenopen.core.admission import Admission
from tokenopen.core.call import CallFacts, IdempotencyClaim
from tokenopen.core.caller import Caller, find_entitlement, group_is_open, refuse_caller
from tokenopen.core.catalog import PER_CALL, Catalog, Model, PriceRevision, Prices, Route
from tokenopen.core.errors import InvalidRequest, ModelNotAllowed, ModelNotFound
from tokenopen.core.estimate import FREE_QUOTE, input_bound, quote_for
from tokenopen.core.frozen import Frozen
from tokenopen.core.terms import Terms, allows, resolve_terms
from tokenopen.gateway.directory import Resolved
from tokenopen.gateway.reference import NOTHING_REFERRED, Referred
from tokenopen.gateway.route import find_routes
from tokenopen.upstream.surface import CallRequest, Surface
from tokenopen.upstream.translation.translation import Translation


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """A call that its provider gets in another API's shape. ``asked`` is what its caller has sent.

    ``left_out`` are the names of hints that are not carried. ``max_output_tokens`` is named to the provider
    where no cap is: what the call's hold covers.
    """

    translation: Translation
    asked: CallRequest
    left_out: Sequence[str]
    max_output_tokens: int


# Under which it is noted that the caller may call, from whatever address.
_PASSED: Final = "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model as a caller may call it by one surface: found once, and good for every call that names it."""

    model: str
    routes: Sequence[Route]
    translation: Translation | None
    prices: PriceRevision
    # Of calls whose input reaches no step, as their records keep it.
    prices_json: str
    context_window: int
    max_output_tokens: int
    terms: Terms


class Plan(Frozen, frozen=True, kw_only=True):
    """A call that may be made: how it is admitted, where it may go, what it is charged by.

    ``surface`` is the one that its caller speaks, ``request`` what is sent to the provider.
    """

    surface: Surface
    request: CallRequest
    admission: Admission
    routes: Sequence[Route]
    prices: PriceRevision
    prices_json: str
    context_window: int
    group_slug: str
    read_on_s: int
    # Of a stream that is interrupted no more is charged than what reached the caller.
    delivered_only: bool
    translated: Translated | None = None

    @property
    def wire(self) -> Surface:
        """The surface that the provider is asked by, and whose replies it gives."""
        return self.surface if self.translated is None else self.translated.translation.wire

    @property
    def facts(self) -> CallFacts:
        """What is known of the call when it is admitted."""
        return self.admission.facts


def encode_prices(prices: Prices) -> str:
    """Return a price list as the record of a call that came under it keeps it."""
    return msgspec.json.encode(prices).decode()


def groups_with_model(caller: Caller, catalog: Catalog, model: str, now_ms: int) -> Sequence[str]:
    """Return the slugs of the groups open to the caller's account that allow a model."""
    found = []
    for group in catalog.groups.values():
        if group_is_open(group, caller.entitlements, now_ms):
            entitlement = find_entitlement(caller.entitlements, group.id, now_ms)
            if allows(group.revision_at(now_ms).policy, entitlement, model):
                found.append(group.slug)
    return sorted(found)


def find_allowed_model(resolved: Resolved, name: str) -> Model:
    """Return a model that is offered and that group and key allow. Refuses ModelNotFound, ModelNotAllowed."""
    caller, catalog, now_ms = resolved.caller, resolved.catalog, resolved.as_of_ms
    model = catalog.find_offered(name, now_ms)
    if model is None:
        raise ModelNotFound(model=name)
    policy = caller.group.revision_at(now_ms).policy
    allowed = allows(policy, caller.entitlement_at(now_ms), name)
    if not allowed or caller.key.narrows_away(name):
        raise ModelNotAllowed(
            model=name,
            group=caller.group.name,
            groups_with_model=groups_with_model(caller, catalog, name, now_ms),
            by_key=allowed,
        )
    return model


def find_called_model(resolved: Resolved, request: CallRequest, referred: Referred) -> Model:
    """Return the model that a call names; where it names none, the one that wrote what it refers to.

    What a caller has had made may be looked at and deleted also where the group does not allow the model now.
    Refuses ModelNotFound, ModelNotAllowed; InvalidRequest for longer input than the model is offered with.
    """
    if referred.holder is not None and not request.model:
        model = resolved.catalog.models.get(referred.holder.model)
        if model is None or model.missing(resolved.as_of_ms):
            raise ModelNotFound(model=referred.holder.model)
        return model
    model = find_allowed_model(resolved, request.model)
    least = request.priced_above_units
    if least is not None and (model.context_window or 0) <= least:
        raise InvalidRequest(
            f"Model {model.name} is offered here with a context window of {model.context_window:,}; longer "
            "input has no price.",
            param="model",
        )
    return model


def check_caller(resolved: Resolved, address: str) -> None:
    """Raise the refusal of a caller who may not call at all."""
    if _PASSED in resolved.found:
        return
    refusal = refuse_caller(resolved.caller, now_ms=resolved.as_of_ms, address=address)
    if refusal is not None:
        raise refusal
    if resolved.caller.key.allowed_ips is None:
        resolved.found[_PASSED] = True


def find_offer(resolved: Resolved, surface: Surface, request: CallRequest, referred: Referred) -> Offer:
    """Return the model that a call is made to. Refuses what find_called_model and find_routes refuse."""
    # What depends on more than the model's name is found out for each call.
    plain = referred is NOTHING_REFERRED and request.priced_above_units is None
    offer: Offer | None = resolved.found.get((surface.name, request.model)) if plain else None
    if offer is not None:
        return offer
    caller, now_ms = resolved.caller, resolved.as_of_ms
    model = find_called_model(resolved, request, referred)
    routes, translation = find_routes(resolved.catalog, model.name, surface, request, referred)
    prices = model.price_at(now_ms)
    # An offered model is complete.
    assert prices is not None
    assert model.context_window is not None
    assert model.max_output_tokens is not None
    offer = Offer(
        model=model.name,
        routes=routes,
        translation=translation,
        prices=prices,
        prices_json=encode_prices(prices.prices),
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        terms=resolve_terms(caller.group.revision_at(now_ms), caller.entitlement_at(now_ms), model.name),
    )
    if plain:
        resolved.found[surface.name, request.model] = offer
    return offer


# Where a price is not of units.
_SOLD: Final = {PER_CALL: "each call"}


def _refuse_unpriced(prices: PriceRevision, request: CallRequest) -> None:
    unpriced = prices.find_unpriced(request.own_prices)
    if unpriced is not None:
        wanted = " or ".join(_SOLD.get(name, name.replace("_", " ")) for name in unpriced)
        names = " or ".join(unpriced)
        raise InvalidRequest(
            f"Model {prices.model} has no price here for {wanted}, which this call needs. An administrator "
            f"can name one: {names}.",
            param="model",
        )


def _translate(
    translation: Translation, asked: CallRequest, model_max_output: int
) -> tuple[CallRequest, Translated]:
    """Return the request in the provider's shape. Refuses InvalidRequest for what that has nothing like."""
    carried = translation.carry(asked)
    most = asked.max_output_tokens
    translated = Translated(
        translation=translation,
        asked=asked,
        left_out=carried.left_out,
        max_output_tokens=model_max_output if most is None else most,
    )
    return carried.request.changed(max_output_tokens=most), translated


def plan_call(
    resolved: Resolved,
    surface: Surface,
    request: CallRequest,
    *,
    call_id: str,
    worker_id: str,
    claim: IdempotencyClaim | None = None,
    referred: Referred = NOTHING_REFERRED,
) -> Plan:
    """Return how the call is to be made, or refuse it. Nothing defaults to free or to allowed.

    ``referred`` is what the call refers to of earlier replies.
    """
    caller, catalog = resolved.caller, resolved.catalog
    offer = find_offer(resolved, surface, request, referred)
    translated = None
    if offer.translation is not None:
        request, translated = _translate(offer.translation, request, offer.max_output_tokens)
    _refuse_unpriced(offer.prices, request)
    policy = caller.group.revision_at(resolved.as_of_ms).policy
    context_window = offer.context_window * request.prompts
    quote = (
        FREE_QUOTE
        if surface.is_free
        else quote_for(
            offer.prices,
            multiplier_ppm=offer.terms.multiplier_ppm,
            input_units=input_bound(
                input_bytes=request.input_bytes,
                attachments=request.attachments,
                open_ended=request.open_ended,
                context_window=context_window,
            ),
            model_max_output=offer.max_output_tokens,
            requested_max_output=request.max_output_tokens,
            default_max_output=policy.default_max_output_tokens,
            choices=request.choices,
            counted_units=request.counted_units,
        )
    )
    facts = CallFacts(
        call_id=call_id,
        account_id=caller.key.account_id,
        user_id=caller.key.user_id,
        key_id=caller.key.id,
        group_id=caller.group.id,
        surface=surface.name,
        stream=request.stream,
        model=offer.model,
        price_revision_id=offer.prices.id,
        terms=offer.terms,
        claim=claim,
    )
    return Plan(
        surface=surface,
        request=request,
        admission=Admission(
            facts=facts,
            quote=quote,
            catalog_version=catalog.version,
            account_version=caller.account_version,
            valid_until_ms=resolved.valid_until_ms,
            worker_id=worker_id,
            zone=catalog.platform.zone,
            group_name=caller.group.name,
            support_contact=catalog.platform.support_contact,
        ),
        routes=offer.routes,
        prices=offer.prices,
        prices_json=offer.prices_json,
        context_window=context_window,
        group_slug=caller.group.slug,
        read_on_s=policy.read_on_s,
        delivered_only=policy.interruption_rule == "delivered_only",
        translated=translated,
    )
