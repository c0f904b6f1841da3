"""Gemini: ``POST /v1beta/models/{model}:generateContent``, and ``:streamGenerateContent`` as events; under
``/v1`` as well, where Google's SDKs ask from 3.0 on.

The model stands in the path. A stream as one JSON array, Google's form without ``alt=sse``, is refused: no
SDK asks for it, and nothing in it tells its end from a connection that broke.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import WRITTEN_BYTES_PER_UNIT, estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.dialect import GEMINI
from tokenopen.upstream.gemini_content import GeminiMeasure, measure_contents
from tokenopen.upstream.gemini_field import read_value, refuse_other_model, upstream_model_changes
from tokenopen.upstream.gemini_option import KNOWN, read_options, with_output_cap
from tokenopen.upstream.gemini_search import QUERIES_IN_JSON, queries_of, searches_of
from tokenopen.upstream.gemini_usage import read_gemini_report, usage_from_gemini_report
from tokenopen.upstream.hosted_tool import WEB_SEARCHES, with_units
from tokenopen.upstream.json_body import JsonObject, read_object
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.gemini_stream import GeminiStreamReader

_NULL: Final = msgspec.Raw(b"null")
# Parameters of the query that say how the reply is written; any other is refused.
_NO_MATTER: Final = frozenset({"key", "$alt", "alt", "prettyPrint", "$prettyPrint"})
# The last is what Google's older SDK asks for: names for numbers are JSON of the same messages all the same.
_JSON_FORMS: Final = (None, "", "json", "json;enum-encoding=int")


class _Reply(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.field(name="usageMetadata", default=_NULL)


class _Candidates(msgspec.Struct, gc=False):
    candidates: Any = None
    model: Any = msgspec.field(name="modelVersion", default=None)


_reply_decoder: Final = msgspec.json.Decoder(_Reply)
_candidates_decoder: Final = msgspec.json.Decoder(_Candidates)


class GeminiSurface:
    """Implements Surface for whole replies."""

    name = "gemini"
    dialect = GEMINI
    method = "POST"
    upstream_path = "/models/{model}:generateContent"
    is_free = False
    stream = False

    def __init__(self, version: str = "v1beta") -> None:
        """``version`` is where callers find it; the provider is asked at its widest, v1beta."""
        self.path = f"/{version}{self.upstream_path}"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        model = target.values.get("model", "")
        refuse_parameters(target, stream=self.stream)
        fields = read_object(body, KNOWN)
        refuse_other_model(fields, model)
        options = read_options(fields)
        measure = measure_request(fields)
        return CallRequest(
            model=model,
            stream=self.stream,
            wants_usage=False,
            max_output_tokens=options.max_output_tokens,
            prompts=1,
            choices=options.candidates,
            input_bytes=len(body) - measure.data_bytes,
            attachments=measure.attachments,
            text_bytes=measure.text_bytes,
            open_ended=measure.open_ended or options.open_ended,
            fields=fields,
            query="alt=sse" if self.stream else "",
            own_prices=options.own_prices,
            counted_units=options.counted_units,
        )

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        fields = request.fields
        assert isinstance(fields, JsonObject)
        changes = upstream_model_changes(fields, upstream_model, request.model)
        if cap_output_tokens is not None and cap_output_tokens != request.max_output_tokens:
            changes |= with_output_cap(fields, cap_output_tokens)
        return fields.replaced(changes) if changes else fields.source

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        usage = read_gemini_reply(body)
        return None if usage is None else with_units(usage, _searches_in(body))

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        candidates = _read(body).candidates
        if not isinstance(candidates, list) or not candidates:
            return usage_of(source="estimated")
        written = sum(map(_written_bytes, candidates))
        least = estimated_usage(text_bytes=request.text_bytes, output_units=written // WRITTEN_BYTES_PER_UNIT)
        return with_units(least, _searches_in(body))

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=content_events)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return GeminiStreamReader()


class GeminiStreamSurface(GeminiSurface):
    """Implements Surface for streams."""

    name = "gemini_stream"
    upstream_path = "/models/{model}:streamGenerateContent"
    stream = True


def read_gemini_reply(body: bytes) -> Usage | None:
    """Return the usage that a whole JSON reply reports, None where there is none. Raises ImpossibleUsage."""
    try:
        raw = bytes(_reply_decoder.decode(body).usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    report = read_gemini_report(raw)
    return None if report is None else usage_from_gemini_report(report)


def refuse_parameters(target: Target, *, stream: bool) -> None:
    """Raise InvalidRequest for a form of reply that is not offered."""
    form = target.query.get("alt", target.query.get("$alt"))
    if stream and form != "sse":
        raise InvalidRequest(
            "Streams are offered as server-sent events: add alt=sse to the query.", param="alt"
        )
    if not stream and form not in _JSON_FORMS:
        raise InvalidRequest("alt may only be json here.", param="alt")
    for name in sorted(target.query.keys() - _NO_MATTER):
        raise InvalidRequest(f"The parameter {name[:60]!a} is not offered here.", param="query")


def measure_request(fields: JsonObject) -> GeminiMeasure:
    """Return the measure of contents and system instruction. Refuses InvalidRequest where there are none."""
    measure = GeminiMeasure()
    contents = read_value(fields, "contents")
    if contents is None or contents in (b"[]", b'""'):
        raise InvalidRequest("contents must hold at least one content.", param="contents")
    measure_contents(measure, contents, of="contents")
    measure_contents(measure, read_value(fields, "systemInstruction"), of="systemInstruction")
    return measure


def _read(body: bytes) -> _Candidates:
    """Return a whole JSON reply, an empty one where it cannot be read."""
    try:
        return _candidates_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Candidates()


def _searches_in(body: bytes) -> dict[str, int]:
    """Return the searches that a whole reply tells of, as units by class."""
    if not any(name in body for name in QUERIES_IN_JSON):
        return {}
    reply = _read(body)
    queries = queries_of(reply.candidates if isinstance(reply.candidates, list) else ())
    return {WEB_SEARCHES: searches_of(queries, reply.model)}


def _written_bytes(candidate: Any) -> int:
    content = candidate.get("content") if isinstance(candidate, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else None
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return sum(utf8_length(text) for text in texts if isinstance(text, str))
