"""A machine of the cluster trial: one ``tokenopen serve`` on an address, a clock and a way to the database
of its own, started again whenever it ends, as systemd does."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.running import Server

from trials.fault_proxy import FaultProxy
from trials.process import children_of, is_running

# Where Python finds sitecustomize.
_SITE: Final = str(Path(__file__).parent / "site")
_RESTART_S: Final = 0.5
# What a worker that lost its supervisor may take to end its streams, and then some.
_LEFT_ALONE_MAX_S: Final = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSetup:
    """Where a machine is, how far its clock is off, how many workers it has, how long their leases last."""

    name: str
    host: str
    port: int
    workers: int
    clock_offset_ms: int
    lease_s: int

    def environment(self) -> dict[str, str]:
        """Return what reaches its processes."""
        return {
            "TOKENOPEN_HOST": self.host,
            "TOKENOPEN_PORT": str(self.port),
            "PYTHONPATH": os.pathsep.join([_SITE, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "TRIAL_MACHINE": self.name,
            "TRIAL_CLOCK_OFFSET_MS": str(self.clock_offset_ms),
            "TOKENOPEN_LEASE_SECONDS": str(self.lease_s),
        }


class Machine:
    """Runs the server until ``shut_down``. ``starts`` and ``exit_codes`` say what became of it so far."""

    def __init__(
        self, setup: MachineSetup, proxy: FaultProxy, directory: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = setup.name
        self.proxy = proxy
        self.server = Server(
            directory / setup.name,
            environment={**environment, **setup.environment()},
            workers=setup.workers if setup.workers > 1 else None,
        )
        self.starts = 0
        self.failed_starts = 0
        self.exit_codes: list[int] = []
        self.left_alone_max_s = 0.0
        self.url = f"http://{setup.host}:{setup.port}"
        self._workers = setup.workers
        self._serving = asyncio.Event()
        self._ended = asyncio.Event()
        self._shutting_down = False
        self._task: asyncio.Task[None] | None = None
        self._remembered: list[int] = []

    def switch_on(self) -> None:
        """Begin to keep the server running."""
        self._task = asyncio.create_task(self._keep_running())

    async def _keep_running(self) -> None:
        while not self._shutting_down:
            self._ended.clear()
            try:
                await asyncio.to_thread(self.server.start)
            except AssertionError:
                # The database is away, or somebody killed it before it could say anything.
                self.failed_starts += 1
                await asyncio.sleep(_RESTART_S)
                continue
            self.starts += 1
            self._remembered = self.worker_pids()
            self._serving.set()
            self.exit_codes.append(await asyncio.to_thread(self.server.wait))
            self._serving.clear()
            self._ended.set()
            await self._bury_workers()
            if not self._shutting_down:
                await asyncio.sleep(_RESTART_S)

    async def _bury_workers(self) -> None:
        """Wait for the workers of a server that is gone; they notice that by themselves."""
        began_s = time.monotonic()
        while left := [pid for pid in self._remembered if is_running(pid)]:
            if time.monotonic() - began_s > _LEFT_ALONE_MAX_S:
                for pid in left:
                    self.tell(pid, signal.SIGKILL)
            await asyncio.sleep(0.1)
        self.left_alone_max_s = max(self.left_alone_max_s, time.monotonic() - began_s)

    async def until_serving(self, *, timeout_s: float = 120) -> None:
        """Wait until the server has said that it serves."""
        async with asyncio.timeout(timeout_s):
            await self._serving.wait()

    @property
    def is_serving(self) -> bool:
        """Tell whether the server has said so and has not ended since."""
        return self._serving.is_set()

    def worker_pids(self) -> list[int]:
        """Return the processes that admit calls at the moment."""
        if self._workers == 1:
            return [self.server.pid]
        pids = children_of(self.server.pid)
        self._remembered = sorted({*pids, *(pid for pid in self._remembered if is_running(pid))})
        return pids

    @staticmethod
    def tell(pid: int, number: signal.Signals) -> None:
        """Send a signal to a process of the server's, unless it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def signal_server(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, not to the workers that it started."""
        self.tell(self.server.pid, number)

    def cut_power(self) -> None:
        """Kill the server and its workers at once."""
        for pid in [self.server.pid, *self.worker_pids()]:
            self.tell(pid, signal.SIGKILL)

    async def until_ended(self, *, timeout_s: float = 100) -> int:
        """Wait until the server process has ended and return its exit code."""
        async with asyncio.timeout(timeout_s):
            await self._ended.wait()
        return self.exit_codes[-1]

    async def shut_down(self) -> int:
        """End the server as an operator does, for good; return its exit code."""
        self._shutting_down = True
        self.signal_server(signal.SIGTERM)
        assert self._task is not None
        await self._task
        return self.exit_codes[-1]

    async def kill_for_good(self) -> None:
        """End whatever still runs. Idempotent."""
        self._shutting_down = True
        if self._task is None or self._task.done():
            return
        if self.is_serving:
            self.cut_power()
        await asyncio.wait([self._task], timeout=_LEFT_ALONE_MAX_S)


def port_for(host: str) -> int:
    """Return a port of the machine's to listen on, below those that outgoing connections are given."""
    while True:
        port = 20_000 + secrets.randbelow(10_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
