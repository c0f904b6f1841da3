"""A stream that lasts is no orphan: its hold lives as long as its worker's lease is renewed, never by age."""

import asyncio

from tests.fakes.clock import MovableClock
from tests.fakes.presence import FakePresence
from tests.gateway.replies import DONE, HELLO, STOP, ask_stream, delta, report, stream
from tests.gateway.world import World
from tokenopen.gateway.worker import LEASE_MS, Worker
from tokenopen.jobs.recovery import Reaper

MINUTES = 30
RENEWALS_A_MINUTE = 6


async def pass_time(clock: MovableClock, reaper: Reaper, *workers: Worker) -> None:
    """Let half an hour pass in which these workers renew their leases, and another one looks for orphans."""
    for _ in range(MINUTES * RENEWALS_A_MINUTE):
        clock.move(milliseconds=60_000 // RENEWALS_A_MINUTE)
        for worker in workers:
            await worker.renew()
        await reaper.reap()


async def test_a_stream_of_half_an_hour_is_no_orphan_and_one_whose_worker_is_silent_is(
    world: World, clock: MovableClock
) -> None:
    assert MINUTES * 60_000 > 10 * LEASE_MS
    elsewhere = FakePresence("elsewhere")
    other = Worker(world.storage, clock, elsewhere)
    await other.enroll()
    reaper = Reaper(world.storage, elsewhere, other, world.gateway.till.resolve)
    charges = []
    for silent in (False, True):
        goes_on = asyncio.Event()
        world.upstream.will(stream(*HELLO, goes_on, delta("late"), STOP, report(), DONE))
        caller = world.caller(ask_stream())
        running = world.start(caller)
        await caller.receives(HELLO[-1])
        await pass_time(clock, reaper, *((other,) if silent else (world.gateway.worker, other)))
        state = (await world.call_row(caller))["state"]
        assert state == ("expired" if silent else "held")
        goes_on.set()
        await world.ended(running)
        assert caller.whole is not silent
        charges.append((await world.call_row(caller))["charge"])
    assert charges[0] > 0
    assert charges[1] == 0
    await world.assert_sound()
