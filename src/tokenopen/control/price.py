"""Prices: the immutable revisions of what a model costs, and when a change makes a new one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenopen.core.catalog import (
    OWN_PRICE_CLASSES,
    PER_CALL,
    InvalidPrices,
    PriceRevision,
    Prices,
    resolve_prices,
)
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.identifier import new_id
from tokenopen.core.money import format_amount
from tokenopen.core.usage import OUTPUT_CLASSES, USAGE_CLASSES
from tokenopen.storage.directory import price_revision_from_row
from tokenopen.storage.model import NamedPrices, NamedSteps, decode_named, price_revision_row
from tokenopen.storage.policy import decode_prices, decode_steps

Row = Mapping[str, Any]

# The reason of a revision that an import wrote: the next import may follow it with the maker's new price.
IMPORT_REASON: Final = "import"
STEPS_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices as they are named: the base list, and (above_input_units, list) for each long-context step."""

    named: NamedPrices
    steps: NamedSteps = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRecord:
    """A price revision with what was named in it, by whom and why."""

    revision: PriceRevision
    named: PriceList
    actor_id: str
    actor_email: str | None
    reason: str | None
    created_at_ms: int


def price_record(row: Row) -> PriceRecord:
    """Return the revision that a row stores."""
    return PriceRecord(
        revision=price_revision_from_row(row),
        named=named_prices(row),
        actor_id=row["actor_id"],
        actor_email=row["actor_email"],
        reason=row["reason"],
        created_at_ms=row["created_at_ms"],
    )


def named_prices(row: Row) -> PriceList:
    """Return what was named in the revision that a row stores."""
    named, steps = decode_named(row["named"])
    return PriceList(named=named, steps=steps)


def in_force_at(revisions: Sequence[Row], at_ms: int) -> Row | None:
    """Return the revision in force at an instant, of rows in the order in which they come into force."""
    begun = [row for row in revisions if row["effective_from_ms"] <= at_ms]
    return begun[-1] if begun else None


def describe_prices(prices: PriceList) -> dict[str, object]:
    """Return a price list as people read it, for the audit log."""
    return {
        "prices": {name: format_amount(price) for name, price in prices.named.items()},
        "steps": [
            {
                "above_input_tokens": above,
                "prices": {name: format_amount(price) for name, price in named.items()},
            }
            for above, named in prices.steps
        ],
    }


def lacks_output_price(prices: PriceList) -> bool:
    """Tell whether any list leaves out the price of output, as only models that give none may."""
    return any("output" not in named for named in (prices.named, *(named for _, named in prices.steps)))


def name_prices(prices: Prices, *, has_output: bool) -> NamedPrices:
    """Return the fewest names that resolve to the price list: those that say more than the rule does."""
    per_million = prices.per_million
    named = {"input": per_million["input"]}
    if has_output or any(per_million[unit_class] for unit_class in OUTPUT_CLASSES):
        named["output"] = per_million["output"]
    if prices.per_call:
        named[PER_CALL] = prices.per_call
    for unit_class in USAGE_CLASSES:
        resolved = resolve_prices(named, has_output=False).per_million
        if resolved.get(unit_class) != per_million.get(unit_class):
            named[unit_class] = per_million[unit_class]
    assert resolve_prices(named, has_output=False) == prices
    return named


def _check_steps(steps: NamedSteps) -> None:
    bounds = [above for above, _ in steps]
    if len(bounds) > STEPS_MAX or any(above < 1 for above in bounds) or bounds != sorted(set(bounds)):
        raise InvalidRequest(
            f"steps: at most {STEPS_MAX}, with above_input_tokens of at least 1, each larger than the last.",
            param="steps",
        )


def _what_counts(row: Row) -> tuple[object, ...]:
    """Return what of a revision decides over calls; which other prices were named does not."""
    named = named_prices(row).named.keys() & OWN_PRICE_CLASSES
    return decode_prices(row["prices"]), decode_steps(row["steps"]), named


def make_revision(
    model: str,
    prices: PriceList,
    *,
    revisions: Sequence[Row],
    has_output: bool,
    effective_from_ms: int,
    actor_id: str,
    reason: str | None,
    now_ms: int,
) -> dict[str, Any] | None:
    """Return the row of the revision that the prices make, None where they are those in force by then.

    ``revisions`` are the model's rows so far. Refuses InvalidRequest for a list that cannot be resolved.
    """
    _check_steps(prices.steps)
    try:
        row = price_revision_row(
            new_id("prv", now_ms),
            model=model,
            number=max((earlier["number"] for earlier in revisions), default=0) + 1,
            named=prices.named,
            steps=prices.steps,
            has_output=has_output,
            effective_from_ms=effective_from_ms,
            actor_id=actor_id,
            reason=reason,
            now_ms=now_ms,
        )
    except InvalidPrices as error:
        raise InvalidRequest(f"prices: {error}.", param="prices") from error
    current = in_force_at(revisions, effective_from_ms)
    if current is not None and _what_counts(current) == _what_counts(row):
        return None
    return row
