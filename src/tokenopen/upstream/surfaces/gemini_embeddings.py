"""Gemini's embeddings: ``:embedContent`` for one content and ``:batchEmbedContents`` for many.

Each request of a batch names the model again: the name is checked, and replaced by the upstream's.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest, RequestTooLarge
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.dialect import GEMINI
from tokenopen.upstream.gemini_content import GeminiMeasure, measure_contents
from tokenopen.upstream.gemini_field import (
    gemini_names,
    read_items,
    read_value,
    refuse_other_model,
    upstream_model_changes,
    written_name,
)
from tokenopen.upstream.json_body import JsonObject, read_object
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.embeddings import BODY_BYTES_MAX
from tokenopen.upstream.surfaces.gemini import read_gemini_reply, refuse_parameters
from tokenopen.upstream.surfaces.gemini_stream import GeminiStreamReader

REQUESTS_MAX: Final = 2_048
_ONE: Final = gemini_names(("model", "content"))
_BATCH: Final = gemini_names(("model", "requests"))


class _Reply(msgspec.Struct, gc=False):
    embedding: Any = None
    embeddings: Any = None


_reply_decoder: Final = msgspec.json.Decoder(_Reply)


class GeminiEmbedSurface:
    """Implements Surface for one content."""

    name = "gemini_embed"
    dialect = GEMINI
    method = "POST"
    upstream_path = "/models/{model}:embedContent"
    is_free = False

    def __init__(self, version: str = "v1beta") -> None:
        """``version`` is where callers find it; the provider is asked at its widest, v1beta."""
        self.path = f"/{version}{self.upstream_path}"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        if len(body) > BODY_BYTES_MAX:
            raise RequestTooLarge(limit_bytes=BODY_BYTES_MAX)
        model = target.values.get("model", "")
        refuse_parameters(target, stream=False)
        fields, requests = self._read(body)
        refuse_other_model(fields, model)
        measure = GeminiMeasure()
        for request in requests:
            refuse_other_model(request, model)
            content = read_value(request, "content")
            if content is None:
                raise InvalidRequest("content is needed.", param="content")
            measure_contents(measure, content, of="content")
        return CallRequest(
            model=model,
            stream=False,
            wants_usage=False,
            max_output_tokens=0,
            prompts=len(requests),
            choices=1,
            input_bytes=len(body) - measure.data_bytes,
            attachments=measure.attachments,
            text_bytes=measure.text_bytes,
            open_ended=measure.open_ended,
            fields=fields,
        )

    def _read(self, body: bytes) -> tuple[JsonObject, list[JsonObject]]:
        """Return the body, and what holds the contents."""
        fields = read_object(body, _ONE)
        return fields, [fields]

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        assert cap_output_tokens is None, "there is no output to cap"
        fields = request.fields
        assert isinstance(fields, JsonObject)
        changes = self._changes(fields, upstream_model, request.model)
        return fields.replaced(changes) if changes else fields.source

    def _changes(self, fields: JsonObject, upstream_model: str, model: str) -> dict[str, bytes]:
        return upstream_model_changes(fields, upstream_model, model)

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return read_gemini_reply(body)

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        try:
            reply = _reply_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return usage_of(source="estimated")
        if not reply.embedding and not reply.embeddings:
            return usage_of(source="estimated")
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        # No provider streams embeddings; one that did would report as it does elsewhere.
        return GeminiStreamReader()


class GeminiBatchEmbedSurface(GeminiEmbedSurface):
    """Implements Surface for many contents."""

    name = "gemini_batch_embed"
    upstream_path = "/models/{model}:batchEmbedContents"

    def _read(self, body: bytes) -> tuple[JsonObject, list[JsonObject]]:
        fields = read_object(body, _BATCH)
        requests = _requests(fields)
        if not 1 <= len(requests) <= REQUESTS_MAX:
            raise InvalidRequest(f"requests must hold 1 to {REQUESTS_MAX:,} requests.", param="requests")
        return fields, requests

    def _changes(self, fields: JsonObject, upstream_model: str, model: str) -> dict[str, bytes]:
        changes = upstream_model_changes(fields, upstream_model, model)
        if upstream_model != model:
            renamed = [
                request.replaced(upstream_model_changes(request, upstream_model, model))
                for request in _requests(fields)
            ]
            written = written_name(fields, "requests") or "requests"
            changes[written] = b"[%b]" % b",".join(renamed)
        return changes


def _requests(fields: JsonObject) -> list[JsonObject]:
    items = read_items(read_value(fields, "requests"), of="requests")
    return [read_object(item, _ONE, of="requests") for item in items]
