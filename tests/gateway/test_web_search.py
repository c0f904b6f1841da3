"""Web search that providers run: charged by the search, held by its bound, and only where it has a price."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.fakes.scripted_upstream import EVENT_STREAM, Script
from tests.gateway.replies import event
from tests.gateway.world import CONTEXT_WINDOW, MODEL, World, refusal
from tokenopen.core.money import NANO_PER_CREDIT, Nanocredits
from tokenopen.ports.upstream import ReplyBroken

MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
# 0.01 credits a search, 1 and 2 credits per million tokens.
SEARCH = 10_000_000
INPUT = 1_000
OUTPUT = 2_000
PRICES = {"input": 1, "output": 2, "web_searches": 10_000}
ASKED: Mapping[str, Mapping[str, Any]] = {
    MESSAGES: {
        "messages": [{"role": "user", "content": "x" * 600}],
        "max_tokens": 50,
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}],
    },
    RESPONSES: {
        "input": "x" * 600,
        "max_output_tokens": 50,
        "max_tool_calls": 5,
        "tools": [{"type": "web_search", "search_context_size": "low"}],
    },
}
PROVIDERS = {MESSAGES: "anthropic", RESPONSES: "openai"}
each_surface = pytest.mark.parametrize("path", list(ASKED))


def searched(action: Mapping[str, Any] | None, *, status: str = "completed") -> dict[str, Any]:
    item = {"type": "web_search_call", "id": "ws_1", "status": status}
    return item if action is None else item | {"action": action}


# Two searches; the rest is not charged.
OUTPUT_ITEMS = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    searched({"type": "search", "query": "a", "queries": ["a", "b"]}),
    searched({"type": "open_page", "url": "https://example.com"}),
    searched({"type": "find_in_page", "pattern": "b"}),
    searched({"type": "search", "query": "c"}, status="failed"),
    searched(None),
    {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Hello"}]},
]
RESPONSES_REPORT = {"input_tokens": 9_000, "output_tokens": 40, "total_tokens": 9_040}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]}
FAILED = FOUND | {"content": {"type": "web_search_tool_result_error", "error_code": "unavailable"}}


def messages_report(searches: int) -> dict[str, Any]:
    used = {"web_search_requests": searches, "web_fetch_requests": 0}
    return {"input_tokens": 9_000, "output_tokens": 40, "server_tool_use": used}


def json_reply(path: str, *, searches: int = 2) -> Script:
    if path == MESSAGES:
        return Script(body=[msgspec.json.encode({"content": [FOUND], "usage": messages_report(searches)})])
    items = OUTPUT_ITEMS if searches == 2 else [searched({"type": "search"})] * searches
    return Script(body=[msgspec.json.encode({"id": "r", "output": items, "usage": RESPONSES_REPORT})])


def stream_events(path: str) -> list[bytes]:
    """Return a stream with two searches, of which the last event but none before is its end."""
    if path == MESSAGES:
        began = {"input_tokens": 100, "output_tokens": 1}
        return [
            event({"type": "message_start", "message": {"usage": began}}),
            event({"type": "content_block_start", "index": 1, "content_block": FOUND}),
            event({"type": "content_block_start", "index": 2, "content_block": FAILED}),
            event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}}),
            event({"type": "message_delta", "delta": {}, "usage": messages_report(2)}),
            event({"type": "message_stop"}),
        ]
    done = [{"type": "response.output_item.done", "item": item} for item in OUTPUT_ITEMS]
    response = {"id": "r", "output": OUTPUT_ITEMS, "usage": RESPONSES_REPORT}
    return [
        event({"type": "response.created", "response": {"id": "r", "output": []}}),
        event({"type": "response.output_item.added", "item": searched(None, status="in_progress")}),
        *map(event, done),
        event({"type": "response.output_text.delta", "delta": "Hello"}),
        event({"type": "response.completed", "response": response}),
    ]


async def sell(world: World, path: str, **prices: int) -> None:
    """Sell MODEL at these prices, in credits per million, by a provider that speaks the surface."""
    named = {name: Nanocredits(price * NANO_PER_CREDIT) for name, price in prices.items()}
    await world.put_model({"prices": named})
    await world.change_upstream({"provider": PROVIDERS[path]})


async def usage_of(world: World) -> dict[str, int]:
    await world.assert_sound()
    found: dict[str, int] = msgspec.json.decode((await world.only_call())["usage"])
    return found


@each_surface
@pytest.mark.parametrize("is_stream", [False, True])
async def test_searches_are_charged_and_held_beside_their_tokens(
    world: World, path: str, is_stream: bool
) -> None:
    await sell(world, path, **PRICES)
    events = stream_events(path)
    world.upstream.will(Script(headers=EVENT_STREAM, body=events) if is_stream else json_reply(path))
    caller = await world.call({"model": MODEL, "stream": is_stream, **ASKED[path]}, path=path)
    assert caller.status == 200
    assert not is_stream or caller.body == b"".join(events)
    assert await usage_of(world) == {"input": 9_000, "output": 40, "web_searches": 2}
    assert await world.charges() == [9_000 * INPUT + 40 * OUTPUT + 2 * SEARCH]
    # What is found comes on top of the input; five searches may be made.
    assert (await world.only_call())["hold"] == CONTEXT_WINDOW * INPUT + 50 * OUTPUT + 5 * SEARCH
    sent = world.upstream.requests[0].body
    assert isinstance(sent, bytes)
    assert msgspec.json.decode(sent)["tools"] == ASKED[path]["tools"]


@each_surface
async def test_searches_that_nobody_asked_for_and_that_have_no_price_leave_the_tokens_due(
    world: World, path: str
) -> None:
    await sell(world, path, input=1, output=2)
    world.upstream.will(json_reply(path))
    asked = {name: ASKED[path][name] for name in ASKED[path] if name != "tools"}
    await world.call({"model": MODEL, **asked}, path=path)
    assert await usage_of(world) == {"input": 9_000, "output": 40}
    assert await world.charges() == [9_000 * INPUT + 40 * OUTPUT]
    call = await world.only_call()
    assert (call["flag"], call["flag_detail"]) == ("unpriced_usage", "no price for 2 web_searches")


@each_surface
async def test_a_receipt_has_a_line_of_searches(world: World, path: str) -> None:
    await sell(world, path, **PRICES)
    world.upstream.will(json_reply(path))
    called = await world.call({"model": MODEL, **ASKED[path]}, path=path)
    receipt = await world.look_up(f"/v1/receipts/{called.headers['x-request-id']}")
    assert b'"web_searches":2' in receipt.body
    assert b"2 x 10000" in receipt.body


@each_surface
async def test_search_is_refused_where_the_model_has_no_price_for_it(world: World, path: str) -> None:
    await sell(world, path, input=1, output=2, searches=10_000)
    caller = await world.call({"model": MODEL, **ASKED[path]}, path=path)
    assert caller.status == 400
    assert b"has no price here for web searches" in caller.body
    assert world.upstream.requests == []


@each_surface
async def test_search_needs_a_price_for_every_length_of_input(world: World, path: str) -> None:
    named = {name: Nanocredits(price * NANO_PER_CREDIT) for name, price in PRICES.items()}
    longer = {name: named[name] for name in ("input", "output")}
    await sell(world, path, **PRICES)
    await world.put_model({"prices": named, "steps": [(8_000, longer)]})
    caller = await world.call({"model": MODEL, **ASKED[path]}, path=path)
    assert b"has no price here for web searches" in caller.body
    await world.put_model({"prices": named, "steps": [(8_000, longer | {"web_searches": Nanocredits(0)})]})
    world.upstream.will(json_reply(path))
    await world.call({"model": MODEL, **ASKED[path]}, path=path)
    assert await world.charges() == [9_000 * INPUT + 40 * OUTPUT]


@each_surface
async def test_search_without_a_bound_is_held_as_20_searches(world: World, path: str) -> None:
    await sell(world, path, **PRICES)
    asked = dict(ASKED[path])
    asked.pop("max_tool_calls", None)
    asked["tools"] = [{name: tool[name] for name in tool if name != "max_uses"} for tool in asked["tools"]]
    world.upstream.will(json_reply(path))
    await world.call({"model": MODEL, **asked}, path=path)
    assert (await world.only_call())["hold"] == CONTEXT_WINDOW * INPUT + 50 * OUTPUT + 20 * SEARCH
    assert await world.charges() == [9_000 * INPUT + 40 * OUTPUT + 2 * SEARCH]


@each_surface
async def test_searches_beyond_the_bound_are_charged_as_far_as_credit_goes(world: World, path: str) -> None:
    await sell(world, path, **PRICES)
    hold = CONTEXT_WINDOW * INPUT + 50 * OUTPUT + 5 * SEARCH
    await world.set_credit(hold)
    world.upstream.will(json_reply(path, searches=30))
    await world.call({"model": MODEL, **ASKED[path]}, path=path)
    assert (await usage_of(world))["web_searches"] == 30
    assert await world.charges() == [hold]
    assert (await world.only_call())["absorbed"] == 9_000 * INPUT + 40 * OUTPUT + 30 * SEARCH - hold


@each_surface
async def test_credit_for_fewer_searches_than_the_bound_is_too_little(world: World, path: str) -> None:
    await sell(world, path, **PRICES)
    await world.set_credit(CONTEXT_WINDOW * INPUT + 50 * OUTPUT + 5 * SEARCH - 1)
    assert (await world.call({"model": MODEL, **ASKED[path]}, path=path)).status == 402


@each_surface
async def test_an_estimate_holds_the_searches_that_were_seen(world: World, path: str) -> None:
    await sell(world, path, **PRICES)
    events = stream_events(path)
    end = -2 if path == MESSAGES else -1
    world.upstream.will(Script(headers=EVENT_STREAM, body=[*events[:end], ReplyBroken()]))
    await world.call({"model": MODEL, "stream": True, **ASKED[path]}, path=path)
    searches = 1 if path == MESSAGES else 2
    assert await usage_of(world) == {"input": 100, "output": 1, "web_searches": searches}
    assert (await world.only_call())["usage_source"] == "estimated"


async def test_search_is_not_carried_to_a_provider_that_speaks_another_api(world: World) -> None:
    await sell(world, MESSAGES, **PRICES)
    await world.change_upstream({"provider": "openai"})
    caller = await world.call({"model": MODEL, **ASKED[MESSAGES]}, path=MESSAGES)
    assert caller.status == 400
    assert world.upstream.requests == []


async def test_counting_the_tokens_of_a_search_is_free(world: World) -> None:
    await world.change_upstream({"provider": "anthropic"})
    world.upstream.will(Script(body=[b'{"input_tokens":700}']))
    asked = {name: ASKED[MESSAGES][name] for name in ("messages", "tools")}
    caller = await world.call({"model": MODEL, **asked}, path="/v1/messages/count_tokens")
    assert (caller.status, await world.charges()) == (200, [])


@pytest.mark.parametrize("tool", [{"type": "web_search"}, {"type": "web_search_20250305", "max_uses": 1}])
async def test_chat_has_no_search_whatever_the_price(world: World, tool: dict[str, Any]) -> None:
    await sell(world, RESPONSES, **PRICES)
    caller = await world.call(
        {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "tools": [tool]}
    )
    assert "hosted tools are billed apart" in refusal(caller, 400, "invalid_request")["message"]
