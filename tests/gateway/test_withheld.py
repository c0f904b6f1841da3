"""The mark of a whole reply leaves only after its charge is durable, or not at all."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import Script
from tests.gateway.replies import (
    DONE,
    HELLO,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REPORTED,
    STOP,
    ask,
    ask_stream,
    chat_json,
    event,
    report,
    stream,
    whole_json,
    whole_stream,
)
from tests.gateway.world import World, credits_of, price, refusal, until
from tokenopen.gateway import reply as gateway_reply
from tokenopen.gateway import stream as gateway_stream
from tokenopen.gateway.worker import LEASE_MS
from tokenopen.jobs.recovery import expire_orphans
from tokenopen.ports.storage import Batch, StorageAway

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)
KEEPALIVE = b": keepalive\n\n"


@pytest.fixture
async def gate(world: World) -> AsyncIterator[asyncio.Event]:
    """Holds settlements back, before anything of them is written, until it is set."""
    gate = asyncio.Event()

    async def wait(batch: Batch) -> None:
        if batch.resolutions:
            await gate.wait()

    world.storage.before_post = wait
    yield gate
    gate.set()


@pytest.fixture
async def late_gate(world: World) -> AsyncIterator[asyncio.Event]:
    """Lets settlements be committed, and holds their answers back until it is set."""
    gate = asyncio.Event()

    async def wait(batch: Batch) -> None:
        if batch.resolutions:
            await gate.wait()

    world.storage.after_post = wait
    yield gate
    gate.set()


async def settling(world: World) -> None:
    """Wait until a settlement has been given to the database."""
    await until(lambda: any(batch.resolutions for batch in world.storage.batches))
    await asyncio.sleep(0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comment every 20 ms, three times, instead of every 10 s, and answer JSON 503 after 50 ms."""
    monkeypatch.setattr(gateway_stream, "KEEPALIVE_EVERY_S", 0.02)
    monkeypatch.setattr(gateway_stream, "KEEPALIVES_MAX", 3)
    monkeypatch.setattr(gateway_reply, "SETTLE_TIMEOUT_S", 0.05)


@pytest.mark.parametrize("at_once", [False, True], ids=["event by event", "at once"])
@pytest.mark.parametrize("asked", [False, True], ids=["usage not asked for", "usage asked for"])
async def test_the_end_of_a_stream_waits_for_its_charge(
    world: World, gate: asyncio.Event, asked: bool, at_once: bool
) -> None:
    events = [*HELLO, STOP, report(), DONE]
    world.upstream.will(stream(*([b"".join(events)] if at_once else events)))
    caller = world.caller(ask_stream(usage=asked))
    running = world.start(caller)
    await settling(world)
    assert caller.body == b"".join([*HELLO, STOP])
    assert not caller.whole
    assert await world.charges() == []
    gate.set()
    reply = await world.ended(running)
    assert reply.whole
    assert reply.body.endswith(DONE)
    assert (b'"prompt_tokens":100' in caller.body) == asked
    assert (credits_of(CHARGE).encode() in caller.body) == asked
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_the_end_of_a_stream_without_usage_waits_for_its_charge(
    world: World, gate: asyncio.Event
) -> None:
    world.upstream.will(stream(*HELLO, STOP, DONE))
    caller = world.caller(ask_stream())
    running = world.start(caller)
    await settling(world)
    assert caller.body == b"".join([*HELLO, STOP])
    gate.set()
    await world.ended(running)
    assert caller.body == b"".join([*HELLO, STOP, DONE])


async def test_content_does_not_wait_where_every_event_reports_usage(
    world: World, gate: asyncio.Event
) -> None:
    """Only the last report is final; what went before it was shown not to be by the content after it."""
    running_usage = [
        event({"choices": [{"delta": {"content": word}}], "usage": {**REPORTED, "completion_tokens": number}})
        for number, word in enumerate(("one", "two", "three"), 1)
    ]
    world.upstream.will(stream(*running_usage, DONE))
    caller = world.caller(ask_stream(usage=True))
    running = world.start(caller)
    await settling(world)
    assert caller.body == b"".join(running_usage[:2])
    gate.set()
    await world.ended(running)
    assert b'"three"' in caller.body
    assert await world.charges() == [price(input=INPUT_TOKENS, output=3)]


async def test_nothing_of_a_json_reply_leaves_before_its_charge(world: World, gate: asyncio.Event) -> None:
    world.upstream.will(whole_json())
    caller = world.caller(ask())
    running = world.start(caller)
    await settling(world)
    assert caller.status is None
    gate.set()
    reply = await world.ended(running)
    assert (reply.status, reply.body) == (200, chat_json())
    assert await world.charges() == [CHARGE]


async def test_the_last_part_of_a_large_reply_waits_for_its_charge(
    world: World, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too large to be collected is charged what is certain: the input's text."""
    monkeypatch.setattr(gateway_reply, "COLLECTED_BYTES_MAX", 100)
    parts = [b"a" * 60, b"b" * 60, b"c" * 60, b"d" * 60]
    world.upstream.will(Script(body=parts))
    caller = world.caller(ask())
    running = world.start(caller)
    await settling(world)
    assert caller.body == b"".join(parts[:3])
    assert not caller.whole
    gate.set()
    reply = await world.ended(running)
    assert (reply.body, reply.whole) == (b"".join(parts), True)
    assert await world.charges() == [price(input=100)]
    await world.assert_sound()


async def test_a_stream_whose_settlement_is_slow_is_kept_alive(
    world: World, gate: asyncio.Event, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is, the stream is not cut before the gate opens.
    monkeypatch.setattr(gateway_stream, "KEEPALIVES_MAX", 1_000)
    world.upstream.will(whole_stream())
    caller = world.caller(ask_stream())
    running = world.start(caller)
    await caller.receives(KEEPALIVE * 2)
    assert caller.body.startswith(b"".join([*HELLO, STOP]) + KEEPALIVE * 2)
    gate.set()
    await world.ended(running)
    assert caller.whole
    assert caller.body.endswith(DONE)
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_a_stream_whose_settlement_never_comes_is_cut_and_costs_nothing(
    world: World, gate: asyncio.Event, impatient: None
) -> None:
    world.upstream.will(whole_stream())
    caller = world.caller(ask_stream())
    running = world.start(caller)
    await caller.receives(KEEPALIVE * 3)
    await running
    assert not caller.whole
    assert caller.body == b"".join([*HELLO, STOP]) + KEEPALIVE * 3
    gate.set()
    await world.settled()
    assert sum(await world.charges()) == 0
    await world.assert_sound()


async def test_a_stream_whose_settlement_comes_too_late_is_refunded(
    world: World, late_gate: asyncio.Event, impatient: None
) -> None:
    world.upstream.will(whole_stream())
    caller = world.caller(ask_stream())
    running = world.start(caller)
    await running
    assert not caller.whole
    late_gate.set()
    await world.settled()
    assert await world.charges() == [CHARGE, -CHARGE]
    await world.assert_sound()


async def test_a_json_reply_whose_settlement_comes_too_late_is_a_503_and_refunded(
    world: World, late_gate: asyncio.Event, impatient: None
) -> None:
    world.upstream.will(whole_json())
    caller = world.caller(ask())
    refusal(await world.start(caller), 503, "storage_unavailable")
    late_gate.set()
    await world.settled()
    assert await world.charges() == [CHARGE, -CHARGE]
    row = await world.call_row(caller)
    assert (row["charge"], row["refunded"]) == (CHARGE, CHARGE)
    await world.assert_sound()


async def test_a_settlement_that_was_not_yet_sent_is_withdrawn(world: World, impatient: None) -> None:
    async def stay_away(batch: Batch) -> None:
        if batch.resolutions:
            raise StorageAway("gone")

    world.storage.before_post = stay_away
    world.upstream.will(whole_json())
    refusal(await world.start(world.caller(ask())), 503, "storage_unavailable")
    world.storage.undisturbed()
    await world.settled()
    assert await world.charges() == []
    row = await world.only_call()
    assert (row["state"], row["end_reason"], row["status"]) == ("voided", "settlement_late", 503)
    await world.assert_sound()


async def test_a_database_that_is_away_for_a_moment_only_delays_the_end(world: World) -> None:
    left = [3]

    async def stay_away(batch: Batch) -> None:
        if batch.resolutions and left[0]:
            left[0] -= 1
            raise StorageAway("gone")

    world.storage.before_post = stay_away
    world.upstream.will(whole_stream())
    reply = await world.call(ask_stream())
    assert reply.whole
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_a_settlement_that_fails_is_a_500_and_costs_nothing(world: World) -> None:
    async def choke(batch: Batch) -> None:
        if any(resolution.outcome.resolution == "settle" for resolution in batch.resolutions):
            raise ValueError("it cannot be written")

    world.storage.before_post = choke
    world.upstream.will(whole_json())
    reply = await world.call(ask())
    assert reply.status == 500
    assert b"cannot be written" not in reply.body
    assert await world.charges() == []
    await world.assert_sound()


async def hold_expires(world: World, caller: AsgiCaller, provider: asyncio.Event) -> AsgiCaller:
    """Take the lapsed lease away and expire its holds while the provider works; then let it finish."""
    running = world.start(caller)
    await until(lambda: bool(world.upstream.requests))
    await asyncio.sleep(0.01)
    world.clock.move(milliseconds=LEASE_MS + 1)
    assert await world.storage.take_lease(world.gateway.worker.id, only_lapsed=True)
    assert await expire_orphans(world.storage, world.gateway.till.resolve) == 1
    provider.set()
    return await world.ended(running)


async def test_a_stream_whose_hold_has_expired_is_cut_before_its_end_and_costs_nothing(world: World) -> None:
    provider = asyncio.Event()
    world.upstream.will(stream(*HELLO, provider, STOP, report(), DONE))
    reply = await hold_expires(world, world.caller(ask_stream()), provider)
    assert not reply.whole
    assert reply.body == b"".join([*HELLO, STOP])
    assert (await world.call_row(reply))["state"] == "expired"
    assert await world.charges() == []
    await world.assert_sound()


async def test_a_json_reply_whose_hold_has_expired_is_a_503_and_costs_nothing(world: World) -> None:
    provider = asyncio.Event()
    world.upstream.will(Script(before=[provider], body=[chat_json()]))
    reply = await hold_expires(world, world.caller(ask()), provider)
    refusal(reply, 503, "storage_unavailable")
    assert (await world.only_call())["state"] == "expired"
    assert await world.charges() == []
    await world.assert_sound()


async def test_a_stream_of_half_an_hour_is_no_orphan(world: World) -> None:
    provider = asyncio.Event()
    world.upstream.will(stream(*HELLO, provider, STOP, report(), DONE))
    running = world.start(world.caller(ask_stream()))
    await until(lambda: bool(world.upstream.requests))
    for _ in range(180):
        world.clock.move(seconds=10)
        await world.gateway.worker.renew()
    assert await expire_orphans(world.storage, world.gateway.till.resolve) == 0
    provider.set()
    assert (await world.ended(running)).whole
    assert await world.charges() == [CHARGE]


async def test_after_its_lease_has_lapsed_a_worker_admits_under_a_new_id_only(world: World) -> None:
    world.upstream.always = whole_json()
    await world.call(ask())
    first = world.gateway.worker.id
    world.clock.move(milliseconds=LEASE_MS + 1)
    await world.gateway.worker.renew()
    await world.call(ask())
    assert world.gateway.worker.id != first
    assert sorted(row["worker_id"] for row in await world.rows("calls")) == [first, world.gateway.worker.id]


async def test_a_call_that_comes_before_a_lapsed_lease_was_noticed_is_no_orphan(world: World) -> None:
    """The machine was asleep: the first call after that must not be taken for one of a dead process."""
    world.clock.move(milliseconds=LEASE_MS + 1)
    provider = asyncio.Event()
    world.upstream.will(stream(*HELLO, provider, STOP, report(), DONE))
    running = world.start(world.caller(ask_stream()))
    await until(lambda: bool(world.upstream.requests))
    expired = await expire_orphans(world.storage, world.gateway.till.resolve)
    provider.set()
    reply = await world.ended(running)
    assert expired == 0
    assert reply.whole
