"""Every way in which a stream can end early, on every API that streams text: its exact charge and its reason.

Each provider reports 120 units in and 7 out at the end of its stream; the caller's text is 600 bytes, which
is estimated as 100. Anthropic and Gemini report the input first, so it is known where a stream breaks off.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import Script, Step
from tests.gateway.replies import DONE, delta, event, provider_error, report, stream
from tests.gateway.world import CHAT, MODEL, World, price, until
from tokenopen.core.money import Nanocredits, format_amount
from tokenopen.ports.upstream import IdleTimeout, ReplyBroken

Json = Any

TEXT: Final = "x" * 600
TEXT_UNITS: Final = 100
INPUT, OUTPUT = 120, 7
WHOLE: Final = price(input=INPUT, output=OUTPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """A streamed call of one API: what is asked, and what a provider sends in the order in which it does."""

    path: str
    ask: Json
    opening: Sequence[bytes]
    deltas: Sequence[bytes]
    ending: Sequence[bytes]
    # The same without any usage in it.
    silent: Sequence[bytes]
    error: bytes
    # What is known of the input before the end.
    input_units: int

    @property
    def whole(self) -> Sequence[bytes]:
        return [*self.opening, *self.deltas, *self.ending]

    def estimate(self, events: int) -> int:
        """Return what so many delivered events are charged where the provider has not told all."""
        return price(input=self.input_units, output=events)


def _kinds(*events: Json) -> Sequence[bytes]:
    """Return events that are named by their type, as OpenAI's responses and Anthropic's messages are."""
    return [b"event: " + one["type"].encode() + b"\n" + event(one) for one in events]


def _without_usage(events: Sequence[bytes], *usages: Json) -> Sequence[bytes]:
    texts = list(events)
    for usage in usages:
        given = event(usage).removeprefix(b"data: ").strip()
        texts = [text.replace(given, b"null") for text in texts]
    assert list(events) != texts
    return texts


def _chat() -> Dialogue:
    usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT}
    role = event({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    stop = event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    deltas = [delta("Hel"), delta("lo"), delta("!")]
    return Dialogue(
        path=CHAT,
        ask={"model": MODEL, "stream": True, "messages": [{"role": "user", "content": TEXT}]},
        opening=[role],
        deltas=deltas,
        ending=[stop, report(usage), DONE],
        silent=[role, *deltas, stop, DONE],
        error=event({"error": {"message": "overloaded", "code": 529}}),
        input_units=TEXT_UNITS,
    )


def _responses() -> Dialogue:
    usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
    opening = _kinds({"type": "response.created", "response": {"id": "resp_1", "usage": None}})
    deltas = _kinds(*({"type": "response.output_text.delta", "delta": text} for text in ("Hel", "lo", "!")))
    ending = _kinds({"type": "response.completed", "response": {"id": "resp_1", "usage": usage}})
    return Dialogue(
        path="/v1/responses",
        ask={"model": MODEL, "stream": True, "input": TEXT},
        opening=opening,
        deltas=deltas,
        ending=ending,
        silent=_without_usage([*opening, *deltas, *ending], usage),
        error=_kinds({"type": "error", "code": "server_error", "message": "overloaded"})[0],
        input_units=TEXT_UNITS,
    )


def _messages() -> Dialogue:
    first, last = {"input_tokens": INPUT, "output_tokens": 1}, {"output_tokens": OUTPUT}
    opening = _kinds(
        {"type": "message_start", "message": {"id": "msg_1", "usage": first}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    )
    deltas = _kinds(
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            for text in ("Hel", "lo", "!")
        )
    )
    ending = _kinds(
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
        {"type": "message_stop"},
    )
    return Dialogue(
        path="/v1/messages",
        ask={
            "model": MODEL,
            "stream": True,
            "max_tokens": 50,
            "messages": [{"role": "user", "content": TEXT}],
        },
        opening=opening,
        deltas=deltas,
        ending=ending,
        silent=_without_usage([*opening, *deltas, *ending], first, last),
        error=_kinds({"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}})[0],
        input_units=INPUT,
    )


def _gemini() -> Dialogue:
    def said(text: str, *, so_far: int, **more: Json) -> bytes:
        usage = {"promptTokenCount": INPUT, "candidatesTokenCount": so_far, "totalTokenCount": INPUT + so_far}
        candidate = {"index": 0, "content": {"role": "model", "parts": [{"text": text}]}, **more}
        return event({"candidates": [candidate], "usageMetadata": usage})

    def told(text: str, **more: Json) -> bytes:
        return event({"candidates": [{"content": {"parts": [{"text": text}]}, **more}]})

    return Dialogue(
        path=f"/v1beta/models/{MODEL}:streamGenerateContent",
        ask={"contents": [{"role": "user", "parts": [{"text": TEXT}]}]},
        opening=[b": hello\n\n"],
        deltas=[said("Hel", so_far=2), said("lo", so_far=4), said("!", so_far=6)],
        ending=[said("", so_far=OUTPUT, finishReason="STOP")],
        silent=[told("Hel"), told("lo"), told("!"), told("", finishReason="STOP")],
        error=event({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}),
        input_units=INPUT,
    )


DIALOGUES: Final = {
    "chat": _chat(),
    "responses": _responses(),
    "messages": _messages(),
    "gemini": _gemini(),
}


@pytest.fixture(params=sorted(DIALOGUES))
async def talk(world: World, request: pytest.FixtureRequest) -> Dialogue:
    """A dialogue of each API in turn, with a provider that speaks it."""
    dialect = {"messages": "anthropic", "gemini": "gemini"}.get(request.param)
    if dialect is not None:
        base_url = f"https://{dialect}.example.com"
        await world.add_upstream(dialect, {"provider": dialect, "base_url": base_url, "priority": 9})
    return DIALOGUES[request.param]


def caller_of(world: World, talk: Dialogue) -> AsgiCaller:
    """Return a caller; Google's APIs take the key as the others do, in a header of their own."""
    caller = world.caller(talk.ask, path=talk.path)
    if "v1beta" in talk.path:
        caller.scope["headers"] = [(b"x-goog-api-key", world.key.encode())]
        caller.scope["query_string"] = b"alt=sse"
    return caller


async def passes(world: World, talk: Dialogue, *body: Step) -> AsgiCaller:
    """Let a provider reply so to a caller who stays."""
    world.upstream.will(stream(*body))
    return await world.ended(world.start(caller_of(world, talk)))


async def left(world: World, talk: Dialogue, *before: bytes, then: Sequence[Step]) -> None:
    """Let a caller leave once it has these events, and the provider go on."""
    caller = caller_of(world, talk)
    gate = asyncio.Event()
    world.upstream.will(stream(*before, gate, *then))
    running = world.start(caller)
    await caller.receives(before[-1])
    caller.leave()
    # So that the connection has heard of it before the provider goes on.
    await asyncio.sleep(0.02)
    gate.set()
    await world.ended(running)


async def assert_ended(world: World, reason: str, *charges: int, source: str | None = None) -> None:
    """Assert why the only call ended, what it was charged, and that its receipt says so."""
    row = await world.only_call()
    assert (row["end_reason"], row["usage_source"]) == (reason, source), dict(row)
    assert row["state"] == ("settled" if charges else "voided")
    assert await world.charges() == list(charges)
    receipt = (await world.look_up(f"/v1/receipts/{row['id']}")).json()
    assert receipt["end_reason"] == reason
    assert receipt["charge"] == format_amount(Nanocredits(sum(charges)))
    interrupted = reason in ("client_left", "upstream_broke_off")
    assert receipt["interruption_rule"] == ("read_on" if interrupted else None)
    await world.assert_sound()


async def test_a_whole_stream_is_charged_what_is_reported(world: World, talk: Dialogue) -> None:
    assert (await passes(world, talk, *talk.whole)).whole
    await assert_ended(world, "completed", WHOLE, source="reported")


async def test_leaving_before_any_byte_costs_nothing(world: World, talk: Dialogue) -> None:
    caller = caller_of(world, talk)
    world.upstream.will(Script(before=[asyncio.Event()]))
    running = world.start(caller)
    await until(lambda: bool(world.upstream.requests))
    caller.leave()
    await world.ended(running)
    assert world.upstream.cancelled == 1
    await assert_ended(world, "client_left_early")


async def test_leaving_in_the_middle_is_charged_what_the_provider_did(world: World, talk: Dialogue) -> None:
    await left(world, talk, *talk.opening, *talk.deltas[:2], then=[*talk.deltas[2:], *talk.ending])
    await assert_ended(world, "client_left", WHOLE, source="reported")


async def test_leaving_after_the_last_delta_is_charged_what_the_provider_did(
    world: World, talk: Dialogue
) -> None:
    await left(world, talk, *talk.opening, *talk.deltas, then=talk.ending)
    await assert_ended(world, "client_left", WHOLE, source="reported")


async def test_leaving_a_stream_that_then_breaks_is_charged_what_was_delivered(
    world: World, talk: Dialogue
) -> None:
    then: list[Step] = [*talk.deltas[2:], ReplyBroken("reset")]
    await left(world, talk, *talk.opening, *talk.deltas[:2], then=then)
    await assert_ended(world, "upstream_broke_off", talk.estimate(2), source="estimated")


async def test_an_error_before_the_stream_costs_nothing(world: World, talk: Dialogue) -> None:
    world.upstream.will(provider_error(500))
    caller = await world.ended(world.start(caller_of(world, talk)))
    assert caller.status == 502
    await assert_ended(world, "upstream_failed")


@pytest.mark.parametrize("failure", [ReplyBroken("reset"), IdleTimeout("300 s")], ids=["reset", "silent"])
async def test_a_stream_that_breaks_off_is_charged_what_was_delivered(
    world: World, talk: Dialogue, failure: ReplyBroken | IdleTimeout
) -> None:
    caller = await passes(world, talk, *talk.opening, *talk.deltas, failure)
    assert not caller.whole
    assert b"upstream_error" in caller.body or b"api_error" in caller.body or b"INTERNAL" in caller.body
    await assert_ended(world, "upstream_broke_off", talk.estimate(3), source="estimated")


@pytest.mark.parametrize("failure", [ReplyBroken("reset"), IdleTimeout("300 s")], ids=["reset", "silent"])
async def test_a_stream_that_breaks_off_before_any_content_costs_nothing(
    world: World, talk: Dialogue, failure: ReplyBroken | IdleTimeout
) -> None:
    caller = await passes(world, talk, *talk.opening, failure)
    assert not caller.whole
    await assert_ended(world, "upstream_failed")


async def test_an_error_event_in_place_of_content_costs_nothing(world: World, talk: Dialogue) -> None:
    caller = await passes(world, talk, *talk.opening, talk.error)
    assert talk.error in caller.body
    await assert_ended(world, "upstream_failed")


async def test_an_error_event_after_content_is_charged_what_was_delivered(
    world: World, talk: Dialogue
) -> None:
    caller = await passes(world, talk, *talk.opening, *talk.deltas, talk.error)
    assert talk.error in caller.body
    if "v1beta" in talk.path:
        # What Gemini has counted up to its error is its last word.
        await assert_ended(world, "upstream_broke_off", price(input=INPUT, output=6), source="reported")
    else:
        await assert_ended(world, "upstream_broke_off", talk.estimate(3), source="estimated")


@pytest.mark.parametrize("garbage", [b"<html>Bad gateway</html>", b"\x00\xff" * 40, b"data: {\n\n"])
async def test_garbage_alone_costs_nothing(world: World, talk: Dialogue, garbage: bytes) -> None:
    await passes(world, talk, garbage)
    await assert_ended(world, "upstream_failed")


async def test_garbage_between_events_passes_and_changes_nothing(world: World, talk: Dialogue) -> None:
    garbage = b"\xff\x00 noise\n\ndata: {not json\n\ndata: [1]\n\n"
    caller = await passes(world, talk, *talk.opening, garbage, *talk.deltas, *talk.ending)
    assert garbage in caller.body
    await assert_ended(world, "completed", WHOLE, source="reported")


async def test_a_whole_stream_without_usage_is_charged_what_was_delivered(
    world: World, talk: Dialogue
) -> None:
    assert (await passes(world, talk, *talk.silent)).whole
    await assert_ended(world, "completed", price(input=TEXT_UNITS, output=3), source="estimated")
