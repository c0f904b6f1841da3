"""Replies of both APIs that say the same, and readers of them for callers of the other."""

import json
from collections.abc import Sequence
from typing import Any

from tokenopen.core.usage import Usage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import StreamReader, Surface
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.translation.offered import TRANSLATIONS

SURFACES: dict[str, Surface] = {"chat": ChatSurface(), "messages": MessagesSurface()}
BY_SPOKEN = {translation.spoken: translation for translation in TRANSLATIONS}
CONVENTION = PROVIDERS["openai"].convention
CREATED_S = 1_700_000_000
ASKED: Any = {
    "chat": {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    "messages": {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 9,
        "stream": True,
    },
}


def reply_of(spoken: str, body: Any) -> Any:
    written = BY_SPOKEN[spoken].reply(json.dumps(body).encode(), convention=CONVENTION, created_s=CREATED_S)
    return json.loads(written)


def reader_of(spoken: str, **more: Any) -> StreamReader:
    """Return the reader of a stream that a caller of one API gets from a provider of the other's."""
    asked = SURFACES[spoken].read_request(json.dumps(ASKED[spoken] | more).encode())
    translation = BY_SPOKEN[spoken]
    request = translation.carry(asked).request
    wire = translation.wire.stream_reader(request, convention=CONVENTION)
    return translation.stream_reader(wire, asked, created_s=CREATED_S)


def read_stream(
    spoken: str, pieces: Sequence[bytes], *, cost: str | None = None, **more: Any
) -> tuple[bytes, bytes, Usage | None]:
    """Return what passes, what waits for the settlement, and the usage."""
    reader = reader_of(spoken, **more)
    passed = b"".join(reader.feed(piece) for piece in pieces)
    reader.end()
    assert reader.whole
    return passed, reader.tail(cost), reader.usage


def events_of(stream: bytes) -> list[Any]:
    """Return the data of events, and [DONE] as it is."""
    data = [line[len(b"data: ") :] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [one if one == b"[DONE]" else json.loads(one) for one in data]


def sse(*events: Any) -> bytes:
    """Return events as both vendors write them."""
    return b"".join(
        (b"event: %b\n" % event["type"].encode() if "type" in event else b"")
        + b"data: %b\n\n" % json.dumps(event).encode()
        for event in events
    )


# A message with thinking, text and two calls, whole and streamed.

USAGE: Any = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 30,
    "cache_read_input_tokens": 60,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 7,
}
MESSAGE: Any = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "Let me "},
        {"type": "text", "text": "look."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": USAGE,
}
CHAT_USAGE: Any = {
    "prompt_tokens": 100,
    "completion_tokens": 7,
    "total_tokens": 107,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
}


def started(index: int, block: Any) -> Any:
    return {"type": "content_block_start", "index": index, "content_block": block}


def changed(index: int, kind: str, **more: Any) -> Any:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def stopped(index: int) -> Any:
    return {"type": "content_block_stop", "index": index}


MESSAGE_STREAM = sse(
    {"type": "message_start", "message": MESSAGE | {"content": [], "usage": USAGE | {"output_tokens": 1}}},
    started(0, {"type": "thinking", "thinking": "", "signature": ""}),
    {"type": "ping"},
    changed(0, "thinking_delta", thinking="Hm."),
    changed(0, "signature_delta", signature="s"),
    stopped(0),
    started(1, {"type": "redacted_thinking", "data": "d"}),
    stopped(1),
    started(2, {"type": "text", "text": ""}),
    changed(2, "text_delta", text="Let me "),
    changed(2, "text_delta", text="look."),
    stopped(2),
    started(3, {"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
    changed(3, "input_json_delta", partial_json=""),
    changed(3, "input_json_delta", partial_json='{"city":'),
    changed(3, "input_json_delta", partial_json='"Rome"}'),
    stopped(3),
    started(4, {"type": "tool_use", "id": "t2", "name": "g", "input": {}}),
    stopped(4),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
)


# A chat completion with reasoning, text and two calls, whole and streamed.

CHAT_REPORT: Any = {
    "prompt_tokens": 100,
    "completion_tokens": 7,
    "total_tokens": 107,
    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
COMPLETION: Any = {
    "id": "c1",
    "object": "chat.completion",
    "model": "gpt",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Let me look.",
                "reasoning_content": "Hm.",
                "annotations": [],
                "tool_calls": [
                    {
                        "id": "t1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"city": "Rome"}'},
                    },
                    {"id": "t2", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": CHAT_REPORT,
}


def chunk(delta: Any, **more: Any) -> Any:
    return {"id": "c1", "model": "gpt", "choices": [{"index": 0, "delta": delta, **more}]}


def call_chunk(index: int, *, id: str | None = None, **function: str) -> Any:  # noqa: A002 the API's name
    made = {"index": index, "function": function}
    return chunk({"tool_calls": [made if id is None else made | {"id": id, "type": "function"}]})


CHUNKS: list[Any] = [
    {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm."}),
    chunk({"content": "Let me "}),
    chunk({"content": "look."}),
    call_chunk(0, id="t1", name="f", arguments=""),
    call_chunk(0, arguments='{"city": '),
    call_chunk(0, arguments='"Rome"}'),
    call_chunk(1, id="t2", name="g", arguments=""),
    chunk({}, finish_reason="tool_calls"),
    {"id": "c1", "model": "gpt", "choices": [], "usage": CHAT_REPORT},
]
CHAT_STREAM = sse(*CHUNKS) + b"data: [DONE]\n\n"


def message_of(stream: bytes) -> Any:
    """Return the message that a stream of events makes, as Anthropic's SDK puts it together."""
    message: Any = {}
    arguments = ""
    for event in events_of(stream):
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append(event["content_block"])
            arguments = ""
        elif kind == "content_block_delta":
            assert event["index"] == len(message["content"]) - 1
            delta, block = event["delta"], message["content"][-1]
            if delta["type"] == "input_json_delta":
                arguments += delta["partial_json"]
            else:
                name = delta["type"].removesuffix("_delta")
                block[name] += delta[name]
        elif kind == "content_block_stop":
            assert event["index"] == len(message["content"]) - 1
            if arguments:
                message["content"][-1]["input"] = json.loads(arguments)
                arguments = ""
        elif kind == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    return message
