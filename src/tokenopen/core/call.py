"""Call: one model request through the gateway, and its record. A call's hold is resolved exactly once.

held --settle--> settled    the charge is taken, the rest of the hold is free again
  |----void----> voided     the call cost nothing
  '---expire---> expired    its worker is gone; the caller pays nothing
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokenopen.core.frozen import Frozen
from tokenopen.core.money import ZERO, Nanocredits
from tokenopen.core.terms import Terms

CallState = Literal["held", "settled", "voided", "expired"]
Resolution = Literal["settle", "void", "expire"]

TRANSITIONS: Final[Mapping[CallState, Mapping[Resolution, CallState]]] = {
    "held": {"settle": "settled", "void": "voided", "expire": "expired"},
    "settled": {},
    "voided": {},
    "expired": {},
}

# Why a call ended, as its receipt says it. Only the first three are ever charged.
EndReason = Literal[
    "completed",
    "client_left",  # the caller went away while a stream ran; what the provider did is charged
    "upstream_broke_off",  # the provider ended a stream early; what was delivered is charged
    "client_left_early",  # the caller went away before a byte reached it
    "upstream_rejected",  # the provider refused the request in its own words
    "upstream_failed",  # no provider gave a reply
    "impossible_usage",  # the provider's report cannot be true
    "settlement_late",  # the charge could not be recorded in time
    "abandoned",  # the caller was gone when the call was admitted
    "worker_gone",  # the process ended while the call ran
]

# How it is known what a call costs the operator: the provider said so, or the upstream's stated prices do.
CostSource = Literal["reported", "stated"]

# What is charged of these is what the group's interruption rule says.
INTERRUPTED: Final[tuple[EndReason, ...]] = ("client_left", "upstream_broke_off")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyClaim:
    """A caller's Idempotency-Key and the digest of all that the call under it asks for."""

    key: str
    request_hash: bytes


class CallFacts(Frozen, frozen=True, kw_only=True):
    """What is known of a call when it is admitted."""

    call_id: str
    account_id: str
    user_id: str
    key_id: str
    group_id: str
    surface: str
    stream: bool
    model: str
    price_revision_id: str
    terms: Terms
    claim: IdempotencyClaim | None = None


class Outcome(Frozen, frozen=True, kw_only=True):
    """How a call ended. ``due`` is the exact charge before credit limits it; 0 unless settled.

    ``usage_json`` and ``prices_json`` are what the charge is recomputed from (invariant I10).
    """

    resolution: Resolution
    end_reason: EndReason
    due: Nanocredits = ZERO
    usage_json: str | None = None
    usage_source: str | None = None
    prices_json: str | None = None
    input_units: int = 0
    output_units: int = 0
    upstream_id: str | None = None
    attempts_json: str | None = None
    status: int = 0
    flag: str | None = None
    # In words what the flag is about.
    flag_detail: str | None = None
    # What the provider takes from the operator for it, and how that is known; None: unknown, never 0.
    cost: Nanocredits | None = None
    cost_source: CostSource | None = None
    first_byte_ms: int | None = None
    duration_ms: int | None = None
    # Ids of what the provider keeps from the reply (storage/provider_object.py), recorded with it.
    created_ids: Sequence[str] = ()
