"""The official anthropic SDK against the real process: what applications use, and what its users catch."""

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.e2e.running import Platform

# The SDK types every field of a request; what these tests send is data.
MESSAGES: Any = [{"role": "user", "content": "one two three"}]
TOOL: Any = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
MODEL = "claude-small"


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    platform.add_model(
        MODEL, prices={"input": "1", "cached_input": "0.1", "cache_write": "1.25", "output": "5"}
    )
    # As Anthropic's SDK takes a base URL: without /v1.
    platform.add_upstream(
        [MODEL],
        name="simulated-anthropic",
        provider="anthropic",
        base_url=platform.simulator.base_url.removesuffix("/v1"),
    )
    user = platform.add_user("anthropic@example.com", credit="10")
    platform.add_group("anthropic")
    return platform.add_key(user, "anthropic")


@pytest.fixture
def client(platform: Platform, key: str) -> Iterator[Any]:
    with Anthropic(api_key=key, base_url=platform.server.url, max_retries=0) as client:
        yield client


def error_of(error: anthropic.APIStatusError) -> Any:
    """Return the error object of a refusal's body."""
    assert isinstance(error.body, dict)
    return error.body["error"]


def receipt_of(platform: Platform, key: str, call_id: str) -> Any:
    """Return a call's receipt, once the call has ended."""
    deadline = time.monotonic() + 10
    with platform.caller(key) as caller:
        while True:
            receipt = caller.get(f"/receipts/{call_id}")
            assert receipt.status_code == 200, receipt.text
            if receipt.json()["end_reason"] is not None or time.monotonic() > deadline:
                return receipt.json()
            time.sleep(0.05)


def test_a_message_and_its_charge(platform: Platform, client: Any) -> None:
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=4, messages=MESSAGES)
    message = raw.parse()
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 4)
    assert message.content[0].text
    # 3 at 1 and 4 at 5 credits per million.
    assert raw.headers["x-tokenopen-charge"] == "0.000023"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert message._request_id == raw.headers["request-id"]
    sent = platform.simulator.received()[-1]
    assert sent.header("x-api-key") == "sim-key"
    assert sent.header("authorization") is None
    assert sent.header("anthropic-version") == client.default_headers["anthropic-version"]


def test_the_version_is_added_where_a_caller_says_none(platform: Platform, key: str) -> None:
    asked = {"model": MODEL, "max_tokens": 1, "messages": MESSAGES}
    with platform.caller(key) as caller:
        assert caller.post("/messages", json=asked).status_code == 200
        assert platform.simulator.received()[-1].header("anthropic-version") == "2023-06-01"
        odd = caller.post("/messages", json=asked, headers={"anthropic-version": "newest"})
    assert odd.json()["error"]["type"] == "invalid_request_error"


def test_cached_tokens_are_charged_at_their_own_prices(client: Any) -> None:
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
        "output_tokens": 2,
    }
    raw = client.messages.with_raw_response.create(
        model=MODEL, max_tokens=4, messages=MESSAGES, extra_body={"simulate": {"usage": usage}}
    )
    # (10 x 1 + 100 x 1.25 + 1000 x 0.1 + 2 x 5) per million
    assert raw.headers["x-tokenopen-charge"] == "0.000245"


def test_a_stream_with_events_text_and_final_message(platform: Platform, key: str, client: Any) -> None:
    with client.messages.stream(model=MODEL, max_tokens=6, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
        call_id = stream.response.headers["request-id"]
    assert final.content[0].text == text
    assert (final.usage.input_tokens, final.usage.output_tokens) == (3, 6)
    receipt = receipt_of(platform, key, call_id)
    assert (receipt["end_reason"], receipt["usage"]) == ("completed", {"input": 3, "output": 6})
    assert receipt["charge"] == "0.000033"


def test_tools_whole_and_streamed(platform: Platform, client: Any) -> None:
    asked: Any = {
        "model": MODEL,
        "max_tokens": 20,
        "messages": MESSAGES,
        "tools": [TOOL],
        "tool_choice": {"type": "tool", "name": "weather"},
    }
    message = client.messages.create(**asked)
    assert message.stop_reason == "tool_use"
    (block,) = message.content
    assert (block.name, block.input) == ("weather", {"city": "alpha"})
    assert platform.simulator.received()[-1].json["tools"] == [TOOL]
    with client.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert final.content[0].input == {"city": "alpha"}
    followed = client.messages.create(
        model=MODEL,
        max_tokens=2,
        tools=[TOOL],
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": [block.model_dump()]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}],
            },
        ],
    )
    assert followed.stop_reason == "max_tokens"


async def test_the_async_client_in_both_ways(platform: Platform, key: str) -> None:
    client: Any
    async with AsyncAnthropic(api_key=key, base_url=platform.server.url, max_retries=0) as client:
        message = await client.messages.create(model=MODEL, max_tokens=4, messages=MESSAGES)
        assert message.stop_reason == "max_tokens"
        async with client.messages.stream(model=MODEL, max_tokens=4, messages=MESSAGES) as stream:
            texts = [text async for text in stream.text_stream]
        assert len(texts) == 4


def test_a_key_may_come_as_a_bearer_too_and_another_services_key_beside_it(
    platform: Platform, key: str
) -> None:
    client: Any
    with Anthropic(auth_token=key, base_url=platform.server.url) as client:
        assert client.messages.create(model=MODEL, max_tokens=1, messages=MESSAGES).content
        client = client.with_options(default_headers={"x-api-key": "sk-ant-another"})
        assert client.messages.create(model=MODEL, max_tokens=1, messages=MESSAGES).content


def test_counting_tokens_is_free_but_counts_as_a_request(platform: Platform, client: Any) -> None:
    user = platform.add_user("counting@example.com", credit=None)
    platform.add_group("two-a-day", requests_per_day=2)
    key = platform.add_key(user, "two-a-day")
    counting = client.with_options(api_key=key)
    raw = counting.messages.with_raw_response.count_tokens(model=MODEL, messages=MESSAGES)
    assert raw.parse().input_tokens == 3
    assert raw.headers["x-tokenopen-charge"] == "0"
    assert raw.headers["x-ratelimit-remaining-requests-day"] == "1"
    receipt = receipt_of(platform, key, raw.headers["request-id"])
    assert (receipt["end_reason"], receipt["charge"]) == ("completed", "0")
    counting.messages.count_tokens(model=MODEL, messages=MESSAGES)
    with pytest.raises(anthropic.RateLimitError) as limited:
        counting.messages.count_tokens(model=MODEL, messages=MESSAGES)
    assert error_of(limited.value)["code"] == "tpd_exceeded"
    with pytest.raises(anthropic.BadRequestError, match=r"/v1/chat/completions"):
        client.messages.count_tokens(model="small", messages=MESSAGES)


def test_models_are_listed_and_found_in_anthropics_shape(client: Any) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert MODEL in listed
    assert client.models.retrieve(MODEL).type == "model"


def test_each_error_class_is_raised_for_what_it_stands_for(platform: Platform, client: Any) -> None:
    def call(client: Any, model: str = MODEL, **more: object) -> None:
        client.messages.create(**{"model": model, "messages": MESSAGES, "max_tokens": 4, **more})

    def error_of(raised: Any) -> tuple[str, str]:
        body = raised.value.body
        assert body["type"] == "error"
        assert body["request_id"] == raised.value.response.headers["request-id"]
        return body["error"]["type"], body["error"]["code"]

    with pytest.raises(anthropic.AuthenticationError) as unknown_key:
        call(client.with_options(api_key="sk-to-nothing"))
    assert error_of(unknown_key) == ("authentication_error", "invalid_api_key")
    with pytest.raises(anthropic.NotFoundError) as unknown_model:
        call(client, "nothing")
    assert error_of(unknown_model) == ("not_found_error", "model_not_found")
    with pytest.raises(anthropic.NotFoundError) as unknown_path:
        client.post("/v1/messages/nowhere", cast_to=object, body={})
    assert error_of(unknown_path) == ("not_found_error", "not_found")
    with pytest.raises(anthropic.BadRequestError) as bad:
        call(client, max_tokens=-1)
    assert error_of(bad) == ("invalid_request_error", "invalid_request")
    with pytest.raises(anthropic.BadRequestError, match="cannot be called by POST /v1/messages/count_tokens"):
        client.messages.count_tokens(model="small", messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(anthropic.BadRequestError, match="fast-mode"):
        call(client, extra_headers={"anthropic-beta": "fast-mode-2026-02-01"})
    with pytest.raises(anthropic.BadRequestError, match="context window"):
        call(client, extra_headers={"anthropic-beta": "context-1m-2025-08-07"})
    document = {"type": "document", "source": {"type": "file", "file_id": "file_of_somebody"}}
    with pytest.raises(anthropic.NotFoundError) as file:
        call(client, messages=[{"role": "user", "content": [document]}])
    assert error_of(file) == ("not_found_error", "not_found")
    narrow = platform.add_user("narrow-anthropic@example.com", credit=None)
    platform.add_group("narrow-anthropic", allowed_models=[MODEL], requests_per_minute=0)
    narrowed = client.with_options(api_key=platform.add_key(narrow, "narrow-anthropic"))
    with pytest.raises(anthropic.PermissionDeniedError) as denied:
        call(narrowed, "large")
    assert error_of(denied) == ("permission_error", "model_not_allowed")
    with pytest.raises(anthropic.RateLimitError) as limited:
        call(narrowed)
    assert error_of(limited) == ("rate_limit_error", "rpm_exceeded")
    assert int(limited.value.response.headers["retry-after"]) >= 1
    platform.ask("PATCH", "/api/admin/groups/narrow-anthropic", {"requests_per_minute": None})
    with pytest.raises(anthropic.APIStatusError) as poor:
        call(narrowed)
    assert poor.value.status_code == 402
    assert error_of(poor) == ("billing_error", "insufficient_credit")
    assert poor.value.response.headers["x-should-retry"] == "false"


def test_a_body_that_is_too_large_is_refused_in_anthropics_shape(platform: Platform, key: str) -> None:
    with platform.caller(key) as caller:
        reply = caller.post("/messages", content=b" " * (32 * 1024 * 1024 + 1))
    assert reply.status_code == 413
    assert reply.json()["error"]["type"] == "request_too_large"


@pytest.mark.parametrize(
    ("status", "raised", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.InternalServerError, "api_error"),
        (429, anthropic.APIStatusError, "overloaded_error"),
        (529, anthropic.InternalServerError, "api_error"),
    ],
)
def test_the_providers_errors_are_the_callers_or_the_operators(
    client: Any, status: int, raised: type[anthropic.APIStatusError], kind: str
) -> None:
    with pytest.raises(raised) as error:
        client.messages.create(
            model=MODEL, messages=MESSAGES, max_tokens=4, extra_body={"simulate": {"status": status}}
        )
    assert error_of(error.value)["type"] == kind
    assert error.value.status_code == (400 if status == 400 else 503 if status == 429 else 502)


def test_betas_and_the_version_pass_by_an_allow_list(platform: Platform, client: Any) -> None:
    client.messages.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=1,
        extra_headers={
            "anthropic-beta": "interleaved-thinking-2025-05-14, prompt-caching-2024-07-31",
            "anthropic-dangerous-direct-browser-access": "true",
            "x-other": "no",
        },
    )
    sent = platform.simulator.received()[-1]
    assert sent.header("anthropic-beta") == "interleaved-thinking-2025-05-14,prompt-caching-2024-07-31"
    assert sent.header("x-other") is None
    assert sent.header("anthropic-dangerous-direct-browser-access") is None
    assert json.loads(sent.body or "") == {"model": MODEL, "messages": MESSAGES, "max_tokens": 1}


def test_a_stream_that_breaks_off_raises_and_is_charged_for_what_came(
    platform: Platform, key: str, client: Any
) -> None:
    stream = client.messages.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=50,
        stream=True,
        extra_body={"simulate": {"cut_after_events": 8}},
    )
    call_id = stream.response.headers["request-id"]
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        list(stream)
    receipt = receipt_of(platform, key, call_id)
    assert (receipt["end_reason"], receipt["usage_source"]) == ("upstream_broke_off", "estimated")
    # Of eight events three come before the text; the input is what the provider has reported.
    assert receipt["usage"] == {"input": 3, "output": 5}


def test_a_caller_who_gives_up_is_charged_for_the_whole_stream_or_nothing_before_it(
    platform: Platform, key: str, client: Any
) -> None:
    stream = client.messages.create(
        model=MODEL,
        messages=MESSAGES,
        max_tokens=20,
        stream=True,
        extra_body={"simulate": {"chunk_delay_ms": 20}},
    )
    call_id = stream.response.headers["request-id"]
    next(iter(stream))
    stream.close()
    receipt = receipt_of(platform, key, call_id)
    assert (receipt["end_reason"], receipt["usage"]) == ("client_left", {"input": 3, "output": 20})
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=0.3).messages.create(
            model=MODEL, messages=MESSAGES, max_tokens=4, extra_body={"simulate": {"silent": True}}
        )


def test_nothing_is_left_held_and_the_books_are_right(platform: Platform, key: str) -> None:
    with platform.caller(key) as caller:
        deadline = time.monotonic() + 10
        while caller.get("/credits").json()["held"] != "0":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    platform.audit()
