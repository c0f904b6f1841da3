"""TPM: how many tokens the calls of an account within a group were settled with lately.

Reported tokens are added when a call is settled, at that instant; while the last 61 seconds hold the limit
or more, admission is refused. They are counted for calls whose own terms set the limit: one that is set later
begins to count with the calls that it binds.
"""

from collections.abc import Mapping

from tokenopen.core.money import ceil_div
from tokenopen.core.rate_limit import SLOTS, LimitUse


class TokenWindow:
    """Tokens by the second in which they were added; what lies too far back is dropped when more is added."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = dict(counts or {})
        assert all(tokens > 0 for tokens in self._counts.values())

    @property
    def counts(self) -> Mapping[int, int]:
        """Tokens by second, as stored."""
        return self._counts

    def _recent(self, now_ms: int) -> list[tuple[int, int]]:
        oldest = now_ms // 1000 - SLOTS
        return sorted((second, tokens) for second, tokens in self._counts.items() if second > oldest)

    def add(self, tokens: int, now_ms: int) -> None:
        """Count so many tokens now."""
        assert tokens >= 0
        self._counts = dict(self._recent(now_ms))
        if tokens:
            second = now_ms // 1000
            self._counts[second] = self._counts.get(second, 0) + tokens

    def used(self, now_ms: int) -> int:
        """Return how many tokens the last 61 seconds hold."""
        return sum(tokens for _, tokens in self._recent(now_ms))

    def passes_in_s(self, limit: int, now_ms: int) -> int:
        """Return in how many whole seconds one more call would pass: 0 is now."""
        recent = self._recent(now_ms)
        remaining = sum(tokens for _, tokens in recent)
        if remaining < limit:
            return 0
        for second, tokens in recent:
            remaining -= tokens
            if remaining < limit:
                return max(1, ceil_div((second + SLOTS) * 1000 - now_ms, 1000))
        return SLOTS

    def use(self, limit: int, now_ms: int) -> LimitUse:
        """Return the limit's state, as rate-limit headers and pages show it."""
        recent = self._recent(now_ms)
        resets_in_s = max(1, ceil_div((recent[-1][0] + SLOTS) * 1000 - now_ms, 1000)) if recent else 0
        return LimitUse(limit=limit, used=sum(tokens for _, tokens in recent), resets_in_s=resets_in_s)
