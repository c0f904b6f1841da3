"""What a replayed call's reply says: usage, charge, or the code of its error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenopen.core.money import InvalidAmount, Nanocredits, parse_amount

STREAM_CUT_SHORT: Final = "StreamCutShort"


class UnreadableReply(Exception):
    """The reply came whole but is not what a chat completion's reply is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFacts:
    """Of a reply that did not come, nothing is known. ``code`` is set for errors only."""

    status: int | None = None
    call_id: str | None = None
    code: str | None = None
    failure: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    charge: Nanocredits | None = None
    upstream_ms: float | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    # A decimal string or a number; as raw text it stays exact either way.
    cost: msgspec.Raw = msgspec.Raw(b"")


class _Error(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None
    error: _Error | None = None


_decoder: Final = msgspec.json.Decoder(_Body)


def read_reply(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> ReplyFacts:
    """Return the facts of a reply whose bytes have all come. Raises UnreadableReply."""
    named = dict(headers)
    streamed = named.get(b"content-type", b"").startswith(b"text/event-stream")
    try:
        decoded, whole = _read_events(body) if streamed else (_decode(body, status), True)
        usage, error = decoded.usage, decoded.error
        charge = named.get(b"x-tokenopen-charge", b"").decode()
        if streamed and usage is not None:
            charge = bytes(usage.cost).decode().strip('"')
        return ReplyFacts(
            status=status,
            call_id=named[b"x-request-id"].decode() if b"x-request-id" in named else None,
            code=_code(status, error),
            failure=None if whole or error is not None else STREAM_CUT_SHORT,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
            charge=parse_amount(charge) if charge and charge != "null" else None,
            upstream_ms=float(named[b"x-tokenopen-upstream-ms"])
            if b"x-tokenopen-upstream-ms" in named
            else None,
        )
    except (msgspec.MsgspecError, InvalidAmount, ValueError) as error_found:
        raise UnreadableReply(str(error_found)) from error_found


def _decode(body: bytes, status: int) -> _Body:
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        # An error page of something on the way; its status says enough.
        if status < 400:
            raise
        return _Body()


def _code(status: int, error: _Error | None) -> str | None:
    if status < 400 and error is None:
        return None
    if error is not None and (error.code is not None or error.type is not None):
        return str(error.code if error.code is not None else error.type)
    return f"http_{status}"


def _read_events(body: bytes) -> tuple[_Body, bool]:
    """Return the last usage, the error if there was one, and whether the end mark came."""
    found, whole = _Body(), False
    for line in body.split(b"\n"):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            whole = True
            continue
        event = _decoder.decode(data)
        found.usage = event.usage or found.usage
        found.error = event.error or found.error
    return found, whole
