"""Calls with Idempotency-Keys while everything fails: never two charges for one, and never two replies.

A few keys and bodies are sent again and again, while the database fails around its commits, providers break
off, callers leave, and the process ends at any moment and starts anew on what it left behind.
"""

import asyncio
import random
from collections import defaultdict

import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.clock import MovableClock
from tests.fakes.scripted_upstream import EVENT_STREAM, Script, Step
from tests.gateway.replies import DONE, HELLO, STOP, ask, ask_stream, chat_json, delta, report
from tests.gateway.world import CHAT, World, bearer, furnish, open_world
from tokenopen.gateway import pipeline
from tokenopen.gateway import reply as gateway_reply
from tokenopen.jobs.recovery import expire_orphans
from tokenopen.ports.storage import Batch, OutcomeUnknown, Storage, StorageAway
from tokenopen.ports.upstream import NotReached, ReplyBroken

KEYS = "abcdefgh"
LIVES = 6
CALLS_A_LIFE = 24


class Chance(random.Random):
    """What happens, decided by a seed."""

    def script(self, made: int) -> Script:
        """Return what the provider does with its n-th request; every whole reply differs from all others."""
        pause: list[Step] = [self.choice([0.0, 0.0, 0.002])]
        kind = self.random()
        if kind < 0.15:
            return Script(before=[*pause, NotReached("by chance")])
        if kind < 0.5:
            body = chat_json(text=f"reply {made}")
            broken: list[Step] = [ReplyBroken("by chance")] if self.random() < 0.2 else []
            return Script(before=pause, body=[body[:40], *broken, *pause, body[40:]])
        events: list[Step] = [*HELLO, delta(f"reply {made}"), *pause, STOP, report(), DONE]
        if self.random() < 0.2:
            events.insert(self.randrange(len(events)), ReplyBroken("by chance"))
        return Script(before=pause, headers=EVENT_STREAM, body=events)

    async def around_commit(self, batch: Batch, error: StorageAway) -> None:
        await asyncio.sleep(self.choice([0, 0, 0.001]))
        if self.random() < 0.12:
            raise error


async def live(world: World, chance: Chance, replies: dict[tuple[str, int], set[bytes]]) -> None:
    """Make calls for a while, then end as a killed process does: nothing more is written, nobody says so."""
    made = len(world.upstream.requests)

    async def fail_before(batch: Batch) -> None:
        await chance.around_commit(batch, StorageAway("by chance"))

    async def fail_after(batch: Batch) -> None:
        await chance.around_commit(batch, OutcomeUnknown("by chance"))

    world.storage.before_post, world.storage.after_post = fail_before, fail_after
    world.upstream.scripts.extend(
        chance.script(made + n + 1_000 * chance.randrange(10**6)) for n in range(50)
    )

    async def call() -> None:
        key = chance.choice(KEYS)
        # Now and then another call under the same key.
        variant = (key in KEYS[:4]) ^ (chance.random() < 0.1)
        body = ask_stream(text="x" * 60) if variant else ask(text="x" * 60)
        caller = AsgiCaller(
            path=CHAT,
            headers=[bearer(world.key), (b"idempotency-key", key.encode())],
            body=[msgspec.json.encode(body)],
        )
        await asyncio.sleep(chance.random() * 0.03)
        if chance.random() < 0.15:
            asyncio.get_running_loop().call_later(chance.random() * 0.01, caller.leave)
        await caller.call(world.api)
        if caller.status == 200 and caller.whole and not caller.gone:
            replies[key, variant].add(caller.body)

    calls = [asyncio.create_task(call()) for _ in range(CALLS_A_LIFE)]
    answered = chance.randrange(CALLS_A_LIFE)
    running = set(calls)
    while len(calls) - len(running) < answered:
        _, running = await asyncio.wait(running, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(chance.random() * 0.005)
    await kill(world, calls)


async def kill(world: World, calls: list[asyncio.Task[None]]) -> None:
    """End every task where it stands, the till first: what it has not committed never will be."""
    writer = world.gateway.till._writer
    assert writer is not None
    running = [writer, *world.api._calls, *calls]
    for task in running:
        task.cancel()
    await asyncio.wait(running, timeout=5)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_fails_a_key_is_charged_once_and_answered_with_one_reply(
    storage: Storage, clock: MovableClock, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "WAIT_FOR_FIRST_S", (0.002,) * 3)
    monkeypatch.setattr(gateway_reply, "SETTLE_TIMEOUT_S", 0.05)
    furnished = await furnish(storage, clock)
    chance = Chance(seed)
    replies: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for _ in range(LIVES):
        world = await open_world(storage, clock, furnished)
        await expire_orphans(storage, world.gateway.till.resolve)
        await live(world, chance, replies)
        await storage.take_lease(world.gateway.worker.id, only_lapsed=False)
    world = await open_world(storage, clock, furnished)
    await expire_orphans(storage, world.gateway.till.resolve)

    assert all(len(bodies) == 1 for bodies in replies.values()), replies
    calls = {row["id"]: row for row in await world.rows("calls")}
    kept = await world.rows("kept_replies")
    charged = [row for row in calls.values() if row["charge"] > row["refunded"]]
    assert len({key for key, _ in replies}) <= len(charged) <= len(KEYS)
    assert {row["id"] for row in charged} <= {row["call_id"] for row in kept}
    await world.assert_sound()
    await world.gateway.till.close()
