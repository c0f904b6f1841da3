"""Replies of Anthropic's messages, written as replies of chat completions."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tokenopen.core.usage import Usage
from tokenopen.upstream.sse import Event
from tokenopen.upstream.surface import CallRequest
from tokenopen.upstream.translation.translation import Untranslatable

_FINISH_REASONS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_DONE: Final = b"data: [DONE]\n\n"
_KEEPALIVE: Final = b": ping\n\n"
# Of text, thinking that may not be read, and what proves that it was not changed: nothing is shown of these.
_UNSHOWN_BLOCKS: Final = frozenset({"redacted_thinking"})


class _Reply(msgspec.Struct, gc=False):
    content: list[dict[str, Any]]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None


class _Error(msgspec.Struct, gc=False):
    message: str = ""
    type: str | None = None


class _Rejection(msgspec.Struct, gc=False):
    error: _Error


class _Message(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    error: _Error | None = None


_reply_decoder: Final = msgspec.json.Decoder(_Reply)
_rejection_decoder: Final = msgspec.json.Decoder(_Rejection)
_event_decoder: Final = msgspec.json.Decoder(_Event)


def chat_usage(usage: Usage, cost: str | None = None) -> dict[str, Any]:
    """Return units as chat completions report them: what was cached and written to a cache is inside."""
    units = usage.units
    report: dict[str, Any] = {
        "prompt_tokens": usage.input_units,
        "completion_tokens": usage.output_units,
        "total_tokens": usage.input_units + usage.output_units,
        "prompt_tokens_details": {
            "cached_tokens": units.get("cached_input", 0),
            "cache_write_tokens": units.get("cache_write", 0) + units.get("cache_write_1h", 0),
        },
    }
    return report if cost is None else report | {"cost": cost}


def write_chat_reply(body: bytes, usage: Usage | None, created_s: int) -> bytes:
    """As Translation's ``write_reply``."""
    try:
        reply = _reply_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Untranslatable("the reply is no message") from None
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for block in reply.content:
        kind = block.get("type")
        if kind == "text":
            texts.append(_text(block, "text"))
        elif kind == "thinking":
            thoughts.append(_text(block, "thinking"))
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block.get("input")).decode()
            calls.append(_call(block, arguments))
        elif kind not in _UNSHOWN_BLOCKS:
            raise Untranslatable(f"the reply holds a block of type {kind!r}")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    message["refusal"] = None
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(reply.stop_reason),
    }
    written = {
        "id": reply.id,
        "object": "chat.completion",
        "created": created_s,
        "model": reply.model,
        "choices": [choice],
    }
    return msgspec.json.encode(written if usage is None else written | {"usage": chat_usage(usage)})


def write_chat_rejection(status: int, body: bytes) -> bytes:
    """As Translation's ``write_rejection``."""
    try:
        error = _rejection_decoder.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = _Error(f"The provider refused the request (its status {status}).")
    return msgspec.json.encode(_chat_error(error))


def _chat_error(error: _Error) -> dict[str, Any]:
    kind = error.type or "invalid_request_error"
    return {"error": {"message": error.message, "type": kind, "param": None, "code": None}}


def _text(block: Mapping[str, Any], name: str) -> str:
    text = block.get(name, "")
    if not isinstance(text, str):
        raise Untranslatable(f"a block's {name} is no text")
    return text


def _call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": _text(block, "name"), "arguments": arguments}
    return {"id": _text(block, "id"), "type": "function", "function": function}


def _finish_reason(reason: str | None) -> str | None:
    """Return why a reply ended; a reason that is not known is told in the provider's own word."""
    return None if reason is None else _FINISH_REASONS.get(reason, reason)


class ChatEventWriter:
    """Implements EventWriter."""

    def __init__(self, asked: CallRequest, created_s: int) -> None:
        self._wants_usage = asked.wants_usage
        self._created_s = created_s
        self._id = self._model = ""
        self._ended = False
        # The calls of tools by the index of their block: their own number, and what of them is still unsaid.
        self._numbers: dict[int, int] = {}
        self._unsaid: dict[int, str] = {}

    def write(self, event: Event) -> bytes:
        """As EventWriter's."""
        if not event.data:
            return b""
        try:
            said = _event_decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Untranslatable("an event cannot be read") from None
        if said.type == "content_block_delta":
            return self._write_delta(said.index, said.delta or {})
        if said.type == "content_block_start":
            return self._write_start(said.index, said.content_block or {})
        if said.type == "content_block_stop":
            arguments = self._unsaid.pop(said.index, "")
            return self._arguments(said.index, arguments) if arguments else b""
        if said.type == "message_start":
            message = said.message or _Message()
            self._id, self._model = message.id, message.model
            return self._chunk({"role": "assistant", "content": ""})
        if said.type == "message_delta":
            reason = (said.delta or {}).get("stop_reason")
            return self._chunk({}, _finish_reason(reason)) if isinstance(reason, str) else b""
        if said.type == "message_stop":
            self._ended = True
        if said.type == "error":
            return b"data: %b\n\n" % msgspec.json.encode(_chat_error(said.error or _Error()))
        return _KEEPALIVE if said.type == "ping" else b""

    def end(self, usage: Usage | None, cost: str | None) -> bytes:
        """As EventWriter's."""
        report = b""
        if self._wants_usage and usage is not None:
            report = self._event({"choices": [], "usage": chat_usage(usage, cost)})
        return report + _DONE if self._ended else report

    def _write_start(self, index: int, block: Mapping[str, Any]) -> bytes:
        kind = block.get("type")
        if kind == "text":
            return self._content(_text(block, "text"))
        if kind == "thinking":
            return self._thought(_text(block, "thinking"))
        if kind == "tool_use":
            number = self._numbers[index] = len(self._numbers)
            self._unsaid[index] = msgspec.json.encode(block.get("input") or {}).decode()
            return self._chunk({"tool_calls": [{"index": number, **_call(block, "")}]})
        if kind in _UNSHOWN_BLOCKS:
            return b""
        raise Untranslatable(f"the reply holds a block of type {kind!r}")

    def _write_delta(self, index: int, delta: Mapping[str, Any]) -> bytes:
        kind = delta.get("type")
        if kind == "text_delta":
            return self._content(_text(delta, "text"))
        if kind == "thinking_delta":
            return self._thought(_text(delta, "thinking"))
        if kind == "input_json_delta":
            written = _text(delta, "partial_json")
            if written:
                self._unsaid.pop(index, None)
            return self._arguments(index, written) if written else b""
        if kind == "signature_delta":
            return b""
        raise Untranslatable(f"the reply holds a delta of type {kind!r}")

    def _content(self, text: str) -> bytes:
        return self._chunk({"content": text}) if text else b""

    def _thought(self, text: str) -> bytes:
        return self._chunk({"reasoning_content": text}) if text else b""

    def _arguments(self, index: int, written: str) -> bytes:
        if index not in self._numbers:
            raise Untranslatable("arguments come before their call")
        call = {"index": self._numbers[index], "function": {"arguments": written}}
        return self._chunk({"tool_calls": [call]})

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._event({"choices": [choice]})

    def _event(self, more: Mapping[str, Any]) -> bytes:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created_s,
            "model": self._model,
            **more,
        }
        return b"data: %b\n\n" % msgspec.json.encode(chunk)
