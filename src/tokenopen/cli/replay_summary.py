"""What came of a replay: counts, tokens and charges, in all and by key, and how long it took."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tokenopen.core.money import ZERO, Nanocredits, format_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class RowResult:
    """What came of one row; ``row`` counts the trace's rows from 0, ``key_index`` the distinct keys.

    ``code`` is the error's where the reply was one; ``failure`` names what went wrong where no whole reply
    came. With neither, the call was answered. ``charge`` is what the reply itself says, in nano-credits.
    """

    row: int
    key_index: int
    model: str
    stream: bool
    call_id: str | None
    status: int | None
    code: str | None
    failure: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    charge: Nanocredits | None
    latency_ms: float
    upstream_ms: float | None

    @property
    def answered(self) -> bool:
        """Whether a whole reply came and was no error."""
        return self.failure is None and self.code is None


@dataclass(slots=True)
class Tally:
    """Sums over calls; tokens and charge are those that replies report."""

    calls: int = 0
    answered: int = 0
    answered_without_charge: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    charge: Nanocredits = ZERO

    @property
    def refused_calls(self) -> int:
        """How many calls ended with an error's code."""
        return self.refused.total()

    @property
    def failed_calls(self) -> int:
        """How many calls ended without a whole reply."""
        return self.failed.total()

    def add(self, result: RowResult) -> None:
        """Count one call."""
        self.calls += 1
        if result.failure is not None:
            self.failed[result.failure] += 1
        elif result.code is not None:
            self.refused[result.code] += 1
        else:
            self.answered += 1
            self.answered_without_charge += result.charge is None
        self.prompt_tokens += result.prompt_tokens or 0
        self.completion_tokens += result.completion_tokens or 0
        self.charge = Nanocredits(self.charge + (result.charge or 0))


class Summary:
    """The sums of a replay of ``rows`` rows over that many ``keys``; times are of answered calls only."""

    def __init__(self, *, rows: int, keys: int) -> None:
        self.rows = rows
        self.total = Tally()
        self.by_key = [Tally() for _ in range(keys)]
        self.duration_s = 0.0
        self.behind_ms_max = 0.0
        """How late the latest row was sent, where there is a pace to keep."""
        self.latencies_ms: list[float] = []
        self.added_ms: list[float] = []
        """Latency without the provider's, of the replies that say how long theirs took (JSON ones)."""

    def add(self, result: RowResult) -> None:
        """Count one row's result."""
        self.total.add(result)
        self.by_key[result.key_index].add(result)
        if result.answered:
            self.latencies_ms.append(result.latency_ms)
            if result.upstream_ms is not None:
                self.added_ms.append(result.latency_ms - result.upstream_ms)

    @property
    def calls_per_s(self) -> float:
        """Calls that ended, per second of the whole run."""
        return self.total.calls / self.duration_s if self.duration_s else 0.0

    @property
    def unsent(self) -> int:
        """Rows that were not sent, because the replay was stopped."""
        return self.rows - self.total.calls


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return the value that ``percent`` of all do not exceed (nearest rank), None where there is none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def print_summary(summary: Summary, console: Console, *, key_names: Sequence[str]) -> None:
    """Print the sums by key and in all, what was refused and failed, and the times."""
    console.print(f"{summary.total.calls:,} of {summary.rows:,} rows sent")
    # On a narrow terminal the names are folded, never the numbers.
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.add_column("key", overflow="fold")
    for name in ("calls", "answered", "refused", "failed", "tokens\nin", "tokens\nout", "credits\ncharged"):
        table.add_column(name, justify="right", no_wrap=True)
    tallies = list(zip(key_names, summary.by_key, strict=True))
    for name, tally in [*tallies, ("all", summary.total)] if len(tallies) > 1 else tallies:
        table.add_row(
            name,
            f"{tally.calls:,}",
            f"{tally.answered:,}",
            f"{tally.refused_calls:,}",
            f"{tally.failed_calls:,}",
            f"{tally.prompt_tokens:,}",
            f"{tally.completion_tokens:,}",
            format_amount(tally.charge),
        )
    console.print(table)
    _print_counts(console, "refused", summary.total.refused)
    _print_counts(console, "failed", summary.total.failed)
    if summary.total.answered_without_charge:
        console.print(f"{summary.total.answered_without_charge:,} answers named no charge")
    console.print(f"{summary.duration_s:.1f} s, {summary.calls_per_s:,.1f} calls/s")
    _print_times(console, "latency", summary.latencies_ms)
    _print_times(console, "added latency (JSON)", summary.added_ms)
    if summary.behind_ms_max:
        console.print(f"at most {summary.behind_ms_max:,.0f} ms behind the pace")


def _print_counts(console: Console, what: str, counts: Counter[str]) -> None:
    if counts:
        named = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
        console.print(f"{what}: {named}")


def _print_times(console: Console, what: str, values_ms: Sequence[float]) -> None:
    p50, p99 = percentile(values_ms, 50), percentile(values_ms, 99)
    if p50 is not None and p99 is not None:
        console.print(f"{what}: p50 {p50:,.1f} ms, p99 {p99:,.1f} ms")
