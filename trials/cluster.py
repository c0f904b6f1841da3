"""The cluster trial: hurt several servers on one PostgreSQL again and again, then check every charge.

    python -m trials.cluster --faults 60 --calls 20000 --seed 7 --postgresql 16

Two real server processes with two workers each stand in for two machines: an address, a clock that is off
by minutes, and a TCP proxy between them and the database, each their own. Callers (JSON and SSE) write down
what they see, the simulated provider what it was asked. Faults come at random (cluster_faults). At the end
callers' records, the provider's log and the ledger are joined by call id (check). Exit 1 and the rows where
anything is wrong; the records are kept then.
"""

import argparse
import asyncio
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from tests.e2e.running import Platform, Server

from trials.books import Books, read_log, read_postgresql_books
from trials.check import Asked, check_end
from trials.cluster_faults import Faults
from trials.cluster_setup import LOG, Cluster, running_cluster
from trials.load import Load
from trials.setup import GroupSetup, KeySetup, Trial
from trials.watch import Watch

_HOLDS_TIMEOUT_S: Final = 60
# A new worker that meets a database that is away takes nobody's place.
_TOLD_OF: Final = ('"event": "rolling_restart_given_up"',)
_AUDIT_TIMEOUT_S: Final = 1_200
# Of the hot account's every group, whatever else, and of others beside it.
_KEYS: Final = {
    "hot-1": KeySetup(group="open", owner="ada", share=5),
    "hot-2": KeySetup(group="open", owner="ada", share=4),
    "hot-paced": KeySetup(group="paced", owner="ada", share=2),
    "hot-daily": KeySetup(group="daily", owner="ada", share=2),
    "poor": KeySetup(group="open", owner="bob", share=2),
    "cyd": KeySetup(group="open", owner="cyd", share=1),
    "cyd-paced": KeySetup(group="paced", owner="cyd", share=1),
    "dan": KeySetup(group="open", owner="dan", share=1),
    "dan-daily": KeySetup(group="daily", owner="dan", share=1),
    "eve": KeySetup(group="open", owner="eve", share=1),
}
_CREDIT: Final = {"ada": "10000", "bob": "0.01", "cyd": "1000", "dan": "1000", "eve": "1000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how hard. Limits bind the groups ``paced`` and ``daily``."""

    faults: int = 60
    calls: int = 10_000
    seed: int = field(default_factory=lambda: secrets.randbelow(1_000_000))
    seconds_between: Sequence[float] = (2.0, 3.0)
    callers: int = 100
    lease_s: int = 30
    # Of all that cluster_faults knows; None is all of them.
    kinds: Sequence[str] | None = None
    postgresql: str = "18"
    machines: int = 2
    workers: int = 2
    requests_per_minute: int = 240
    requests_per_day: int = 3_000


@dataclass(slots=True)
class Result:
    """What happened, counted, and everything that should not have."""

    counts: dict[str, object] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


async def run_trial(options: Options, directory: Path, *, say: Callable[[str], None]) -> Result:
    """Run the trial with its records in an empty directory, and check it."""
    result = Result()
    began_s = time.monotonic()

    def note(what: str) -> None:
        say(f"{time.monotonic() - began_s:7.1f} s  {what}")

    async with running_cluster(
        directory,
        postgresql=options.postgresql,
        machines=options.machines,
        workers=options.workers,
        lease_s=options.lease_s,
        say=say,
    ) as cluster:
        trial, admin = await asyncio.to_thread(_set_up, cluster, options)
        watch = Watch(cluster.database.url)
        watch.begin()
        faults = Faults(
            cluster.machines,
            cluster.database,
            watch,
            seed=options.seed,
            lease_s=options.lease_s,
            kinds=options.kinds,
        )
        note("set up")
        load, took_s = await _hurt_under_load(options, cluster, trial, faults, note)
        note("every caller has seen the end of its last call")
        result.violations += await _settle_down(watch)
        admin.admin.close()
        note("nothing is held")
        codes = await cluster.shut_down()
        note("ended")
        result.violations += [f"SIGTERM at the end: exit code {code}" for code in codes if code != 0]
        await watch.end()
        result.violations += await _audit(cluster.machines[0].server)
        books = await read_postgresql_books(cluster.database.url)
    callers_log = directory / "callers.jsonl"
    callers_log.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in load.seen))
    asked = read_log(directory / LOG, Asked)
    note("read the books and the records")
    result.violations += watch.violations + faults.violations
    result.violations += check_end(trial.plan, load.seen, asked, books, paid_in=load.paid_in)
    result.violations += [
        f"{one.call_id}: the caller waited in vain" for one in load.seen if one.end == "hung"
    ]
    for machine in cluster.machines:
        result.violations += _logged_errors(machine.server.log_path)
    result.counts = {
        **_fault_counts(faults, watch, cluster),
        **_counts(load, asked, books, took_s=took_s),
    }
    return result


def _set_up(cluster: Cluster, options: Options) -> tuple[Trial, Platform]:
    platform = Platform(cluster.machines[0].server, cluster.simulator)
    trial = Trial(
        platform,
        groups={
            "open": GroupSetup(multiplier="0.8"),
            "paced": GroupSetup(multiplier="1.0", requests_per_minute=options.requests_per_minute),
            "daily": GroupSetup(multiplier="0.333333", requests_per_day=options.requests_per_day),
        },
        keys=_KEYS,
        credit=_CREDIT,
    )
    return trial, platform


async def _hurt_under_load(
    options: Options, cluster: Cluster, trial: Trial, faults: Faults, note: Callable[[str], None]
) -> tuple[Load, float]:
    """Inject the faults, spread over the calls, and go on until both are enough."""
    began_s = time.monotonic()
    load = Load(trial, cluster.urls, seed=options.seed, callers=options.callers, topped_up="bob")
    for number in range(options.faults):
        await asyncio.sleep(faults.pause_s(options.seconds_between))
        while len(load.seen) * options.faults < number * options.calls:
            load.raise_what_failed()
            await asyncio.sleep(0.1)
        what = await faults.inject()
        note(f"{len(load.seen):7,} calls  fault {number + 1:3}  {what}")
    await faults.end()
    while len(load.seen) < options.calls:
        load.raise_what_failed()
        await asyncio.sleep(0.1)
    took_s = time.monotonic() - began_s
    await asyncio.gather(*(machine.until_serving() for machine in cluster.machines))
    await load.end()
    return load, took_s


async def _settle_down(watch: Watch) -> list[str]:
    """Every hold is resolved soon after the last fault."""
    violations: list[str] = []
    deadline = time.monotonic() + _HOLDS_TIMEOUT_S
    while held := await watch.count_all_held():
        if time.monotonic() > deadline:
            violations.append(f"{held} holds are still open")
            break
        await asyncio.sleep(0.2)
    return violations


async def _audit(server: Server) -> list[str]:
    done = await asyncio.to_thread(server.run_cli, "audit", timeout_s=_AUDIT_TIMEOUT_S)
    if done.returncode == 0 and "audit: 0 drift" in done.stdout:
        return []
    return [f"audit: exit {done.returncode}\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}"]


def _logged_errors(log_path: Path) -> Iterator[str]:
    """Yield what a server logged as an error: none of these faults is its own, but for those it tells of."""
    for line in log_path.read_text().splitlines():
        is_error = '"level": "error"' in line and not any(name in line for name in _TOLD_OF)
        if is_error or line.startswith("Traceback"):
            yield f"{log_path.stem} logged: {line[:2_000]}"


def _fault_counts(faults: Faults, watch: Watch, cluster: Cluster) -> dict[str, object]:
    codes = Counter(code for machine in cluster.machines for code in machine.exit_codes)
    swallowed = sum(machine.proxy.commits_swallowed for machine in cluster.machines)
    freed = watch.freed_after_s
    return {
        "faults": sum(faults.counts.values()),
        **{f"  {kind}": count for kind, count in sorted(faults.counts.items())},
        "commits whose answer was lost": swallowed,
        "starts of servers": sum(machine.starts for machine in cluster.machines),
        "starts that failed: database away, port taken": sum(
            machine.failed_starts for machine in cluster.machines
        ),
        **{f"servers ended with {code}": count for code, count in sorted(codes.items())},
        "killed workers that left holds": len(freed),
        "  their holds freed after, s, median": round(statistics.median(freed), 1) if freed else None,
        "  at most, s": round(max(freed), 1) if freed else None,
        "looks into the database": watch.looks,
        "  open holds, at most": watch.holds_max,
    }


def _counts(load: Load, asked: list[Asked], books: Books, *, took_s: float) -> dict[str, object]:
    whole = {one.call_id for one in load.seen if one.whole and one.status == 200}
    states = Counter(call["state"] for call in books.calls)
    settled = {call["id"] for call in books.calls if call["state"] == "settled"}
    refunded = sum(1 for call in books.calls if call["refunded"])
    estimated = sum(1 for call in books.calls if call["usage_source"] == "estimated")
    return {
        "calls that reached a server": len(load.seen),
        "  a second": int(len(load.seen) / took_s),
        "connections refused": load.unreached,
        **{f"  {name}": count for name, count in sorted(load.counts().items())},
        "calls admitted": len(books.calls),
        **{f"  {name}": count for name, count in sorted(states.items())},
        "seen whole": len(whole),
        "charged": len(settled),
        "charged, not seen whole": len(settled - whole),
        "  of these estimated": estimated,
        "  of these refunded": refunded,
        "calls that the provider was asked": len(asked),
        "top-ups, each sent until answered": load.top_ups,
        "sum of charges, nano-credits": -sum(e["amount"] for e in books.entries if e["kind"] == "charge"),
    }


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trials.cluster",
        description="Hurt several servers on one PostgreSQL under load, then check every charge.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--faults", type=int)
    parser.add_argument("--calls", type=int, help="at least so many; faults are spread over them")
    parser.add_argument("--seed", type=int, help="the same seed: the same wishes and the same faults")
    parser.add_argument("--seconds-between", type=float, nargs=2, metavar=("MIN", "MAX"))
    parser.add_argument("--callers", type=int)
    parser.add_argument("--lease-s", type=int, help="term of the workers' leases")
    parser.add_argument("--postgresql", help="a version (16, 18; Debian's), or the directory of its programs")
    parser.add_argument("--machines", type=int)
    parser.add_argument("--workers", type=int, help="of each machine")
    parser.add_argument("--requests-per-minute", type=int, help="of the group named paced")
    parser.add_argument("--requests-per-day", type=int, help="of the group named daily")
    return Options(**vars(parser.parse_args(arguments)))


def main() -> int:
    """Run the trial that the command line describes; return the exit code."""
    options = parse(sys.argv[1:])
    console = Console(soft_wrap=True, highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="tokenopen-cluster-"))
    console.print(f"seed {options.seed}, {options.faults} faults, {options.calls:,} calls; {directory}")
    result = asyncio.run(run_trial(options, directory, say=console.print))
    table = Table("What", "Count", title="Cluster trial")
    for name, count in result.counts.items():
        table.add_row(name, f"{count:,}" if isinstance(count, int) else str(count))
    console.print(table)
    if result.violations:
        console.print("\n".join(result.violations[:200]), markup=False)
        console.print(
            f"{len(result.violations)} violations, seed {options.seed}; the records are in {directory}"
        )
        return 1
    shutil.rmtree(directory)
    console.print("0 violations: 0 lost, 0 doubled, 0 nano-credits off, 0 over a limit, 0 below zero, 0 held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
