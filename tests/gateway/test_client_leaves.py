"""A caller that leaves: before a byte reached it nothing is charged, later what the provider did is."""

import asyncio

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import EVENT_STREAM, Script
from tests.gateway.replies import (
    DONE,
    HELLO,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    ROLE,
    STOP,
    ask,
    ask_stream,
    chat_json,
    delta,
    report,
    stream,
    whole_json,
    whole_stream,
)
from tests.gateway.world import Row, World, price, until
from tokenopen.api import connection
from tokenopen.core import group
from tokenopen.ports.storage import Batch
from tokenopen.ports.upstream import ReplyBroken

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)
TEXT_UNITS = 100  # 600 bytes of text at 6 bytes a unit


@pytest.fixture
def read_on_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read on for a moment instead of 30 s."""
    monkeypatch.setattr(group.GroupPolicy, "read_on_s", 0.05)


async def assert_free(world: World, row: Row) -> None:
    """Assert that a caller who left before any byte reached it pays nothing."""
    assert (row["state"], row["end_reason"], row["charge"]) == ("voided", "client_left_early", 0)
    assert await world.charges() == []
    assert all(reply.closed for reply in world.upstream.replies)
    await world.assert_sound()


async def assert_charged(world: World, row: Row, charge: int, *, source: str) -> None:
    """Assert that a caller who left later pays exactly this."""
    assert (row["state"], row["end_reason"]) == ("settled", "client_left")
    assert row["usage_source"] == source
    assert await world.charges() == [charge]
    assert all(reply.closed for reply in world.upstream.replies)
    await world.assert_sound()


@pytest.mark.parametrize("body", [ask(), ask_stream()], ids=["json", "stream"])
async def test_leaving_while_the_provider_has_not_begun_closes_it_and_costs_nothing(
    world: World, body: dict[str, object]
) -> None:
    world.upstream.will(Script(before=[asyncio.Event()]))
    caller = world.caller(body)
    running = world.start(caller)
    await until(lambda: bool(world.upstream.requests))
    caller.leave()
    await world.ended(running)
    assert world.upstream.cancelled == 1
    assert caller.status is None
    await assert_free(world, await world.only_call())


async def test_leaving_while_a_json_reply_comes_closes_it_and_costs_nothing(world: World) -> None:
    body = chat_json()
    caller = world.caller(ask())
    world.upstream.will(Script(body=[body[:20], caller.leave, asyncio.Event(), body[20:]]))
    await world.ended(world.start(caller))
    assert caller.status is None
    await assert_free(world, await world.only_call())


async def test_leaving_before_the_first_event_closes_the_stream_and_costs_nothing(world: World) -> None:
    caller = world.caller(ask_stream())
    world.upstream.will(stream(caller.leave, asyncio.Event(), *HELLO, report(), DONE))
    await world.ended(world.start(caller))
    assert caller.parts == []
    await assert_free(world, await world.only_call())


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(ROLE[:-1], id="half an event"),
        pytest.param(report(), id="a withheld event"),
    ],
)
async def test_leaving_while_nothing_has_passed_yet_costs_nothing(
    world: World, read_on_shortly: None, first: bytes
) -> None:
    """What the provider has sent so far could not go on: not one byte has reached the caller."""
    caller = world.caller(ask_stream())
    rest = ROLE[len(first) :] if ROLE.startswith(first) else b": more\n\n"
    world.upstream.will(stream(first, caller.leave, 0.005, rest, *HELLO[1:], report(), DONE))
    await world.ended(world.start(caller))
    assert caller.parts == []
    await assert_free(world, await world.only_call())


async def test_leaving_while_waiting_to_be_admitted_costs_nothing(world: World) -> None:
    world.upstream.will(Script(before=[0.02], body=[chat_json()]))
    caller = world.caller(ask())

    async def leave(_batch: Batch) -> None:
        world.storage.undisturbed()
        caller.leave()
        await asyncio.sleep(0.01)

    world.storage.before_post = leave
    await world.ended(world.start(caller))
    assert caller.status is None
    assert await world.charges() == []
    assert (await world.only_call())["state"] == "voided"
    await world.assert_sound()


async def test_leaving_before_the_body_is_whole_is_no_call_at_all(world: World) -> None:
    caller = AsgiCaller(
        path="/v1/chat/completions",
        headers=[(b"authorization", f"Bearer {world.key}".encode())],
        body=[b'{"model":'],
        ended=False,
    )
    running = world.start(caller)
    await asyncio.sleep(0.01)
    caller.leave()
    await world.ended(running)
    assert caller.status is None
    assert await world.rows("calls") == []
    assert world.gateway.refused.take()[1] == []


@pytest.mark.parametrize("asked", [False, True], ids=["usage not asked for", "usage asked for"])
async def test_leaving_in_the_middle_of_a_stream_is_charged_what_the_provider_reports(
    world: World, asked: bool
) -> None:
    caller = world.caller(ask_stream(usage=asked))
    world.upstream.will(stream(*HELLO[:2], caller.leave, 0.01, *HELLO[2:], STOP, report(), DONE))
    await world.ended(world.start(caller))
    assert not caller.whole
    await assert_charged(world, await world.call_row(caller), CHARGE, source="reported")


async def test_leaving_after_the_last_delta_is_charged_what_the_provider_reports(world: World) -> None:
    caller = world.caller(ask_stream())
    world.upstream.will(stream(*HELLO, STOP, caller.leave, 0.01, report(), DONE))
    await world.ended(world.start(caller))
    assert not caller.whole
    await assert_charged(world, await world.call_row(caller), CHARGE, source="reported")


async def test_leaving_between_the_usage_and_the_end_is_charged_what_was_reported(world: World) -> None:
    caller = world.caller(ask_stream())
    world.upstream.will(stream(*HELLO, STOP, report(), caller.leave, 0.01, DONE))
    await world.ended(world.start(caller))
    assert not caller.whole
    await assert_charged(world, await world.call_row(caller), CHARGE, source="reported")


async def test_leaving_a_stream_that_then_falls_silent_is_charged_an_estimate(
    world: World, read_on_shortly: None
) -> None:
    caller = world.caller(ask_stream())
    world.upstream.will(stream(*HELLO[:3], caller.leave, asyncio.Event()))
    await world.ended(world.start(caller))
    charge = price(input=TEXT_UNITS, output=2)
    await assert_charged(world, await world.call_row(caller), charge, source="estimated")


async def test_leaving_a_stream_that_then_breaks_is_charged_an_estimate(world: World) -> None:
    caller = world.caller(ask_stream())
    world.upstream.will(stream(*HELLO[:3], caller.leave, 0.01, ReplyBroken("reset")))
    await world.ended(world.start(caller))
    row = await world.call_row(caller)
    assert (row["state"], row["usage_source"]) == ("settled", "estimated")
    assert await world.charges() == [price(input=TEXT_UNITS, output=2)]
    await world.assert_sound()


async def test_leaving_a_stream_that_goes_on_for_too_long_does_not_keep_the_provider_working(
    world: World, read_on_shortly: None
) -> None:
    caller = world.caller(ask_stream())
    endless = [step for number in range(1_000) for step in (delta(f"word {number}"), 0.002)]
    world.upstream.will(stream(*HELLO[:2], caller.leave, *endless))
    await world.ended(world.start(caller))
    assert world.upstream.replies[0].closed
    assert not world.upstream.replies[0].read_whole
    row = await world.call_row(caller)
    assert (row["state"], row["end_reason"], row["usage_source"]) == ("settled", "client_left", "estimated")
    await world.assert_sound()


async def test_an_estimate_counts_the_events_that_were_delivered(world: World, read_on_shortly: None) -> None:
    """DESIGN 4, Interrupted calls: output = delivered events with content."""
    caller = world.caller(ask_stream())
    world.upstream.will(stream(*HELLO[:3], caller.leave, 0.01, *[delta("more")] * 50, asyncio.Event()))
    await world.ended(world.start(caller))
    charge = price(input=TEXT_UNITS, output=2)
    await assert_charged(world, await world.call_row(caller), charge, source="estimated")


async def test_leaving_while_the_end_waits_for_its_settlement_is_charged_once(world: World) -> None:
    caller = world.caller(ask_stream())
    gate = asyncio.Event()

    async def hold_settlement(batch: Batch) -> None:
        if batch.resolutions:
            await gate.wait()

    world.storage.before_post = hold_settlement
    world.upstream.will(whole_stream())
    running = world.start(caller)
    await until(lambda: any(batch.resolutions for batch in world.storage.batches))
    caller.leave()
    await asyncio.sleep(0.01)
    gate.set()
    await world.ended(running)
    assert not caller.whole
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_a_caller_that_reads_nothing_for_a_minute_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_NOTHING_S", 0.03)
    caller = world.caller(ask_stream())
    world.upstream.will(stream(*HELLO[:2], caller.stop_reading, *HELLO[2:], STOP, report(), DONE))
    await world.ended(world.start(caller))
    assert caller.body == b"".join(HELLO[:2])
    await assert_charged(world, await world.call_row(caller), CHARGE, source="reported")


async def test_the_connection_of_a_caller_that_reads_nothing_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_NOTHING_S", 0.03)
    caller = world.caller(ask_stream())
    world.upstream.will(stream(*HELLO[:2], caller.stop_reading, *HELLO[2:], STOP, report(), DONE))
    await world.ended(world.start(caller))
    assert caller.was_cut


async def test_a_caller_that_does_not_even_read_the_head_is_gone_after_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may still be full of the reply before; its hold must not last as long as it likes."""
    monkeypatch.setattr(connection, "READ_NOTHING_S", 0.03)
    caller = world.caller(ask_stream())
    caller.stop_reading()
    world.upstream.will(whole_stream())
    running = world.start(caller)
    try:
        await until(lambda: bool(world.upstream.requests))
        async with asyncio.timeout(0.5):
            await world.api.drain()
    finally:
        caller.leave()
        await world.ended(running)
    assert (await world.only_call())["state"] != "held"


async def test_a_caller_that_leaves_does_not_disturb_another_one(world: World) -> None:
    leaver, stayer = world.caller(ask_stream()), world.caller(ask_stream())
    world.upstream.will(
        stream(*HELLO[:2], leaver.leave, 0.01, *HELLO[2:], report(), DONE),
        Script(headers=EVENT_STREAM, body=[*HELLO[:2], 0.02, *HELLO[2:], report(), DONE]),
    )
    await asyncio.gather(world.start(leaver), world.start(stayer))
    await world.settled()
    assert stayer.whole
    assert not leaver.whole
    assert await world.charges() == [CHARGE, CHARGE]
    await world.assert_sound()


async def test_a_caller_that_leaves_after_a_whole_json_reply_is_charged_once(world: World) -> None:
    world.upstream.will(whole_json())
    caller = await world.call(ask())
    caller.leave()
    await world.settled()
    assert await world.charges() == [CHARGE]
    await world.assert_sound()
