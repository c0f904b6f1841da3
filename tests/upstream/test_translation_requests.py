"""Requests in another API's shape: what is carried, and that nothing is dropped in silence."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.upstream.recordings import recordings_at

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.surface import Surface, Target
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.translation.offered import TRANSLATIONS
from tokenopen.upstream.translation.translation import Carried

SURFACES: dict[str, Surface] = {"chat": ChatSurface(), "messages": MessagesSurface()}
BY_SPOKEN = {translation.spoken: translation for translation in TRANSLATIONS}
USER: Any = {"role": "user", "content": "x"}
CHAT: Any = {"model": "m", "messages": [USER]}
MESSAGES: Any = {"model": "m", "messages": [USER], "max_tokens": 9}
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION: Any = {"name": "f", "description": "d", "parameters": SCHEMA}
TOOL: Any = {"name": "f", "description": "d", "input_schema": SCHEMA}
CACHED: Any = {"cache_control": {"type": "ephemeral"}}


def carry(spoken: str, body: Any, **headers: str) -> Carried:
    target = Target(
        headers={name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    )
    return BY_SPOKEN[spoken].carry(SURFACES[spoken].read_request(json.dumps(body).encode(), target))


def carried(spoken: str, body: Any) -> Any:
    """Return the body in the other shape, without the model, which stays."""
    there = {name: json.loads(value) for name, value in carry(spoken, body).request.fields.items()}
    assert there.pop("model") == "m"
    return there


def refused(spoken: str, body: Any) -> Any:
    """Return the name of what a request is refused for."""
    with pytest.raises(InvalidRequest) as refusal:
        carry(spoken, body)
    return refusal.value.facts["param"]


# Chat completions to messages


def test_options_of_chat_that_messages_have_are_carried() -> None:
    asked = CHAT | {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["a", "b"],
        "user": "ada",
        "service_tier": "default",
        "n": 1,
        "presence_penalty": 0,
        "logit_bias": {},
        "response_format": {"type": "text"},
        "seed": None,
    }
    assert carried("chat", asked) == {
        "messages": [USER],
        "stream": True,
        "temperature": 0,
        "top_p": 0.5,
        "stop_sequences": ["a", "b"],
        "metadata": {"user_id": "ada"},
        "service_tier": "standard_only",
    }
    assert carried("chat", CHAT | {"stop": "a", "service_tier": "auto"}) == {
        "messages": [USER],
        "stop_sequences": ["a"],
    }


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"temperature": 1.1}, "temperature"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"store": True}, "store"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"verbosity": "low"}, "verbosity"),
        ({"functions": [FUNCTION]}, "functions"),
        ({"top_k": 3}, "top_k"),
        ({"simulate": {}, "anything": 0}, "anything"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        (
            {"tools": [{"type": "function", "function": FUNCTION | {"examples": [1]}}]},
            "tools[0].function.examples",
        ),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_messages_have_nothing_like_is_refused_by_its_name(more: Any, name: str) -> None:
    assert refused("chat", CHAT | more) == name


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (USER | {"name": "ada"}, "messages[1].name"),
        ({"role": "system", "content": "late"}, "messages[1]"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[1].role"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages[1].content[0]"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u", "detail": "high"}}]},
            "messages[1].content[0].image_url.detail",
        ),
        (
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AA"}}],
            },
            "messages[1].content[0].image_url.url",
        ),
        ({"role": "assistant", "refusal": "no"}, "messages[1].refusal"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, "messages[1].content[0]"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "image_url"}]},
            "messages[1].content[0]",
        ),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id"),
    ],
)
def test_messages_that_cannot_be_carried_are_refused_by_their_place(message: Any, name: str) -> None:
    assert refused("chat", {"model": "m", "messages": [USER, message]}) == name


def test_a_conversation_of_chat_with_parallel_calls_becomes_turns() -> None:
    asked = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b", **CACHED}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "c", **CACHED}, {"type": "text", "text": "d"}],
            },
            {
                "role": "assistant",
                "content": "",
                "refusal": None,
                "annotations": [],
                "reasoning_content": "thought",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"city":"\\u00e9"}'},
                    },
                    {"id": "2", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "Sun."},
            {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "Rain."}]},
            {"role": "user", "content": "And?"},
        ],
        "tools": [{"type": "function", "function": FUNCTION | {"strict": True}, **CACHED}],
        "parallel_tool_calls": False,
    }
    text = {"type": "text", "text": "c", **CACHED}
    assert carried("chat", asked) == {
        "system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", **CACHED}],
        "messages": [
            {"role": "user", "content": [text, {"type": "text", "text": "d"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "1", "name": "f", "input": {"city": "é"}},
                    {"type": "tool_use", "id": "2", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": "Sun."},
                    {"type": "tool_result", "tool_use_id": "2", "content": "Rain."},
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
        "tools": [TOOL | {"strict": True} | CACHED],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }
    assert carry("chat", asked).left_out == ["reasoning_content"]


@pytest.mark.parametrize(
    ("choice", "there"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_of_a_tool_is_carried_both_ways(choice: Any, there: Any) -> None:
    chat = CHAT | {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": choice}
    assert carried("chat", chat)["tool_choice"] == there
    assert carried("messages", MESSAGES | {"tools": [TOOL], "tool_choice": there})["tool_choice"] == choice


def test_hints_are_left_out_and_named() -> None:
    assert carry("chat", CHAT | {"prompt_cache_key": "k"}).left_out == ["prompt_cache_key"]
    with_hints = MESSAGES | {
        "system": [{"type": "text", "text": "s", **CACHED}],
        "cache_control": {"type": "ephemeral"},
    }
    found = carry("messages", with_hints, anthropic_beta="prompt-caching-2024-07-31")
    assert found.left_out == ["cache_control", "anthropic-beta"]
    # Headers of one vendor do not go to another.
    assert found.request.headers == ()


# Messages to chat completions


def test_options_of_messages_that_chat_has_are_carried() -> None:
    asked = MESSAGES | {
        "stream": True,
        "system": "s",
        "temperature": 0,
        "top_p": 0.5,
        "stop_sequences": ["a"],
        "metadata": {"user_id": "ada"},
        "service_tier": "standard_only",
        "thinking": {"type": "disabled"},
    }
    assert carried("messages", asked) == {
        "messages": [{"role": "system", "content": "s"}, USER],
        "stream": True,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["a"],
        "user": "ada",
        "service_tier": "default",
    }


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management"),
        ({"metadata": {"team": "x"}}, "metadata.team"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [TOOL | {"input_examples": [{}]}]}, "tools[0].input_examples"),
        ({"messages": [USER, {"role": "assistant", "content": "and so"}]}, "messages[1]"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role"),
    ],
)
def test_what_chat_has_nothing_like_is_refused_by_its_name(more: Any, name: str) -> None:
    assert refused("messages", MESSAGES | more) == name


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ({"type": "document", "source": {"type": "text", "data": "x"}}, "messages[0].content[0]"),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "messages[0].content[0].source.type"),
        ({"type": "text", "text": "x", "citations": [{}]}, "messages[0].content[0].citations"),
        (
            {"type": "tool_result", "tool_use_id": "1", "content": "no", "is_error": True},
            "messages[0].content[0].is_error",
        ),
        (
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]},
            "messages[0].content[0].content[0]",
        ),
    ],
)
def test_blocks_that_cannot_be_carried_are_refused_by_their_place(block: Any, name: str) -> None:
    assert refused("messages", MESSAGES | {"messages": [{"role": "user", "content": [block]}]}) == name


def test_results_that_are_no_errors_and_instructions_on_the_way_are_carried() -> None:
    turns = [
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": False, "content": None}],
        },
        {"role": "system", "content": [{"type": "text", "text": "late"}]},
    ]
    assert carried("messages", MESSAGES | {"messages": turns})["messages"] == [
        {"role": "tool", "tool_call_id": "1", "content": ""},
        {"role": "system", "content": "late"},
    ]


def test_thinking_goes_back_to_nobody_but_to_whom_it_came_from() -> None:
    def said(signature: str) -> Any:
        thought = {"type": "thinking", "thinking": "hm", "signature": signature}
        turn = {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}
        return MESSAGES | {"messages": [USER, turn, USER]}

    assert refused("messages", said("signed")) == "messages[1].content[0]"
    # Written by a translation, which has nothing to sign it with.
    assert carry("messages", said("")).left_out == ["thinking"]
    assert carried("messages", said(""))["messages"][1] == {"role": "assistant", "content": "a"}


# There and back

TEXTS = st.text(min_size=1, max_size=20)
TEXT_BLOCK = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
IMAGE_BLOCK = st.sampled_from(
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def as_written(blocks: list[Any]) -> Any:
    """Return a content as a translation writes it: one text alone is a string."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


@st.composite
def rounds(draw: st.DrawFn) -> list[Any]:
    """Draw a call of tools with its results, or a plain answer, between two questions."""
    inputs = draw(st.lists(st.dictionaries(TEXTS, JSON, max_size=3), max_size=3))
    texts = draw(st.lists(TEXT_BLOCK, min_size=0 if inputs else 1, max_size=2))
    uses = [{"type": "tool_use", "id": f"c{n}", "name": "f", "input": one} for n, one in enumerate(inputs)]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": use["id"],
            "content": as_written(draw(st.lists(TEXT_BLOCK, min_size=1, max_size=2))),
        }
        for use in uses
    ]
    asked = draw(st.lists(TEXT_BLOCK | IMAGE_BLOCK, min_size=1, max_size=3))
    more = draw(st.lists(TEXT_BLOCK | IMAGE_BLOCK, min_size=0 if results else 1, max_size=2))
    return [
        {"role": "user", "content": as_written(asked)},
        {"role": "assistant", "content": as_written([*texts, *uses])},
        {"role": "user", "content": as_written([*results, *more])},
    ]


@settings(max_examples=60, deadline=None)
@given(
    rounds(),
    st.lists(TEXT_BLOCK, min_size=1, max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 1),
            "top_p": st.floats(0, 1),
            "stop_sequences": st.lists(TEXTS, min_size=1, max_size=4),
            "metadata": st.just({"user_id": "ada"}),
            "stream": st.just(True),
            "tools": st.just([TOOL]),
        },
    ),
)
def test_messages_that_go_to_chat_and_back_are_what_they_were(messages: Any, system: Any, more: Any) -> None:
    asked = {"model": "m", "max_tokens": 9, "system": as_written(system), "messages": messages, **more}
    chat = carry("messages", asked)
    assert chat.left_out == []
    back = carried("chat", {name: json.loads(value) for name, value in chat.request.fields.items()})
    assert back == {name: value for name, value in asked.items() if name not in ("model", "max_tokens")}


# Real traffic


@pytest.mark.parametrize(
    ("spoken", "path", "least"), [("chat", "/chat/completions", 90), ("messages", "/messages", 50)]
)
def test_real_requests_are_carried_or_refused_by_a_name_of_theirs(spoken: str, path: str, least: int) -> None:
    found = {"carried": 0, "refused": 0}
    for recording in recordings_at(path):
        try:
            asked = SURFACES[spoken].read_request(json.dumps(recording.request).encode())
        except InvalidRequest:
            continue
        try:
            there = BY_SPOKEN[spoken].carry(asked).request
        except InvalidRequest as refusal:
            name = refusal.facts["param"]
            assert isinstance(name, str)
            assert name.partition("[")[0].partition(".")[0] in recording.request, recording.id
            found["refused"] += 1
            continue
        assert (there.model, there.stream) == (asked.model, asked.stream)
        assert there.text_bytes == asked.text_bytes
        assert there.attachments == asked.attachments
        found["carried"] += 1
    assert found["carried"] >= least, found
