"""Clock: the time, injected so that tests can move it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall-clock and monotonic time of this process."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC. Limits use the database's time where it has one."""

    def monotonic_ms(self) -> int:
        """Return milliseconds that never run backwards, for durations."""


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Return milliseconds that never run backwards."""
        return time.monotonic_ns() // 1_000_000
