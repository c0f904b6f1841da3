"""Settle: the exact outcome of a call, and its way through the till before the reply is whole."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from tokenopen.core.admission import Resolution
from tokenopen.core.call import CostSource, EndReason, Outcome
from tokenopen.core.catalog import Prices
from tokenopen.core.charge import charge_for
from tokenopen.core.frozen import Frozen
from tokenopen.core.kept_reply import KeptReply
from tokenopen.core.money import AMOUNT_MAX, Nanocredits, format_amount
from tokenopen.core.usage import ADDED_CLASSES, Usage
from tokenopen.gateway.check import Plan, encode_prices
from tokenopen.gateway.forward import Attempt, Forwarded
from tokenopen.gateway.kept_reply import ReplyKeeper
from tokenopen.gateway.till import Till
from tokenopen.ports.clock import Clock
from tokenopen.ports.storage import ResolutionAnswer

BEYOND_CONTEXT_WINDOW: Final = "beyond_context_window"
IMPOSSIBLE_USAGE: Final = "impossible_usage"
UNPRICED_USAGE: Final = "unpriced_usage"
FLAG_DETAIL_LENGTH_MAX: Final = 500

_encoder = msgspec.json.Encoder()


def encode_attempts(attempts: Sequence[Attempt]) -> str | None:
    """Return the tries as JSON; None where the first one gave the reply as it was asked for, which the call's
    row says anyway."""
    if len(attempts) == 1 and attempts[0].result == "200" and attempts[0].translated_to is None:
        return None
    return _encoder.encode(attempts).decode() if attempts else None


def free_outcome(
    end_reason: EndReason,
    *,
    status: int,
    duration_ms: int,
    attempts: Sequence[Attempt] = (),
    first_byte_ms: int | None = None,
    flag: str | None = None,
    flag_detail: str | None = None,
) -> Outcome:
    """Return the outcome of a call that costs nothing."""
    return Outcome(
        resolution="void",
        end_reason=end_reason,
        upstream_id=attempts[-1].upstream_id if attempts else None,
        attempts_json=encode_attempts(attempts),
        status=status,
        flag=flag,
        flag_detail=None if flag_detail is None else flag_detail[:FLAG_DETAIL_LENGTH_MAX],
        first_byte_ms=first_byte_ms,
        duration_ms=duration_ms,
    )


class Relay(Frozen, frozen=True, kw_only=True):
    """An admitted call whose provider has begun to reply: what it may turn out to be, and the till."""

    till: Till
    clock: Clock
    plan: Plan
    forwarded: Forwarded
    headers: Sequence[tuple[bytes, bytes]]
    started_ms: int
    # Set where the caller gave an Idempotency-Key.
    keeper: ReplyKeeper | None = None

    def elapsed_ms(self) -> int:
        """How long ago the call came."""
        return self.clock.monotonic_ms() - self.started_ms

    def upstream_ms(self) -> int:
        """How long ago it was sent to the provider that answers."""
        return self.clock.monotonic_ms() - self.forwarded.sent_at_ms

    def charged(self, usage: Usage, end_reason: EndReason) -> Outcome:
        """Return the outcome of being charged for the usage."""
        plan, forwarded = self.plan, self.forwarded
        if plan.surface.is_free:
            return self.free(end_reason, status=forwarded.reply.status)
        if plan.request.waived:
            usage = usage.without(plan.request.waived)
        input_units, output_units = usage.input_units, usage.output_units
        prices = plan.prices.prices_for(input_units)
        flag = flag_detail = None
        if unpriced := prices.unpriced(usage.units):
            # Nothing is sold without a price; what the provider counts so is for an administrator to see.
            counted = ", ".join(f"{usage.units[unit_class]:,} {unit_class}" for unit_class in unpriced)
            flag, flag_detail = UNPRICED_USAGE, f"no price for {counted}"
            if not ADDED_CLASSES.issuperset(unpriced):
                return self.void_flagged(flag, flag_detail)
            usage = usage.without(unpriced)
        due = charge_for(usage, prices, multiplier_ppm=plan.facts.terms.multiplier_ppm)
        if due > AMOUNT_MAX:
            return self.void_flagged(IMPOSSIBLE_USAGE, f"a charge of {format_amount(due)} credits")
        # Hosted tools can do that, so it is no reason not to charge; an administrator looks at it.
        if flag is None and input_units + output_units > plan.context_window:
            flag = BEYOND_CONTEXT_WINDOW
            flag_detail = (
                f"{input_units + output_units:,} units in a context window of {plan.context_window:,}"
            )
        cost, cost_source = self._cost(usage, prices)
        return Outcome(
            resolution="settle",
            end_reason=end_reason,
            due=due,
            usage_json=_encoder.encode(usage.units).decode(),
            usage_source=usage.source,
            prices_json=plan.prices_json if prices is plan.prices.prices else encode_prices(prices),
            input_units=input_units,
            output_units=output_units,
            upstream_id=forwarded.endpoint.id,
            attempts_json=encode_attempts(forwarded.attempts),
            status=forwarded.reply.status,
            flag=flag,
            flag_detail=flag_detail,
            cost=cost,
            cost_source=cost_source,
            first_byte_ms=forwarded.first_byte_ms,
            duration_ms=self.elapsed_ms(),
        )

    def _cost(self, usage: Usage, prices: Prices) -> tuple[Nanocredits | None, CostSource | None]:
        """Return what the provider takes for the call, and how that is known; it may not be."""
        if usage.cost is not None:
            return Nanocredits(usage.cost), "reported"
        multiplier_ppm = self.forwarded.endpoint.cost_multiplier_ppm
        if multiplier_ppm is None:
            return None, None
        cost = charge_for(usage, prices, multiplier_ppm=multiplier_ppm)
        return (cost, "stated") if cost <= AMOUNT_MAX else (None, None)

    def free(
        self, end_reason: EndReason, *, status: int, flag: str | None = None, flag_detail: str | None = None
    ) -> Outcome:
        """Return the outcome of costing nothing."""
        return free_outcome(
            end_reason,
            status=status,
            duration_ms=self.elapsed_ms(),
            attempts=self.forwarded.attempts,
            first_byte_ms=self.forwarded.first_byte_ms,
            flag=flag,
            flag_detail=flag_detail,
        )

    def void_flagged(self, flag: str, detail: str) -> Outcome:
        """Return the outcome of a reply whose usage cannot be charged: free, for an administrator to see."""
        status = self.forwarded.reply.status
        return self.free("impossible_usage", status=status, flag=flag, flag_detail=detail)

    def put(self, outcome: Outcome, kept: KeptReply | None = None) -> asyncio.Future[ResolutionAnswer]:
        """Hand the outcome to the till, with the reply that is kept for the same call sent again."""
        return self.till.put(Resolution(facts=self.plan.facts, outcome=outcome, kept=kept))

    def give_up(self, *, status: int) -> None:
        """See to it that the call costs nothing, though a settlement may already be on its way."""
        outcome = self.free("settlement_late", status=status)
        self.till.put(Resolution(facts=self.plan.facts, outcome=outcome, must_not_cost=True))
