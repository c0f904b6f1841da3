"""Tools that providers run, beside web search: what they are charged by, what is held, what is free."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.fakes.scripted_upstream import EVENT_STREAM, Script
from tests.gateway.replies import event
from tests.gateway.test_web_search import INPUT, MESSAGES, OUTPUT, RESPONSES, SEARCH, usage_of
from tests.gateway.world import CONTEXT_WINDOW, MODEL, World
from tokenopen.core.money import NANO_PER_CREDIT, Nanocredits

CHAT = "/v1/chat/completions"
GEMINI = f"/v1beta/models/{MODEL}:generateContent"
CONTAINER = 30_000_000
IMAGE = 40_000_000
PER_CALL = 25_000_000
PRICES = {"input": 1, "output": 2, "web_searches": 10_000, "containers": 30_000, "images": 40_000}
REPORTED = {"input": 9_000, "output": 40}
TOKENS = 9_000 * INPUT + 40 * OUTPUT
HELD = CONTEXT_WINDOW * INPUT + 50 * OUTPUT

MESSAGES_REPORT = {"input_tokens": 9_000, "output_tokens": 40}
RESPONSES_REPORT = MESSAGES_REPORT | {"total_tokens": 9_040}
CHAT_REPORT = {"prompt_tokens": 9_000, "completion_tokens": 40, "total_tokens": 9_040}
GEMINI_REPORT = {"promptTokenCount": 9_000, "candidatesTokenCount": 40, "totalTokenCount": 9_040}

HELLO = [{"role": "user", "content": "Hello"}]
MESSAGES_ASK = {"model": MODEL, "messages": HELLO, "max_tokens": 50}
RESPONSES_ASK = {"model": MODEL, "input": "Hello", "max_output_tokens": 50}
CHAT_ASK = {"model": MODEL, "messages": HELLO, "max_completion_tokens": 50}
GEMINI_ASK = {"contents": [{"parts": [{"text": "Hello"}]}], "generationConfig": {"maxOutputTokens": 50}}

CODE = {"type": "code_execution_20260120", "name": "code_execution"}
IN_A_CONTAINER = {"container": {"id": "container_1"}, "content": [], "usage": MESSAGES_REPORT}
RAN = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"}
DREW = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="}
QUERIES = {"groundingMetadata": {"webSearchQueries": ["a", "b"]}, "content": {"parts": [{"text": "x"}]}}


def response_of(*items: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": "resp_1", "output": list(items), "usage": RESPONSES_REPORT}


# What is asked of which provider, what it answers; the units beside the tokens, what they cost, what is held.
CASES: Mapping[str, tuple[str, str, dict[str, Any], dict[str, Any], dict[str, int], int, int]] = {
    "code at Anthropic": (
        MESSAGES, "anthropic", MESSAGES_ASK | {"tools": [CODE]}, IN_A_CONTAINER,
        {"containers": 1}, CONTAINER, CONTAINER,
    ),
    "code at Anthropic that did not run": (
        MESSAGES, "anthropic", MESSAGES_ASK | {"tools": [CODE]}, {"content": [], "usage": MESSAGES_REPORT},
        {}, 0, CONTAINER,
    ),
    "code at OpenAI": (
        RESPONSES, "openai",
        RESPONSES_ASK | {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        response_of(RAN, RAN), {"containers": 1}, CONTAINER, CONTAINER,
    ),
    "images at OpenAI": (
        RESPONSES, "openai", RESPONSES_ASK | {"tools": [{"type": "image_generation"}]},
        response_of(DREW), {"images": 1}, IMAGE, 4 * IMAGE,
    ),
    "searches at Google": (
        GEMINI, "gemini", GEMINI_ASK | {"tools": [{"google_search": {}}]},
        {"candidates": [QUERIES], "usageMetadata": GEMINI_REPORT},
        {"web_searches": 2}, 2 * SEARCH, 20 * SEARCH,
    ),
    "searches at OpenRouter": (
        CHAT, "openrouter",
        CHAT_ASK | {"tools": [{"type": "openrouter:web_search", "parameters": {"max_uses": 3}}]},
        {"choices": [], "usage": CHAT_REPORT | {"server_tool_use_details": {"web_search_requests": 2}}},
        {"web_searches": 2}, 2 * SEARCH, 3 * SEARCH,
    ),
}  # fmt: skip


async def sell(world: World, provider: str, prices: Mapping[str, int]) -> None:
    named = {
        name: Nanocredits(price * NANO_PER_CREDIT) for name, price in prices.items() if name != "per_call"
    }
    if "per_call" in prices:
        named["per_call"] = Nanocredits(prices["per_call"])
    await world.put_model({"prices": named})
    await world.change_upstream({"provider": provider})


@pytest.mark.parametrize("case", list(CASES))
async def test_tools_are_charged_and_held_beside_their_tokens(world: World, case: str) -> None:
    path, provider, asked, reply, units, due, held = CASES[case]
    await sell(world, provider, PRICES)
    world.upstream.will(Script(body=[msgspec.json.encode(reply)]))
    assert (await world.call(asked, path=path)).status == 200
    assert await usage_of(world) == REPORTED | units
    assert await world.charges() == [TOKENS + due]
    assert (await world.only_call())["hold"] == HELD + held


@pytest.mark.parametrize("case", list(CASES))
async def test_a_tool_without_a_price_is_refused_and_the_price_is_named(world: World, case: str) -> None:
    path, provider, asked, _, units, _, _ = CASES[case]
    await sell(world, provider, {"input": 1, "output": 2})
    caller = await world.call(asked, path=path)
    name = next(iter(units), "containers")
    assert caller.status == 400
    assert f"has no price here for {name.replace('_', ' ')}".encode() in caller.body
    assert f"An administrator can name one: {name}.".encode() in caller.body
    assert world.upstream.requests == []


async def test_a_container_that_web_tools_run_their_own_code_in_is_free(world: World) -> None:
    await sell(world, "anthropic", PRICES)
    fetch = {"type": "web_fetch_20260209", "name": "web_fetch"}
    for tools in ([fetch], [fetch, CODE]):
        world.upstream.will(Script(body=[msgspec.json.encode(IN_A_CONTAINER)]))
        assert (await world.call(MESSAGES_ASK | {"tools": tools}, path=MESSAGES)).status == 200
    assert await world.charges() == [TOKENS, TOKENS]


@pytest.mark.parametrize(
    ("path", "provider", "asked", "reply"),
    [
        (
            MESSAGES,
            "anthropic",
            MESSAGES_ASK | {"mcp_servers": [{"type": "url", "url": "https://example.com/mcp", "name": "x"}]},
            {"content": [{"type": "mcp_tool_use"}], "usage": MESSAGES_REPORT},
        ),
        (
            RESPONSES,
            "openai",
            RESPONSES_ASK
            | {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://example.com"}]},
            response_of({"type": "mcp_list_tools", "id": "mcpl_1"}, {"type": "mcp_call", "id": "mcp_1"}),
        ),
    ],
)
async def test_servers_that_the_request_names_cost_their_tokens_only(
    world: World, path: str, provider: str, asked: dict[str, Any], reply: dict[str, Any]
) -> None:
    await sell(world, provider, {"input": 1, "output": 2})
    world.upstream.will(Script(body=[msgspec.json.encode(reply)]))
    assert (await world.call(asked, path=path)).status == 200
    assert await usage_of(world) == REPORTED
    assert await world.charges() == [TOKENS]
    assert (await world.only_call())["hold"] == HELD
    sent = world.upstream.requests[0].body
    assert isinstance(sent, bytes)
    assert msgspec.json.decode(sent) == asked | {"model": f"{MODEL}-there"}


async def test_a_search_in_each_call_is_charged_by_the_call(world: World) -> None:
    asked = CHAT_ASK | {"web_search_options": {"search_context_size": "low"}}
    await sell(world, "openai", {"input": 1, "output": 2})
    assert b"An administrator can name one: per_call." in (await world.call(asked)).body
    await sell(world, "openai", {"input": 1, "output": 2, "per_call": PER_CALL})
    world.upstream.will(Script(body=[msgspec.json.encode({"choices": [], "usage": CHAT_REPORT})]))
    assert (await world.call(asked)).status == 200
    assert await world.charges() == [TOKENS + PER_CALL]
    assert (await world.only_call())["hold"] == HELD + PER_CALL


async def test_a_stream_of_google_is_charged_its_searches(world: World) -> None:
    await sell(world, "gemini", PRICES)
    last = {"candidates": [{"finishReason": "STOP", "groundingMetadata": {"webSearchQueries": ["b", "c"]}}]}
    events = [event({"candidates": [QUERIES]}), event(last | {"usageMetadata": GEMINI_REPORT})]
    world.upstream.will(Script(headers=EVENT_STREAM, body=events))
    asked = GEMINI_ASK | {"tools": [{"googleSearch": {}}]}
    caller = world.caller(asked, path=f"/v1beta/models/{MODEL}:streamGenerateContent")
    caller.scope["query_string"] = b"alt=sse"
    await world.ended(world.start(caller))
    assert caller.body == b"".join(events)
    assert await usage_of(world) == REPORTED | {"web_searches": 3}
    assert await world.charges() == [TOKENS + 3 * SEARCH]


async def test_a_later_call_may_run_in_the_container_of_an_earlier_one_and_nobody_elses(world: World) -> None:
    await sell(world, "anthropic", PRICES)
    again = MESSAGES_ASK | {"tools": [CODE], "container": "container_1"}
    assert (await world.call(again, path=MESSAGES)).status == 404
    for asked in (MESSAGES_ASK | {"tools": [CODE]}, again):
        world.upstream.will(Script(body=[msgspec.json.encode(IN_A_CONTAINER)]))
        assert (await world.call(asked, path=MESSAGES)).status == 200
    assert await world.charges() == [TOKENS + CONTAINER, TOKENS + CONTAINER]


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [CODE]},
        {"tools": [{"type": "web_fetch_20260209", "name": "web_fetch"}]},
        {"mcp_servers": [{"type": "url", "url": "https://example.com/mcp", "name": "x"}]},
        {"container": {"skills": [{"type": "anthropic", "skill_id": "pptx"}]}},
    ],
)
async def test_what_anthropic_runs_is_not_carried_to_another_api(world: World, asked: dict[str, Any]) -> None:
    await sell(world, "openai", PRICES)
    assert (await world.call(MESSAGES_ASK | asked, path=MESSAGES)).status == 400
    assert world.upstream.requests == []


@pytest.mark.parametrize(
    "asked", [{"tools": [{"type": "openrouter:web_search"}]}, {"web_search_options": {}}]
)
async def test_what_runs_in_chat_is_not_carried_to_another_api(world: World, asked: dict[str, Any]) -> None:
    await sell(world, "anthropic", PRICES | {"per_call": PER_CALL})
    assert (await world.call(CHAT_ASK | asked)).status == 400
    assert world.upstream.requests == []
