"""JSON bodies: the top level as name -> raw value, so that what is checked is what is sent.

A body is spliced, never written anew: all bytes but those of a replaced value stay as they came.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from tokenopen.core.errors import InvalidRequest

# What decoding raises for bytes that are not the JSON that is wanted.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NULL: Final = b"null"

_WHITE: Final = b" \t\r\n"
Value = TypeVar("Value")
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_fields(body: bytes, known: Collection[str]) -> dict[str, bytes]:
    """Return the body's top level. Refuses InvalidRequest.

    Refused: what is not a JSON object in UTF-8, a name given twice (parsers disagree on which one
    counts), and another spelling of a known name (some providers do not tell case apart).
    """
    try:
        fields = {name: bytes(raw) for name, raw in _decoder.decode(body).items()}
    except UNREADABLE as error:
        raise InvalidRequest(f"The request body is not a JSON object: {error}") from None
    _refuse_repeated(body, fields)
    for name in fields:
        if name not in known and name.lower() in known:
            raise InvalidRequest(f"Write {name.lower()} instead of {name}.", param=name)
    return fields


def decode_field(
    decoder: msgspec.json.Decoder[Value], fields: Mapping[str, bytes], name: str, must: str
) -> Value:
    """Return a field as a decoder reads it, null where it is absent. Refuses InvalidRequest."""
    try:
        return decoder.decode(fields.get(name, NULL))
    except UNREADABLE:
        raise InvalidRequest(f"{name} must be {must}.", param=name) from None


def _refuse_repeated(body: bytes, fields: Mapping[str, bytes]) -> None:
    """Walk over names and values as decoded. The decoder keeps a repeated name's first place and last
    value, so the first place where the body differs from that is a repetition."""
    at = _skip(body, 0) + 1
    for name, value in fields.items():
        at = _skip(body, at)
        # As most clients write it; anything else is walked over step by step.
        compact = _compact_name(name)
        at = _skip(body, at + len(compact)) if body.startswith(compact, at) else _skip_name(body, at, name)
        if not body.startswith(value, at):
            raise InvalidRequest(f"The request body gives {name} twice.", param=name)
        at = _skip(body, at + len(value)) + 1
    if fields and body[at - 1 : at] != b"}":
        raise InvalidRequest("The request body gives a name twice.")


@lru_cache(maxsize=1024)
def _compact_name(name: str) -> bytes:
    return msgspec.json.encode(name) + b":"


def _skip_name(body: bytes, at: int, name: str) -> int:
    """Return where the value of the member at ``at`` begins; it must have that name."""
    end = _end_of_string(body, at)
    if msgspec.json.decode(body[at:end]) != name:
        raise InvalidRequest("The request body gives a name twice.", param=name)
    return _skip(body, _skip(body, end) + 1)


def _skip(body: bytes, at: int) -> int:
    while at < len(body) and body[at] in _WHITE:
        at += 1
    return at


def _end_of_string(body: bytes, at: int) -> int:
    end = at + 1
    while True:
        end = body.index(b'"', end)
        backslashes = 0
        while body[end - 1 - backslashes] == 0x5C:
            backslashes += 1
        end += 1
        if backslashes % 2 == 0:
            return end


def assemble(fields: Mapping[str, bytes]) -> bytes:
    """Return a JSON object of these names and raw values, in their order."""
    members = [msgspec.json.encode(name) + b":" + value for name, value in fields.items()]
    return b"{" + b",".join(members) + b"}"
