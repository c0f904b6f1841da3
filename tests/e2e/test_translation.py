"""Callers of one vendor's SDK and providers of the other's API, through the real process: the anthropic SDK
against a provider that speaks OpenAI's shape, the openai SDK against one that speaks Anthropic's alone."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.e2e.running import Platform

CLAUDE = "claude-small"
GPT = "gpt-small"
PRICES = {"input": "1", "output": "5"}
# One pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
}
MESSAGES_TOOL: Any = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    for model, provider in ((CLAUDE, "anthropic"), (GPT, "openai")):
        platform.add_model(model, prices=PRICES, max_output_tokens=2_000)
        base_url = platform.simulator.base_url
        platform.add_upstream([model], name=provider, provider=provider, base_url=base_url)
    platform.add_group("translated")
    return platform.add_key(platform.add_user("translated@example.com", credit="10"), "translated")


@pytest.fixture
def chat(platform: Platform, key: str) -> Iterator[Any]:
    with OpenAI(api_key=key, base_url=f"{platform.server.url}/v1", max_retries=0) as client:
        yield client.chat.completions


@pytest.fixture
def messages(platform: Platform, key: str) -> Iterator[Any]:
    with Anthropic(api_key=key, base_url=platform.server.url, max_retries=0) as client:
        yield client.messages


def receipt_of(platform: Platform, key: str, call_id: str) -> Any:
    with platform.caller(key) as caller:
        return caller.get(f"/receipts/{call_id}").json()


def sent(platform: Platform) -> Any:
    """Return the body that the provider was sent last."""
    body = platform.simulator.received()[-1].body
    assert body is not None
    return json.loads(body)


def test_the_openai_sdk_gets_a_claude_model(platform: Platform, key: str, chat: Any) -> None:
    raw = chat.with_raw_response.create(
        model=CLAUDE,
        max_completion_tokens=4,
        temperature=0.5,
        stop="END",
        user="ada",
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "one two three"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
        ],
    )
    reply = raw.parse()
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 4
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 4
    assert raw.headers["x-tokenopen-translated-to"] == "messages"
    request = platform.simulator.received()[-1]
    assert request.path == "/v1/messages"
    assert request.header("x-api-key") == "sim-key"
    assert request.header("anthropic-version") == "2023-06-01"
    assert sent(platform) == {
        "model": CLAUDE,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "one two three"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                    },
                ],
            }
        ],
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "ada"},
        "max_tokens": 4,
    }
    receipt = receipt_of(platform, key, raw.headers["x-request-id"])
    assert receipt["usage"] == {"input": reply.usage.prompt_tokens, "output": 4}
    assert (receipt["surface"], receipt["translated_to"]) == ("chat", "messages")
    assert receipt["charge"] == raw.headers["x-tokenopen-charge"]


def test_the_openai_sdk_streams_a_claude_model(chat: Any) -> None:
    stream = chat.create(
        model=CLAUDE,
        messages=[{"role": "user", "content": "one two three"}],
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=6,
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"
    last = chunks[-1]
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 6)
    # 3 at 1 and 6 at 5 credits per million.
    assert last.usage.model_extra["cost"] == "0.000033"


def test_the_openai_sdk_has_a_claude_model_call_tools(platform: Platform, chat: Any) -> None:
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    whole = chat.create(
        model=CLAUDE, max_tokens=20, messages=asked, tools=[CHAT_TOOL], tool_choice="required"
    )
    call = whole.choices[0].message.tool_calls[0]
    assert (whole.choices[0].finish_reason, call.type, call.function.name) == (
        "tool_calls",
        "function",
        "weather",
    )
    assert "city" in json.loads(call.function.arguments)
    assert sent(platform)["tool_choice"] == {"type": "any"}
    with chat.stream(
        model=CLAUDE,
        max_tokens=20,
        messages=asked,
        tools=[CHAT_TOOL],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion().choices[0]
    assert sent(platform)["tool_choice"] == {
        "type": "tool",
        "name": "weather",
        "disable_parallel_tool_use": True,
    }
    assert json.loads(final.message.tool_calls[0].function.arguments) == json.loads(call.function.arguments)
    # What came back goes back, as the SDK writes it.
    asked += [
        whole.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Sun."},
        {"role": "user", "content": "And tomorrow?"},
    ]
    chat.create(model=CLAUDE, max_tokens=20, messages=asked, tools=[CHAT_TOOL])
    assert sent(platform)["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {
                    "type": "tool_use",
                    "id": call.id,
                    "name": "weather",
                    "input": json.loads(call.function.arguments),
                }
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": "Sun."},
                {"type": "text", "text": "And tomorrow?"},
            ],
        },
    ]


def test_a_caller_who_names_no_maximum_gets_the_models_own(platform: Platform, chat: Any) -> None:
    chat.create(model=CLAUDE, messages=[{"role": "user", "content": "x"}])
    assert sent(platform)["max_tokens"] == 2_000


def test_the_openai_sdk_is_told_what_cannot_be_carried(platform: Platform, chat: Any) -> None:
    before = len(platform.simulator.received())
    with pytest.raises(openai.BadRequestError) as refused:
        chat.create(model=CLAUDE, messages=[{"role": "user", "content": "x"}], seed=1)
    assert isinstance(refused.value.body, dict)
    assert (refused.value.body["code"], refused.value.body["param"]) == ("invalid_request", "seed")
    assert len(platform.simulator.received()) == before


def test_the_anthropic_sdk_gets_a_gpt_model(platform: Platform, key: str, messages: Any) -> None:
    raw = messages.with_raw_response.create(
        model=GPT,
        max_tokens=4,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        # The SDK has no argument for it any more.
        extra_body={"temperature": 0},
        stop_sequences=["END"],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "one two three"},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                ],
            }
        ],
    )
    reply = raw.parse()
    assert reply.content[0].text
    assert reply.stop_reason == "max_tokens"
    assert raw.headers["x-tokenopen-translated-to"] == "chat"
    assert raw.headers["x-tokenopen-left-out"] == "cache_control"
    request = platform.simulator.received()[-1]
    assert request.path == "/v1/chat/completions"
    assert request.header("authorization") == "Bearer sim-key"
    assert request.header("anthropic-version") is None
    assert sent(platform) == {
        "model": GPT,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "one two three"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            },
        ],
        "temperature": 0,
        "stop": ["END"],
        "max_completion_tokens": 4,
    }
    receipt = receipt_of(platform, key, raw.headers["request-id"])
    assert receipt["usage"] == {"input": reply.usage.input_tokens, "output": reply.usage.output_tokens}
    assert (receipt["surface"], receipt["translated_to"]) == ("messages", "chat")


def test_the_anthropic_sdk_streams_a_gpt_model(messages: Any) -> None:
    with messages.stream(
        model=GPT, max_tokens=6, messages=[{"role": "user", "content": "one two three"}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.content[0].text == text != ""
    assert final.stop_reason == "max_tokens"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (3, 6)


def test_the_anthropic_sdk_has_a_gpt_model_call_tools(platform: Platform, messages: Any) -> None:
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    choice: Any = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    whole = messages.create(
        model=GPT, max_tokens=20, messages=asked, tools=[MESSAGES_TOOL], tool_choice=choice
    )
    assert (whole.stop_reason, whole.content[0].type, whole.content[0].name) == (
        "tool_use",
        "tool_use",
        "weather",
    )
    assert "city" in whole.content[0].input
    assert sent(platform)["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent(platform)["parallel_tool_calls"] is False
    with messages.stream(
        model=GPT, max_tokens=20, messages=asked, tools=[MESSAGES_TOOL], tool_choice={"type": "any"}
    ) as stream:
        final = stream.get_final_message()
    assert final.content[0].input == whole.content[0].input
    asked += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in whole.content]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": whole.content[0].id, "content": "Sun."},
                {"type": "text", "text": "And tomorrow?"},
            ],
        },
    ]
    messages.create(model=GPT, max_tokens=20, messages=asked, tools=[MESSAGES_TOOL])
    call, result, question = sent(platform)["messages"][1:]
    assert call["tool_calls"][0]["id"] == whole.content[0].id
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == whole.content[0].input
    assert result == {"role": "tool", "tool_call_id": whole.content[0].id, "content": "Sun."}
    assert question == {"role": "user", "content": "And tomorrow?"}


def test_the_anthropic_sdk_is_told_what_cannot_be_carried(messages: Any) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        messages.create(
            model=GPT, max_tokens=4, messages=[{"role": "user", "content": "x"}], extra_body={"top_k": 5}
        )
    assert isinstance(refused.value.body, dict)
    error = refused.value.body["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "invalid_request",
        "top_k",
    )


def test_the_books_are_right(platform: Platform) -> None:
    platform.audit()
