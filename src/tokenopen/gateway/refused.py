"""Refused calls: counted and kept, outside the till: no flood of refusals may cost a write each.

Counts per (account, key, group, code, hour) and the newest refusals wait in memory and are written every
few seconds. A crash loses what has not been written: refusals cost nothing, so nothing is owed for them.
"""

from collections import Counter, deque
from typing import Final

import msgspec

from tokenopen.core.caller import Caller
from tokenopen.core.errors import Refusal
from tokenopen.core.refused_call import HOUR_MS, RefusedCall, RefusedHour
from tokenopen.gateway.meter import Meter
from tokenopen.ports.clock import Clock

_WAITING_MAX: Final = 200
MESSAGE_CHARACTERS_MAX: Final = 1_000
FACTS_CHARACTERS_MAX: Final = 2_000


class RefusedCalls:
    """What has been refused since it was last taken."""

    def __init__(self, clock: Clock, meter: Meter | None = None) -> None:
        self._clock = clock
        self._meter = meter or Meter()
        self._counts: Counter[RefusedHour] = Counter()
        self._newest: deque[RefusedCall] = deque(maxlen=_WAITING_MAX)

    def note(
        self, caller: Caller, refusal: Refusal, *, call_id: str, surface: str, model: str | None
    ) -> None:
        """Count a refusal of a known caller and keep it for the account's log."""
        now_ms, key = self._clock.now_ms(), caller.key
        hour = RefusedHour(
            account_id=key.account_id,
            key_id=key.id,
            group_id=caller.group.id,
            code=refusal.code,
            hour=now_ms // HOUR_MS,
        )
        self._counts[hour] += 1
        self._meter.refused(refusal, group_id=caller.group.id, model=model or "")
        self._newest.append(
            RefusedCall(
                id=call_id,
                account_id=key.account_id,
                key_id=key.id,
                group_id=caller.group.id,
                model=model,
                surface=surface,
                status=refusal.status,
                code=refusal.code,
                message=refusal.message[:MESSAGE_CHARACTERS_MAX],
                facts=_facts(refusal),
                refused_at_ms=now_ms,
            )
        )

    def take(self) -> tuple[Counter[RefusedHour], list[RefusedCall]]:
        """Return what has gathered and begin anew."""
        counts, newest = self._counts, list(self._newest)
        self._counts = Counter()
        self._newest.clear()
        return counts, newest

    def put_back(self, counts: Counter[RefusedHour]) -> None:
        """Count again what could not be written."""
        self._counts.update(counts)


def _facts(refusal: Refusal) -> str | None:
    """Return what the message is made of, as JSON; None where it is nothing, or too much to be kept."""
    facts = {name: fact for name, fact in refusal.facts.items() if fact is not None}
    if refusal.retry_after_s is not None:
        facts["retry_after_s"] = refusal.retry_after_s
    text = msgspec.json.encode(facts).decode() if facts else ""
    return text if 0 < len(text) <= FACTS_CHARACTERS_MAX else None
