"""The hostile trial: HTTP that no client sends, to the real server, and what it must not cost.

    python -m trials.hostile --made 10000 --seed 7

Every hand-written case (hostile_heads, hostile_bodies) and so many made ones go over real connections, many
at once. Each is answered 4xx, or its connection closed, within a stated time; what is odd but legal is one
call. In the end nothing is held, exactly the legal ones are charged, memory and descriptors are where they
were, nothing was logged as an error, and the audit finds no drift. Exit 1 and the cases where anything is
wrong.
"""

import argparse
import asyncio
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console
from tests.e2e.running import ADMIN_KEY, Platform, Server

from tokenopen.simulator.process import SimulatorProcess
from trials.hostile_bodies import hostile_bodies
from trials.hostile_heads import hostile_heads
from trials.hostile_made import made_cases
from trials.process import memory_kib, open_descriptors
from trials.raw_http import Answered, Case, send_cases

# 3 words in at 0.15 and 5 out at 0.60 credits per million.
_CHARGE: Final = Fraction("0.00000345")
_GROWTH_MIB_MAX: Final = 64
_SETTLES_WITHIN_S: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was seen, counted, and everything that should not have been."""

    counts: dict[str, object]
    violations: list[str] = field(default_factory=list)


def run_trial(directory: Path, *, made: int, seed: int) -> Outcome:
    """Send every case to a server of its own, with its data in a directory, and check what follows."""
    with Server(directory / "data") as server, SimulatorProcess() as simulator:
        platform = Platform(server, simulator)
        platform.add_model("small")
        platform.add_upstream(["small"])
        platform.add_group("open")
        user = platform.add_user()
        key = platform.add_key(user, "open")
        written = [*hostile_heads(key), *hostile_bodies(key, ADMIN_KEY)]
        before_mib, descriptors = memory_kib(server.pid) / 1024, open_descriptors(server.pid)
        began_s = time.monotonic()
        answered = _send(server.url, written)
        platform.wait_until_nothing_is_held(user, timeout_s=_SETTLES_WITHIN_S)
        violations = [*_wrong_answers(answered), *_wrong_books(platform, user, written)]
        answered += _send(server.url, list(made_cases(key, count=made, seed=seed)))
        seconds = time.monotonic() - began_s
        platform.wait_until_nothing_is_held(user, timeout_s=_SETTLES_WITHIN_S)
        violations += _wrong_answers(answered[len(written) :])
        after_mib = memory_kib(server.pid) / 1024
        if after_mib - before_mib > _GROWTH_MIB_MAX:
            violations.append(f"memory grew from {before_mib:.0f} to {after_mib:.0f} MiB")
        platform.admin.close()
        violations += _left_open(server, descriptors)
        if not platform.audit():
            violations.append("no audit")
        violations += [
            f"logged: {line[:500]}"
            for line in server.log_path.read_text().splitlines()
            if '"level": "error"' in line or line.startswith("Traceback")
        ]
        if server.stop() != 0:
            violations.append("the server did not end well")
    statuses = Counter(str(list(answer.statuses) or "closed") for _, answer in answered)
    counts = {
        "hand-written cases": len(written),
        "made cases": made,
        "slowest, s": round(max(answer.seconds for _, answer in answered), 1),
        "seconds in all": round(seconds),
        "memory before and after, MiB": f"{before_mib:.0f}, {after_mib:.0f}",
        **dict(statuses.most_common(12)),
    }
    return Outcome(counts=counts, violations=violations)


def _send(url: str, cases: Sequence[Case]) -> list[tuple[Case, Answered]]:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    return asyncio.run(send_cases(address.hostname, address.port, cases))


def _wrong_answers(answered: Sequence[tuple[Case, Answered]]) -> Iterator[str]:
    for case, answer in answered:
        if (mistake := answer.mistake(case)) is not None:
            yield f"{case.name}: {mistake} {answer.raw[-200:]!r}"


def _wrong_books(platform: Platform, user: str, written: Sequence[Case]) -> Iterator[str]:
    """Yield what differs from: the legal cases, and no other, were calls, each charged once."""
    legal = sum(case.verdict == "legal" for case in written)
    calls = platform.ask("GET", "/api/admin/calls?limit=200")["data"]
    charges = [Fraction(call["charge"]) for call in calls]
    if charges != [_CHARGE] * legal:
        yield f"{legal} calls were to be charged; {len(calls)} were admitted, at {sorted(map(str, charges))}"
    balance = Fraction(platform.ask("GET", f"/api/admin/users/{user}")["balance"])
    if balance != 10 - legal * _CHARGE:
        yield f"{balance} credits are left"


def _left_open(server: Server, before: int) -> Iterator[str]:
    """Yield what a server keeps open when every caller has left, more than a pool to the provider."""
    deadline = time.monotonic() + _SETTLES_WITHIN_S
    while (now := open_descriptors(server.pid)) > before + 20:
        if time.monotonic() > deadline:
            yield f"{now} descriptors are open, {before} were before"
            return
        time.sleep(0.1)


def main() -> int:
    """Run the trial that the command line describes; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trials.hostile", description=__doc__.splitlines()[0])
    parser.add_argument("--made", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="tokenopen-hostile-") as directory:
        outcome = run_trial(Path(directory), made=options.made, seed=options.seed)
    for name, count in outcome.counts.items():
        console.print(f"{name}: {count}", markup=False)
    console.print("\n".join(outcome.violations), markup=False)
    console.print(f"{len(outcome.violations)} violations, seed {options.seed}")
    return 1 if outcome.violations else os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
