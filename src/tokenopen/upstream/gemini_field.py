"""Fields of Gemini's requests: protocol buffers read each name in two spellings, and one must be told.

``maxOutputTokens`` is the name in JSON, ``max_output_tokens`` the one in Google's own examples and SDKs.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object

_WORD: Final = re.compile("[A-Z]")
_items_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder: Final = msgspec.json.Decoder(str)
MODELS: Final = "models/"


def snake_case(name: str) -> str:
    """Return a name in the spelling of the protocol buffers' own definition."""
    return _WORD.sub(lambda match: "_" + match[0].lower(), name)


def gemini_names(names: Iterable[str]) -> KnownNames:
    """Return names that are known in both spellings; any other spelling is refused."""
    return KnownNames({spelling for name in names for spelling in (name, snake_case(name))})


def written_name(fields: Mapping[str, object], name: str) -> str | None:
    """Return the spelling under which a field is given, None where it is not. Refuses both at once."""
    other = snake_case(name)
    if name in fields and other in fields and name != other:
        raise InvalidRequest(f"{name} is given twice, also as {other}.", param=name)
    return name if name in fields else other if other in fields else None


def read_value(fields: JsonObject, name: str) -> bytes | None:
    """Return a field's value in either spelling; None where it is absent or null."""
    written = written_name(fields, name)
    if written is None or fields[written] == b"null":
        return None
    return fields[written]


def read_member(fields: JsonObject, name: str, known: KnownNames) -> JsonObject | None:
    """Return a field that is an object; None where it is absent or null. Refuses InvalidRequest."""
    value = read_value(fields, name)
    return None if value is None else read_object(value, known, of=name)


def read_items(value: bytes | None, *, of: str) -> list[bytes]:
    """Return a list's values as they are written; Gemini takes a single one for a list of one."""
    if value is None:
        return []
    if not value.lstrip().startswith(b"["):
        return [value]
    try:
        return [bytes(item) for item in _items_decoder.decode(value)]
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(f"{of} must be an array.", param=of) from None


def read_text(value: bytes | None) -> str | None:
    """Return a string; None where the value is absent or is none."""
    if value is None:
        return None
    try:
        return _text_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def refuse_other_model(fields: JsonObject, model: str) -> None:
    """Raise InvalidRequest where a body names another model than its path does."""
    value = read_value(fields, "model")
    if value is not None and read_text(value) not in (model, MODELS + model):
        raise InvalidRequest(f"model must be {MODELS}{model}, as in the path.", param="model")


def upstream_model_changes(fields: JsonObject, upstream_model: str, model: str) -> dict[str, bytes]:
    """Return what is to be replaced for a body that names the model to name the upstream's."""
    if model == upstream_model or read_value(fields, "model") is None:
        return {}
    return {"model": msgspec.json.encode(MODELS + upstream_model)}
