"""Whose lease is taken away, and when; on both engines."""

from dataclasses import dataclass

import pytest

from tests.fakes.clock import MovableClock
from tests.fakes.presence import FakePresence
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.core.admission import LAPSED, Admission, Admitted, AlreadyResolved, Resolution
from tokenopen.gateway.worker import Worker
from tokenopen.jobs.recovery import Reaper
from tokenopen.ports.storage import Batch, Storage, StorageAway, WorkerView
from tokenopen.storage.user import find_user

LEASE_MS = 30_000
RENEW_S = 10
USAGE = {"input": 1_234, "output": 56}

pytestmark = [
    pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
]


@dataclass(kw_only=True)
class Process:
    """A worker with its reaper, as each process has them."""

    worker: Worker
    reaper: Reaper
    presence: FakePresence
    calls: TillCalls

    async def admit(self) -> Admission:
        self.calls.worker_id = self.worker.id
        return await self.calls.admit()

    async def try_admission(self) -> object:
        self.calls.worker_id = self.worker.id
        admission = await self.calls.admission()
        return (await self.calls.storage.post(Batch(resolutions=(), admissions=[admission]))).admissions[0]

    async def settle(self, admission: Admission) -> object:
        resolution = Resolution(facts=admission.facts, outcome=await self.calls.outcome(admission, USAGE))
        return (await self.calls.storage.post(Batch(resolutions=[resolution], admissions=()))).resolutions[0]


@dataclass(kw_only=True)
class Machines:
    """Processes on one database."""

    storage: Storage
    clock: MovableClock
    calls: TillCalls

    async def start(self, presence: FakePresence) -> Process:
        worker = Worker(self.storage, self.clock, presence, lease_ms=LEASE_MS)
        await worker.enroll()

        async def resolve(resolution: Resolution) -> object:
            return await self.storage.post(Batch(resolutions=[resolution], admissions=()))

        reaper = Reaper(self.storage, presence, worker, resolve)
        return Process(worker=worker, reaper=reaper, presence=presence, calls=self.calls)

    async def pass_time(self, *living: Process, seconds: int) -> None:
        """Let time pass; the living renew their leases and look after the others'."""
        for _ in range(seconds // RENEW_S):
            self.clock.move(seconds=RENEW_S)
            for process in living:
                await process.worker.renew()
            for process in living:
                await process.reaper.reap()

    async def held(self) -> int:
        caller = await self.calls.find_caller()
        async with self.storage.read() as tx:
            owner = await find_user(tx, caller.key.user_id)
        assert owner is not None
        return owner.held


@pytest.fixture
async def machines(storage: Storage, clock: MovableClock, administrator: Actor, user: Actor) -> Machines:
    calls = await start_calls(storage, clock, administrator, user)
    await storage.retire_worker(calls.worker_id)
    return Machines(storage=storage, clock=clock, calls=calls)


async def test_holds_of_a_process_that_ended_on_this_machine_are_expired_at_once(machines: Machines) -> None:
    presence = FakePresence()
    living, dead = await machines.start(presence), await machines.start(presence)
    await dead.admit()
    await living.reaper.reap()
    assert await machines.held() > 0
    presence.withdraw(dead.worker.id)
    await living.reaper.reap()
    assert await machines.held() == 0
    assert [worker.id for worker in await machines.storage.list_workers()] == [living.worker.id]


async def test_holds_of_a_process_on_another_machine_are_expired_once_its_lease_has_lapsed(
    machines: Machines,
) -> None:
    living, dead = await machines.start(FakePresence()), await machines.start(FakePresence("there"))
    await dead.admit()
    dead.presence.withdraw(dead.worker.id)
    await machines.pass_time(living, seconds=20)
    assert await machines.held() > 0
    await machines.pass_time(living, seconds=10)
    assert await machines.held() == 0


async def test_a_process_that_stands_still_beyond_its_lease_cannot_settle_and_admits_under_a_new_id(
    machines: Machines,
) -> None:
    presence = FakePresence()
    living, stopped = await machines.start(presence), await machines.start(presence)
    running = await stopped.admit()
    former_id = stopped.worker.id
    await machines.pass_time(living, seconds=40)
    assert await stopped.settle(running) == AlreadyResolved(state="expired")
    assert await stopped.try_admission() is LAPSED
    await stopped.worker.replace(former_id)
    assert stopped.worker.id != former_id
    assert isinstance(await stopped.try_admission(), Admitted)
    # The former id has nothing left to keep alive.
    await stopped.worker.renew()
    assert list(stopped.worker.ids) == [stopped.worker.id]
    assert former_id not in presence.names


async def test_after_an_outage_beyond_the_lease_nobody_who_lives_loses_a_hold(machines: Machines) -> None:
    """Nobody could renew. Who comes back first takes no conclusions; the other one's calls are settled."""
    first, second = await machines.start(FakePresence()), await machines.start(FakePresence("there"))
    running = await second.admit()
    former_id = second.worker.id
    await machines.pass_time(first, second, seconds=60)
    machines.clock.move(seconds=70)
    await first.reaper.reap()
    await first.worker.renew()
    await first.reaper.reap()
    await machines.pass_time(first, seconds=20)
    assert await machines.held() > 0
    await machines.pass_time(first, second, seconds=60)
    assert set(second.worker.ids) == {second.worker.id, former_id}
    assert await second.settle(running) != AlreadyResolved(state="expired")
    assert await machines.held() == 0
    await second.worker.renew()
    assert list(second.worker.ids) == [second.worker.id]


def is_steady(process: Process) -> bool:
    return process.worker.is_steady


async def test_a_renewal_that_failed_or_came_late_is_a_gap(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await machines.start(FakePresence())
    assert not is_steady(process)
    await machines.pass_time(process, seconds=30)
    assert is_steady(process)

    machines.clock.move(seconds=16)
    # Not renewed for longer than it should: what others did meanwhile is not known.
    assert not is_steady(process)
    await process.worker.renew()
    await machines.pass_time(process, seconds=20)
    assert not is_steady(process)
    await machines.pass_time(process, seconds=10)
    assert is_steady(process)

    async def away(_worker_id: str, *, lease_ms: int) -> None:
        raise StorageAway(f"not even for {lease_ms} ms")

    with monkeypatch.context() as broken:
        broken.setattr(machines.storage, "renew_lease", away)
        with pytest.raises(StorageAway):
            await process.worker.renew()
    assert not is_steady(process)
    await process.worker.renew()
    assert not is_steady(process)


async def test_a_reaper_leaves_its_own_ids_alone(machines: Machines) -> None:
    process = await machines.start(FakePresence())
    running = await process.admit()
    former_id = process.worker.id
    process.presence.names.clear()
    await process.reaper.reap()
    machines.clock.move(milliseconds=LEASE_MS)
    process.presence.names.add(former_id)
    await process.worker.renew()
    process.presence.names.clear()
    await process.reaper.reap()
    assert await process.settle(running) != AlreadyResolved(state="expired")


async def test_an_id_whose_enrolment_failed_is_withdrawn(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await machines.start(FakePresence())
    before = (process.worker.id, set(process.presence.names))

    async def away(_worker_id: str, *, machine: str, lease_ms: int) -> None:
        raise StorageAway(f"{machine} {lease_ms}")

    monkeypatch.setattr(machines.storage, "register_worker", away)
    with pytest.raises(StorageAway):
        await process.worker.replace(process.worker.id)
    assert (process.worker.id, process.presence.names) == before


async def test_a_worker_that_leaves_keeps_the_row_that_its_open_calls_hang_on(machines: Machines) -> None:
    process = await machines.start(FakePresence())
    running = await process.admit()
    await process.worker.retire()
    kept = WorkerView(id=process.worker.id, machine="here", lapsed=False)
    assert await machines.storage.list_workers() == [kept]
    await process.settle(running)
    await process.worker.retire()
    assert await machines.storage.list_workers() == []
