"""The cluster bench: one hot account on PostgreSQL, from few to many connections and workers.

    python -m trials.bench_cluster --seconds 10 --workers 1 2 --connections 8 32 128 --sync

Everything is on: keys, groups, limits (high ones), holds, ledger, rollups, call records. Callers, simulated
provider, workers and database share the machine, so calls a second are of all of them together; CPU time is
told apart by process. Every call costs the same, so what the account has lost must be that times the calls.
The tables are Markdown, for docs/benchmarks.md.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import uvloop
from tests.e2e.running import Platform

from trials.caller import Line, Wish
from trials.cluster_setup import Cluster, running_cluster
from trials.process import cpu_s
from trials.setup import GroupSetup, KeySetup, Trial

_CREDIT: Final = "100000"
_WARM_UP_S: Final = 1.0
_WORDS: Final = 20
_PACED_CALLERS: Final = 64
_WRITTEN: Final = """
    SELECT xact_commit, (pg_current_wal_lsn() - '0/0')::bigint AS log_bytes
    FROM pg_stat_database WHERE datname = current_database()"""
# The server tells its statistics once a second.
_STATISTICS_S: Final = 1.5
_PROVIDER_KEY: Final = "sim-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure. ``rate`` is in calls a second, for the added latency."""

    seconds: float = 10.0
    workers: Sequence[int] = (1, 2)
    machines: int = 1
    connections: Sequence[int] = (1, 8, 32, 128, 512)
    rate: int = 200
    postgresql: str = "18"
    sync: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """CPU seconds, commits, and bytes of the database's log up to a moment."""

    at_s: float
    workers_s: float
    database_s: float
    simulator_s: float
    commits: int
    log_bytes: int


def _wish(*, stream: bool = False) -> Wish:
    return Wish(
        key="hot",
        model="small",
        words=_WORDS,
        max_tokens=_WORDS,
        stream=stream,
        include_usage=False,
        simulate={},
        leave_after_s=None,
    )


def _lines(urls: Sequence[str], count: int) -> list[Line]:
    addresses = [urlsplit(urls[number % len(urls)]) for number in range(count)]
    return [Line(address.hostname or "", address.port or 0) for address in addresses]


class Bench:
    """A running cluster with one account, and how many calls it has been charged for."""

    def __init__(self, cluster: Cluster, trial: Trial) -> None:
        self._cluster = cluster
        self._trial = trial
        self._secret = trial.secrets["hot"]
        self._answered = 0
        # Answered 503 by a machine that was too busy; they cost nothing and are no measure of anything.
        self.turned_away = 0

    async def sample(self) -> Sample:
        """Return where the counters stand, once nothing runs any more."""
        pids = [machine.server.pid for machine in self._cluster.machines]
        connection = await asyncpg.connect(self._cluster.database.url)
        written = await connection.fetchrow(_WRITTEN)
        await connection.close()
        return Sample(
            at_s=time.monotonic(),
            workers_s=sum(map(cpu_s, pids)),
            database_s=cpu_s(self._cluster.database.pid),
            simulator_s=cpu_s(self._cluster.simulator.pid),
            commits=written["xact_commit"],
            log_bytes=written["log_bytes"],
        )

    async def call(self, line: Line, wish: Wish) -> bool:
        """Make a call, and tell whether it was answered, which fails only where the machine is too busy."""
        seen = await line.call(self._secret, wish)
        if seen.code == "storage_unavailable":
            self.turned_away += 1
            return False
        assert seen.status == 200, (seen.status, seen.code)
        assert seen.whole, seen.end
        self._answered += 1
        return True

    async def flood(self, connections: int, seconds: float) -> list[float]:
        """Let that many connections call one after the other; return how long each call took, in ms."""
        took_ms: list[float] = []
        end_s = time.monotonic() + seconds

        async def go_on(line: Line) -> None:
            while time.monotonic() < end_s:
                began_s = time.perf_counter()
                if await self.call(line, _wish()):
                    took_ms.append((time.perf_counter() - began_s) * 1000)

        lines = _lines(self._cluster.urls, connections)
        await asyncio.gather(*map(go_on, lines))
        for line in lines:
            line.drop()
        return took_ms

    async def pace(self, rate: int, seconds: float, *, direct: bool, stream: bool) -> list[float]:
        """Call at a steady rate; return how long each call took from when it was due, in ms."""
        urls = [self._cluster.simulator.base_url] if direct else self._cluster.urls
        free = asyncio.Queue[Line]()
        for line in _lines(urls, _PACED_CALLERS):
            free.put_nowait(line)
        took_ms: list[float] = []

        async def make(due_s: float) -> None:
            line = await free.get()
            if direct:
                seen = await line.call(_PROVIDER_KEY, _wish(stream=stream))
                assert seen.status == 200, seen
                answered = True
            else:
                answered = await self.call(line, _wish(stream=stream))
            if answered:
                took_ms.append((time.perf_counter() - due_s) * 1000)
            free.put_nowait(line)

        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number in range(int(rate * seconds)):
                due_s = began_s + number / rate
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                calls.create_task(make(due_s))
        return took_ms

    async def check(self) -> None:
        """The account has lost what the answered calls cost, to the nano-credit, and nothing is held."""
        price = self._trial.plan.price("hot", "small", words_in=_WORDS, words_out=_WORDS)
        connection = await asyncpg.connect(self._cluster.database.url)
        row = await connection.fetchrow(
            "SELECT balance, held FROM accounts WHERE id = $1", self._trial.accounts["ada"]
        )
        await connection.close()
        due = int(Fraction(_CREDIT) * 10**9) - self._answered * price
        assert (row["balance"], row["held"]) == (due, 0), (dict(row), due, self._answered)


def _set_up(cluster: Cluster) -> Trial:
    platform = Platform(cluster.machines[0].server, cluster.simulator)
    trial = Trial(
        platform,
        groups={
            "hot": GroupSetup(
                multiplier="0.8", requests_per_minute=1_000_000_000, requests_per_day=1_000_000_000
            )
        },
        keys={"hot": KeySetup(group="hot", owner="ada", share=1)},
        credit={"ada": _CREDIT},
    )
    platform.admin.close()
    return trial


def _p(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


async def _flood_rows(bench: Bench, options: Options, workers: int) -> list[str]:
    rows = []
    for connections in options.connections:
        await bench.flood(connections, _WARM_UP_S)
        await asyncio.sleep(_STATISTICS_S)
        before = await bench.sample()
        began_s = time.monotonic()
        took_ms = await bench.flood(connections, options.seconds)
        calls, seconds = len(took_ms), time.monotonic() - began_s
        await asyncio.sleep(_STATISTICS_S)
        after = await bench.sample()
        await bench.check()
        cpu_us = [
            (last - first) / calls * 1_000_000
            for first, last in (
                (before.workers_s, after.workers_s),
                (before.database_s, after.database_s),
                (before.simulator_s, after.simulator_s),
            )
        ]
        # Each call is admitted in one batch and settled in another.
        items = 2 * calls / max(1, after.commits - before.commits)
        log = (after.log_bytes - before.log_bytes) / calls
        numbers = [f"{calls / seconds:,.0f}", f"{items:.1f}", *(f"{us:,.0f}" for us in (*cpu_us, log))]
        latency = [f"{_p(took_ms, 50):.1f}", f"{_p(took_ms, 99):.1f}"]
        rows.append(_row(workers, connections, *numbers, *latency))
    return rows


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


async def _pace_rows(bench: Bench, options: Options, workers: int) -> list[str]:
    rows = []
    # So that every statement is prepared, and every process has connections.
    await bench.flood(_PACED_CALLERS, _WARM_UP_S)
    for stream in (False, True):
        direct = await bench.pace(options.rate, options.seconds, direct=True, stream=stream)
        before = await bench.sample()
        through = await bench.pace(options.rate, options.seconds, direct=False, stream=stream)
        after = await bench.sample()
        calls = len(through)
        rows.append(
            _row(
                workers,
                "SSE" if stream else "JSON",
                *(f"{_p(took, percent):.2f}" for took in (direct, through) for percent in (50, 95)),
                f"{_p(through, 50) - _p(direct, 50):.2f}",
                f"{(after.workers_s - before.workers_s) / calls * 1_000_000:,.0f}",
                f"{(after.database_s - before.database_s) / calls * 1_000_000:,.0f}",
            )
        )
    await bench.check()
    return rows


async def run_bench(options: Options, directory: Path) -> tuple[list[str], list[str]]:
    """Measure with each number of workers; return the rows of both tables."""
    flood, pace = [], []
    for workers in options.workers:
        place = directory / str(workers)
        place.mkdir()
        async with running_cluster(
            place,
            postgresql=options.postgresql,
            machines=options.machines,
            workers=workers,
            sync=options.sync,
            proxied=False,
            log=False,
            say=lambda line: print(line, file=sys.stderr),  # noqa: T201
        ) as cluster:
            bench = Bench(cluster, await asyncio.to_thread(_set_up, cluster))
            pace += await _pace_rows(bench, options, workers * options.machines)
            flood += await _flood_rows(bench, options, workers * options.machines)
            if bench.turned_away:
                print(f"{bench.turned_away} calls were answered 503", file=sys.stderr)  # noqa: T201
            await cluster.shut_down()
    return flood, pace


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m trials.bench_cluster",
        description="Measure one hot account on PostgreSQL.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--workers", type=int, nargs="+", help="of each machine")
    parser.add_argument("--machines", type=int)
    parser.add_argument("--connections", type=int, nargs="+")
    parser.add_argument("--rate", type=int, help="calls a second, for the added latency")
    parser.add_argument("--postgresql", help="a version (16, 18; Debian's), or the directory of its programs")
    parser.add_argument("--sync", action="store_true", help="let commits wait for the disk")
    return Options(**vars(parser.parse_args(arguments)))


_FLOOD_HEAD: Final = (
    *("workers", "connections", "calls/s", "items a commit", "worker, us", "database, us", "provider, us"),
    "log, bytes",
    *("p50, ms", "p99, ms"),
)
_PACE_HEAD: Final = (
    *("workers", "calls", "direct p50, ms", "p95", "through p50", "p95", "added p50"),
    *("worker, us", "database, us"),
)


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    return "\n".join([_row(*head), _row(*("---" for _ in head)), *rows, ""])


def main() -> int:
    """Run the bench that the command line describes, and print its tables."""
    options = _parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="tokenopen-bench-") as directory:
        flood, pace = uvloop.run(run_bench(options, Path(directory)))
    sys.stdout.write(f"As fast as they can:\n\n{_table(_FLOOD_HEAD, flood)}\n")
    sys.stdout.write(f"{options.rate} calls/s:\n\n{_table(_PACE_HEAD, pace)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
