"""Items for the till: calls as the pipeline plans them, and how they end."""

from dataclasses import dataclass, field

import msgspec

from tests.conftest import HASHING_KEY
from tests.gateway.replies import ask
from tests.gateway.world import World
from tokenopen.core.admission import Admission, Resolution
from tokenopen.core.api_key import hash_key
from tokenopen.core.call import CallFacts, Outcome
from tokenopen.core.charge import charge_for
from tokenopen.core.identifier import new_id
from tokenopen.core.usage import Usage
from tokenopen.gateway.check import Plan, plan_call
from tokenopen.upstream.surfaces.chat import ChatSurface


@dataclass(kw_only=True)
class TillItems:
    """Plans calls of the world's key without the pipeline."""

    world: World
    plans: dict[str, Plan] = field(default_factory=dict)

    async def admission(self, *, max_tokens: int = 1) -> Admission:
        """Return a call that asks to be admitted."""
        world, surface = self.world, ChatSurface()
        resolved = await world.gateway.directory.find(hash_key(world.key, HASHING_KEY))
        plan = plan_call(
            resolved,
            surface,
            surface.read_request(msgspec.json.encode(ask(max_tokens=max_tokens))),
            call_id=new_id("call", world.clock.now_ms()),
            worker_id=world.gateway.worker.id,
        )
        self.plans[plan.facts.call_id] = plan
        return plan.admission

    def hold_of(self, admission: Admission) -> int:
        """Return what admitting it holds."""
        return admission.quote.hold(admission.quote.output_units)

    def settlement(self, admission: Admission, *, output: int) -> Resolution:
        """Return the settlement of a call for so many output units."""
        plan, usage = self.plans[admission.facts.call_id], Usage({"output": output})
        prices = plan.prices.prices
        outcome = Outcome(
            resolution="settle",
            end_reason="completed",
            due=charge_for(usage, prices, multiplier_ppm=plan.facts.terms.multiplier_ppm),
            usage_json=msgspec.json.encode(usage.units).decode(),
            usage_source=usage.source,
            prices_json=msgspec.json.encode(prices).decode(),
            output_units=output,
            status=200,
        )
        return Resolution(facts=admission.facts, outcome=outcome)

    def void(self, facts: CallFacts) -> Resolution:
        """Return the void of a call."""
        return Resolution(facts=facts, outcome=Outcome(resolution="void", end_reason="client_left_early"))

    def voids_of_nothing(self, count: int, facts: CallFacts) -> list[Resolution]:
        """Return voids of calls that were never admitted, which change nothing."""
        return [self.void(facts.changed(call_id=new_id("call", 0))) for _ in range(count)]

    def must_not_cost(self, facts: CallFacts) -> Resolution:
        """Return the void of a call that was answered 5xx."""
        outcome = Outcome(resolution="void", end_reason="settlement_late", status=503)
        return Resolution(facts=facts, outcome=outcome, must_not_cost=True)
