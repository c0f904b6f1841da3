"""Meter: which metrics there are, and what was counted of each, by one process or by several.

No charge or limit is ever decided on these numbers: the ledger is what counts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# A metric's name and its labels' values, in the order of the tables below.
Series = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a metric says, which labels it has, and the upper bounds of its buckets if it has some."""

    help: str
    labels: Sequence[str] = ()
    bounds: Sequence[int] = ()


_LATENCY_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000)

METRICS: Final[Mapping[str, Metric]] = {
    "calls": Metric(
        help="Calls that were admitted and have ended", labels=("api", "group", "model", "end_reason")
    ),
    "refused_calls": Metric(help="Calls that were refused", labels=("code", "group", "model")),
    "charged_nanocredits": Metric(
        help="What ended calls were charged, in credits x 10^-9", labels=("group", "model")
    ),
    "absorbed_nanocredits": Metric(
        help="What credit did not cover and nobody was charged, in credits x 10^-9", labels=("group", "model")
    ),
    "flagged_calls": Metric(help="Calls that an administrator should look at", labels=("flag",)),
    "upstream_attempts": Metric(help="Tries at upstreams, by how they ended", labels=("upstream", "result")),
    "upstream_first_byte_ms": Metric(
        help="How long upstreams took to begin a reply", labels=("upstream",), bounds=_LATENCY_MS
    ),
    "first_byte_ms": Metric(
        help="How long callers waited for a provider's reply to begin, failed tries included",
        labels=("api",),
        bounds=_LATENCY_MS,
    ),
    "call_duration_ms": Metric(
        help="How long calls took from their arrival to their end", labels=("api",), bounds=_LATENCY_MS
    ),
    "till_batch_items": Metric(
        help="Admissions and settlements written in one transaction",
        bounds=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    ),
    "till_batch_us": Metric(
        help="How long such a transaction took, its commit included",
        bounds=(250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000),
    ),
    "till_commit_us": Metric(
        help="How long its commit took",
        bounds=(250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000),
    ),
    "till_failures": Metric(help="Transactions of the till that failed, by why", labels=("error",)),
}


@dataclass(slots=True)
class Distribution:
    """How many observations fell into each bucket, the last one being beyond all bounds, and their sum."""

    counts: list[int]
    sum: int = 0


@dataclass(slots=True)
class Reading:
    """All that was counted, by series."""

    counts: Counter[Series] = field(default_factory=Counter)
    distributions: dict[Series, Distribution] = field(default_factory=dict)


def add_up(readings: Iterable[Reading]) -> Reading:
    """Return what several processes have counted together."""
    total = Reading()
    for reading in readings:
        total.counts.update(reading.counts)
        for series, distribution in reading.distributions.items():
            known = total.distributions.setdefault(series, Distribution([0] * len(distribution.counts)))
            known.counts = [a + b for a, b in zip(known.counts, distribution.counts, strict=True)]
            known.sum += distribution.sum
    return total
