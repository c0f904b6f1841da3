"""Endurance trials: slow streams, callers who leave or read nothing, connections that trickle, long load.

    python -m trials.endurance streams --count 2000
    python -m trials.endurance leaving --count 500 --seed 7
    python -m trials.endurance stalled --count 40
    python -m trials.endurance trickle --count 500
    python -m trials.endurance soak --minutes 30

Each runs the real server on SQLite with the simulated provider. In the end nothing is held, every reply that
was seen whole is charged exactly, no descriptor is left open, and the audit finds no drift. Exit 1 otherwise.
"""

import argparse
import asyncio
import contextlib
import random
import resource
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from tests.e2e.running import Platform, Server

from tokenopen.simulator.process import SimulatorProcess
from trials.caller import Line, Seen, Wish, request_bytes
from trials.crash import CREDIT, KEYS, groups_with
from trials.load import Load
from trials.process import memory_kib, open_descriptors
from trials.setup import GroupSetup, KeySetup, Trial

_WORDS: Final = 20
_TOKENS: Final = 32
# 20 words in at 0.15 and 32 out at 0.60 credits per million.
_CHARGE: Final = Fraction("0.0000222")
_ENDS_WITHIN_S: Final = 90
# More than the kernel takes of a reply that nobody reads.
_STALLED_BYTES: Final = 8 * 1024 * 1024
_STALLED_EVENTS: Final = 40_000
_STALLED_RECEIVE_BYTES: Final = 4096
_TRICKLE_EVERY_S: Final = 1.0
_GOOD_CALLS: Final = 300
_GOOD_EVERY_S: Final = 0.02
_SAMPLE_S: Final = 1.0
# The mixed load asks the provider for some errors.
_PROVIDERS_TROUBLE: Final = ("upstream_error", "no_upstream_available")


@dataclass(slots=True)
class Outcome:
    """What was measured, and everything that should not have been."""

    figures: dict[str, object] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running platform with one model, and a user with credit and a key."""

    platform: Platform
    user: str
    key: str
    host: str
    port: int

    def line(self) -> Line:
        """Return a connection to the server."""
        return Line(self.host, self.port)


@contextmanager
def stage(directory: Path, outcome: Outcome) -> Iterator[Stage]:
    """Set up a platform; in the end see that nothing is left of what ran on it."""
    _allow_descriptors()
    with Server(directory / "data") as server, SimulatorProcess() as simulator:
        platform = Platform(server, simulator)
        platform.add_model("small")
        platform.add_upstream(["small"])
        platform.add_group("open")
        user = platform.add_user(credit="100")
        address = urlsplit(server.url)
        assert address.hostname is not None
        assert address.port is not None
        key = platform.add_key(user, "open")
        before = open_descriptors(server.pid)
        yield Stage(platform=platform, user=user, key=key, host=address.hostname, port=address.port)
        platform.wait_until_nothing_is_held(user, timeout_s=_ENDS_WITHIN_S)
        platform.admin.close()
        outcome.violations += _left_open(server, before)
        platform.audit()
        if server.stop() != 0:
            outcome.violations.append("the server did not end well")
        if '"level": "error"' in server.log_path.read_text():
            outcome.violations.append("the server logged an error")


def _allow_descriptors() -> None:
    """Take as many descriptors as the system gives; the server inherits that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _left_open(server: Server, before: int) -> Iterator[str]:
    deadline = time.monotonic() + _ENDS_WITHIN_S
    # Of the connections to the provider some are kept for the next calls.
    while (now := open_descriptors(server.pid)) > before + 64:
        if time.monotonic() > deadline:
            yield f"{now} descriptors are open, {before} were before"
            return
        time.sleep(0.1)


def _wish(*, stream: bool, leave_after_s: float | None = None, **simulate: object) -> Wish:
    return Wish(
        key="",
        model="small",
        words=_WORDS,
        max_tokens=_TOKENS,
        stream=stream,
        include_usage=stream,
        simulate=simulate,
        leave_after_s=leave_after_s,
    )


def _spent(at: Stage) -> Fraction:
    return 100 - Fraction(at.platform.ask("GET", f"/api/admin/users/{at.user}")["balance"])


def slow_streams(directory: Path, *, count: int, event_ms: int = 500) -> Outcome:
    """Hold so many streams open at once, an event each ``event_ms``; all are whole and charged exactly."""
    outcome = Outcome()
    with stage(directory, outcome) as at:
        pid = at.platform.server.pid
        before_kib, most_kib = memory_kib(pid), 0

        async def run() -> list[Seen]:
            nonlocal most_kib
            wish = _wish(stream=True, events=16, chunk_delay_ms=event_ms)
            calls = [asyncio.create_task(_calm_call(at, wish)) for _ in range(count)]
            while not all(call.done() for call in calls):
                most_kib = max(most_kib, memory_kib(pid))
                await asyncio.sleep(0.2)
            return [call.result() for call in calls]

        seen = asyncio.run(run())
        at.platform.wait_until_nothing_is_held(at.user, timeout_s=_ENDS_WITHIN_S)
        whole = sum(one.whole and one.status == 200 for one in seen)
        if whole != count or any(Fraction(one.charge or 0) != _CHARGE for one in seen):
            outcome.violations.append(f"{whole} of {count} streams were whole and rightly charged")
        if _spent(at) != count * _CHARGE:
            outcome.violations.append(f"{_spent(at)} credits were charged, not {count * _CHARGE}")
        outcome.figures = {
            "streams at once": count,
            "memory of a stream, KiB": round((most_kib - before_kib) / count, 1),
            "memory before and at most, MiB": f"{before_kib / 1024:.0f}, {most_kib / 1024:.0f}",
        }
    return outcome


async def _calm_call(at: Stage, wish: Wish) -> Seen:
    line = at.line()
    try:
        return await line.call(at.key, wish)
    finally:
        line.drop()


def leaving(directory: Path, *, count: int, seed: int) -> Outcome:
    """Leave so many calls at a random moment of any of their stages."""
    outcome = Outcome()
    chance = random.Random(seed)  # noqa: S311 - no secret
    wishes = [
        _wish(
            stream=chance.random() < 0.7,
            leave_after_s=chance.choice((0.0, chance.uniform(0, 0.02), chance.uniform(0, 0.4))),
            delay_ms=chance.choice((0, chance.randrange(200))),
            chunk_delay_ms=chance.choice((0, 5, 20)),
        )
        for _ in range(count)
    ]
    with stage(directory, outcome) as at:
        waiting = iter(wishes)

        async def run() -> list[Seen]:
            async def go_on() -> list[Seen]:
                return [await _calm_call(at, wish) for wish in waiting]

            return [one for some in await asyncio.gather(*(go_on() for _ in range(20))) for one in some]

        seen = asyncio.run(run())
        at.platform.wait_until_nothing_is_held(at.user, timeout_s=_ENDS_WITHIN_S)
        whole = sum(one.whole and one.status == 200 for one in seen)
        if _spent(at) < whole * _CHARGE or any(one.status not in (None, 200) for one in seen):
            outcome.violations.append(f"{whole} replies were whole, {_spent(at)} credits charged")
        outcome.figures = {"calls left": count - whole, "seen whole nevertheless": whole}
    return outcome


def stalled(directory: Path, *, count: int) -> Outcome:
    """Have so many callers ask for a long reply and read nothing of it, half of them as streams."""
    outcome = Outcome()
    with stage(directory, outcome) as at:
        pid = at.platform.server.pid
        before, before_kib = open_descriptors(pid), memory_kib(pid)
        wishes = (
            _wish(stream=False, body_bytes=_STALLED_BYTES),
            msgspec.structs.replace(_wish(stream=True, events=_STALLED_EVENTS), max_tokens=_STALLED_EVENTS),
        )
        callers = [_stalled_call(at, wishes[number % 2]) for number in range(count)]
        began_s, most_kib = time.monotonic(), 0
        while open_descriptors(pid) < before + count:
            assert time.monotonic() - began_s < _ENDS_WITHIN_S, "not every caller was let in"
            time.sleep(0.05)
        # Whoever reads nothing for a minute is gone; what its provider still says may take half of one more.
        while (now := open_descriptors(pid)) > before + 2:
            most_kib = max(most_kib, memory_kib(pid))
            if time.monotonic() - began_s > _ENDS_WITHIN_S + 30:
                outcome.violations.append(f"{now} descriptors are open, {before} were before")
                break
            time.sleep(0.5)
        outcome.figures = {
            "callers who read nothing": count,
            "all gone after, s": round(time.monotonic() - began_s),
            "memory before, at most and afterwards, MiB": ", ".join(
                f"{kib / 1024:.0f}" for kib in (before_kib, most_kib, memory_kib(pid))
            ),
        }
        for caller in callers:
            caller.close()
    return outcome


def _stalled_call(at: Stage, wish: Wish) -> socket.socket:
    """Send a request, from a socket with room for next to nothing."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _STALLED_RECEIVE_BYTES)
    caller.connect((at.host, at.port))
    caller.sendall(request_bytes(at.host, at.port, at.key, wish.body()))
    return caller


def trickle(directory: Path, *, count: int, good_calls: int = _GOOD_CALLS) -> Outcome:
    """Call at a steady pace, without and with so many connections that send a byte a second."""
    outcome = Outcome()
    with stage(directory, outcome) as at:

        async def run() -> None:
            await _good(at, good_calls // 4)
            alone = await _good(at, good_calls)
            connections = [await asyncio.open_connection(at.host, at.port) for _ in range(count)]
            tasks = [
                asyncio.create_task(_trickle(writer, n, at.key)) for n, (_, writer) in enumerate(connections)
            ]
            await asyncio.sleep(_TRICKLE_EVERY_S)
            beside = await _good(at, good_calls)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _, writer in connections:
                writer.transport.abort()
            for name, latencies in (("alone", alone), ("beside trickling ones", beside)):
                cuts = statistics.quantiles(latencies, n=100)
                outcome.figures[f"p50 and p99 {name}, ms"] = f"{cuts[49] * 1000:.1f}, {cuts[98] * 1000:.1f}"

        asyncio.run(run())
        at.platform.wait_until_nothing_is_held(at.user)
        calls = good_calls // 4 + 2 * good_calls
        if _spent(at) != calls * _CHARGE:
            outcome.violations.append(f"{_spent(at)} credits were charged, not {calls * _CHARGE}")
        outcome.figures["trickling connections"] = count
    return outcome


async def _good(at: Stage, count: int) -> list[float]:
    """Make calls at a steady pace over one connection and return how long each took, in seconds."""
    line, took_s = at.line(), []
    for _ in range(count):
        began_s = time.perf_counter()
        seen = await line.call(at.key, _wish(stream=False))
        took_s.append(time.perf_counter() - began_s)
        assert seen.whole, seen
        await asyncio.sleep(_GOOD_EVERY_S)
    line.drop()
    return took_s


async def _trickle(writer: asyncio.StreamWriter, number: int, key: str) -> None:
    """Send half of a head, or a head and half of a body, a byte at a time."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + key.encode()
    if number % 2:
        head += b"\r\ncontent-length: 100000\r\n\r\n"
    else:
        head += b"\r\nx: "
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        while True:
            await asyncio.sleep(_TRICKLE_EVERY_S)
            writer.write(b"a")
            await writer.drain()


def soak(directory: Path, *, minutes: float, callers: int = 20) -> Outcome:
    """Run the crash trial's mixed load, without crashes, and sample the server's memory."""
    outcome = Outcome()
    keys = {name: KeySetup(group=key.group, owner=key.owner, share=key.share) for name, key in KEYS.items()}
    groups: dict[str, GroupSetup] = groups_with(600, 100_000)
    with Server(directory / "data") as server, SimulatorProcess() as simulator:
        platform = Platform(server, simulator)
        trial = Trial(platform, groups=groups, keys=keys, credit=CREDIT)
        samples: list[tuple[float, int]] = []

        async def run() -> Load:
            load = Load(
                trial, [server.url], seed=secrets.randbelow(1_000_000), callers=callers, topped_up="bob"
            )
            began_s = time.monotonic()
            while (passed_s := time.monotonic() - began_s) < minutes * 60:
                samples.append((passed_s / 60, memory_kib(server.pid)))
                load.raise_what_failed()
                await asyncio.sleep(_SAMPLE_S)
            await load.end()
            return load

        load = asyncio.run(run())
        for user in trial.users.values():
            platform.wait_until_nothing_is_held(user, timeout_s=_ENDS_WITHIN_S)
        platform.audit()
        platform.admin.close()
        if '"level": "error"' in server.log_path.read_text():
            outcome.violations.append("the server logged an error")
    if any(
        one.status is not None and one.status >= 500 and one.code not in _PROVIDERS_TROUBLE
        for one in load.seen
    ):
        outcome.violations.append(f"answers of 5xx: {load.counts()}")
    # A start fills caches, so the first third says nothing of a leak.
    late = samples[len(samples) // 3 :]
    slope, _ = statistics.linear_regression([at for at, _ in late], [kib for _, kib in late])
    outcome.figures = {
        "calls": len(load.seen),
        "memory after each tenth of the time, MiB": ", ".join(
            f"{samples[len(samples) * tenth // 10 - 1][1] / 1024:.0f}" for tenth in range(1, 11)
        ),
        "slope of the last two thirds, KiB a minute": round(slope, 1),
    }
    return outcome


def main() -> int:
    """Run the trial that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trials.endurance", description=__doc__.splitlines()[0])
    parser.add_argument("trial", choices=("streams", "leaving", "stalled", "trickle", "soak"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    runs: dict[str, Callable[[Path], Outcome]] = {
        "streams": lambda path: slow_streams(path, count=options.count or 2_000),
        "leaving": lambda path: leaving(path, count=options.count or 500, seed=options.seed),
        "stalled": lambda path: stalled(path, count=options.count or 40),
        "trickle": lambda path: trickle(path, count=options.count or 500),
        "soak": lambda path: soak(path, minutes=options.minutes),
    }
    with tempfile.TemporaryDirectory(prefix="tokenopen-endurance-") as directory:
        outcome = runs[options.trial](Path(directory))
    for name, figure in outcome.figures.items():
        sys.stdout.write(f"{name}: {figure}\n")
    sys.stdout.write("\n".join([*outcome.violations, f"{len(outcome.violations)} violations\n"]))
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
