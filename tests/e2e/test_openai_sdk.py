"""The official openai SDK against the real process: what applications use, and what its users catch."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.running import Platform

# The SDK types every field of a request; what these tests send is data.
MESSAGES: Any = [{"role": "user", "content": "one two three"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    user = platform.add_user("sdk@example.com", credit="10")
    platform.add_group("sdk")
    return platform.add_key(user, "sdk")


@pytest.fixture
def client(platform: Platform, key: str) -> Iterator[Any]:
    with OpenAI(api_key=key, base_url=f"{platform.server.url}/v1", max_retries=0) as client:
        yield client


def test_a_chat_completion_and_its_charge(client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(model="small", messages=MESSAGES, max_tokens=4)
    completion = raw.parse()
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 4)
    assert completion.choices[0].message.content
    assert raw.headers["x-tokenopen-charge"] == "0.00000285"
    assert raw.headers["x-request-id"].startswith("call_")


def test_a_stream_ends_with_usage_and_cost_only_where_usage_was_asked_for(client: Any) -> None:
    asked = list(
        client.chat.completions.create(
            model="small",
            messages=MESSAGES,
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert asked[-1].choices == []
    assert asked[-1].usage is not None
    assert asked[-1].usage.completion_tokens == 4
    assert asked[-1].usage.model_dump()["cost"] == "0.00000285"
    plain = list(client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=4, stream=True))
    assert all(chunk.usage is None for chunk in plain)
    assert all(chunk.choices for chunk in plain)
    text = [
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) for chunks in (asked, plain)
    ]
    assert text[0] == text[1] != ""


async def test_the_async_client_in_both_ways(platform: Platform, key: str) -> None:
    client: Any
    async with AsyncOpenAI(api_key=key, base_url=f"{platform.server.url}/v1", max_retries=0) as client:
        completion = await client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=4)
        assert completion.choices[0].finish_reason == "length"
        stream = await client.chat.completions.create(
            model="small", messages=MESSAGES, max_tokens=4, stream=True
        )
        assert len([chunk async for chunk in stream]) > 2


def test_tools_logprobs_images_and_unknown_fields_survive(platform: Platform, client: Any) -> None:
    content = [
        {"type": "text", "text": "what is it"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}},
    ]
    completion = client.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": content}],
        tools=[TOOL],
        tool_choice="required",
        logprobs=True,
        top_logprobs=2,
        seed=7,
        extra_body={"something_new": {"kept": [1, 2.50, "ü"]}},
    )
    call = completion.choices[0].message.tool_calls
    assert call
    assert call[0].function.name == "weather"
    sent = platform.simulator.received()[-1].json
    assert sent["something_new"] == {"kept": [1, 2.50, "ü"]}
    assert sent["tools"] == [TOOL]
    assert sent["messages"][0]["content"] == content
    assert (sent["seed"], sent["top_logprobs"]) == (7, 2)


def test_what_the_provider_is_sent_is_what_came_byte_for_byte(platform: Platform, key: str) -> None:
    body = '{"model": "small",\n\t"messages":[{"role":"user","content":"\\u00fc <>&"}] , "max_tokens":2}'
    with platform.caller(key) as caller:
        assert caller.post("/chat/completions", content=body).status_code == 200
    received = platform.simulator.received()[-1]
    assert received.body is not None
    assert json.loads(received.body) == json.loads(body)
    assert '"content":"\\u00fc <>&"' in received.body
    assert received.header("authorization") == "Bearer sim-key"
    assert received.header("accept-encoding") == "identity"


def test_embeddings(client: Any) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input=["one two", "three"], dimensions=8
    )
    created = raw.parse()
    assert [len(item.embedding) for item in created.data] == [8, 8]
    assert created.usage.prompt_tokens == 3
    # 3 tokens at 0.02 credits per million are 60 nano-credits.
    assert raw.headers["x-tokenopen-charge"] == "0.00000006"


def test_models_are_listed_and_found(client: Any) -> None:
    names = [model.id for model in client.models.list()]
    assert "small" in names
    assert client.models.retrieve("small").owned_by == "test"


def test_each_error_class_is_raised_for_what_it_stands_for(platform: Platform, client: Any) -> None:
    def call(client: Any, model: str = "small", **more: object) -> None:
        client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=4, **more)

    with pytest.raises(openai.AuthenticationError) as unknown_key:
        call(client.with_options(api_key="sk-to-nothing"))
    assert unknown_key.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as unknown_model:
        call(client, "nothing")
    assert unknown_model.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        call(client, n=0)
    assert (bad.value.code, bad.value.param) == ("invalid_request", "n")
    narrow = platform.add_user("narrow@example.com", credit=None)
    platform.add_group("narrow", allowed_models=["small"], requests_per_minute=0)
    narrowed = client.with_options(api_key=platform.add_key(narrow, "narrow"))
    with pytest.raises(openai.PermissionDeniedError) as denied:
        call(narrowed, "large")
    assert denied.value.code == "model_not_allowed"
    with pytest.raises(openai.RateLimitError) as limited:
        call(narrowed)
    assert limited.value.code == "rpm_exceeded"
    platform.ask("PATCH", "/api/admin/groups/narrow", {"requests_per_minute": None})
    with pytest.raises(openai.APIStatusError) as poor:
        call(narrowed)
    assert (poor.value.status_code, poor.value.code) == (402, "insufficient_credit")


@pytest.mark.parametrize(
    ("status", "raised", "code"),
    [
        (400, openai.BadRequestError, "simulated_error"),
        (401, openai.InternalServerError, "upstream_error"),
        (404, openai.InternalServerError, "upstream_error"),
        (429, openai.InternalServerError, "no_upstream_available"),
        (500, openai.InternalServerError, "upstream_error"),
    ],
)
def test_the_providers_errors_are_the_callers_or_the_operators(
    client: Any, status: int, raised: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(raised) as error:
        client.chat.completions.create(
            model="small", messages=MESSAGES, extra_body={"simulate": {"status": status}}
        )
    if status == 400:
        assert error.value.status_code == 400
    else:
        assert error.value.code == code
        assert error.value.status_code in (502, 503)


def test_the_sdk_does_not_retry_what_waiting_does_not_help(platform: Platform) -> None:
    user = platform.add_user("retry@example.com", credit="1")
    platform.add_group("one-a-day", requests_per_day=1)
    key = platform.add_key(user, "one-a-day")
    client: Any
    with OpenAI(api_key=key, base_url=f"{platform.server.url}/v1", max_retries=5) as client:
        client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=1)
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="small", messages=MESSAGES, max_tokens=1)
    assert limited.value.code == "tpd_exceeded"
    assert limited.value.response.headers["x-should-retry"] == "false"


def test_a_stream_that_breaks_off_raises_and_is_charged_for_what_came(platform: Platform, key: str) -> None:
    client: Any
    with OpenAI(api_key=key, base_url=f"{platform.server.url}/v1", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="small",
            messages=[{"role": "user", "content": "x" * 60}],
            max_tokens=50,
            stream=True,
            extra_body={"simulate": {"cut_after_events": 6}},
        )
        call_id = stream.response.headers["x-request-id"]
        with pytest.raises(openai.APIError):
            list(stream)
    with platform.caller(key) as caller:
        receipt = caller.get(f"/receipts/{call_id}").json()
    assert (receipt["end_reason"], receipt["usage_source"]) == ("upstream_broke_off", "estimated")
    # Of six events the first only names the role; 60 bytes of text are at least 10 tokens.
    assert receipt["usage"] == {"input": 10, "output": 5}
