"""Throttle: how long after so many attempts the next one has to wait.

The first few cost nothing, then each one doubles the wait, up to a longest one. An attempt that comes too
early is refused and not counted, so nobody can be locked out for good.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How many attempts were counted, and when the newest was."""

    count: int
    newest_ms: int


NO_ATTEMPTS: Final = Attempts(count=0, newest_ms=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """``free`` attempts need no wait; after ``forgotten_after_ms`` without one all are forgotten."""

    free: int
    first_wait_ms: int
    longest_wait_ms: int
    forgotten_after_ms: int

    def __post_init__(self) -> None:
        # Otherwise waiting as long as one is told could be forgotten before it is over.
        assert 0 < self.first_wait_ms <= self.longest_wait_ms < self.forgotten_after_ms

    def wait_ms(self, attempts: Attempts, now_ms: int) -> int:
        """Return how many milliseconds the next attempt has to wait; 0 where it may be made now."""
        attempts = self._remembered(attempts, now_ms)
        if attempts.count < self.free:
            return 0
        doublings = min(attempts.count - self.free, 40)
        wait_ms = min(self.first_wait_ms << doublings, self.longest_wait_ms)
        # A clock that was set back must not make the wait longer than it is said to be.
        return max(0, min(wait_ms, attempts.newest_ms + wait_ms - now_ms))

    def after_one_more(self, attempts: Attempts, now_ms: int) -> Attempts:
        """Return the attempts with one that is made now."""
        return Attempts(count=self._remembered(attempts, now_ms).count + 1, newest_ms=now_ms)

    def _remembered(self, attempts: Attempts, now_ms: int) -> Attempts:
        return NO_ATTEMPTS if now_ms - attempts.newest_ms >= self.forgotten_after_ms else attempts


# Guesses at one user's password from one address. Reaching a million takes centuries.
SIGN_IN_OF_USER: Final = Throttle(
    free=5, first_wait_ms=2_000, longest_wait_ms=15 * 60_000, forgotten_after_ms=60 * 60_000
)
# Guesses from one address at anybody's; many people may share it, so it begins late and waits little.
SIGN_IN_FROM_ADDRESS: Final = Throttle(
    free=60, first_wait_ms=1_000, longest_wait_ms=60_000, forgotten_after_ms=60 * 60_000
)
# Mails that a stranger can have sent to somebody.
MAIL_TO_ADDRESS: Final = Throttle(
    free=3, first_wait_ms=60_000, longest_wait_ms=60 * 60_000, forgotten_after_ms=2 * 60 * 60_000
)
# Mails and sign-ups that one client can cause.
SIGN_UP_FROM_ADDRESS: Final = Throttle(
    free=20, first_wait_ms=30_000, longest_wait_ms=15 * 60_000, forgotten_after_ms=60 * 60_000
)
