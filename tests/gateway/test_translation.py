"""Calls that their provider gets in another API's shape: money, endings, refusals, and which way is taken."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import EVENT_STREAM, Script
from tests.gateway.replies import DONE, ROLE, STOP, ask, ask_stream, delta, report, stream, whole_json
from tests.gateway.world import CHAT, MODEL, MODEL_MAX_OUTPUT, World, bearer, price, refusal, until
from tokenopen.core.money import Nanocredits
from tokenopen.gateway import reply as gateway_reply
from tokenopen.ports.storage import Batch
from tokenopen.ports.upstream import ReplyBroken

MESSAGES = "/v1/messages"
INPUT = {"input_tokens": 10, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}
UNITS = {"input": 10, "cached_input": 60, "cache_write": 30, "output": 7}
PRICES = {"input": 100, "cached_input": 10, "cache_write": 125, "output": 500}
CHARGE = sum(PRICES[unit_class] * count for unit_class, count in UNITS.items())
CHAT_REPORT = {
    "prompt_tokens": 100,
    "completion_tokens": 7,
    "total_tokens": 107,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
}
MESSAGE: Any = {
    "id": "msg_1",
    "type": "message",
    "model": "claude",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": INPUT | {"output_tokens": 7},
}


def named(value: Any) -> bytes:
    """Return an event as Anthropic writes it."""
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), msgspec.json.encode(value))


BEGIN = [
    named({"type": "message_start", "message": {"id": "msg_1", "usage": INPUT | {"output_tokens": 1}}}),
    named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    *(
        named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
        for text in ("Hel", "lo")
    ),
]
END = [
    named({"type": "content_block_stop", "index": 0}),
    named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}),
    named({"type": "message_stop"}),
]


def ask_message(**fields: Any) -> Any:
    return {"model": MODEL, "messages": [{"role": "user", "content": "x" * 600}], "max_tokens": 10, **fields}


async def set_prices(world: World) -> None:
    per_million = 10**6
    prices = {name: Nanocredits(each * per_million) for name, each in PRICES.items()}
    await world.put_model({"prices": prices})


@pytest.fixture
async def claude(world: World) -> World:
    """Nobody but a provider of Anthropic's API carries the model."""
    await world.change_upstream({"provider": "anthropic", "base_url": "https://one.example.com"})
    await set_prices(world)
    return world


@pytest.fixture
async def gpt(world: World) -> World:
    """Nobody but a provider of OpenAI's API carries the model."""
    await set_prices(world)
    return world


def sent(world: World) -> Any:
    body = world.upstream.requests[-1].body
    assert isinstance(body, bytes)
    return msgspec.json.decode(body)


async def settled_for(world: World, charge: int) -> None:
    assert await world.charges() == [charge]
    call = await world.only_call()
    assert msgspec.json.decode(call["usage"]) == UNITS
    assert call["usage_source"] == "reported"
    await world.assert_sound()


async def test_a_chat_call_is_charged_by_what_the_message_reports(claude: World) -> None:
    claude.upstream.will(Script(body=[msgspec.json.encode(MESSAGE)]))
    caller = await claude.call(ask(max_tokens=10))
    assert caller.json()["usage"] == CHAT_REPORT
    assert caller.json()["choices"][0]["message"]["content"] == "Hi"
    assert caller.headers["x-tokenopen-translated-to"] == "messages"
    assert "x-tokenopen-left-out" not in caller.headers
    request = claude.upstream.requests[0]
    assert request.url == "https://one.example.com/v1/messages"
    assert dict(request.headers)[b"x-api-key"]
    assert sent(claude)["max_tokens"] == 10
    await settled_for(claude, CHARGE)


async def test_a_messages_call_is_charged_by_what_the_chat_completion_reports(gpt: World) -> None:
    gpt.upstream.will(whole_json(CHAT_REPORT))
    caller = await gpt.call(ask_message(), path=MESSAGES)
    assert caller.json()["usage"] == INPUT | {"output_tokens": 7}
    assert caller.headers["x-tokenopen-translated-to"] == "chat"
    assert gpt.upstream.requests[0].url == "https://one.example.com/v1/chat/completions"
    assert dict(gpt.upstream.requests[0].headers)[b"authorization"].startswith(b"Bearer ")
    assert sent(gpt)["max_completion_tokens"] == 10
    await settled_for(gpt, CHARGE)


async def test_the_maximum_stands_where_each_provider_reads_it(gpt: World) -> None:
    await gpt.change_upstream({"provider": "mistral"})
    gpt.upstream.will(whole_json())
    await gpt.call(ask_message(), path=MESSAGES)
    assert (sent(gpt)["max_tokens"], "max_completion_tokens" in sent(gpt)) == (10, False)


async def test_where_no_maximum_is_named_the_provider_gets_what_is_held(claude: World) -> None:
    claude.upstream.will(*[Script(body=[msgspec.json.encode(MESSAGE)])] * 2)
    await claude.call(ask())
    assert sent(claude)["max_tokens"] == MODEL_MAX_OUTPUT
    held = (await claude.only_call())["hold"]
    assert held >= MODEL_MAX_OUTPUT * PRICES["output"]
    await claude.change_group({"default_max_output_tokens": 100})
    await claude.set_credit(held - 1)
    capped = await claude.call(ask())
    assert sent(claude)["max_tokens"] == 100
    assert capped.headers["x-tokenopen-max-output-tokens"] == "100"
    await claude.assert_sound()


async def hold_settlements(world: World) -> asyncio.Event:
    gate = asyncio.Event()

    async def wait(batch: Batch) -> None:
        if batch.resolutions:
            await gate.wait()

    world.storage.before_post = wait
    return gate


async def run_held(world: World, caller: AsgiCaller, end_mark: bytes) -> AsgiCaller:
    """Make a call; assert that its end waits for the settlement, and that the text does not."""
    gate = await hold_settlements(world)
    running = world.start(caller)
    await until(lambda: any(batch.resolutions for batch in world.storage.batches))
    await asyncio.sleep(0.02)
    assert b"Hel" in caller.body
    assert (caller.whole, end_mark in caller.body) == (False, False)
    gate.set()
    await world.ended(running)
    assert caller.whole
    assert end_mark in caller.body
    return caller


async def test_a_chat_streams_end_waits_for_the_settlement(claude: World) -> None:
    claude.upstream.will(Script(headers=EVENT_STREAM, body=[*BEGIN, *END]))
    caller = await run_held(claude, claude.caller(ask_stream(usage=True, max_tokens=10)), DONE)
    assert b'"prompt_tokens":100' in caller.body
    assert b'"cost":"0.00000885"' in caller.body
    await settled_for(claude, CHARGE)


async def test_a_message_streams_end_waits_for_the_settlement(gpt: World) -> None:
    gpt.upstream.will(stream(ROLE, delta("Hel"), delta("lo"), STOP, report(CHAT_REPORT), DONE))
    caller = await run_held(gpt, gpt.caller(ask_message(stream=True), path=MESSAGES), b"message_stop")
    assert b'"cache_read_input_tokens":60' in caller.body
    await settled_for(gpt, CHARGE)


@pytest.mark.parametrize("spoken", ["chat", "messages"])
async def test_a_provider_that_breaks_off_is_told_in_the_callers_shape_and_charged_by_its_own(
    world: World, spoken: str
) -> None:
    if spoken == "chat":
        await world.change_upstream({"provider": "anthropic", "base_url": "https://one.example.com"})
        world.upstream.will(Script(headers=EVENT_STREAM, body=[*BEGIN, ReplyBroken("gone")]))
        caller = await world.call(ask_stream(max_tokens=10))
        assert msgspec.json.decode(caller.body.split(b"\n\n")[-2].removeprefix(b"data: "))["error"]
        # What the start reported, and the two deltas that came.
        charge = 100 * 150 + 2 * 600
    else:
        world.upstream.will(stream(ROLE, delta("Hel"), delta("lo"), ReplyBroken("gone")))
        caller = await world.call(ask_message(stream=True), path=MESSAGES)
        assert caller.body.split(b"\n\n")[-2].startswith(b"event: error\n")
        charge = price(input=100, output=2)
    assert caller.was_cut
    assert await world.charges() == [charge]
    assert (await world.only_call())["end_reason"] == "upstream_broke_off"
    await world.assert_sound()


async def test_the_providers_refusal_passes_in_its_words_and_the_callers_shape(claude: World) -> None:
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}}
    claude.upstream.will(Script(status=400, body=[msgspec.json.encode(said)]))
    caller = await claude.call(ask())
    assert caller.status == 400
    assert caller.json() == {
        "error": {
            "message": "prompt is too long",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }
    assert await claude.charges() == []
    await claude.assert_sound()


async def test_a_reply_that_cannot_be_translated_costs_nothing(claude: World) -> None:
    odd = MESSAGE | {"content": [{"type": "server_tool_use", "id": "s"}]}
    claude.upstream.will(Script(body=[msgspec.json.encode(odd)]))
    error = refusal(await claude.call(ask()), 502, "upstream_error")
    assert "server_tool_use" in error["message"]
    assert await claude.charges() == []
    assert (await claude.only_call())["end_reason"] == "upstream_failed"
    await claude.assert_sound()


async def test_a_reply_too_large_to_be_translated_costs_nothing(
    claude: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_reply, "COLLECTED_BYTES_MAX", 100)
    claude.upstream.will(Script(body=[msgspec.json.encode(MESSAGE)]))
    refusal(await claude.call(ask()), 502, "upstream_error")
    assert await claude.charges() == []
    await claude.assert_sound()


async def test_a_stream_that_cannot_be_translated_is_cut_and_charged_for_what_came(claude: World) -> None:
    odd = named({"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use"}})
    claude.upstream.will(Script(headers=EVENT_STREAM, body=[*BEGIN, odd, *END]))
    caller = await claude.call(ask_stream(max_tokens=10))
    assert caller.was_cut
    assert DONE not in caller.body
    assert (await claude.only_call())["end_reason"] == "upstream_broke_off"
    units = UNITS | {"output": 2}
    assert await claude.charges() == [sum(PRICES[name] * count for name, count in units.items())]
    await claude.assert_sound()


async def test_usage_that_cannot_be_true_voids_a_translated_call(gpt: World) -> None:
    impossible = CHAT_REPORT | {"prompt_tokens_details": {"cached_tokens": 101}}
    gpt.upstream.will(whole_json(impossible))
    caller = await gpt.call(ask_message(), path=MESSAGES)
    assert caller.status == 200
    assert await gpt.charges() == []
    assert (await gpt.only_call())["flag"] == "impossible_usage"


async def test_who_speaks_the_callers_api_is_asked_however_far_behind_it_stands(world: World) -> None:
    await world.add_upstream(
        "anthropic", {"provider": "anthropic", "base_url": "https://anthropic.example.com", "priority": 9}
    )
    world.upstream.will(Script(status=500, body=[b"{}"]), Script(body=[msgspec.json.encode(MESSAGE)]))
    # It is the only one that is tried, also when it fails.
    failed = await world.call(ask_message(), path=MESSAGES)
    assert failed.status == 502
    whole = await world.call(ask_message(), path=MESSAGES)
    assert whole.json() == MESSAGE
    assert "x-tokenopen-translated-to" not in whole.headers
    assert {request.url for request in world.upstream.requests} == {
        "https://anthropic.example.com/v1/messages"
    }


async def test_what_cannot_be_carried_is_refused_before_anything_is_held(gpt: World) -> None:
    caller = await gpt.call(ask_message(top_k=5), path=MESSAGES)
    error = refusal(caller, 400, "invalid_request")
    assert error["param"] == "top_k"
    assert MODEL in error["message"]
    assert await gpt.rows("calls") == []
    assert gpt.upstream.requests == []


async def test_receipts_and_headers_say_that_a_call_was_translated(gpt: World) -> None:
    gpt.upstream.will(whole_json(), whole_json())
    system = [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]
    caller = await gpt.call(ask_message(system=system), path=MESSAGES)
    assert caller.headers["x-tokenopen-left-out"] == "cache_control"
    native = await gpt.call(ask())
    for call, translated_to in ((caller, "chat"), (native, None)):
        receipt = await gpt.look_up(f"/v1/receipts/{call.headers['x-request-id']}")
        assert receipt.json()["translated_to"] == translated_to
    # A call that went straight keeps no more than before.
    assert (await gpt.call_row(caller))["attempts"] is not None
    assert (await gpt.call_row(native))["attempts"] is None


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_same_call_again_gets_the_same_translated_reply(claude: World, streamed: bool) -> None:
    body = [*BEGIN, *END] if streamed else [msgspec.json.encode(MESSAGE)]
    claude.upstream.will(Script(headers=EVENT_STREAM, body=body) if streamed else Script(body=body))
    asked = ask(stream=streamed, max_tokens=10)
    replies = []
    for _ in range(2):
        headers = [bearer(claude.key), (b"idempotency-key", b"one")]
        caller = AsgiCaller(path=CHAT, headers=headers, body=[msgspec.json.encode(asked)])
        await caller.call(claude.api)
        await claude.settled()
        replies.append(caller)
    assert replies[0].body == replies[1].body
    assert b"chat.completion" in replies[1].body
    assert replies[1].headers["x-tokenopen-replayed"] == "true"
    assert len(claude.upstream.requests) == 1
    await settled_for(claude, CHARGE)
