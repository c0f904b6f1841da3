"""The faults of the cluster trial, one function each. A fault whose effect lasts ends by itself."""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from trials.machine import Machine
from trials.postgresql import DatabaseServer
from trials.watch import Watch

_PAUSE_BEYOND_LEASE_S: Final = (2.0, 6.0)
_PAUSE_S: Final = (0.5, 4.0)
_DATABASE_AWAY_S: Final = (0.0, 4.0)
_STALL_S: Final = (0.5, 5.0)
_UNREACHABLE_S: Final = (0.5, 6.0)
# Longer than the workers wait for a silent server.
_SILENCE_S: Final = (11.0, 16.0)
_COMMITS_SWALLOWED: Final = (1, 4)
_COMMIT_WITHIN_S: Final = 60


class Faults:
    """Chooses and injects faults; ``violations`` are promises that were seen broken at once."""

    def __init__(
        self,
        machines: Sequence[Machine],
        database: DatabaseServer,
        watch: Watch,
        *,
        seed: int,
        lease_s: int,
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._machines = machines
        self._database = database
        self._watch = watch
        self._lease_s = lease_s
        self._chance = random.Random(f"{seed} faults")  # noqa: S311 - no secret
        self._lasting: set[asyncio.Task[None]] = set()
        self._restarting = asyncio.Lock()
        self._frozen: set[int] = set()
        known: dict[str, Callable[[Machine], Awaitable[None]]] = {
            "kill -9 of a worker": self._kill_worker,
            "kill -9 of a supervisor": self._kill_supervisor,
            "power cut of a machine": self._cut_power,
            "SIGTERM of a server": self._terminate_server,
            "SIGTERM of a worker": self._terminate_worker,
            "SIGHUP (rolling restart)": self._roll,
            "SIGSTOP of a worker beyond its lease": self._freeze_beyond_lease,
            "SIGSTOP of a worker, short": self._freeze,
            "database restart, fast": self._restart_fast,
            "database restart, immediate": self._restart_immediate,
            "connections cut": self._cut_connections,
            "connections cut at COMMIT": self._swallow_commits,
            "connections stalled": self._stall,
            "connections silent for longer than workers wait": self._fall_silent,
            "database unreachable": self._be_unreachable,
        }
        self._kinds = {kind: known[kind] for kind in kinds or known}
        self._bag: list[str] = []

    def pause_s(self, seconds: Sequence[float]) -> float:
        """Return how long to wait before the next fault."""
        return self._chance.uniform(*seconds)

    async def inject(self) -> str:
        """Inject one fault and return its name. Each kind comes once before any comes again."""
        self._bag = self._bag or self._chance.sample(list(self._kinds), len(self._kinds))
        kind = self._bag.pop()
        machine = self._chance.choice(self._machines)
        if not machine.is_serving:
            machine = next((other for other in self._machines if other.is_serving), machine)
        if not machine.is_serving:
            # Nothing runs that could be hurt; wait for one that does.
            await machine.until_serving()
        await self._kinds[kind](machine)
        self.counts[kind] += 1
        return f"{kind}: {machine.name}"

    async def end(self) -> None:
        """Wait until what lasts has ended, and every way is open again."""
        await asyncio.gather(*self._lasting)
        for machine in self._machines:
            machine.proxy.resume()

    def _last(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)

    async def _some_worker(self, machine: Machine) -> int | None:
        pids = [pid for pid in machine.worker_pids() if pid not in self._frozen]
        return self._chance.choice(pids) if pids else None

    async def _kill_worker(self, machine: Machine) -> None:
        pid = await self._some_worker(machine)
        if pid is not None:
            await self._watch.expect_freed([pid])
            machine.tell(pid, signal.SIGKILL)

    async def _kill_supervisor(self, machine: Machine) -> None:
        machine.signal_server(signal.SIGKILL)

    async def _cut_power(self, machine: Machine) -> None:
        await self._watch.expect_freed(machine.worker_pids())
        machine.cut_power()

    async def _terminate_server(self, machine: Machine) -> None:
        self._last(self._see_off(machine))

    async def _see_off(self, machine: Machine) -> None:
        """An ordered end is an exit code of 0, and leaves nothing held."""
        undisturbed = self._watch.database_restarts
        workers = await self._watch.workers_of(machine.worker_pids())
        machine.signal_server(signal.SIGTERM)
        code = await machine.until_ended()
        held = await self._watch.count_held(workers)
        # Where the database or the way to it was away meanwhile, or somebody killed it, holds may remain.
        if held and code == 0 and undisturbed == self._watch.database_restarts:
            self.counts["holds left by an ordered end, other faults meanwhile"] += held

    async def _terminate_worker(self, machine: Machine) -> None:
        pid = await self._some_worker(machine)
        if pid is not None:
            machine.tell(pid, signal.SIGTERM)

    async def _roll(self, machine: Machine) -> None:
        machine.signal_server(signal.SIGHUP)

    async def _freeze_beyond_lease(self, machine: Machine) -> None:
        await self._stop_for(machine, self._lease_s + self._chance.uniform(*_PAUSE_BEYOND_LEASE_S))

    async def _freeze(self, machine: Machine) -> None:
        await self._stop_for(machine, self._chance.uniform(*_PAUSE_S))

    async def _stop_for(self, machine: Machine, seconds: float) -> None:
        pid = await self._some_worker(machine)
        if pid is not None:
            self._frozen.add(pid)
            machine.tell(pid, signal.SIGSTOP)
            self._last(self._continue(machine, pid, seconds))

    async def _continue(self, machine: Machine, pid: int, seconds: float) -> None:
        await asyncio.sleep(seconds)
        machine.tell(pid, signal.SIGCONT)
        self._frozen.discard(pid)

    async def _restart_fast(self, _: Machine) -> None:
        self._last(self._restart(signal.SIGINT))

    async def _restart_immediate(self, _: Machine) -> None:
        self._last(self._restart(signal.SIGQUIT))

    async def _restart(self, how: signal.Signals) -> None:
        away_s = self._chance.uniform(*_DATABASE_AWAY_S)
        async with self._restarting:
            self._watch.database_restarts += 1
            await asyncio.to_thread(self._database.stop, how)
            await asyncio.sleep(away_s)
            await asyncio.to_thread(self._database.start)

    async def _cut_connections(self, machine: Machine) -> None:
        machine.proxy.cut()

    async def _swallow_commits(self, machine: Machine) -> None:
        before = machine.proxy.commits_swallowed
        machine.proxy.swallow_commits(self._chance.randint(*_COMMITS_SWALLOWED))
        self._last(self._until_swallowed(machine, before))

    async def _until_swallowed(self, machine: Machine, before: int) -> None:
        """Wait for a commit, of which there may be none for a while where everything is slow."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMMIT_WITHIN_S):
                while machine.proxy.commits_swallowed == before:  # noqa: ASYNC110 the proxy does not tell
                    await asyncio.sleep(0.05)

    async def _stall(self, machine: Machine) -> None:
        machine.proxy.stall()
        self._last(self._resume(machine, self._chance.uniform(*_STALL_S)))

    async def _fall_silent(self, machine: Machine) -> None:
        machine.proxy.stall()
        self._last(self._resume(machine, self._chance.uniform(*_SILENCE_S)))

    async def _be_unreachable(self, machine: Machine) -> None:
        machine.proxy.refuse()
        self._last(self._resume(machine, self._chance.uniform(*_UNREACHABLE_S)))

    async def _resume(self, machine: Machine, after_s: float) -> None:
        await asyncio.sleep(after_s)
        machine.proxy.resume()
