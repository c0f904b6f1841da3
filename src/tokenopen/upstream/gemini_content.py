"""Content in Gemini's shape: how much of it is text, and how much is data for attachments. What only its
owner may name, a file or a cache kept by the provider, is refused: nothing can be kept through here."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tokenopen.core.errors import InvalidRequest, NotFound
from tokenopen.upstream.content import Measure, is_media, utf8_length

# Members of a part whose bytes are all the input that they are. Any other, of a kind that is not known yet
# too, may cost as much as an image.
_PLAIN: Final = frozenset(
    {
        "text",
        "thought",
        "thoughtSignature",
        "thought_signature",
        "functionCall",
        "function_call",
        "functionResponse",
        "function_response",
        "executableCode",
        "executable_code",
        "codeExecutionResult",
        "code_execution_result",
        "toolCall",
        "tool_call",
        "toolResponse",
        "tool_response",
        "videoMetadata",
        "video_metadata",
        "mediaResolution",
        "media_resolution",
        "partMetadata",
        "part_metadata",
    }
)
# Sound and video have at most one unit for 40 bytes of base64 at the bit rates that telephones use, so one
# attachment's allowance covers so many.
_BYTES_PER_ATTACHMENT: Final = 1_280_000
_GOOGLE: Final = "googleapis.com"
# Where anybody publishes files.
_PUBLIC_HOST: Final = "storage.googleapis.com"
NESTING_MAX: Final = 8

_any_decoder: Final = msgspec.json.Decoder()


@dataclass(slots=True)
class GeminiMeasure(Measure):
    """A measure, with whether there is input whose size cannot be told from the request."""

    open_ended: bool = False


def measure_contents(measure: GeminiMeasure, raw: bytes | None, *, of: str) -> None:
    """Add what a field holds: a content, a list of them, or a text. Refuses what cannot be read, and
    NotFound for what the provider keeps."""
    if raw is None:
        return
    try:
        contents = _any_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(f"{of} cannot be read.", param=of) from None
    for content in contents if isinstance(contents, list) else [contents]:
        if isinstance(content, str):
            measure.text_bytes += utf8_length(content)
        elif isinstance(content, dict):
            _add_parts(measure, content.get("parts"), of=of, depth=0)
        else:
            raise InvalidRequest(f"{of} must hold contents with parts.", param=of)


def _add_parts(measure: GeminiMeasure, parts: Any, *, of: str, depth: int) -> None:
    if depth > NESTING_MAX:
        raise InvalidRequest(f"{of} is nested too deeply.", param=of)
    for part in parts if isinstance(parts, list) else [] if parts is None else [parts]:
        if isinstance(part, str):
            measure.text_bytes += utf8_length(part)
        elif isinstance(part, dict):
            _add_part(measure, part, of=of, depth=depth)
        else:
            measure.attachments += 1


def _add_part(measure: GeminiMeasure, part: dict[str, Any], *, of: str, depth: int) -> None:
    text = part.get("text")
    measure.text_bytes += utf8_length(text) if isinstance(text, str) else 0
    for name, value in part.items():
        if name in ("inlineData", "inline_data"):
            _add_inline(measure, value)
        elif name in ("fileData", "file_data"):
            _add_file(measure, value, of=of)
        elif name in ("functionResponse", "function_response") and isinstance(value, dict):
            # What a function gives back may be more than text.
            _add_parts(measure, value.get("parts"), of=of, depth=depth + 1)
        elif name not in _PLAIN:
            measure.attachments += 1


def _add_inline(measure: GeminiMeasure, value: Any) -> None:
    measure.attachments += 1
    if not isinstance(value, dict):
        return
    data, kind = value.get("data"), value.get("mimeType", value.get("mime_type"))
    if isinstance(data, str) and data.isascii() and is_media(kind):
        measure.data_bytes += len(data)
        if not str(kind).lower().startswith("image/"):
            measure.attachments += len(data) // _BYTES_PER_ATTACHMENT


def _add_file(measure: GeminiMeasure, value: Any, *, of: str) -> None:
    given = value if isinstance(value, dict) else {}
    uris = [given[name] for name in ("fileUri", "file_uri") if name in given]
    if len(uris) != 1 or not isinstance(uris[0], str):
        raise InvalidRequest("fileData needs one fileUri.", param=of)
    try:
        address = urlsplit(uris[0])
        host = (address.hostname or "").rstrip(".")
    except ValueError:
        raise InvalidRequest("fileUri must be a URL.", param=of) from None
    kept = host == _GOOGLE or (host.endswith("." + _GOOGLE) and host != _PUBLIC_HOST)
    if address.scheme.lower() not in ("http", "https") or not host or kept:
        raise NotFound("There is no such file of this account: send the data inline, or a public URL.")
    measure.attachments += 1
    kind = given.get("mimeType", given.get("mime_type"))
    # Hours of sound and thousands of pages can stand behind a short address.
    if not isinstance(kind, str) or not kind.lower().startswith("image/"):
        measure.open_ended = True
