"""Receipt: everything that a call's charge is recomputed from by hand, and the sum written out.

(1,234 x 0.15 + 56 x 0.6) / 1,000,000 x 0.8 = 0.00017496
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenopen.control.call import CallRecord, call_not_found, call_record
from tokenopen.core.call import INTERRUPTED
from tokenopen.core.catalog import Prices
from tokenopen.core.charge import charge_for
from tokenopen.core.group import InterruptionRule
from tokenopen.core.money import (
    NANO_PER_CREDIT,
    PPM_ONE,
    UNITS_PER_PRICE,
    Nanocredits,
    format_amount,
    format_multiplier,
)
from tokenopen.core.usage import USAGE_CLASSES, Usage
from tokenopen.ports.storage import Transaction
from tokenopen.storage import call as statements
from tokenopen.storage.directory import price_revision_from_row
from tokenopen.storage.group import get_revision_policy
from tokenopen.storage.model import find_price_revision
from tokenopen.storage.policy import decode_json
from tokenopen.storage.upstream import list_upstream_names

Row = Mapping[str, Any]

# Decimal places of credits in units x nano-credits per million units x parts per million.
_EXACT_PLACES: Final = 21
_EXACT_PER_CREDIT: Final = NANO_PER_CREDIT * UNITS_PER_PRICE * PPM_ONE


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAttempt:
    """One try at one upstream, for administrators. ``result`` is a status or what went wrong."""

    upstream_id: str
    upstream_name: str | None
    result: str | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeLine:
    """A line of the sum that a charge is: units at a price per million, or one call at a price per call.

    ``unit_class`` is None for the price per call; ``amount`` is exact, a decimal number of credits.
    """

    unit_class: str | None
    units: int
    price: Nanocredits
    amount: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One call and what its charge was made of. ``formula`` is None where nothing was charged.

    ``step_above_input_units`` is set where a long-context step of the price revision applied.
    """

    call: CallRecord
    group_revision_id: str
    group_revision_number: int | None
    entitlement_id: str | None
    price_revision_id: str
    price_revision_number: int | None
    step_above_input_units: int | None
    formula: str | None
    attempts: Sequence[UpstreamAttempt]
    # The API that the provider was asked by, where it is not the caller's.
    translated_to: str | None
    # Set where the call was interrupted: what its group says of that.
    interruption_rule: InterruptionRule | None


async def get_receipt(tx: Transaction, account_id: str | None, call_id: str) -> Receipt:
    """Return the receipt of an account's call, of anybody's where no account is named. Refuses NotFound."""
    row = await statements.find_call(tx, call_id, account_id=account_id)
    if row is None:
        raise await call_not_found(tx, call_id)
    call = call_record(row)
    formula = None
    if call.usage is not None and call.prices is not None:
        formula = explain_charge(call.usage, call.prices, multiplier_ppm=call.multiplier_ppm)
    return Receipt(
        call=call,
        group_revision_id=row["group_revision_id"],
        group_revision_number=row["group_revision_number"],
        entitlement_id=row["entitlement_id"],
        price_revision_id=row["price_revision_id"],
        price_revision_number=row["price_revision_number"],
        step_above_input_units=await _find_step(tx, row, call),
        formula=formula,
        attempts=await _attempts(tx, row),
        translated_to=_find_translation(row),
        interruption_rule=await _find_interruption_rule(tx, row),
    )


async def _find_interruption_rule(tx: Transaction, row: Row) -> InterruptionRule | None:
    if row["end_reason"] not in INTERRUPTED:
        return None
    return (await get_revision_policy(tx, row["group_revision_id"])).interruption_rule


async def _find_step(tx: Transaction, row: Row, call: CallRecord) -> int | None:
    revision_row = await find_price_revision(tx, row["price_revision_id"])
    if revision_row is None or call.usage is None:
        return None
    input_units = call.usage.input_units
    reached = [
        step.above_input_units
        for step in price_revision_from_row(revision_row).steps
        if input_units > step.above_input_units
    ]
    return reached[-1] if reached else None


def _find_translation(row: Row) -> str | None:
    tries = decode_json(row["attempts"]) if row["attempts"] else []
    # Calls that were made before there was translation do not say.
    found: str | None = tries[-1].get("translated_to") if tries else None
    return found


async def _attempts(tx: Transaction, row: Row) -> Sequence[UpstreamAttempt]:
    """Return the tries in their order; a call that needed one only keeps that in its own columns."""
    stored = decode_json(row["attempts"]) if row["attempts"] else []
    if not stored and row["upstream_id"] is not None:
        stored = [
            {
                "upstream_id": row["upstream_id"],
                "result": None if row["status"] is None else str(row["status"]),
                "duration_ms": row["duration_ms"],
            }
        ]
    names = await list_upstream_names(tx, [attempt["upstream_id"] for attempt in stored])
    return [
        UpstreamAttempt(
            upstream_id=attempt["upstream_id"],
            upstream_name=names.get(attempt["upstream_id"]),
            result=attempt["result"],
            duration_ms=attempt["duration_ms"],
        )
        for attempt in stored
    ]


def charge_lines(usage: Usage, prices: Prices) -> Sequence[ChargeLine]:
    """Return the lines that a charge's list price is the sum of, before any rounding."""
    lines = [
        ChargeLine(
            unit_class=unit_class,
            units=usage.units[unit_class],
            price=prices.per_million[unit_class],
            amount=_format_exact(usage.units[unit_class] * prices.per_million[unit_class] * PPM_ONE),
        )
        for unit_class in USAGE_CLASSES
        if usage.units.get(unit_class)
    ]
    if prices.per_call:
        amount = format_amount(prices.per_call)
        lines.append(ChargeLine(unit_class=None, units=1, price=prices.per_call, amount=amount))
    return lines


def explain_charge(usage: Usage, prices: Prices, *, multiplier_ppm: int) -> str:
    """Return the sum that the charge is, as a person would type it into a calculator.

    Prices are credits per million units; the one rounding, downwards to nine places, is named where it
    took something off.
    """
    parts = [
        (usage.units[unit_class], prices.per_million[unit_class])
        for unit_class in USAGE_CLASSES
        if usage.units.get(unit_class)
    ]
    by_units = " + ".join(f"{units:,} x {format_amount(price)}" for units, price in parts)
    terms = [f"({by_units}) / {UNITS_PER_PRICE:,}"] if parts else []
    if prices.per_call:
        terms.append(format_amount(prices.per_call))
    list_price = " + ".join(terms) or "0"
    if len(terms) > 1:
        list_price = f"({list_price})"
    exact = (
        sum(units * price for units, price in parts) + prices.per_call * UNITS_PER_PRICE
    ) * multiplier_ppm
    charge = charge_for(usage, prices, multiplier_ppm=multiplier_ppm)
    formula = f"{list_price} x {format_multiplier(multiplier_ppm)} = {_format_exact(exact)}"
    if exact != charge * (_EXACT_PER_CREDIT // NANO_PER_CREDIT):
        formula += f", rounded down to {format_amount(charge)}"
    return formula


def _format_exact(value: int) -> str:
    whole, fraction = divmod(value, _EXACT_PER_CREDIT)
    digits = f"{fraction:0{_EXACT_PLACES}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
