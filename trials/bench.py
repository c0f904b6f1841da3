"""The bench: what a call costs on one core with everything on, beside a bare nginx proxy and no gateway.

    python -m trials.bench --rounds 3 --seconds 5

On: keys, groups with all four limits, entitlement and price revisions, holds, ledger, call records, usage
sums; every commit is on disk before a reply is whole. The gateway and nginx run on one core, the provider
and the load on the other. CPU time is the process's own by the kernel's count; a machine that is busy
otherwise makes it larger, for nginx as well, so ratios of one run say more than the figures. Each is the
median of the rounds. wrk and nginx are Debian's packages; without wrk nothing is told of floods,
without nginx nothing of nginx.
The tables are Markdown, for docs/benchmarks.md.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from trials.bench_growth import measure_growth
from trials.bench_load import Target, drip, flood, has_wrk, pace
from trials.bench_profile import find_py_spy, profile
from trials.bench_rig import Rig, find_cores, pinned, read_sums, running_rig
from trials.process import cpu_s

_SETTLE_S: Final = 20
_WARM_UP_S: Final = 1.0
_KINDS: Final = ("json", "burst", "paced", "rate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure. ``rate`` is in calls a second, for the added latency."""

    rounds: int = 3
    seconds: float = 5.0
    connections: int = 64
    streams: int = 64
    rate: int = 200
    only: Sequence[str] = _KINDS
    profile: bool = False
    growth: bool = False
    calls: Sequence[int] = (1_000_000, 5_000_000)
    keys: Sequence[int] = (100_000,)


class Figures:
    """Every figure of every round, by what it is of."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def add(self, target: Target, kind: str, **figures: float) -> None:
        """Note a round's figures."""
        for name, figure in figures.items():
            self._found[target.name, kind, name].append(figure)

    def median(self, target: str, kind: str, name: str) -> float | None:
        """Return the median over the rounds; None where nothing was measured."""
        found = self._found.get((target, kind, name))
        return statistics.median(found) if found else None


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201


def _flood(target: Target, kind: str, options: Options, figures: Figures) -> None:
    stream = kind == "burst"
    flood(target, stream=stream, connections=options.connections, seconds=_WARM_UP_S)
    before_s = cpu_s(target.pid)
    calls, seconds = flood(target, stream=stream, connections=options.connections, seconds=options.seconds)
    cpu_us = (cpu_s(target.pid) - before_s) / calls * 1_000_000
    figures.add(target, kind, per_s=calls / seconds, cpu_us=cpu_us)
    _say(f"  {kind} {target.name}: {calls / seconds:,.0f}/s, {cpu_us:,.1f} us")


def _drip(target: Target, options: Options, figures: Figures) -> None:
    before_s = cpu_s(target.pid)
    events = uvloop.run(drip(target, streams=options.streams, seconds=options.seconds))
    cpu_us = (cpu_s(target.pid) - before_s) / events * 1_000_000
    figures.add(target, "paced", cpu_us=cpu_us)
    _say(f"  paced {target.name}: {events:,} events, {cpu_us:,.1f} us each")


def _pace(target: Target, options: Options, figures: Figures) -> None:
    before_s = cpu_s(target.pid)
    took_ms = uvloop.run(pace(target, rate=options.rate, seconds=options.seconds))
    cpu_us = (cpu_s(target.pid) - before_s) / len(took_ms) * 1_000_000
    p50, p99 = (statistics.quantiles(took_ms, n=100)[percent - 1] for percent in (50, 99))
    figures.add(target, "rate", p50_ms=p50, p99_ms=p99, cpu_us=cpu_us)
    _say(f"  rate {target.name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {cpu_us:,.1f} us")


def measure(rig: Rig, options: Options) -> Figures:
    """Measure every target in turn, round by round, so that what else the machine does meets all alike."""
    figures = Figures()
    with pinned(find_cores()[1]):
        for number in range(options.rounds):
            _say(f"round {number + 1}")
            for kind in options.only:
                for target in rig.targets:
                    if kind == "paced":
                        _drip(target, options, figures)
                    elif kind == "rate":
                        _pace(target, options, figures)
                    elif has_wrk():
                        _flood(target, kind, options, figures)
    return figures


def check_sums(rig: Rig) -> str:
    """Return what the account was charged, which has to be what its balance has lost, to the nano-credit."""
    deadline_s = time.monotonic() + _SETTLE_S
    while (sums := read_sums(rig))[3] and time.monotonic() < deadline_s:
        time.sleep(0.1)
    settled, charges, lost, held = sums
    assert (charges, lost, held) == (settled * rig.price, settled * rig.price, 0), (sums, rig.price)
    audit = rig.platform.audit().strip().splitlines()[-1]
    return f"{settled:,} calls were charged {charges:,} nano-credits; the balance has lost {lost:,}. {audit}"


def memory_mb(pid: int) -> tuple[float, float]:
    """Return how much of the memory a process holds now, in MB, and how much of that is its own alone.

    The rest are pages of programs and libraries, which all processes that run them share.
    """
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    whole, own = (int(told[name].split()[0]) * 1024 / 1_000_000 for name in ("VmRSS", "RssAnon"))
    return whole, own


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _shown(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:,.{places}f}"


_LINES: Final = (
    ("JSON calls a second", "json", "per_s", 0),
    ("CPU a JSON call, us", "json", "cpu_us", 0),
    ("streams of 66 events in one burst, a second", "burst", "per_s", 0),
    ("CPU a stream, us", "burst", "cpu_us", 0),
    ("CPU a paced event, us", "paced", "cpu_us", 1),
    ("p50 at a steady rate, ms", "rate", "p50_ms", 2),
    ("p99 at a steady rate, ms", "rate", "p99_ms", 2),
    ("CPU a call at that rate, us", "rate", "cpu_us", 0),
)


def tables(figures: Figures, memory: tuple[float, float]) -> str:
    """Return the figures as a table."""
    rows = [
        _row("", "direct", "nginx", "TokenOpen", "TokenOpen / nginx", "added to direct"),
        _row(*["---"] * 6),
    ]
    for label, kind, name, places in _LINES:
        direct, nginx, ours = (
            figures.median(target, kind, name) for target in ("direct", "nginx", "TokenOpen")
        )
        ratio = None if ours is None or not nginx else ours / nginx
        added = None if ours is None or direct is None or not name.endswith("_ms") else ours - direct
        # The provider's own time is no gateway's.
        shown = None if name == "cpu_us" else direct
        rows.append(
            _row(
                label,
                *(_shown(value, places) for value in (shown, nginx, ours)),
                _shown(ratio, 1),
                _shown(added, 2),
            )
        )
    for label, held in zip(("memory, MB", "of it the process's own"), memory, strict=True):
        rows.append(_row(label, "-", "-", _shown(held, 0), "-", "-"))
    return "\n".join(rows)


def _phases(rig: Rig, options: Options) -> str:
    """Return where the time of calls and of streams goes, as a table."""
    if not has_wrk() or find_py_spy() is None:
        return "wrk or py-spy is not installed: no profile."

    def share(*, stream: bool) -> Mapping[str, float]:
        def load() -> None:
            flood(rig.gateway, stream=stream, connections=options.connections, seconds=options.seconds + 1)

        return profile(rig.gateway.pid, load, seconds=options.seconds)

    with pinned(find_cores()[1]):
        shares = [share(stream=False), share(stream=True)]
    rows = [_row("share of the loop's time", "JSON", "burst"), _row(*["---"] * 3)]
    rows += [_row(phase, *(f"{each[phase]:.0%}" for each in shares)) for phase in shares[0]]
    return "\n".join(rows)


def _growth(rig: Rig, options: Options) -> str:
    """Return what a call costs with few and with many rows stored, as a table."""

    def measure_us(rig: Rig) -> float:
        # Of the steady rate: each call is two batches of its own, so whatever a batch reads shows.
        found = Figures()
        # What was loaded is on disk first, or its writing would be measured.
        os.sync()
        with pinned(find_cores()[1]):
            uvloop.run(pace(rig.gateway, rate=options.rate, seconds=_WARM_UP_S))
            for _ in range(options.rounds):
                _pace(rig.gateway, options, found)
        return found.median(rig.gateway.name, "rate", "cpu_us") or 0.0

    rows = [_row("stored", "CPU a call, us"), _row("---", "---")]
    for what, count, us in measure_growth(rig, measure_us, calls=options.calls, keys=options.keys):
        rows.append(_row(f"{count:,} {what} more", f"{us:,.0f}"))
    return "\n".join(rows)


def run_bench(options: Options, directory: Path) -> str:
    """Measure, check the sums, and return what is to be printed."""
    with running_rig(directory) as rig:
        if options.growth:
            return _growth(rig, options) + "\n"
        figures = measure(rig, options)
        memory = memory_mb(rig.gateway.pid)
        parts = [tables(figures, memory)]
        if options.profile:
            parts.append(_phases(rig, options))
        parts.append(check_sums(rig))
    if not has_wrk():
        parts.append("wrk is not installed (apt-get install wrk): no figures of floods.")
    if rig.nginx is None:
        parts.append("nginx is not installed (apt-get install nginx-light): nothing to compare with.")
    return "\n\n".join([*parts, ""])


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m trials.bench",
        description="Measure the gateway on one core.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--connections", type=int, help="of floods")
    parser.add_argument("--streams", type=int, help="slow ones beside each other")
    parser.add_argument("--rate", type=int, help="calls a second, for the added latency")
    parser.add_argument("--only", nargs="+", choices=_KINDS)
    parser.add_argument("--profile", action="store_true", help="tell where the time goes, with py-spy")
    parser.add_argument("--growth", action="store_true", help="tell what calls cost when much is stored")
    parser.add_argument("--calls", type=int, nargs="*", help="stored, for --growth")
    parser.add_argument("--keys", type=int, nargs="*", help="stored, for --growth")
    return Options(**vars(parser.parse_args(arguments)))


def main() -> int:
    """Run the bench that the command line describes, and print its table."""
    options = _parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="tokenopen-bench-") as directory:
        sys.stdout.write(run_bench(options, Path(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
