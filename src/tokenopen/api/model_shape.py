"""Model shape: how a model is shown to callers, in the dialect that they ask in."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tokenopen.api.json_types import format_instant
from tokenopen.core.catalog import Model
from tokenopen.core.money import format_multiplier, format_rate
from tokenopen.core.terms import multiplier_for
from tokenopen.gateway.directory import Resolved
from tokenopen.upstream.dialect import ANTHROPIC, GEMINI, OPENAI

Json = Mapping[str, Any]

# Methods of Gemini's that its SDKs look for, by whether a model gives output.
_GEMINI_METHODS: Final = {True: ["generateContent", "countTokens"], False: ["embedContent"]}


def show_model(resolved: Resolved, model: Model, dialect: str) -> Json:
    """Return a model as the dialect's SDKs read it, with its credit consumption rates."""
    return {**_SHAPES[dialect](resolved, model), **_terms(resolved, model)}


def show_models(resolved: Resolved, models: Sequence[Model], dialect: str) -> Json:
    """Return a list of models as the dialect's SDKs read it, whole."""
    shown = [show_model(resolved, model, dialect) for model in models]
    if dialect == GEMINI.name:
        return {"models": shown}
    if dialect == ANTHROPIC.name:
        ends = {"first_id": models[0].name, "last_id": models[-1].name} if models else {}
        return {"data": shown, "has_more": False, "first_id": None, "last_id": None, **ends}
    return {"object": "list", "data": shown}


def _terms(resolved: Resolved, model: Model) -> Json:
    caller, now_ms = resolved.caller, resolved.as_of_ms
    revision = model.price_at(now_ms)
    assert revision is not None, "an offered model has a price"
    policy = caller.group.revision_at(now_ms).policy
    multiplier_ppm, rule = multiplier_for(policy, caller.entitlement_at(now_ms), model.name)
    return {
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "multiplier": format_multiplier(multiplier_ppm),
        "multiplier_rule": rule,
        # Credits per million units, list price x multiplier.
        "credit_consumption_rates": {
            unit_class: format_rate(price, multiplier_ppm)
            for unit_class, price in revision.prices.per_million.items()
        },
    }


def _created_at_ms(resolved: Resolved, model: Model) -> int:
    revision = model.price_at(resolved.as_of_ms)
    assert revision is not None, "an offered model has a price"
    return revision.effective_from_ms


def _openai(resolved: Resolved, model: Model) -> Json:
    created_s = _created_at_ms(resolved, model) // 1000
    return {"id": model.name, "object": "model", "created": created_s, "owned_by": model.maker}


def _anthropic(resolved: Resolved, model: Model) -> Json:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": format_instant(_created_at_ms(resolved, model)),
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output_tokens,
    }


def _gemini(_resolved: Resolved, model: Model) -> Json:
    return {
        "name": f"models/{model.name}",
        "displayName": model.name,
        "inputTokenLimit": model.context_window,
        "outputTokenLimit": model.max_output_tokens,
        "supportedGenerationMethods": _GEMINI_METHODS[bool(model.max_output_tokens)],
    }


_SHAPES: Final[Mapping[str, Callable[[Resolved, Model], Json]]] = {
    OPENAI.name: _openai,
    ANTHROPIC.name: _anthropic,
    GEMINI.name: _gemini,
}
