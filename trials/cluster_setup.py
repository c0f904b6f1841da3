"""Two machines on one PostgreSQL, each with an address, a clock and a way to the database of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.conftest import SECRET_KEY

from tokenopen.simulator.process import SimulatorProcess
from trials.fault_proxy import FaultProxy
from trials.machine import Machine, MachineSetup, port_for
from trials.postgresql import DatabaseServer

LOG: Final = "provider.jsonl"
# Of machine n: its own address, and the one at which it finds the database.
_HOST: Final = "127.0.0.1{}"
_DATABASE_HOST: Final = "127.0.0.2{}"
# Ahead, behind, and so on: no machine's clock may matter.
_OFFSETS_MINUTES: Final = (7, -5, 3, -11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What runs."""

    database: DatabaseServer
    simulator: SimulatorProcess
    machines: Sequence[Machine]

    @property
    def urls(self) -> list[str]:
        """The machines' addresses."""
        return [machine.url for machine in self.machines]

    async def shut_down(self) -> list[int]:
        """End every server as an operator does; return the exit codes."""
        return list(await asyncio.gather(*(machine.shut_down() for machine in self.machines)))


@asynccontextmanager
async def running_cluster(
    directory: Path,
    *,
    postgresql: str,
    machines: int = 2,
    workers: int = 2,
    lease_s: int = 30,
    sync: bool = False,
    proxied: bool = True,
    log: bool = True,
    say: Callable[[str], None] = print,
) -> AsyncIterator[Cluster]:
    """Start everything, in ``directory``; whatever runs at the end is killed."""
    async with AsyncExitStack() as stack:
        database = DatabaseServer(version=postgresql, host="127.0.0.31", sync=sync)
        await asyncio.to_thread(database.__enter__)
        stack.callback(database.__exit__, None, None, None)
        say(f"{database.version}, {machines} servers with {workers} workers each")
        simulator = stack.enter_context(SimulatorProcess(log_path=directory / LOG if log else None))
        running: list[Machine] = []
        for number in range(machines):
            proxy = FaultProxy((database.host, database.port))
            host, port = _DATABASE_HOST.format(number), await proxy.start(_DATABASE_HOST.format(number))
            stack.push_async_callback(proxy.close)
            setup = MachineSetup(
                name=f"machine-{number}",
                host=_HOST.format(number),
                port=port_for(_HOST.format(number)),
                workers=workers,
                clock_offset_ms=_OFFSETS_MINUTES[number % len(_OFFSETS_MINUTES)] * 60_000,
                lease_s=lease_s,
            )
            url = database.url_through(host, port) if proxied else database.url
            environment = {"TOKENOPEN_DATABASE_URL": url, "TOKENOPEN_SECRET_KEY": SECRET_KEY}
            machine = Machine(setup, proxy, directory, environment)
            stack.push_async_callback(machine.kill_for_good)
            machine.switch_on()
            running.append(machine)
        await asyncio.gather(*(machine.until_serving() for machine in running))
        yield Cluster(database=database, simulator=simulator, machines=running)
