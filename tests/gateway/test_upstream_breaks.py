"""A provider whose reply breaks off, falls silent or holds an error: charged is what was delivered."""

import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import Script, Step
from tests.gateway.replies import (
    DONE,
    HELLO,
    HELLO_EVENTS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REPORTED,
    ROLE,
    STOP,
    ask,
    ask_stream,
    chat_json,
    delta,
    event,
    report,
    stream,
    whole_json,
)
from tests.gateway.world import World, price, refusal
from tokenopen.ports.upstream import IdleTimeout, ReplyBroken, UpstreamFailure
from tokenopen.upstream import sse

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)
TEXT_UNITS = 100  # 600 bytes of text at 6 bytes a unit
ESTIMATE = price(input=TEXT_UNITS, output=HELLO_EVENTS)
ERROR_EVENT = event({"error": {"message": "overloaded", "code": 529}})

FAILURES = [ReplyBroken("reset"), IdleTimeout("300 s")]
each_failure = pytest.mark.parametrize("failure", FAILURES, ids=["broken", "silent"])


def last_event(reply: AsgiCaller) -> dict[str, object]:
    """Return the error that a stream that broke off ends with."""
    *_, last, rest = reply.body.split(b"\n\n")
    assert rest == b""
    error: dict[str, object] = msgspec.json.decode(last.removeprefix(b"data: "))["error"]
    return error


@each_failure
async def test_a_json_reply_that_breaks_off_is_a_502_and_costs_nothing(
    world: World, failure: UpstreamFailure
) -> None:
    world.upstream.will(Script(body=[chat_json()[:30], failure]))
    refusal(await world.call(ask()), 502, "upstream_error")
    row = await world.only_call()
    assert (row["state"], row["end_reason"], row["status"]) == ("voided", "upstream_failed", 502)
    assert await world.charges() == []
    assert world.upstream.replies[0].closed
    await world.assert_sound()


@each_failure
@pytest.mark.parametrize("before", [(), (ROLE[:20],)], ids=["nothing", "half an event"])
async def test_a_stream_that_breaks_off_before_anything_passed_is_a_502_and_costs_nothing(
    world: World, failure: UpstreamFailure, before: tuple[bytes, ...]
) -> None:
    world.upstream.will(stream(*before, failure))
    reply = await world.call(ask_stream())
    refusal(reply, 502, "upstream_error")
    assert reply.headers["content-type"] == "application/json"
    assert (await world.only_call())["state"] == "voided"
    assert await world.charges() == []
    await world.assert_sound()


@each_failure
async def test_a_stream_that_breaks_off_before_any_content_costs_nothing(
    world: World, failure: UpstreamFailure
) -> None:
    world.upstream.will(stream(ROLE, failure))
    reply = await world.call(ask_stream())
    assert not reply.whole
    assert last_event(reply)["code"] == "upstream_error"
    assert (await world.only_call())["state"] == "voided"
    assert await world.charges() == []
    await world.assert_sound()


@each_failure
async def test_a_stream_that_breaks_off_after_content_is_charged_an_estimate_of_what_was_delivered(
    world: World, failure: UpstreamFailure
) -> None:
    world.upstream.will(stream(*HELLO, failure))
    reply = await world.call(ask_stream())
    assert not reply.whole
    assert reply.body.startswith(b"".join(HELLO))
    assert DONE not in reply.body
    assert last_event(reply)["code"] == "upstream_error"
    row = await world.call_row(reply)
    assert (row["state"], row["end_reason"], row["usage_source"]) == (
        "settled",
        "upstream_broke_off",
        "estimated",
    )
    assert (row["input_units"], row["output_units"]) == (TEXT_UNITS, HELLO_EVENTS)
    assert await world.charges() == [ESTIMATE]
    assert world.upstream.replies[0].closed
    await world.assert_sound()


async def test_the_input_of_an_estimate_is_floored(world: World) -> None:
    world.upstream.will(stream(*HELLO, ReplyBroken("reset")))
    await world.call(ask_stream(text="x" * 605))
    assert await world.charges() == [ESTIMATE]


async def test_a_stream_that_breaks_off_takes_the_input_that_the_provider_has_reported(world: World) -> None:
    """Some providers report the input with the first event and count on."""
    running = [
        event({"choices": [{"delta": {"content": "a"}}], "usage": {**REPORTED, "completion_tokens": n}})
        for n in (1, 2, 3)
    ]
    world.upstream.will(stream(*running, delta("b"), ReplyBroken("reset")))
    reply = await world.call(ask_stream())
    assert not reply.whole
    assert await world.charges() == [price(input=INPUT_TOKENS, output=3)]


async def test_a_stream_that_breaks_off_between_its_usage_and_its_end_is_charged_and_not_shown_whole(
    world: World,
) -> None:
    world.upstream.will(stream(*HELLO, STOP, report(), ReplyBroken("reset")))
    reply = await world.call(ask_stream(usage=True))
    assert not reply.whole
    assert DONE not in reply.body
    assert b"usage" not in reply.body
    row = await world.call_row(reply)
    assert (row["end_reason"], row["usage_source"]) == ("upstream_broke_off", "reported")
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_a_call_that_is_answered_502_is_never_charged(world: World) -> None:
    """The provider reports usage with its first event, which waits for the next one, which never comes."""
    first = event({"choices": [{"delta": {"content": "Hel"}}], "usage": {**REPORTED, "completion_tokens": 1}})
    world.upstream.will(stream(first, ReplyBroken("reset")))
    reply = await world.call(ask_stream())
    assert reply.status == 502
    assert await world.charges() == []
    assert (await world.only_call())["state"] == "voided"


async def test_the_connection_of_a_stream_that_is_cut_is_closed(world: World) -> None:
    """Or its caller waits for the rest until its own timeout."""
    world.upstream.will(stream(*HELLO, ReplyBroken("reset")))
    reply = await world.call(ask_stream())
    assert not reply.whole
    assert reply.was_cut


async def test_an_error_event_in_place_of_content_costs_nothing(world: World) -> None:
    world.upstream.will(stream(ROLE, ERROR_EVENT, DONE))
    reply = await world.call(ask_stream())
    assert ERROR_EVENT in reply.body
    assert (await world.only_call())["state"] == "voided"
    assert await world.charges() == []
    await world.assert_sound()


async def test_an_error_event_after_content_is_charged_what_was_delivered(world: World) -> None:
    world.upstream.will(stream(*HELLO, ERROR_EVENT))
    reply = await world.call(ask_stream())
    assert reply.body.startswith(b"".join(HELLO) + ERROR_EVENT)
    assert (await world.call_row(reply))["usage_source"] == "estimated"
    assert await world.charges() == [ESTIMATE]
    await world.assert_sound()


async def test_a_whole_stream_without_any_usage_is_charged_an_estimate(world: World) -> None:
    world.upstream.will(stream(*HELLO, STOP, DONE))
    reply = await world.call(ask_stream())
    assert reply.whole
    assert reply.body == b"".join([*HELLO, STOP, DONE])
    row = await world.call_row(reply)
    assert (row["state"], row["end_reason"], row["usage_source"]) == ("settled", "completed", "estimated")
    assert await world.charges() == [ESTIMATE]
    await world.assert_sound()


async def test_a_json_reply_without_any_usage_is_charged_an_estimate(world: World) -> None:
    world.upstream.will(whole_json(None, text="y" * 71))
    reply = await world.call(ask())
    assert reply.status == 200
    row = await world.call_row(reply)
    assert (row["usage_source"], row["input_units"], row["output_units"]) == ("estimated", TEXT_UNITS, 10)
    await world.assert_sound()


@pytest.mark.parametrize("usage", [{}, {"completion_tokens": OUTPUT_TOKENS}, {"prompt_tokens": INPUT_TOKENS}])
@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_nothing_that_a_report_leaves_out_is_free(
    world: World, streamed: bool, usage: dict[str, int]
) -> None:
    """I8: nothing defaults to free."""
    world.upstream.will(
        stream(*HELLO, STOP, report(usage), DONE) if streamed else whole_json(usage, text="y" * 60)
    )
    await world.call(ask_stream() if streamed else ask())
    row = await world.only_call()
    assert row["input_units"] > 0
    assert row["output_units"] > 0


async def test_garbage_between_events_passes_and_changes_nothing(world: World) -> None:
    garbage = [b"\xff\x00 noise\n\n", b"data: {not json\n\n", b"data: [1, 2]\n\n", b": comment\n\n"]
    body: list[Step] = [garbage[0], *HELLO, *garbage[1:], STOP, report(), DONE]
    world.upstream.will(stream(*body))
    reply = await world.call(ask_stream())
    assert reply.whole
    assert reply.body == b"".join([garbage[0], *HELLO, *garbage[1:], STOP, DONE])
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(stream(), id="empty stream"),
        pytest.param(stream(b"<html>Bad gateway</html>"), id="stream of garbage"),
        pytest.param(stream(ROLE), id="stream without content or end"),
        pytest.param(Script(body=[]), id="empty body"),
        pytest.param(Script(body=[b"<html>Bad gateway</html>"]), id="body of garbage"),
        pytest.param(Script(body=[b'{"error": {"message": "overloaded", "code": 529}}']), id="error body"),
    ],
)
async def test_a_200_in_which_nothing_was_delivered_costs_nothing(world: World, script: Script) -> None:
    world.upstream.will(script)
    await world.call(ask_stream())
    assert await world.charges() == []
    await world.assert_sound()


async def test_an_event_that_never_ends_is_a_stream_that_breaks_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 1_000)
    world.upstream.will(stream(*HELLO, *[b"data: " + b"x" * 100] * 20))
    reply = await world.call(ask_stream())
    assert not reply.whole
    assert world.upstream.replies[0].closed
    assert (await world.call_row(reply))["end_reason"] == "upstream_broke_off"
    assert await world.charges() == [ESTIMATE]
