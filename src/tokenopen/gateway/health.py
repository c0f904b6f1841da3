"""Health: which upstreams failed lately, as calls themselves have found out.

    healthy ----failure----> cooling ----its time is over----> half open ----one call succeeds----> healthy
                                ^                                  |
                                '----that call fails: twice as long'

A cooling upstream is still tried where nothing else is left. Half open, it gets one call at a time. What an
upstream says of one model (it has none of that name, no room for it) is no trouble of its other models.
"""

from dataclasses import dataclass
from typing import Final

from tokenopen.core.catalog import Route
from tokenopen.ports.clock import Clock

COOL_DOWN_MS: Final = 10_000
COOL_DOWN_MS_MAX: Final = 60_000
# Providers limit, hide and forbid by model. A wrong credential (401), no money there (402) and all that is no
# answer concern every call.
OF_ONE_MODEL: Final = frozenset({403, 404, 409, 429})

_Place = tuple[str, str | None]


@dataclass(slots=True)
class _Trouble:
    until_ms: int
    cool_down_ms: int
    is_probed: bool = False


class Health:
    """What is known of each upstream, and of each model of one, by the model's name there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._troubles: dict[_Place, _Trouble] = {}

    def is_ready(self, route: Route) -> bool:
        """Tell whether a route should get a call: it is healthy, or half open and not being probed."""
        if not self._troubles:
            return True
        now_ms = self._clock.monotonic_ms()
        return all(now_ms >= trouble.until_ms and not trouble.is_probed for trouble in self._of(route))

    def begin(self, route: Route) -> None:
        """A call is about to be sent: where the route is half open, it is the probe."""
        for trouble in self._of(route):
            if self._clock.monotonic_ms() >= trouble.until_ms:
                trouble.is_probed = True

    def succeeded(self, route: Route) -> None:
        """A reply has begun."""
        if self._troubles:
            for place in _places(route):
                self._troubles.pop(place, None)

    def failed(self, route: Route, *, status: int | None = None, retry_after_s: int | None = None) -> None:
        """No reply or a broken one (``status`` None), or a refusal, which may say when to come back."""
        whole, of_model = _places(route)
        place, other = (of_model, whole) if status in OF_ONE_MODEL else (whole, of_model)
        if other in self._troubles:
            # The call has not decided what it might have found out of that.
            self._troubles[other].is_probed = False
        trouble = self._troubles.get(place)
        was_probe = trouble is not None and trouble.is_probed
        cool_down_ms = COOL_DOWN_MS
        if trouble is not None:
            # Calls that were under way when it failed first are the same failure, not another one.
            cool_down_ms = 2 * trouble.cool_down_ms if was_probe else trouble.cool_down_ms
        if retry_after_s is not None:
            cool_down_ms = max(cool_down_ms, retry_after_s * 1000)
        cool_down_ms = min(cool_down_ms, COOL_DOWN_MS_MAX)
        self._troubles[place] = _Trouble(self._clock.monotonic_ms() + cool_down_ms, cool_down_ms)

    def undecided(self, route: Route) -> None:
        """The call was given up before anything was known: the next one may probe."""
        for trouble in self._of(route):
            trouble.is_probed = False

    def _of(self, route: Route) -> list[_Trouble]:
        """Return what troubles a route: its upstream's, and that of its model there."""
        if not self._troubles:
            return []
        return [self._troubles[place] for place in _places(route) if place in self._troubles]


def _places(route: Route) -> tuple[_Place, _Place]:
    return (route.endpoint.id, None), (route.endpoint.id, route.upstream_model)
