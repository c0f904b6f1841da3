"""Policies and terms as stored: JSON with integers for money, one writer and one reader for each."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tokenopen.core.catalog import LATER_CLASSES, Prices, PriceStep
from tokenopen.core.group import GroupPolicy, Limits
from tokenopen.core.terms import Entitlement


def encode_json(value: object) -> str:
    """Return compact JSON text."""
    return msgspec.json.encode(value).decode()


def decode_json(text: str | bytes) -> Any:
    """Return what JSON text holds."""
    return msgspec.json.decode(text)


def encode_policy(policy: GroupPolicy) -> str:
    """Return a group's policy as JSON."""
    return encode_json(msgspec.to_builtins(policy))


def decode_policy(text: str) -> GroupPolicy:
    """Return the policy that a revision stores."""
    fields = decode_json(text)
    return GroupPolicy(**fields | {"limits": Limits(**fields["limits"])})


def encode_entitlement_terms(entitlement: Entitlement) -> str:
    """Return what an entitlement says besides whose it is and until when."""
    return encode_json(
        {
            "multiplier_ppm": entitlement.multiplier_ppm,
            "model_multipliers": entitlement.model_multipliers,
            "own_limits": entitlement.own_limits,
            "extra_models": entitlement.extra_models,
        }
    )


def decode_entitlement(row: Mapping[str, Any]) -> Entitlement:
    """Return the entitlement that a row of ``entitlements`` stores."""
    return Entitlement(
        id=row["id"],
        account_id=row["account_id"],
        group_id=row["group_id"],
        expires_at_ms=row["expires_at_ms"],
        **decode_json(row["terms"]),
    )


def encode_prices(prices: Prices) -> str:
    """Return a price list as JSON of nano-credits."""
    return encode_json(msgspec.to_builtins(prices))


def decode_prices(text: str) -> Prices:
    """Return the price list that JSON text holds."""
    return _prices_from(decode_json(text))


def _prices_from(fields: dict[str, Any]) -> Prices:
    """Return a stored price list. One from before a class existed is not rewritten: what was charged by it,
    and what it is charged by from now on, follow from it by rule."""
    per_million = fields["per_million"]
    for later, until_then in LATER_CLASSES.items():
        per_million.setdefault(later, per_million[until_then])
    return Prices(**fields)


def encode_steps(steps: tuple[PriceStep, ...]) -> str:
    """Return long-context steps as JSON."""
    return encode_json(msgspec.to_builtins(steps))


def decode_steps(text: str) -> tuple[PriceStep, ...]:
    """Return the long-context steps that JSON text holds."""
    return tuple(
        PriceStep(above_input_units=step["above_input_units"], prices=_prices_from(step["prices"]))
        for step in decode_json(text)
    )
