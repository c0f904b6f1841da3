"""Replies of chat completions, written as replies of Anthropic's messages."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tokenopen.core.usage import Usage
from tokenopen.upstream.sse import Event
from tokenopen.upstream.surface import CallRequest
from tokenopen.upstream.translation.translation import Untranslatable

_STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES: Final[Mapping[int, str]] = {413: "request_too_large"}
_DONE: Final = b"[DONE]"


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    function: _Function
    id: str | None = None
    index: int | None = None
    type: str | None = None


class _Said(msgspec.Struct, gc=False):
    """A message, or what a stream adds to it. What this API has nothing like is looked at as it is."""

    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: Any = None
    audio: Any = None
    images: Any = None
    annotations: Any = None

    @property
    def thought(self) -> str:
        """What a model tells of its thinking, under the names of different providers."""
        return self.reasoning_content or self.reasoning or ""


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None
    # vLLM tells here which text of the request's ended the reply.
    stop_reason: Any = None


class _Error(msgspec.Struct, gc=False):
    message: str = ""


class _Reply(msgspec.Struct, gc=False):
    """A whole reply, or an event of a stream."""

    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    error: _Error | str | None = None
    # Where others say why they refuse: Mistral and vLLM, and what FastAPI finds wrong.
    message: Any = None
    detail: Any = None


_decoder: Final = msgspec.json.Decoder(_Reply)


class _Piece(NamedTuple):
    """A part of a content: text or thinking."""

    kind: str
    text: str


def messages_usage(usage: Usage) -> dict[str, int]:
    """Return units as messages report them: what was cached and written to a cache comes on top."""
    units = usage.units
    cached = units.get("cached_input", 0)
    written = units.get("cache_write", 0) + units.get("cache_write_1h", 0)
    return {
        "input_tokens": usage.input_units - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_units,
    }


def write_messages_reply(body: bytes, usage: Usage | None, created_s: int) -> bytes:
    """As Translation's ``write_reply``; messages do not say when they were made."""
    del created_s
    reply = _decode(body)
    choice = reply.choices[0] if reply.choices and len(reply.choices) == 1 else None
    if choice is None or choice.message is None:
        raise Untranslatable("the reply holds no message, or several")
    said = choice.message
    content: list[dict[str, Any]] = []
    for piece in _pieces(said):
        block = {"type": piece.kind, piece.kind: piece.text}
        content.append(block | {"signature": ""} if piece.kind == "thinking" else block)
    content += [
        {**_tool_use(call), "input": _input(call.function.arguments)} for call in said.tool_calls or ()
    ]
    written = {
        "id": reply.id or "",
        "type": "message",
        "role": "assistant",
        "model": reply.model or "",
        "content": content,
        **_stop(choice, has_calls=bool(said.tool_calls), refused=bool(said.refusal)),
        # Clients of this API cannot do without one.
        "usage": messages_usage(usage or Usage({})),
    }
    return msgspec.json.encode(written)


def write_messages_rejection(status: int, body: bytes) -> bytes:
    """As Translation's ``write_rejection``."""
    try:
        reply = _decode(body)
        message = _message_of(reply.error) or _words_of(reply.message) or _words_of(reply.detail)
    except Untranslatable:
        message = ""
    return msgspec.json.encode(_messages_error(status, message))


def _messages_error(status: int, message: str) -> dict[str, Any]:
    error = {
        "type": _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error"),
        "message": message or f"The provider refused the request (its status {status}).",
    }
    return {"type": "error", "error": error}


def _message_of(error: _Error | str | None) -> str:
    return error if isinstance(error, str) else "" if error is None else error.message


def _words_of(said: Any) -> str:
    return said if isinstance(said, str) else msgspec.json.encode(said).decode() if said else ""


def _decode(body: bytes) -> _Reply:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Untranslatable("the reply cannot be read as one of chat completions") from None


def _pieces(said: _Said) -> Sequence[_Piece]:
    """Return the parts of what was said, in order. Raises Untranslatable for what is neither."""
    for name in ("function_call", "audio", "images", "annotations"):
        if getattr(said, name):
            raise Untranslatable(f"the reply holds {name}")
    pieces = [_Piece("thinking", said.thought)]
    if isinstance(said.content, str):
        pieces.append(_Piece("text", said.content))
    for part in said.content if isinstance(said.content, list) else ():
        kind = part.get("type")
        value = part.get(kind) if isinstance(kind, str) else None
        if kind == "thinking" and isinstance(value, list):
            # Mistral's thoughts are lists of texts.
            value = "".join(str(text.get("text", "")) for text in value if isinstance(text, dict))
        if kind not in ("text", "thinking") or not isinstance(value, str):
            raise Untranslatable(f"the reply holds a part of type {kind!r}")
        pieces.append(_Piece(kind, value))
    pieces.append(_Piece("text", said.refusal or ""))
    return [piece for piece in pieces if piece.text]


def _tool_use(call: _Call) -> dict[str, Any]:
    if call.type not in (None, "function") or not call.function.name:
        raise Untranslatable("the reply calls what is no function")
    return {"type": "tool_use", "id": call.id or "", "name": call.function.name}


def _input(arguments: str | None) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Untranslatable("the arguments of a call are no JSON object")
    return value


def _stop(choice: _Choice, *, has_calls: bool, refused: bool) -> dict[str, Any]:
    """Return why a reply ended; a reason that is not known is told in the provider's own word."""
    reason = choice.finish_reason
    if refused:
        reason = "content_filter"
    elif has_calls and reason == "stop":
        # Some providers say so of replies that call tools.
        reason = "tool_calls"
    sequence = choice.stop_reason if isinstance(choice.stop_reason, str) else None
    if reason == "stop" and sequence is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": sequence}
    return {
        "stop_reason": None if reason is None else _STOP_REASONS.get(reason, reason),
        "stop_sequence": None,
    }


class MessagesEventWriter:
    """Implements EventWriter. One block is open at a time: a text, a thought, or a call of a tool."""

    def __init__(self, asked: CallRequest, created_s: int) -> None:
        del asked, created_s
        self._started = self._ended = False
        self._refused = False
        # What is open: "text", "thinking", or the index of a call; and how many blocks have begun.
        self._open: str | int | None = None
        self._blocks = 0
        self._calls: dict[int, str | None] = {}
        self._last = _Choice()
        self._written = 0

    def write(self, event: Event) -> bytes:
        """As EventWriter's."""
        if not event.data:
            return b""
        if event.data.strip() == _DONE:
            self._ended = True
            return b""
        chunk = _decode(event.data)
        if chunk.error is not None:
            return _event("error", _messages_error(500, _message_of(chunk.error)))
        choices = chunk.choices or ()
        pieces = [] if self._started or not choices else [self._start(chunk)]
        for choice in choices:
            if choice.index != 0:
                raise Untranslatable("the reply holds several choices")
            if choice.delta is not None:
                self._add(choice.delta, pieces)
            if choice.finish_reason is not None:
                self._last = choice
        return b"".join(pieces)

    def end(self, usage: Usage | None, cost: str | None) -> bytes:
        """As EventWriter's; messages do not tell what they cost."""
        del cost
        if not self._started or not (self._ended or self._last.finish_reason):
            return b""
        stop = _stop(self._last, has_calls=bool(self._calls), refused=self._refused)
        # Where the provider tells nothing, what reached the caller is the least there was.
        report = {"output_tokens": self._written} if usage is None else messages_usage(usage)
        return b"".join(
            (
                self._close(),
                _event("message_delta", {"type": "message_delta", "delta": stop, "usage": report}),
                _event("message_stop", {"type": "message_stop"}),
            )
        )

    def _start(self, chunk: _Reply) -> bytes:
        self._started = True
        message: dict[str, Any] = {
            "id": chunk.id or "",
            "type": "message",
            "role": "assistant",
            "model": chunk.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # Providers of the other shape tell at the end what was used; the last report counts.
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _event("message_start", {"type": "message_start", "message": message})

    def _add(self, delta: _Said, pieces: list[bytes]) -> None:
        self._refused = self._refused or bool(delta.refusal)
        for piece in _pieces(delta):
            if self._open != piece.kind:
                empty = {"type": piece.kind, piece.kind: ""}
                pieces.append(
                    self._begin(piece.kind, empty if piece.kind == "text" else empty | {"signature": ""})
                )
            pieces.append(self._delta({"type": f"{piece.kind}_delta", piece.kind: piece.text}))
        for call in delta.tool_calls or ():
            self._add_call(call, pieces)

    def _add_call(self, call: _Call, pieces: list[bytes]) -> None:
        index = self._index_of(call)
        if index not in self._calls:
            self._calls[index] = call.id
            pieces.append(self._begin(index, {**_tool_use(call), "input": {}}))
        if call.function.arguments:
            if self._open != index:
                raise Untranslatable("the reply goes on with a call after another has begun")
            pieces.append(self._delta({"type": "input_json_delta", "partial_json": call.function.arguments}))

    def _index_of(self, call: _Call) -> int:
        """Return which call is meant. Providers that send calls whole may leave the index out or always say
        0; then a new id tells a new call."""
        index = max(self._calls, default=0) if call.index is None else call.index
        known = self._calls.get(index)
        if known is not None and call.id and call.id != known and call.function.name:
            return max(self._calls) + 1
        return index

    def _begin(self, what: str | int, block: Mapping[str, Any]) -> bytes:
        closing = self._close()
        self._open = what
        self._blocks += 1
        return closing + _event(
            "content_block_start",
            {"type": "content_block_start", "index": self._blocks - 1, "content_block": block},
        )

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        self._written += 1
        return _event(
            "content_block_delta",
            {"type": "content_block_delta", "index": self._blocks - 1, "delta": delta},
        )

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("content_block_stop", {"type": "content_block_stop", "index": self._blocks - 1})


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))
