"""Content of messages in OpenAI's shape: how much of it is text, and how much is data for attachments.

Bytes of base64 data count as an attachment instead of as input, but only where a provider decodes them as
one: as text they would cost as much as any other text.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import TEXT_BYTES_PER_UNIT
from tokenopen.upstream.json_body import JsonObject

# Parts that are text, or that say something about text. Any other part, of a kind that is not known yet
# too, may cost as much as an image.
_TEXT_PARTS: Final = frozenset({"text", "refusal", "thinking", "reference", "input_text", "output_text"})
_URL_PARTS: Final = ("image_url", "video_url", "audio_url", "document_url", "file_url")
_DATA_MEDIA: Final = (
    "image/",
    "audio/",
    "video/",
    "application/pdf",
    "application/vnd.",
    "application/msword",
)
REFERENCES_MAX: Final = 500
REFERENCE_CHARACTERS_MAX: Final = 512
# Longer than any media type with its parameters.
_HEAD_CHARACTERS: Final = 200
_BASE64_HEAD: Final = re.compile(r"[A-Za-z0-9+/=\r\n]+")


class _Message(msgspec.Struct, gc=False):
    content: Any = None
    # An earlier reply in sound, named by its id: input that is not in the request.
    audio: Any = None


_messages_decoder: Final = msgspec.json.Decoder(list[_Message])
# One text, one list of tokens, or many of either.
_prompts_decoder: Final = msgspec.json.Decoder(str | list[str | int | list[int]])


@dataclass(slots=True)
class Measure:
    """What messages hold: bytes of text, attachments, bytes of base64 data of attachments, and ids of what
    the provider keeps."""

    text_bytes: int = 0
    attachments: int = 0
    data_bytes: int = 0
    references: list[str] = field(default_factory=list)

    def refer(self, reference: Any, *, param: str) -> None:
        """Note the id of something that the provider keeps; None is none. Refuses InvalidRequest."""
        if reference is None:
            return
        if not isinstance(reference, str) or not 0 < len(reference) <= REFERENCE_CHARACTERS_MAX:
            raise InvalidRequest(f"{param} must hold ids as the provider gave them.", param=param)
        if reference not in self.references:
            self.references.append(reference)
        if len(self.references) > REFERENCES_MAX:
            raise InvalidRequest(f"{param} refers to more than {REFERENCES_MAX} things.", param=param)


@dataclass(frozen=True, slots=True)
class PromptMeasure:
    """How many prompts there are, and their bytes of text; a token counts as the text it stands for."""

    prompts: int
    text_bytes: int


def measure_messages(fields: JsonObject) -> Measure:
    """Return the measure of ``messages``. Refuses InvalidRequest where they are not an array of objects."""
    try:
        messages = _messages_decoder.decode(fields.view("messages")) if "messages" in fields else []
    except RecursionError:
        raise InvalidRequest("messages is nested too deeply.", param="messages") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"messages must be an array of messages: {error}.", param="messages") from None
    if not messages:
        raise InvalidRequest("messages must hold at least one message.", param="messages")
    measure = Measure()
    for message in messages:
        if message.audio is not None:
            measure.attachments += 1
            measure.refer(
                message.audio.get("id") if isinstance(message.audio, dict) else None, param="messages"
            )
        content = message.content
        if isinstance(content, str):
            measure.text_bytes += utf8_length(content)
        elif isinstance(content, list):
            for part in content:
                _add_part(measure, part)
    return measure


def measure_prompts(fields: JsonObject, name: str) -> PromptMeasure:
    """Return the measure of a field that holds one prompt or many, as text or as tokens.

    Refuses InvalidRequest where it does not, or holds nothing.
    """
    try:
        given = _prompts_decoder.decode(fields.view(name)) if name in fields else ""
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(
            f"{name} must be a string, an array of strings, an array of tokens, or an array of such arrays.",
            param=name,
        ) from None
    if not given:
        raise InvalidRequest(f"{name} must not be empty.", param=name)
    if isinstance(given, str):
        return PromptMeasure(1, utf8_length(given))
    texts = [prompt for prompt in given if isinstance(prompt, str)]
    token_lists = [prompt for prompt in given if isinstance(prompt, list)]
    # Tokens that stand in the outer array are one prompt.
    loose_tokens = len(given) - len(texts) - len(token_lists)
    tokens = loose_tokens + sum(map(len, token_lists))
    return PromptMeasure(
        len(texts) + len(token_lists) + (loose_tokens > 0),
        sum(map(utf8_length, texts)) + tokens * TEXT_BYTES_PER_UNIT,
    )


def utf8_length(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _add_part(measure: Measure, part: Any) -> None:
    if isinstance(part, str):
        measure.text_bytes += utf8_length(part)
        return
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in _TEXT_PARTS:
        text = part.get("text")
        measure.text_bytes += utf8_length(text) if isinstance(text, str) else 0
        return
    measure.attachments += 1
    if isinstance(kind, str):
        value = part.get(kind)
        measure.data_bytes += _data_bytes(kind, value)
        if isinstance(value, dict):
            measure.refer(value.get("file_id"), param="messages")
        measure.refer(part.get("file_id"), param="messages")


def _data_bytes(kind: str, value: Any) -> int:
    """Return the bytes of base64 data in what stands under the name of a part's type."""
    if kind in _URL_PARTS:
        return data_url_bytes(value.get("url") if isinstance(value, dict) else value)
    if kind == "input_audio" and isinstance(value, dict):
        data = value.get("data")
        return len(data) if isinstance(data, str) and data.isascii() else 0
    if kind == "file" and isinstance(value, dict):
        return base64_bytes(value.get("file_data"))
    return 0


def base64_bytes(data: Any) -> int:
    """Return the bytes of data in a field that takes base64, as it is or in a data URL."""
    if isinstance(data, str) and _BASE64_HEAD.fullmatch(data[:_HEAD_CHARACTERS]):
        return len(data) if data.isascii() else 0
    return data_url_bytes(data)


def data_url_bytes(url: Any) -> int:
    """Return the bytes of base64 data in a data URL of a medium that is not text (RFC 2397)."""
    if not isinstance(url, str) or not url.startswith("data:") or not url.isascii():
        return 0
    comma = url.find(",", 0, _HEAD_CHARACTERS)
    head = url[len("data:") : max(comma, 0)]
    if not head.lower().endswith(";base64") or not is_media(head):
        return 0
    return len(url) - comma - 1


def is_media(media_type: Any) -> bool:
    """Tell whether a media type is of something that is not text."""
    return isinstance(media_type, str) and media_type.lower().startswith(_DATA_MEDIA)
