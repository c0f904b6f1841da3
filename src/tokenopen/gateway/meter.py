"""Meter: what a process counts of its calls for the operator's monitoring, in memory and best effort.

Counting is a few additions, since every call pays for it; the format of monitoring is made when somebody asks
(api/meter.py).
"""

from bisect import bisect_left
from collections.abc import Sequence

from tokenopen.core.admission import Resolution, Resolved
from tokenopen.core.errors import Refusal
from tokenopen.core.meter import METRICS, Distribution, Reading, Series
from tokenopen.ports.storage import BatchAnswer


class Meter:
    """Counts what happens in one process."""

    def __init__(self) -> None:
        self.reading = Reading()

    def _count(self, series: Series, by: int = 1) -> None:
        self.reading.counts[series] += by

    def _observe(self, series: Series, value: int) -> None:
        bounds = METRICS[series[0]].bounds
        found = self.reading.distributions.get(series)
        if found is None:
            found = self.reading.distributions[series] = Distribution([0] * (len(bounds) + 1))
        found.counts[bisect_left(bounds, value)] += 1
        found.sum += value

    def refused(self, refusal: Refusal, *, group_id: str = "", model: str = "") -> None:
        """Count a call that was refused; without a group where no key was recognized."""
        self._count(("refused_calls", refusal.code, group_id, model))

    def attempted(self, upstream_id: str, result: str, *, duration_ms: int, began: bool) -> None:
        """Count a try at an upstream; ``began`` where a reply did."""
        self._count(("upstream_attempts", upstream_id, result))
        if began:
            self._observe(("upstream_first_byte_ms", upstream_id), duration_ms)

    def posted(self, answer: BatchAnswer, resolutions: Sequence[Resolution], *, duration_us: int) -> None:
        """Count a transaction of the till and the calls that ended in it."""
        self._observe(("till_batch_items",), len(answer.resolutions) + len(answer.admissions))
        self._observe(("till_batch_us",), duration_us)
        if answer.commit_us is not None:
            self._observe(("till_commit_us",), answer.commit_us)
        for resolution, resolved in zip(resolutions, answer.resolutions, strict=True):
            if isinstance(resolved, Resolved) and not resolved.found:
                self._ended(resolution, resolved)

    def _ended(self, resolution: Resolution, resolved: Resolved) -> None:
        facts, outcome = resolution.facts, resolution.outcome
        self._count(("calls", facts.surface, facts.group_id, facts.model, outcome.end_reason))
        if resolved.charge:
            self._count(("charged_nanocredits", facts.group_id, facts.model), resolved.charge)
        if resolved.absorbed:
            self._count(("absorbed_nanocredits", facts.group_id, facts.model), resolved.absorbed)
        if outcome.flag is not None:
            self._count(("flagged_calls", outcome.flag))
        if outcome.first_byte_ms is not None:
            self._observe(("first_byte_ms", facts.surface), outcome.first_byte_ms)
        if outcome.duration_ms is not None:
            self._observe(("call_duration_ms", facts.surface), outcome.duration_ms)

    def till_failed(self, error: Exception) -> None:
        """Count a transaction of the till that failed."""
        self._count(("till_failures", type(error).__name__))
