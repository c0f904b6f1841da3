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

    __slots__ = ("_counts", "_sum")

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        # Oldest first, so that one look tells whether any of them is too old.
        self._counts = dict(sorted(counts.items())) if counts else {}
        self._sum = sum(self._counts.values())
        assert all(tokens > 0 for tokens in self._counts.values())

    @property
    def counts(self) -> Mapping[int, int]:
        """Tokens by second, as stored."""
        return self._counts

    def _is_recent(self, now_ms: int) -> bool:
        """Tell whether nothing lies too far back."""
        return next(iter(self._counts), now_ms) > now_ms // 1000 - SLOTS

    def _recent(self, now_ms: int) -> Mapping[int, int]:
        if self._is_recent(now_ms):
            return self._counts
        oldest = now_ms // 1000 - SLOTS
        return {second: tokens for second, tokens in self._counts.items() if second > oldest}

    def _sum_of(self, recent: Mapping[int, int]) -> int:
        return self._sum if recent is self._counts else sum(recent.values())

    def add(self, tokens: int, now_ms: int) -> None:
        """Count so many tokens now."""
        assert tokens >= 0
        second = now_ms // 1000
        if not self._is_recent(now_ms) or second < next(reversed(self._counts), 0):
            counts = {**self._recent(now_ms)}
            counts[second] = counts.get(second, 0) + tokens
            self._counts = dict(sorted((at, count) for at, count in counts.items() if count))
            self._sum = sum(self._counts.values())
        elif tokens:
            self._counts[second] = self._counts.get(second, 0) + tokens
            self._sum += tokens

    def used(self, now_ms: int) -> int:
        """Return how many tokens the last 61 seconds hold."""
        return self._sum_of(self._recent(now_ms))

    def passes_in_s(self, limit: int, now_ms: int) -> int:
        """Return in how many whole seconds one more call would pass: 0 is now."""
        remaining = self.used(now_ms)
        if remaining < limit:
            return 0
        for second, tokens in self._recent(now_ms).items():
            remaining -= tokens
            if remaining < limit:
                return max(1, ceil_div((second + SLOTS) * 1000 - now_ms, 1000))
        return SLOTS

    def use(self, limit: int, now_ms: int) -> LimitUse:
        """Return the limit's state, as rate-limit headers and pages show it."""
        recent = self._recent(now_ms)
        newest = next(reversed(recent), None)
        resets_in_s = 0 if newest is None else max(1, ceil_div((newest + SLOTS) * 1000 - now_ms, 1000))
        return LimitUse(limit=limit, used=self._sum_of(recent), resets_in_s=resets_in_s)
