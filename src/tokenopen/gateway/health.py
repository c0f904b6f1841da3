"""Health: which upstreams failed lately, as calls themselves have found out.

    healthy ----failure----> cooling ----its time is over----> half open ----one call succeeds----> healthy
                                ^                                  |
                                '----that call fails: twice as long'

A cooling upstream is still tried where nothing else is left. Half open, it gets one call at a time.
"""

from dataclasses import dataclass
from typing import Final

from tokenopen.ports.clock import Clock

COOL_DOWN_MS: Final = 10_000
COOL_DOWN_MS_MAX: Final = 60_000


@dataclass(slots=True)
class _Trouble:
    until_ms: int
    cool_down_ms: int
    is_probed: bool = False


class Health:
    """What is known of each upstream, by its id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._troubles: dict[str, _Trouble] = {}

    def is_ready(self, upstream_id: str) -> bool:
        """Tell whether an upstream should get a call: it is healthy, or half open and not being probed."""
        trouble = self._troubles.get(upstream_id)
        if trouble is None:
            return True
        return self._clock.monotonic_ms() >= trouble.until_ms and not trouble.is_probed

    def begin(self, upstream_id: str) -> None:
        """A call is about to be sent: where the upstream is half open, it is the probe."""
        trouble = self._troubles.get(upstream_id)
        if trouble is not None and self._clock.monotonic_ms() >= trouble.until_ms:
            trouble.is_probed = True

    def succeeded(self, upstream_id: str) -> None:
        """A reply has begun."""
        self._troubles.pop(upstream_id, None)

    def failed(self, upstream_id: str, *, retry_after_s: int | None = None) -> None:
        """No reply, or one that broke off. The upstream may have said when to come back."""
        trouble = self._troubles.get(upstream_id)
        was_probe = trouble is not None and trouble.is_probed
        cool_down_ms = COOL_DOWN_MS
        if trouble is not None:
            # Calls that were under way when it failed first are the same failure, not another one.
            cool_down_ms = 2 * trouble.cool_down_ms if was_probe else trouble.cool_down_ms
        if retry_after_s is not None:
            cool_down_ms = max(cool_down_ms, retry_after_s * 1000)
        cool_down_ms = min(cool_down_ms, COOL_DOWN_MS_MAX)
        self._troubles[upstream_id] = _Trouble(self._clock.monotonic_ms() + cool_down_ms, cool_down_ms)

    def undecided(self, upstream_id: str) -> None:
        """The call was given up before anything was known: the next one may probe."""
        trouble = self._troubles.get(upstream_id)
        if trouble is not None:
            trouble.is_probed = False
