"""Estimates: the most a call can cost, held while it runs, and the least an interrupted one did.

The hold is an upper bound: dearest class, dearest long-context step that the input can reach, rounded
up. Providers add hidden tool prompts to the input, hence the allowance. The estimate of an interrupted
call is a lower bound: on 648 real calls, message-text bytes / 6 lay below the reported input in 643. What
models write is longer by the unit: of 2,636 real replies, bytes / 7 lay below the reported output in 2,633,
bytes / 6 in 2,571.
"""

from collections.abc import Mapping
from typing import Final

from tokenopen.core.catalog import PriceRevision, Prices
from tokenopen.core.frozen import Frozen
from tokenopen.core.money import PPM_ONE, UNITS_PER_PRICE, Nanocredits, ceil_div
from tokenopen.core.usage import Usage, usage_of

HIDDEN_PROMPT_UNITS: Final = 1_000
ATTACHMENT_UNITS: Final = 32_000
TEXT_BYTES_PER_UNIT: Final = 6
WRITTEN_BYTES_PER_UNIT: Final = 7
# ,"max_completion_tokens": 1000000000
MAXIMUM_BYTES: Final = 40
_DIVISOR: Final = UNITS_PER_PRICE * PPM_ONE


class Quote(Frozen, frozen=True, kw_only=True):
    """What a call can cost as a function of its output units, in nano-credits x 10^12.

    ``output_units`` is the most the call can give if it goes out as the caller wrote it.
    ``capped_output_units`` is what it is cut to where credit does not cover that; None where the caller
    named a maximum. Both count all ``choices`` together.
    """

    fixed_scaled: int
    per_output_unit_scaled: int
    output_units: int
    capped_output_units: int | None
    choices: int
    # What naming a maximum would add to the body of a caller who names none.
    naming_scaled: int = 0

    def hold(self, output_units: int) -> Nanocredits:
        """Return the hold that covers so many output units, rounded up."""
        return Nanocredits(ceil_div(self.fixed_scaled + output_units * self.per_output_unit_scaled, _DIVISOR))

    def affordable_output_tokens(self, available: Nanocredits) -> int:
        """Return the largest maximum per choice that fits when asked for by name; 0 where none does."""
        left = available * _DIVISOR - self.fixed_scaled - self.naming_scaled
        if left < 0:
            return 0
        if self.per_output_unit_scaled == 0:
            return self.output_units // self.choices
        return min(left // self.per_output_unit_scaled, self.output_units) // self.choices


# Of a call that costs nothing at any provider.
FREE_QUOTE: Final = Quote(
    fixed_scaled=0, per_output_unit_scaled=0, output_units=0, capped_output_units=None, choices=1
)


def _fixed(prices: Prices, counted_units: Mapping[str, int] | None) -> int:
    """Return what does not depend on tokens, in nano-credits x 10^6."""
    fixed = prices.per_call * UNITS_PER_PRICE
    if counted_units:
        fixed += sum(prices.per_million.get(name, 0) * units for name, units in counted_units.items())
    return fixed


def input_bound(*, input_bytes: int, attachments: int, open_ended: bool, context_window: int) -> int:
    """Return the most input units a call can have: never above the context window."""
    if open_ended:
        return context_window
    return min(context_window, input_bytes + HIDDEN_PROMPT_UNITS + ATTACHMENT_UNITS * attachments)


def quote_for(
    revision: PriceRevision,
    *,
    multiplier_ppm: int,
    input_units: int,
    model_max_output: int,
    requested_max_output: int | None,
    default_max_output: int,
    choices: int,
    counted_units: Mapping[str, int] | None = None,
) -> Quote:
    """Return what the call can cost.

    ``input_units`` is the bound for all prompts together, ``counted_units`` that of each counted class, where
    it is priced. A maximum that the caller names is capped at the model's. Where it names none, the whole of
    the model's own maximum is quoted, with the group's default as the cap to fall back on.
    """
    dearest_input = dearest_output = fixed = 0
    for ceiling in revision.ceilings:
        if input_units > ceiling.above_input_units:
            dearest_input = max(dearest_input, ceiling.dearest_input)
            dearest_output = max(dearest_output, ceiling.dearest_output)
            fixed = max(fixed, _fixed(ceiling.prices, counted_units))
    wanted = model_max_output if requested_max_output is None else min(requested_max_output, model_max_output)
    capped = min(default_max_output, model_max_output)
    return Quote(
        fixed_scaled=(input_units * dearest_input + fixed) * multiplier_ppm,
        per_output_unit_scaled=dearest_output * multiplier_ppm,
        output_units=wanted * choices,
        capped_output_units=capped * choices if requested_max_output is None and capped < wanted else None,
        choices=choices,
        naming_scaled=MAXIMUM_BYTES * dearest_input * multiplier_ppm if requested_max_output is None else 0,
    )


def estimated_usage(*, text_bytes: int, output_units: int, reported_input_units: int | None = None) -> Usage:
    """Return the usage of a call whose provider did not report it all: a lower bound, marked so."""
    if reported_input_units is None:
        reported_input_units = text_bytes // TEXT_BYTES_PER_UNIT
    return usage_of(source="estimated", input=reported_input_units, output=output_units)
