"""The limits trial: accounts of N requests per minute, five times N offered to many workers at once.

    python -m trials.limits --limits 1 2 10 60 600 6000

Two servers with four workers each on one PostgreSQL, their clocks minutes apart. Each N is a group and an
account of its own; calls come evenly, over connections to both servers. Whatever 60 seconds one looks at
may not hold more than N, by the instants in the ledger's calls and, apart from them, by the moments at
which callers saw their replies; and of the first 60 seconds at least 98 % of N must have been admitted.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from tests.e2e.running import Platform

from trials.books import Row, read_postgresql_books
from trials.caller import Line, Seen, Wish
from trials.cluster_setup import Cluster, running_cluster
from trials.setup import GroupSetup, KeySetup, Trial

_WINDOW_MS: Final = 60_000
_OFFERED: Final = 5
_UNAVAILABLE: Final = "storage_unavailable"
_EXPECTED: Final = ((200, None), (429, "rpm_exceeded"), (503, _UNAVAILABLE))
_ADMITTED_LEAST: Final = Fraction(98, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much of what. Five times N is offered in the first ``offer_s``, and on at that pace to the end."""

    limits: Sequence[int] = (1, 2, 10, 60, 600, 6_000)
    offer_s: float = 50.0
    seconds: float = 130.0
    callers: int = 160
    machines: int = 2
    workers: int = 4
    postgresql: str = "18"


@dataclass(slots=True)
class Outcome:
    """What became of one N. ``violations`` says what must not be."""

    limit: int
    offered: int = 0
    admitted: int = 0
    refused: int = 0
    unavailable: int = 0
    most_in_60_s: int = 0
    in_first_60_s: int = 0
    workers: int = 0
    violations: list[str] = field(default_factory=list)


def most_in_window(instants: Sequence[int]) -> int:
    """Return how many of the sorted instants (ms) the fullest 60 seconds hold, both ends counted."""
    ends = enumerate(instants, start=1)
    return max((count - bisect_left(instants, at_ms - _WINDOW_MS) for count, at_ms in ends), default=0)


def judge(limit: int, calls: Sequence[Row], seen: Sequence[Seen]) -> Outcome:
    """Compare what was admitted with the limit."""
    instants = sorted(call["admitted_at_ms"] for call in calls)
    outcome = Outcome(
        limit=limit,
        offered=len(seen),
        admitted=len(instants),
        refused=sum(one.status == 429 for one in seen),
        unavailable=sum(one.code == _UNAVAILABLE for one in seen),
        most_in_60_s=most_in_window(instants),
        in_first_60_s=bisect_left(instants, instants[0] + _WINDOW_MS) if instants else 0,
        workers=len({call["worker_id"] for call in calls}),
    )
    outcome.violations += _wrong(outcome, seen)
    return outcome


def _wrong(outcome: Outcome, seen: Sequence[Seen]) -> Iterator[str]:
    limit = outcome.limit
    if outcome.most_in_60_s > limit:
        yield f"RPM {limit}: {outcome.most_in_60_s} calls in 60 s"
    # A call that was begun after one moment and answered before another was admitted in between.
    answered = sorted((one.began_ms, one.ended_ms) for one in seen if one.status == 200)
    begins = [began for began, _ in answered]
    for index, (began_ms, _) in enumerate(answered):
        inside = answered[index : bisect_left(begins, began_ms + _WINDOW_MS)]
        surely = sum(ended_ms <= began_ms + _WINDOW_MS for _, ended_ms in inside)
        if surely > limit:
            yield f"RPM {limit}: callers saw {surely} calls within 60 s of {began_ms}"
            break
    if outcome.offered < _OFFERED * limit:
        yield f"RPM {limit}: only {outcome.offered} calls were offered"
    if outcome.in_first_60_s < _ADMITTED_LEAST * limit:
        yield f"RPM {limit}: {outcome.in_first_60_s} calls admitted in the first 60 s"
    codes = Counter((one.status, one.code) for one in seen if (one.status, one.code) not in _EXPECTED)
    if codes:
        yield f"RPM {limit}: neither answered nor refused for the limit: {dict(codes)}"
    # One that was admitted can end unavailable on a machine that is too busy.
    answered_count = sum(one.status == 200 for one in seen)
    if not answered_count <= outcome.admitted <= answered_count + outcome.unavailable:
        yield f"RPM {limit}: {outcome.admitted} calls admitted, {answered_count} were answered"


class _Offers:
    """Callers who make the calls of all limits when they are due; a due call waits for a caller."""

    def __init__(self, trial: Trial, urls: Sequence[str], options: Options) -> None:
        self.seen: dict[int, list[Seen]] = {limit: [] for limit in options.limits}
        self._trial = trial
        self._urls = urls
        self._options = options
        self._due: asyncio.Queue[int] = asyncio.Queue()

    async def make(self) -> None:
        """Offer all of it, and wait for the last answers."""
        callers = [asyncio.create_task(self._call(number)) for number in range(self._options.callers)]
        await asyncio.gather(*(self._plan(limit) for limit in self._options.limits))
        await self._due.join()
        for caller in callers:
            caller.cancel()
        for result in await asyncio.gather(*callers, return_exceptions=True):
            if not isinstance(result, asyncio.CancelledError) and isinstance(result, BaseException):
                raise result

    async def _plan(self, limit: int) -> None:
        began_s = time.monotonic()
        pause_s = self._options.offer_s / (_OFFERED * limit)
        for number in range(int(self._options.seconds / pause_s) + 1):
            wait_s = began_s + number * pause_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            self._due.put_nowait(limit)

    async def _call(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - no secret
        lines = [_line(url) for url in self._urls]
        while True:
            limit = await self._due.get()
            name = str(limit)
            wish = Wish(
                key=name,
                model="small",
                words=1,
                max_tokens=1,
                stream=False,
                include_usage=False,
                simulate={},
                leave_after_s=None,
            )
            self.seen[limit].append(await chance.choice(lines).call(self._trial.secrets[name], wish))
            self._due.task_done()


def _line(url: str) -> Line:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    return Line(address.hostname, address.port)


async def run_trial(options: Options, directory: Path, *, say: Callable[[str], None]) -> list[Outcome]:
    """Run the trial in an empty directory; return what became of each N."""
    async with running_cluster(
        directory,
        postgresql=options.postgresql,
        machines=options.machines,
        workers=options.workers,
        proxied=False,
        log=False,
        say=say,
    ) as cluster:
        trial = await asyncio.to_thread(_set_up, cluster, options)
        offers = _Offers(trial, cluster.urls, options)
        began_s = time.monotonic()
        await offers.make()
        say(f"offered and answered within {time.monotonic() - began_s:.1f} s")
        await cluster.shut_down()
        books = await read_postgresql_books(cluster.database.url)
    by_key = {trial.plan.keys[str(limit)].id: limit for limit in options.limits}
    calls: dict[int, list[Row]] = {limit: [] for limit in options.limits}
    for call in books.calls:
        calls[by_key[call["key_id"]]].append(call)
    return [judge(limit, calls[limit], offers.seen[limit]) for limit in options.limits]


def _set_up(cluster: Cluster, options: Options) -> Trial:
    platform = Platform(cluster.machines[0].server, cluster.simulator)
    trial = Trial(
        platform,
        groups={
            f"rpm-{limit}": GroupSetup(multiplier="1.0", requests_per_minute=limit)
            for limit in options.limits
        },
        keys={
            str(limit): KeySetup(group=f"rpm-{limit}", owner=f"user{limit}", share=1)
            for limit in options.limits
        },
        credit={f"user{limit}": "1000" for limit in options.limits},
    )
    platform.admin.close()
    return trial


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m trials.limits",
        description="Offer five times the requests per minute to many workers at once.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--limits", type=int, nargs="+", metavar="N")
    parser.add_argument("--offer-s", type=float, help="five times N is offered in so many seconds")
    parser.add_argument("--seconds", type=float, help="how long to go on offering")
    parser.add_argument("--callers", type=int)
    parser.add_argument("--machines", type=int)
    parser.add_argument("--workers", type=int, help="of each machine")
    parser.add_argument("--postgresql", help="a version (16, 18; Debian's), or the directory of its programs")
    return Options(**vars(parser.parse_args(arguments)))


def main() -> int:
    """Run the trial that the command line describes; return the exit code."""
    options = _parse(sys.argv[1:])
    console = Console(soft_wrap=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="tokenopen-limits-") as directory:
        outcomes = asyncio.run(run_trial(options, Path(directory), say=console.print))
    table = Table(title="Limits trial", caption=f"{options.machines * options.workers} workers")
    for name in ("RPM", "offered", "admitted", "429", "503", "most in 60 s", "in the first 60 s", "workers"):
        table.add_column(name, justify="right")
    for one in outcomes:
        numbers = (one.limit, one.offered, one.admitted, one.refused, one.unavailable, one.most_in_60_s)
        table.add_row(*(f"{number:,}" for number in (*numbers, one.in_first_60_s, one.workers)))
    console.print(table)
    violations = [violation for outcome in outcomes for violation in outcome.violations]
    console.print("\n".join(violations) or "0 violations", markup=False)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
