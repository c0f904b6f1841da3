"""Streams in another API's shape: the same as whole replies, and the same bytes however they are cut."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from tests.upstream.recordings import recordings_at
from tests.upstream.translated import (
    CHAT_REPORT,
    CHAT_STREAM,
    CHAT_USAGE,
    CHUNKS,
    COMPLETION,
    CONVENTION,
    CREATED_S,
    MESSAGE,
    MESSAGE_STREAM,
    SURFACES,
    call_chunk,
    changed,
    chunk,
    events_of,
    message_of,
    read_stream,
    reader_of,
    reply_of,
    sse,
    started,
)

from tokenopen.core.usage import ImpossibleUsage
from tokenopen.upstream.translation.translation import Untranslatable


def test_a_stream_of_a_message_becomes_the_same_chat_completion() -> None:
    passed, tail, usage = read_stream("chat", [MESSAGE_STREAM], cost="0.25")
    assert usage == SURFACES["messages"].read_reply(json.dumps(MESSAGE).encode(), convention=CONVENTION)
    chunks = events_of(passed)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        ("msg_1", CREATED_S, "claude")
    }
    said = [chunk["choices"][0] for chunk in chunks]
    message = reply_of("chat", MESSAGE)["choices"][0]["message"]
    assert said[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(one["delta"].get("content", "") for one in said) == message["content"]
    assert "".join(one["delta"].get("reasoning_content", "") for one in said) == "Hm."
    calls: dict[int, Any] = {}
    for call in (call for one in said for call in one["delta"].get("tool_calls", ())):
        if "id" in call:
            calls[call.pop("index")] = call
        else:
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    assert list(calls.values()) == message["tool_calls"]
    assert [one["finish_reason"] for one in said if one["finish_reason"]] == ["tool_calls"]
    assert b": ping\n\n" in passed
    report, done = events_of(tail)
    assert (report["choices"], report["usage"]) == ([], CHAT_USAGE | {"cost": "0.25"})
    assert done == b"[DONE]"


def test_callers_of_chat_who_do_not_ask_for_usage_get_none() -> None:
    _, tail, _ = read_stream("chat", [MESSAGE_STREAM], cost="0.25", stream_options=None)
    assert tail == b"data: [DONE]\n\n"


def test_a_stream_of_a_chat_completion_becomes_the_same_message() -> None:
    passed, tail, usage = read_stream("messages", [CHAT_STREAM])
    assert usage is not None
    assert dict(usage) == {"input": 10, "cached_input": 60, "cache_write": 30, "output": 7}
    assert message_of(passed + tail) == reply_of("messages", COMPLETION)
    assert [event["type"] for event in events_of(tail)] == [
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert b"event: message_stop" not in passed


@pytest.mark.parametrize(
    ("spoken", "stream"),
    [
        ("chat", sse(started(0, {"type": "server_tool_use"}))),
        ("chat", sse(changed(0, "citations_delta"))),
        ("chat", sse(changed(0, "input_json_delta", partial_json="{"))),
        ("chat", b"data: nonsense\n\n"),
        ("messages", sse(chunk({}, index=1))),
        ("messages", sse(chunk({"audio": {"id": "a"}}))),
        (
            "messages",
            sse(
                call_chunk(0, id="a", name="f"), call_chunk(1, id="b", name="g"), call_chunk(0, arguments="{")
            ),
        ),
        ("messages", b"data: nonsense\n\n"),
    ],
)
def test_a_stream_that_the_callers_api_has_nothing_like_is_not_translated(spoken: str, stream: bytes) -> None:
    with pytest.raises(Untranslatable):
        read_stream(spoken, [stream])


def test_what_cannot_be_translated_is_found_before_the_end_is_asked_for() -> None:
    """Then nothing is settled yet: here it stands among what is withheld."""
    reader = reader_of("messages")
    last = {"choices": [{"delta": {"audio": {"id": "a"}}}], "usage": CHAT_REPORT}
    reader.feed(sse(chunk({"content": "a"})))
    assert reader.feed(sse(last) + b"data: [DONE]\n\n") == b""
    with pytest.raises(Untranslatable):
        reader.end()


def test_a_stream_that_just_ends_has_no_end_mark() -> None:
    passed, tail, _ = read_stream("chat", [MESSAGE_STREAM.partition(b"event: message_delta")[0]])
    assert b"[DONE]" not in passed + tail
    passed, tail, _ = read_stream("messages", [sse(*CHUNKS[:4])])
    assert b"message_stop" not in passed + tail


# However it is cut


def recorded(spoken: str) -> Sequence[bytes]:
    """Return the shortest real streams of the other API, where they are at hand."""
    try:
        found = recordings_at("/messages" if spoken == "chat" else "/chat/completions")
    except pytest.skip.Exception:
        return []
    return sorted((one.body for one in found if one.is_stream), key=len)[:4]


def outcome(spoken: str, pieces: Sequence[bytes]) -> Any:
    try:
        return read_stream(spoken, pieces)
    except (Untranslatable, ImpossibleUsage) as error:
        return type(error)


@pytest.mark.parametrize(("spoken", "own"), [("chat", MESSAGE_STREAM), ("messages", CHAT_STREAM)])
def test_a_stream_cut_anywhere_gives_the_same_bytes_and_usage(spoken: str, own: bytes) -> None:
    translated = 0
    for stream in [own, *recorded(spoken)]:
        expected = outcome(spoken, [stream])
        translated += isinstance(expected, tuple)
        for place in range(0, len(stream) + 1, 7 if stream is own else 301):
            assert outcome(spoken, [stream[:place], stream[place:]]) == expected
        assert outcome(spoken, [stream[at : at + 1] for at in range(len(stream))]) == expected
    assert translated


@pytest.mark.parametrize(("spoken", "own"), [("chat", MESSAGE_STREAM), ("messages", CHAT_STREAM)])
def test_no_damage_to_a_stream_raises_anything_else(spoken: str, own: bytes) -> None:
    chance = random.Random(20261127)
    damage = [
        b"",
        b"\n",
        b"\r",
        b"\n\n",
        b"data: ",
        b"[DONE]",
        b'"',
        b"{",
        b"-1",
        b"null",
        b"\xff",
        b"[[[[[",
        b"0",
    ]
    seen = {"whole": 0, "not": 0}
    for _ in range(600):
        stream = bytearray(own)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(stream))
            stream[at : at + chance.choice((0, 1, 2, 20))] = chance.choice(damage)
        seen["whole" if isinstance(outcome(spoken, [bytes(stream)]), tuple) else "not"] += 1
    assert min(seen.values()) > 20, seen
