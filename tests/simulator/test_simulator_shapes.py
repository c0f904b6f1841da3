"""The official SDKs accept every reply of the real process, and read the right numbers in it."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tokenopen.simulator.process import SimulatorProcess
from tokenopen.simulator.words import text_of

pytestmark = pytest.mark.slow

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["C", "F"]},
                "days": {"type": "integer"},
            },
            "required": ["city", "unit"],
        },
    },
}
HELLO: Any = [{"role": "user", "content": "hello big wide world"}]


# The SDKs' types are unions too wide to be read from without a cast each; what is asserted is the values.
@pytest.fixture
def client(simulator: SimulatorProcess) -> Iterator[Any]:
    with openai.OpenAI(base_url=simulator.base_url, api_key="sk-simulated", max_retries=0) as made:
        yield made


def test_a_chat_completion_has_the_shape_and_numbers_of_openais(client: Any) -> None:
    reply = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, max_completion_tokens=7, n=2)
    assert reply.id.startswith("chatcmpl-")
    assert (reply.object, reply.model, reply.system_fingerprint) == (
        "chat.completion",
        "gpt-4o-mini",
        "fp_simulated",
    )
    assert [choice.message.content for choice in reply.choices] == [text_of(7).decode()] * 2
    assert {choice.finish_reason for choice in reply.choices} == {"length"}
    assert reply.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 4,
        "completion_tokens": 14,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def test_texts_in_parts_count_and_images_do_not(client: Any) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o",
        messages=[
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
        ],
    )
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (5, 32)
    assert reply.choices[0].finish_reason == "stop"


def test_a_stream_adds_up_to_the_text_and_ends_with_usage(client: Any) -> None:
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o",
            messages=HELLO,
            max_tokens=200,
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    for index in (0, 1):
        text = "".join(
            c.choices[0].delta.content or "" for c in chunks if c.choices and c.choices[0].index == index
        )
        assert text == text_of(200).decode()
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 400)
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_required_tool_is_called_with_arguments_that_fit(client: Any) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, tools=[WEATHER], tool_choice="required"
    )
    choice = reply.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    call = choice.message.tool_calls[0].function
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "alpha", "unit": "C"})


def test_a_named_tool_is_called_in_a_stream(client: Any) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    with client.chat.completions.stream(
        model="gpt-4o", messages=HELLO, tools=[WEATHER], tool_choice=named
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "alpha", "unit": "C"}


def test_tools_on_offer_alone_are_not_called(client: Any) -> None:
    reply = client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=[WEATHER])
    assert reply.choices[0].message.tool_calls is None


def test_log_probabilities_come_for_every_word(client: Any) -> None:
    asked = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 3, "logprobs": True, "top_logprobs": 2}
    content = client.chat.completions.create(**asked).choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == text_of(3).decode()
    assert [len(entry.top_logprobs) for entry in content] == [2, 2, 2]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    streamed = [c.choices[0].logprobs.content for c in chunks if c.choices[0].logprobs]
    assert [entries[0].token for entries in streamed] == [entry.token for entry in content]


def test_a_completion_answers_each_prompt(client: Any) -> None:
    reply = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt=["one two", "three"], max_tokens=5, n=2
    )
    assert [choice.text for choice in reply.choices] == [text_of(5).decode()] * 4
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (3, 20)


def test_a_completion_streams(client: Any) -> None:
    chunks = list(
        client.completions.create(
            model="davinci-002", prompt="one two", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == text_of(32).decode()
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 34


def test_embeddings_are_the_same_as_numbers_and_as_base64(client: Any) -> None:
    # The SDK asks for base64 where no format is named, and decodes it.
    decoded = client.embeddings.create(model="text-embedding-3-small", input=["one two", "three"])
    numbers = client.embeddings.create(
        model="text-embedding-3-small", input=["one two", "three"], encoding_format="float"
    )
    assert [len(entry.embedding) for entry in decoded.data] == [1536, 1536]
    assert [entry.embedding for entry in decoded.data] == [entry.embedding for entry in numbers.data]
    assert decoded.data[0].embedding != decoded.data[1].embedding
    assert decoded.usage.prompt_tokens == decoded.usage.total_tokens == 3


def test_embeddings_have_as_many_dimensions_as_asked(client: Any) -> None:
    asked = client.embeddings.create(model="text-embedding-3-large", input=[1, 2, 3], dimensions=256)
    assert (len(asked.data), len(asked.data[0].embedding), asked.usage.prompt_tokens) == (1, 256, 3)
    assert len(client.embeddings.create(model="text-embedding-3-large", input="x").data[0].embedding) == 3072


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_each_error_class_of_the_sdk_is_raised(
    client: Any, status: int, error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as raised:
        client.chat.completions.create(
            model="gpt-4o", messages=[], extra_body={"messages": HELLO, "simulate": {"status": status}}
        )
    assert raised.value.request_id is not None
    assert str(status) in raised.value.message


def test_an_error_event_raises_in_the_sdk(client: Any) -> None:
    stream = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, extra_body={"simulate": {"error_event_after": 2}}
    )
    with pytest.raises(openai.APIError, match="server had an error"):
        list(stream)


@pytest.mark.parametrize("path", ["chat/completions", "embeddings", "models"])
def test_a_bad_key_is_refused_on_every_path(simulator: SimulatorProcess, path: str) -> None:
    with openai.OpenAI(base_url=simulator.base_url, api_key="sim-bad-key", max_retries=0) as client:
        call = client.get if path == "models" else client.post
        with pytest.raises(openai.AuthenticationError) as raised:
            call(f"/{path}", cast_to=object)
    assert raised.value.code == "invalid_api_key"


def test_models_are_listed_and_found(client: Any) -> None:
    names = [model.id for model in client.models.list()]
    assert {"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"} <= set(names)
    assert client.models.retrieve("gpt-4o").owned_by == "system"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-unheard-of")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"model":"m"}', b'{"model":1,"messages":[]}', b"\xff\xfe"]
)
def test_a_body_that_is_no_request_is_a_400(client: Any, body: bytes) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", cast_to=object, content=body)


def test_a_response_has_the_shape_of_openais(client: Any) -> None:
    reply = client.responses.create(model="gpt-5.4", input="one two three", instructions="be brief")
    assert (reply.status, reply.output_text) == ("completed", text_of(32).decode())
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 32)


def test_a_responses_input_is_counted(client: Any) -> None:
    counted = client.responses.input_tokens.count(
        model="gpt-5.4", input="one two three", instructions="be brief"
    )
    assert counted.input_tokens == 5


def test_a_response_streams_to_its_end(client: Any) -> None:
    with client.responses.stream(model="gpt-5.4", input="one two three") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds.count("response.output_text.delta") == 32
    assert kinds[-1] == "response.completed"
    assert final.output_text == text_of(32).decode()


def test_a_response_cut_by_its_maximum_is_incomplete(client: Any) -> None:
    asked = {"model": "gpt-5.4", "input": "one two three", "max_output_tokens": 100}
    whole = client.responses.create(**asked)
    assert (whole.status, whole.output_text) == ("incomplete", text_of(100).decode())
    *_, last = client.responses.create(**asked, stream=True)
    assert (last.type, last.response.usage) == ("response.incomplete", whole.usage)


@pytest.fixture
def anthropic_client(simulator: SimulatorProcess) -> Iterator[Any]:
    base_url = simulator.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=base_url, api_key="sk-simulated", max_retries=0) as made:
        yield made


ASKED = {"model": "claude-sonnet-4-6", "max_tokens": 9, "messages": HELLO, "system": "be brief"}


def test_a_message_has_the_shape_of_anthropics(anthropic_client: Any) -> None:
    reply = anthropic_client.messages.create(**ASKED)
    assert (reply.content[0].text, reply.stop_reason) == (text_of(9).decode(), "max_tokens")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (6, 9)


def test_a_message_streams_to_its_end(anthropic_client: Any) -> None:
    with anthropic_client.messages.stream(**ASKED) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == text_of(9).decode()
    assert (final.usage.input_tokens, final.usage.output_tokens) == (6, 9)


@pytest.mark.parametrize(
    ("status", "error"), [(401, anthropic.AuthenticationError), (429, anthropic.RateLimitError)]
)
def test_messages_fail_in_anthropics_shape(
    anthropic_client: Any, status: int, error: type[anthropic.APIStatusError]
) -> None:
    headers = {"x-api-key": "sim-bad"} if status == 401 else None
    with pytest.raises(error) as raised:
        anthropic_client.messages.create(
            **ASKED, extra_body={"simulate": {"status": status}}, extra_headers=headers
        )
    body: Any = raised.value.body
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
