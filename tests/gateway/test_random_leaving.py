"""Callers that leave at random moments, on providers that do anything: the books are right afterwards."""

import asyncio
import random

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import EVENT_STREAM, Script, Step
from tests.gateway.replies import (
    DONE,
    HELLO,
    IMPOSSIBLE,
    STOP,
    ask,
    ask_stream,
    chat_json,
    delta,
    event,
    provider_error,
    report,
)
from tests.gateway.world import Row, World
from tokenopen.api import connection
from tokenopen.core import group
from tokenopen.gateway import reply as gateway_reply
from tokenopen.gateway import stream as gateway_stream
from tokenopen.ports.storage import Batch, OutcomeUnknown, StorageAway
from tokenopen.ports.upstream import FirstByteTimeout, IdleTimeout, NotReached, ReplyBroken, UpstreamFailure

CALLS = 500
AT_ONCE = 50
STREAMS = [
    [*HELLO, STOP, report(), DONE],
    [*HELLO, STOP, DONE],
    [*HELLO, *[delta("more")] * 5, STOP, report(), DONE],
    [b"".join([*HELLO, STOP, report(), DONE])],
    [*HELLO, event({"error": {"message": "overloaded"}})],
    [*HELLO, STOP, report(IMPOSSIBLE), DONE],
    [b"garbage\n\n", *HELLO],
]

EVERY_END = {
    "completed",
    "client_left",
    "client_left_early",
    "upstream_broke_off",
    "upstream_rejected",
    "upstream_failed",
    "impossible_usage",
}


class Chance:
    """What happens, decided by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pause(self) -> float:
        """Return a pause that is often none at all."""
        return self._random.choice([0, 0, 0, 0.001, 0.003])

    def failure(self) -> UpstreamFailure:
        kinds = [NotReached, FirstByteTimeout, ReplyBroken]
        return self._random.choice(kinds)("by chance")

    def script(self) -> Script:
        """Return what one provider does with one request."""
        before: list[Step] = [self.pause()]
        kind = self._random.random()
        if kind < 0.1:
            return Script(before=[*before, self.failure()])
        if kind < 0.2:
            return provider_error(self._random.choice([400, 401, 429, 500]))
        if kind < 0.5:
            body = chat_json()
            cut = self._random.randrange(1, len(body))
            return Script(before=before, body=self.spread([body[:cut], body[cut:]]))
        return Script(before=before, headers=EVENT_STREAM, body=self.spread(self._random.choice(STREAMS)))

    def spread(self, pieces: list[bytes]) -> list[Step]:
        """Return the pieces with pauses between, and sometimes a failure in the middle."""
        steps: list[Step] = []
        for piece in pieces:
            steps += [self.pause(), piece]
        if self._random.random() < 0.2:
            kinds = [ReplyBroken, IdleTimeout]
            steps.insert(self._random.randrange(len(steps)), self._random.choice(kinds)("by chance"))
        return steps

    async def leave(self, caller: AsgiCaller) -> None:
        """Leave after a random number of turns of the loop, or after a while, or stop reading, or stay."""
        kind = self._random.random()
        turns, wait_s = self._random.randrange(400), self._random.random() * 0.1
        if kind < 0.2:
            return
        if kind < 0.5:
            for _ in range(turns):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(wait_s)
        if kind > 0.95:
            caller.stop_reading()
            await asyncio.sleep(wait_s)
        caller.leave()

    def body(self) -> dict[str, object]:
        return self._random.choice([ask(), ask_stream(), ask_stream(usage=True)])

    async def disturb_before(self, _batch: Batch) -> None:
        if self._random.random() < 0.05:
            raise self._random.choice([StorageAway, OutcomeUnknown])("by chance")

    async def disturb_after(self, _batch: Batch) -> None:
        if self._random.random() < 0.05:
            raise OutcomeUnknown("by chance")


@pytest.fixture(autouse=True)
def _shorter_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group.GroupPolicy, "read_on_s", 0.02)
    monkeypatch.setattr(gateway_stream, "KEEPALIVE_EVERY_S", 0.05)
    monkeypatch.setattr(gateway_stream, "KEEPALIVES_MAX", 2)
    monkeypatch.setattr(gateway_reply, "SETTLE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(connection, "READ_NOTHING_S", 0.02)


async def run_calls(world: World, chance: Chance) -> list[AsgiCaller]:
    """Make the calls, some at once, and return their callers when all is done."""
    callers = [world.caller(chance.body()) for _ in range(CALLS)]
    world.upstream.will(*(chance.script() for _ in range(2 * CALLS)))
    for first in range(0, CALLS, AT_ONCE):
        some = callers[first : first + AT_ONCE]
        leaving = [asyncio.create_task(chance.leave(caller)) for caller in some]
        await asyncio.gather(*(caller.call(world.api) for caller in some), *leaving)
        await world.settled()
    return callers


def paid(row: Row) -> int:
    """Return what a call came to."""
    return int(row["charge"] - row["refunded"])


@pytest.mark.parametrize("disturbed", [False, True], ids=["database well", "database failing"])
async def test_whoever_leaves_whenever_the_books_are_right(
    world: World, monkeypatch: pytest.MonkeyPatch, disturbed: bool
) -> None:
    chance = Chance(20_260_601)
    await world.add_upstream("two", {"priority": 1})
    if disturbed:
        monkeypatch.setattr("tokenopen.gateway.till.RETRY_MIN_S", 0.001)
        world.storage.before_post, world.storage.after_post = chance.disturb_before, chance.disturb_after
    before = asyncio.all_tasks()
    callers = await run_calls(world, chance)
    world.storage.undisturbed()
    await world.settled()

    await world.assert_sound()
    keys = await world.rows("api_keys")
    assert [row["held"] for row in keys] == [0]
    assert all(reply.closed for reply in world.upstream.replies)
    assert asyncio.all_tasks() == before
    rows = {row["id"]: row for row in await world.rows("calls")}
    assert {row["end_reason"] for row in rows.values()} >= EVERY_END
    assert sum(await world.charges()) == sum(paid(row) for row in rows.values())
    for caller in callers:
        row = rows.get(caller.headers.get("x-request-id", ""))
        if caller.status == 200 and caller.whole and row is not None and row["flag"] is None:
            assert row["state"] == "settled", "a reply that was seen whole is charged"
            assert paid(row) > 0
        if caller.status is not None and caller.status != 200 and row is not None:
            assert paid(row) == 0, "a call that was answered with an error costs nothing"
