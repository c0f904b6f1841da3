"""Whole replies in another API's shape: contents, usage, endings, errors."""

import json
from typing import Any

import pytest
from tests.upstream.translated import (
    BY_SPOKEN,
    CHAT_USAGE,
    COMPLETION,
    CREATED_S,
    MESSAGE,
    chunk,
    events_of,
    message_of,
    read_stream,
    reply_of,
    sse,
)

from tokenopen.upstream.translation.translation import Untranslatable


def test_a_message_becomes_a_chat_completion() -> None:
    assert reply_of("chat", MESSAGE) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": CREATED_S,
        "model": "claude",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Let me look.",
                    "refusal": None,
                    "reasoning_content": "Hm.",
                    "tool_calls": [
                        {
                            "id": "t1",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"city":"Rome"}'},
                        },
                        {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": CHAT_USAGE,
    }


def test_a_chat_completion_becomes_a_message() -> None:
    assert reply_of("messages", COMPLETION) == {
        "id": "c1",
        "type": "message",
        "role": "assistant",
        "model": "gpt",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": ""},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Rome"}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 30,
            "cache_read_input_tokens": 60,
            "output_tokens": 7,
        },
    }


@pytest.mark.parametrize(
    ("reason", "more", "there"),
    [
        ("stop", {}, ("end_turn", None)),
        ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
        ("stop", {"stop_reason": 128_009}, ("end_turn", None)),
        ("length", {}, ("max_tokens", None)),
        ("content_filter", {}, ("refusal", None)),
        ("odd", {}, ("odd", None)),
    ],
)
def test_why_a_chat_completion_ended(reason: str, more: Any, there: Any) -> None:
    ended = {"finish_reason": reason, **more}
    whole = reply_of("messages", {"choices": [{"message": {"content": "a"}, **ended}]})
    passed, tail, _ = read_stream("messages", [sse(chunk({"content": "a"}), chunk({}, **ended))])
    for message in (whole, message_of(passed + tail)):
        assert (message["stop_reason"], message["stop_sequence"]) == there


@pytest.mark.parametrize(
    ("reason", "there"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("odd", "odd"),
    ],
)
def test_why_a_message_ended(reason: str, there: str) -> None:
    text = {"type": "text", "text": "a"}
    whole = reply_of("chat", {"content": [text], "stop_reason": reason})
    assert whole["choices"][0]["finish_reason"] == there
    delta = {"type": "message_delta", "delta": {"stop_reason": reason}}
    passed, _, _ = read_stream("chat", [sse({"type": "message_start"}, delta, {"type": "message_stop"})])
    assert events_of(passed)[-1]["choices"][0]["finish_reason"] == there


def test_a_refusal_is_told_as_one() -> None:
    whole = reply_of("messages", {"choices": [{"message": {"refusal": "No."}, "finish_reason": "stop"}]})
    streamed = sse(chunk({"refusal": "N"}), chunk({"refusal": "o."}), chunk({}, finish_reason="stop"))
    passed, tail, _ = read_stream("messages", [streamed])
    for message in (whole, message_of(passed + tail)):
        assert message["content"] == [{"type": "text", "text": "No."}]
        assert message["stop_reason"] == "refusal"


def test_calls_that_come_whole_without_an_index_are_told_apart() -> None:
    """As Gemini and Mistral write them."""
    first, second = (
        {"id": name, "function": {"name": "f", "arguments": f'{{"n":"{name}"}}'}} for name in ("t1", "t2")
    )
    for calls in ([first, second], [first | {"index": 0}, second | {"index": 0}]):
        streams = [sse(chunk({"tool_calls": calls})), sse(*(chunk({"tool_calls": [one]}) for one in calls))]
        for stream in streams:
            end = sse(chunk({}, finish_reason="stop"))
            message = message_of(b"".join(read_stream("messages", [stream + end])[:2]))
            assert [block["input"] for block in message["content"]] == [{"n": "t1"}, {"n": "t2"}]
            assert message["stop_reason"] == "tool_use"


def test_thoughts_among_the_parts_of_a_content_are_read() -> None:
    """As Mistral writes them."""
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Yes."},
    ]
    message = reply_of("messages", {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]})
    assert message["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Yes."},
    ]


CHOICE: Any = {"message": {"content": "a"}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("spoken", "body"),
    [
        ("chat", {"content": [{"type": "server_tool_use"}]}),
        ("chat", {"type": "error"}),
        ("chat", []),
        ("messages", {"choices": []}),
        ("messages", {"choices": [CHOICE, CHOICE | {"index": 1}]}),
        ("messages", {"error": {"message": "no"}}),
        ("messages", {"choices": [{"message": {"audio": {"id": "a"}}}]}),
        (
            "messages",
            {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}}]},
        ),
        ("messages", {"choices": [{"message": {"content": [{"type": "image_url"}]}}]}),
    ],
)
def test_a_reply_that_the_callers_api_has_nothing_like_is_not_translated(spoken: str, body: Any) -> None:
    with pytest.raises(Untranslatable):
        reply_of(spoken, body)


@pytest.mark.parametrize(
    ("rejection", "said"),
    [
        ({"object": "error", "message": "Too long.", "code": 400}, "Too long."),
        ({"message": "No such model.", "request_id": "r"}, "No such model."),
        ({"detail": "Not so."}, "Not so."),
        ({"error": "Too long."}, "Too long."),
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "stop"], "msg": "No list."}]}},
            '{"detail":[{"loc":["body","stop"],"msg":"No list."}]}',
        ),
        ({"detail": [{"loc": ["body"], "msg": "No."}]}, '[{"loc":["body"],"msg":"No."}]'),
    ],
)
def test_words_of_a_refusal_are_found_where_providers_of_chat_have_them(rejection: Any, said: str) -> None:
    """Mistral and vLLM say them at the top, some of FastAPI's make as a list of what is wrong."""
    error = json.loads(BY_SPOKEN["messages"].write_rejection(422, json.dumps(rejection).encode()))["error"]
    assert error == {"type": "invalid_request_error", "message": said}


def test_errors_are_told_in_the_callers_shape() -> None:
    theirs = b'{"type":"error","error":{"type":"overloaded_error","message":"Busy."}}'
    ours = {"error": {"message": "Busy.", "type": "overloaded_error", "param": None, "code": None}}
    assert json.loads(BY_SPOKEN["chat"].write_rejection(400, theirs)) == ours
    assert events_of(read_stream("chat", [b"event: error\ndata: %b\n\n" % theirs])[0]) == [ours]
    openai = b'{"error":{"message":"Too long.","type":"invalid_request_error","code":"x"}}'
    rejection = json.loads(BY_SPOKEN["messages"].write_rejection(413, openai))
    assert rejection == {"type": "error", "error": {"type": "request_too_large", "message": "Too long."}}
    passed = read_stream("messages", [b"data: %b\n\n" % openai])[0]
    assert passed.startswith(b"event: error\n")
    assert events_of(passed)[0]["error"]["message"] == "Too long."
    for spoken in ("chat", "messages"):
        assert "400" in json.loads(BY_SPOKEN[spoken].write_rejection(400, b"<html>"))["error"]["message"]
