"""The crash trial: kill -9 the server again and again under mixed load, then check every charge.

    python -m trials.crash --kills 100 --seed 7 --seconds-between 0.5 3

The real server process on SQLite, the simulated provider with its log, and callers that write down what
they see. A third of the kills come at any moment, a third just as a caller has seen a whole reply, a third
at any moment and then once more while the server starts. After each kill the books are checked as the
files have them; after the last start everything is joined by call id (check). Exit 1 and the rows
where anything is wrong; the records are kept then.

A killed process takes nothing with it that the operating system was given. So this trial tells whether
things are written in the right order, not whether the disk keeps them when the power fails.
"""

import argparse
import asyncio
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from tests.e2e.running import Platform, Server

from tokenopen.cli.demo import free_port
from tokenopen.simulator.process import SimulatorProcess
from trials.books import Books, read_log, read_sqlite_books
from trials.check import Asked, check_end, check_standing
from trials.load import Load
from trials.setup import GroupSetup, KeySetup, Trial

# Below the ports that outgoing connections get: callers who retry while nothing listens there would in
# time be given the port itself.
_PORT_FIRST: Final = 20_000
_WHOLE_REPLY_TIMEOUT_S: Final = 10
_START_S: Final = (0.1, 1.2)
_HOLDS_TIMEOUT_S: Final = 20
KEYS: Final = {
    "open-1": KeySetup(group="open", owner="ada", share=6),
    "open-2": KeySetup(group="open", owner="ada", share=5),
    "paced": KeySetup(group="paced", owner="ada", share=4),
    "daily": KeySetup(group="daily", owner="ada", share=3),
    "poor": KeySetup(group="open", owner="bob", share=2),
}
# Bob has so little that calls are refused for it again and again, while others hold the rest.
CREDIT: Final = {"ada": "1000", "bob": "0.01"}
_KINDS: Final = ("at any moment", "as a reply was whole", "at any moment, then while starting")


def groups_with(requests_per_minute: int, requests_per_day: int) -> dict[str, GroupSetup]:
    """Return the groups that the keys belong to: one without limits, one with each."""
    return {
        "open": GroupSetup(multiplier="0.8"),
        "paced": GroupSetup(multiplier="1.0", requests_per_minute=requests_per_minute),
        "daily": GroupSetup(multiplier="0.333333", requests_per_day=requests_per_day),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and how hard. Limits bind the groups ``paced`` and ``daily``."""

    kills: int = 100
    seed: int = field(default_factory=lambda: secrets.randbelow(1_000_000))
    seconds_between: Sequence[float] = (0.5, 3.0)
    callers: int = 40
    requests_per_minute: int = 240
    requests_per_day: int = 1_500


@dataclass(slots=True)
class Result:
    """What happened, counted, and everything that should not have."""

    counts: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


def run_trial(options: Options, directory: Path, *, say: Callable[[str], None]) -> Result:
    """Run the trial with its data in an empty directory, and check it."""
    data_dir, provider_log = directory / "data", directory / "provider.jsonl"
    port = free_port(_PORT_FIRST + secrets.randbelow(10_000))
    result = Result()
    server = Server(data_dir, environment={"TOKENOPEN_PORT": str(port)})
    with SimulatorProcess(log_path=provider_log) as simulator, server:
        platform = Platform(server, simulator)
        trial = Trial(
            platform,
            groups=groups_with(options.requests_per_minute, options.requests_per_day),
            keys=KEYS,
            credit=CREDIT,
        )
        load, killed = asyncio.run(_kill_under_load(options, trial, server, data_dir, result, say))
        try:
            for user_id in trial.users.values():
                platform.wait_until_nothing_is_held(user_id, timeout_s=_HOLDS_TIMEOUT_S)
        except AssertionError as error:
            result.violations.append(str(error))
        result.violations += _audit(server, "beside the server")
        platform.admin.close()
        code = server.stop()
        if code != 0:
            result.violations.append(f"SIGTERM ended the server with {code}")
        result.violations += _audit(server, "after the server ended")
    (directory / "callers.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in load.seen))
    asked = read_log(provider_log, Asked)
    books = read_sqlite_books(data_dir, directory / "books")
    result.violations += check_end(trial.plan, load.seen, asked, books, paid_in=load.paid_in)
    result.violations += _logged_errors(server.log_path)
    result.counts = {**killed, **_counts(load, asked, books)}
    return result


async def _kill_under_load(
    options: Options,
    trial: Trial,
    server: Server,
    data_dir: Path,
    result: Result,
    say: Callable[[str], None],
) -> tuple[Load, Mapping[str, int]]:
    chance = random.Random(options.seed)  # noqa: S311 - no secret
    load = Load(
        trial,
        [server.url],
        seed=options.seed,
        callers=options.callers,
        topped_up="bob",
        one_call_a_connection=True,
    )
    counts: Counter[str] = Counter()
    began_s = time.monotonic()

    def kill(kind: str) -> None:
        server.kill()
        counts["kills"] += 1
        books = read_sqlite_books(data_dir, data_dir.with_name("snapshot"))
        held = sum(call["state"] == "held" for call in books.calls)
        counts["open holds at kills"] += held
        say(f"{time.monotonic() - began_s:6.1f} s  kill {counts['kills']:3} {kind}: {held} holds open")
        result.violations += [f"after kill {counts['kills']}: {wrong}" for wrong in check_standing(books)]

    kinds: list[str] = []
    while counts["kills"] < options.kills:
        kinds = kinds or chance.sample(_KINDS, len(_KINDS))
        kind = kinds.pop()
        await asyncio.sleep(chance.uniform(*options.seconds_between))
        if kind == _KINDS[1]:
            load.whole.clear()
            async with asyncio.timeout(_WHOLE_REPLY_TIMEOUT_S):
                await load.whole.wait()
        kill(kind)
        if kind == _KINDS[2] and counts["kills"] < options.kills:
            starting = asyncio.create_task(asyncio.to_thread(server.start))
            await asyncio.sleep(chance.uniform(*_START_S))
            kill("while starting")
            # It says that it did not start, unless it just had.
            await asyncio.gather(starting, return_exceptions=True)
        started_s = time.monotonic()
        await asyncio.to_thread(server.start)
        counts["starts, ms on average"] += int((time.monotonic() - started_s) * 1000)
        counts["starts"] += 1
    await asyncio.sleep(options.seconds_between[1])
    await load.end()
    counts["starts, ms on average"] //= max(1, counts["starts"])
    return load, counts


def _audit(server: Server, when: str) -> Iterator[str]:
    done = server.run_cli("audit")
    if done.returncode != 0 or "audit: 0 drift" not in done.stdout:
        yield f"audit {when}: exit {done.returncode}\n{done.stdout}{done.stderr}"


def _logged_errors(log_path: Path) -> Iterator[str]:
    """Yield what the server logged as an error: a crash is none of its own."""
    for line in log_path.read_text().splitlines():
        if '"level": "error"' in line or line.startswith("Traceback"):
            yield f"the server logged: {line[:2_000]}"


def _counts(load: Load, asked: list[Asked], books: Books) -> dict[str, int]:
    whole = {one.call_id for one in load.seen if one.whole and one.status == 200}
    cut = {one.call_id for one in load.seen if one.end == "cut"}
    settled = {call["id"] for call in books.calls if call["state"] == "settled"}
    states = Counter(call["state"] for call in books.calls)
    expired = {call["id"] for call in books.calls if call["state"] == "expired"}
    outcomes = Counter(line.outcome for line in asked if line.request_id in expired)
    return {
        "calls that reached the server": len(load.seen),
        "connections refused": load.unreached,
        **{f"  {name}": count for name, count in sorted(load.counts().items())},
        "calls admitted": len(books.calls),
        **{f"  {name}": count for name, count in sorted(states.items())},
        "expired before the provider was asked": len(expired) - outcomes.total(),
        **{f"expired, at the provider {name}": count for name, count in sorted(outcomes.items())},
        "seen whole": len(whole),
        "charged": len(settled),
        "charged, not seen whole": len(settled - whole),
        "  for the server was gone": len(settled & cut),
        "calls that the provider was asked": len(asked),
        "top-ups, each sent until answered": load.top_ups,
        "sum of charges, nano-credits": -sum(e["amount"] for e in books.entries if e["kind"] == "charge"),
    }


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m trials.crash",
        description="Kill the server again and again under load, then check every charge.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, help="the same seed: the same wishes and kinds of kills")
    parser.add_argument("--seconds-between", type=float, nargs=2, metavar=("MIN", "MAX"))
    parser.add_argument("--callers", type=int)
    parser.add_argument("--requests-per-minute", type=int, help="of the group named paced")
    parser.add_argument("--requests-per-day", type=int, help="of the group named daily")
    return Options(**vars(parser.parse_args(arguments)))


def main() -> int:
    """Run the trial that the command line describes; return the exit code."""
    options = _parse(sys.argv[1:])
    console = Console(soft_wrap=True, highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="tokenopen-crash-"))
    console.print(f"seed {options.seed}, {options.kills} kills, {options.callers} callers")
    result = run_trial(options, directory, say=console.print)
    table = Table("What", "Count", title="Crash trial")
    for name, count in result.counts.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    if result.violations:
        console.print("\n".join(result.violations), markup=False)
        console.print(
            f"{len(result.violations)} violations, seed {options.seed}; the records are in {directory}"
        )
        return 1
    shutil.rmtree(directory)
    console.print("0 violations: every reply seen whole is charged once, exactly; nothing else is wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
