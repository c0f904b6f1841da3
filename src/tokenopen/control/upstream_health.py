"""Upstream health: what came of the last calls that were sent to each upstream, as their records say."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tokenopen.control.actor import Actor
from tokenopen.ports.storage import Transaction
from tokenopen.storage.policy import decode_json
from tokenopen.storage.upstream import list_recent_calls

Row = Mapping[str, Any]

CALLS_READ: Final = 1_000
# The provider's answers that are none of its troubles: a whole reply, or a refusal of what a caller sent.
_ANSWERED: Final = frozenset({"200", "400", "413", "415", "422"})
_BROKE_OFF: Final = "upstream_broke_off"


@dataclass(slots=True, kw_only=True)
class UpstreamHealth:
    """Tries of the last 1,000 calls at one upstream. ``last_failure`` is a status or what happened."""

    tries: int = 0
    failed: int = 0
    last_try_ms: int | None = None
    is_failing: bool = False
    last_failure: str | None = None
    last_failure_ms: int | None = None
    _seen: bool = field(default=False, repr=False)

    def note(self, result: str, at_ms: int) -> None:
        """Count one try; they come the newest first."""
        has_failed = result not in _ANSWERED
        self.tries += 1
        self.failed += has_failed
        if not self._seen:
            self.last_try_ms, self.is_failing, self._seen = at_ms, has_failed, True
        if has_failed and self.last_failure is None:
            self.last_failure, self.last_failure_ms = result, at_ms


async def list_health(tx: Transaction, actor: Actor) -> Mapping[str, UpstreamHealth]:
    """Return the health of every upstream that the last calls were sent to, by its id."""
    actor.require_administrator()
    health: dict[str, UpstreamHealth] = defaultdict(UpstreamHealth)
    for row in await list_recent_calls(tx, limit=CALLS_READ):
        if row["resolved_at_ms"] is not None:
            for upstream_id, result in _tries(row):
                health[upstream_id].note(result, row["resolved_at_ms"])
    return dict(health)


def _tries(row: Row) -> Iterator[tuple[str, str]]:
    """Yield upstream and result of each try of a call, the last one first."""
    attempts: Sequence[Row] = decode_json(row["attempts"]) if row["attempts"] else []
    tries = [(attempt["upstream_id"], attempt["result"]) for attempt in attempts]
    if not tries and row["upstream_id"]:
        tries = [(row["upstream_id"], "200")]
    if tries and row["end_reason"] == _BROKE_OFF:
        tries[-1] = (tries[-1][0], _BROKE_OFF)
    yield from reversed(tries)
