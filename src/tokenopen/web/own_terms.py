"""Own terms: the fields for an account's custom terms within a group, and how they are shown."""

from collections.abc import Mapping, Sequence
from typing import Final

from tokenopen.control.entitlement import OwnTerms
from tokenopen.core.group import LIMIT_NAMES
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.terms import Entitlement
from tokenopen.web import format as as_text
from tokenopen.web.form import Form
from tokenopen.web.form_value import (
    instant_field,
    read_instant,
    read_limit,
    read_model_multipliers,
    read_multiplier,
    read_patterns,
)
from tokenopen.web.text import Catalogue
from tokenopen.web.viewer import Visit

# The fields of templates/macros/own_terms.html, named as the control API names them.
FIELDS: Final = ("multiplier", "model_multipliers", *LIMIT_NAMES, "extra_models", "expires_at")


def read_own_terms(form: Form, visit: Visit) -> OwnTerms:
    """Return what was typed: an empty field is as the group has it. Refuses InvalidRequest."""
    text = visit.text
    return OwnTerms(
        multiplier_ppm=read_multiplier(form, text, "multiplier"),
        model_multipliers=read_model_multipliers(form, text, "model_multipliers"),
        own_limits={name: read_limit(form, text, name) for name in LIMIT_NAMES if form.text(name)},
        extra_models=read_patterns(form, text, "extra_models"),
        expires_at_ms=read_instant(form, text, "expires_at", visit.zone),
    )


def has_typed(form: Form) -> bool:
    """Tell whether any of the fields was filled in."""
    return any(form.text(name) for name in FIELDS)


def own_terms_form(entitlement: Entitlement, visit: Visit) -> Form:
    """Return the fields as an entitlement fills them."""
    ppm = entitlement.multiplier_ppm
    fields = {
        "multiplier": "" if ppm is None else _multiplier(ppm),
        "model_multipliers": "\n".join(
            f"{pattern} {_multiplier(own)}" for pattern, own in entitlement.model_multipliers.items()
        ),
        **{name: _limit(value, visit.text) for name, value in entitlement.own_limits.items()},
        "extra_models": "\n".join(entitlement.extra_models),
        "expires_at": instant_field(entitlement.expires_at_ms, visit.zone),
    }
    return Form(values={name: [value] for name, value in fields.items()})


def group_values(group: GroupRecord, text: Catalogue) -> Mapping[str, str]:
    """Return what the group itself says, which stands in the fields that are left empty."""
    policy = group.policy
    return {
        "multiplier": _multiplier(policy.multiplier_ppm),
        **{name: _limit(getattr(policy.limits, name), text) for name in LIMIT_NAMES},
    }


def own_terms_facts(entitlement: Entitlement, text: Catalogue) -> Sequence[tuple[str, str]]:
    """Return name and value of everything in which an entitlement differs from its group."""
    facts = []
    if entitlement.multiplier_ppm is not None:
        facts.append((text("own_terms.multiplier"), as_text.multiplier(entitlement.multiplier_ppm)))
    facts += [(pattern, as_text.multiplier(ppm)) for pattern, ppm in entitlement.model_multipliers.items()]
    facts += [
        (text(f"own_terms.{name}"), _limit(entitlement.own_limits[name], text))
        for name in LIMIT_NAMES
        if name in entitlement.own_limits
    ]
    if entitlement.extra_models:
        facts.append((text("own_terms.extra_models"), ", ".join(entitlement.extra_models)))
    return facts


def _multiplier(ppm: int) -> str:
    return as_text.multiplier(ppm).removesuffix("x")


def _limit(value: int | None, text: Catalogue) -> str:
    return text("common.unlimited") if value is None else as_text.number(value)
