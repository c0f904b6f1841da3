"""Fields of a caller's body that decide what a call may cost. The provider checks everything else."""

from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.json_body import JsonObject

MODEL_CHARACTERS_MAX: Final = 256
# No provider writes as much; a larger number is a mistake.
TOKENS_MAX: Final = 10**9

_text_decoder: Final = msgspec.json.Decoder(str)
_number_decoder: Final = msgspec.json.Decoder(int)


def read_model(fields: JsonObject) -> str:
    """Return the name of the model that is asked for. Refuses InvalidRequest."""
    try:
        model = _text_decoder.decode(fields.view("model")) if "model" in fields else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        model = ""
    if not model or len(model) > MODEL_CHARACTERS_MAX:
        raise InvalidRequest("model must be the name of a model, as GET /v1/models lists it.", param="model")
    return model


def read_flag(fields: JsonObject, name: str, *, of: str | None = None) -> bool:
    """Return a field that is true or false, and false where it is absent or null. Refuses InvalidRequest.

    ``of`` is the field that ``fields`` is the value of.
    """
    if name not in fields:
        return False
    value = fields[name]
    if value not in (b"true", b"false", b"null"):
        raise InvalidRequest(f"{of + '.' if of else ''}{name} must be true or false.", param=of or name)
    return value == b"true"


def read_count(fields: JsonObject, name: str, *, most: int, least: int = 1) -> int | None:
    """Return a whole number in bounds; None where the field is absent or null. Refuses InvalidRequest."""
    if name not in fields or fields[name] == b"null":
        return None
    try:
        count = _number_decoder.decode(fields.view(name))
    except (msgspec.DecodeError, UnicodeDecodeError):
        count = least - 1
    if not least <= count <= most:
        raise InvalidRequest(f"{name} must be a whole number from {least:,} to {most:,}.", param=name)
    return count


def read_largest_count(fields: JsonObject, *names: str, most: int) -> int | None:
    """Return the largest of several fields that mean the same; None where none is given."""
    largest: int | None = None
    for name in names:
        count = read_count(fields, name, most=most)
        if count is not None and (largest is None or count > largest):
            largest = count
    return largest
