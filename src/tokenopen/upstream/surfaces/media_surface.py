"""What the surfaces of images, sound, moderation and reranking have in common: most of it is little."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import ImpossibleUsage, Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.dialect import OPENAI
from tokenopen.upstream.json_body import JsonObject
from tokenopen.upstream.sse import Event
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.marked_stream import MarkedStreamReader, Seen

_NULL: Final = msgspec.Raw(b"null")
_CONTENT: Final = (".delta", ".partial_image")
_MARKS: Final = (".completed", ".done")
_text_decoder: Final = msgspec.json.Decoder(str)
UsageReader = Callable[[bytes], Usage | None]


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    usage: msgspec.Raw = _NULL


_event_decoder: Final = msgspec.json.Decoder(_Event)


class MediaStreamReader(MarkedStreamReader):
    """Reads a stream whose last event, ``....completed`` or ``....done``, reports what it has taken."""

    def __init__(self, read_usage: UsageReader) -> None:
        super().__init__()
        self._read_usage = read_usage
        self._usage: Usage | None = None

    @property
    def usage(self) -> Usage | None:
        return self._usage

    def _see(self, event: Event) -> Seen:
        if event.data.strip() == b"[DONE]":
            return Seen(is_mark=True, is_end=True)
        try:
            said = _event_decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Seen()
        self.failed = self.failed or said.type == "error"
        if not said.type.endswith(_MARKS):
            return Seen(has_content=said.type.endswith(_CONTENT))
        try:
            self._usage = self._read_usage(bytes(said.usage))
        except ImpossibleUsage as error:
            return Seen(is_mark=True, impossible=error)
        return Seen(is_mark=True)


class MediaSurface:
    """Implements Surface but for its names, ``read_request`` and what a reply reports."""

    name: str
    path: str
    upstream_path: str
    dialect = OPENAI
    method = "POST"
    is_free = False

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        raise NotImplementedError

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        # No provider takes a maximum here; what is held is the most that the model gives.
        fields = request.fields
        assert isinstance(fields, JsonObject)
        if upstream_model == request.model and "model" in fields:
            return fields.source
        return fields.replaced({"model": msgspec.json.encode(upstream_model)})

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return None

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return usage_of(source="estimated")

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)

    def read_event_usage(self, raw: bytes) -> Usage | None:
        """Return what the last event of a stream reports. Raises ImpossibleUsage."""
        return None

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return MediaStreamReader(self.read_event_usage)


class FormSurface(MediaSurface):
    """A surface whose body is a form (multipart/form-data). What it reads are the fields as JSON, see
    ``Form.end``; every value in them is a string or a file."""


def read_text(fields: JsonObject, name: str, *, default: str | None = None) -> str:
    """Return a field that is a string. Refuses InvalidRequest where it is none, or absent without default."""
    if name not in fields or fields[name] == b"null":
        if default is None:
            raise InvalidRequest(f"{name} is needed.", param=name)
        return default
    try:
        return _text_decoder.decode(fields.view(name))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest(f"{name} must be a string.", param=name) from None


def text_bytes_of(fields: JsonObject, *names: str) -> int:
    """Return the bytes of those fields that are strings."""
    total = 0
    for name in names:
        if name in fields and fields[name].startswith(b'"'):
            total += utf8_length(read_text(fields, name))
    return total
