"""Calls as the till writes them: admitted and settled through ``Storage.post``, on real groups and prices."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import msgspec

from tests.conftest import HASHING_KEY
from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import Narrowing, create_api_key
from tokenopen.control.ledger import top_up
from tokenopen.control.model import put_model
from tokenopen.core.admission import Admission, Admitted, Resolution, Resolved
from tokenopen.core.api_key import hash_key
from tokenopen.core.call import CallFacts, EndReason, Outcome
from tokenopen.core.caller import Caller
from tokenopen.core.charge import charge_for
from tokenopen.core.estimate import Quote
from tokenopen.core.identifier import new_id
from tokenopen.core.money import Nanocredits, parse_amount
from tokenopen.core.terms import resolve_terms
from tokenopen.core.usage import Usage
from tokenopen.ports.storage import Batch, Storage

MODEL = "gpt-4o-mini"
UTC = ZoneInfo("UTC")
# Tests that move the clock by days do not renew anything.
LEASE_MS = 400 * 24 * 3_600_000


@dataclass(kw_only=True)
class TillCalls:
    """A user with credit and a key, and the worker that makes their calls."""

    storage: Storage
    clock: MovableClock
    administrator: Actor
    user: Actor
    key: str
    worker_id: str

    async def find_caller(self) -> Caller:
        catalog = await self.storage.load_catalog()
        caller = await self.storage.find_caller(hash_key(self.key, HASHING_KEY), catalog)
        assert isinstance(caller, Caller)
        return caller

    async def admission(self, *, hold: int = 10**6, model: str = MODEL, surface: str = "chat") -> Admission:
        """Return a call that asks to be admitted and would hold exactly so much."""
        catalog = await self.storage.load_catalog()
        caller = await self.find_caller()
        now_ms = self.clock.now_ms()
        price = catalog.models[model].price_at(now_ms)
        assert price is not None
        facts = CallFacts(
            call_id=new_id("call", now_ms),
            account_id=caller.key.account_id,
            user_id=caller.key.user_id,
            key_id=caller.key.id,
            group_id=caller.group.id,
            surface=surface,
            stream=False,
            model=model,
            price_revision_id=price.id,
            terms=resolve_terms(caller.group.revision_at(now_ms), caller.entitlement_at(now_ms), model),
        )
        return Admission(
            facts=facts,
            quote=Quote(
                fixed_scaled=hold * 10**12,
                per_output_unit_scaled=0,
                output_units=1,
                capped_output_units=None,
                choices=1,
            ),
            catalog_version=caller.catalog_version,
            account_version=caller.account_version,
            valid_until_ms=None,
            worker_id=self.worker_id,
            zone=UTC,
            group_name=caller.group.name,
            support_contact="",
        )

    async def admit(self, *, hold: int = 10**6, model: str = MODEL, surface: str = "chat") -> Admission:
        """Admit one call that holds exactly so much."""
        admission = await self.admission(hold=hold, model=model, surface=surface)
        answer = await self.storage.post(Batch(resolutions=(), admissions=[admission]))
        assert isinstance(answer.admissions[0], Admitted), answer.admissions[0]
        return admission

    async def resolve(self, admission: Admission, outcome: Outcome) -> Resolved:
        answer = await self.storage.post(
            Batch(resolutions=[Resolution(facts=admission.facts, outcome=outcome)], admissions=())
        )
        resolved = answer.resolutions[0]
        assert isinstance(resolved, Resolved), resolved
        return resolved

    async def settle(
        self,
        admission: Admission,
        units: Mapping[str, int],
        *,
        attempts: str | None = None,
        upstream_id: str | None = None,
    ) -> Resolved:
        """Charge a call for its usage, as the gateway does."""
        outcome = await self.outcome(admission, units, attempts=attempts, upstream_id=upstream_id)
        return await self.resolve(admission, outcome)

    async def outcome(
        self,
        admission: Admission,
        units: Mapping[str, int],
        *,
        attempts: str | None = None,
        upstream_id: str | None = None,
    ) -> Outcome:
        """Return how a call ends that is charged for its usage."""
        catalog = await self.storage.load_catalog()
        facts = admission.facts
        revision = next(
            price
            for price in catalog.models[facts.model].price_revisions
            if price.id == facts.price_revision_id
        )
        usage = Usage(units)
        prices = revision.prices_for(usage.input_units)
        return Outcome(
            resolution="settle",
            end_reason="completed",
            due=charge_for(usage, prices, multiplier_ppm=facts.terms.multiplier_ppm),
            usage_json=msgspec.json.encode(usage.units).decode(),
            usage_source=usage.source,
            prices_json=msgspec.json.encode(prices).decode(),
            input_units=usage.input_units,
            output_units=usage.output_units,
            upstream_id=upstream_id,
            attempts_json=attempts,
            status=200,
            first_byte_ms=5,
            duration_ms=20,
        )

    async def void(self, admission: Admission, end_reason: EndReason = "upstream_failed") -> Resolved:
        return await self.resolve(
            admission, Outcome(resolution="void", end_reason=end_reason, status=502, duration_ms=3)
        )

    async def flagged(self, *, hold: int = 10**6) -> str:
        """Make one call that is not charged since its usage cannot be true, and return its id."""
        admission = await self.admit(hold=hold)
        outcome = Outcome(
            resolution="void",
            end_reason="impossible_usage",
            status=200,
            flag="impossible_usage",
            flag_detail="-1 units of input",
            duration_ms=3,
        )
        await self.resolve(admission, outcome)
        return admission.facts.call_id

    async def call(self, *, hold: int = 10**9, model: str = MODEL, **units: int) -> str:
        """Make one call that is charged for its usage, and return its id."""
        admission = await self.admit(hold=hold, model=model)
        await self.settle(admission, units or {"input": 1_234, "output": 56})
        return admission.facts.call_id

    async def with_key(self, *, group: str | None = None, credit_limit: int | None = None) -> "TillCalls":
        """Return the same with another key."""
        return replace(self, key=await make_key(self, group=group, credit_limit=credit_limit))


async def make_key(calls: TillCalls, *, group: str | None, credit_limit: int | None) -> str:
    async with calls.storage.write() as tx:
        key, _ = await create_api_key(
            tx,
            calls.user,
            user_id=calls.user.user_id,
            name="Test",
            group=group,
            narrowing=Narrowing(credit_limit=None if credit_limit is None else Nanocredits(credit_limit)),
            hashing_key=HASHING_KEY,
        )
    return key


async def start_calls(
    storage: Storage, clock: MovableClock, administrator: Actor, user: Actor, *, credit: str = "10"
) -> TillCalls:
    """Give a user credit and a key of the default group, and a model at 0.15 and 0.60 a price."""
    worker_id = new_id("wrk", clock.now_ms())
    await storage.register_worker(worker_id, machine="", lease_ms=LEASE_MS)
    async with storage.write() as tx:
        await put_model(
            tx,
            administrator,
            MODEL,
            {
                "maker": "openai",
                "context_window": 128_000,
                "max_output_tokens": 16_384,
                "prices": {"input": Nanocredits(150_000_000), "output": Nanocredits(600_000_000)},
            },
        )
        if credit != "0":
            await top_up(tx, administrator, user_id=user.user_id, amount=parse_amount(credit), reason="Test")
    calls = TillCalls(
        storage=storage, clock=clock, administrator=administrator, user=user, key="", worker_id=worker_id
    )
    return await calls.with_key()
