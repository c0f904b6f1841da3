"""Moderations: OpenAI's ``POST /v1/moderations``. Free at OpenAI, so its models have a price that says 0."""

from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import Measure, data_url_bytes, utf8_length
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, Target
from tokenopen.upstream.surfaces.media_surface import MediaSurface
from tokenopen.upstream.surfaces.openai_shape import find_usage
from tokenopen.upstream.usage_report import input_usage_from_report, read_report

# What OpenAI takes where none is named.
DEFAULT_MODEL: Final = "omni-moderation-latest"
_KNOWN: Final = KnownNames({"model", "input"} | OPTION_NAMES)
_input_decoder: Final = msgspec.json.Decoder(str | list[Any])


class _Reply(msgspec.Struct, gc=False):
    results: list[Any] | None = None


_reply_decoder: Final = msgspec.json.Decoder(_Reply)


class ModerationsSurface(MediaSurface):
    """Implements Surface."""

    name = "moderations"
    path = "/v1/moderations"
    upstream_path = "/moderations"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        refuse_options(fields)
        try:
            given = _input_decoder.decode(fields.view("input")) if "input" in fields else ""
        except (msgspec.DecodeError, RecursionError):
            given = ""
        if not given:
            raise InvalidRequest("input must be a string, or an array of texts and images.", param="input")
        measure = Measure()
        items = [given] if isinstance(given, str) else given
        for item in items:
            _add(measure, item)
        return CallRequest(
            model=read_model(fields) if "model" in fields else DEFAULT_MODEL,
            stream=False,
            wants_usage=False,
            max_output_tokens=0,
            prompts=len(items),
            choices=1,
            input_bytes=len(body) - measure.data_bytes,
            attachments=measure.attachments,
            text_bytes=measure.text_bytes,
            open_ended=False,
            fields=fields,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        report = read_report(find_usage(body))
        return None if report is None else input_usage_from_report(report)

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        try:
            results = _reply_decoder.decode(body).results
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            results = None
        if not results:
            return usage_of(source="estimated")
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)


def _add(measure: Measure, item: Any) -> None:
    if isinstance(item, str):
        measure.text_bytes += utf8_length(item)
    elif isinstance(item, dict) and item.get("type") == "text":
        text = item.get("text")
        measure.text_bytes += utf8_length(text) if isinstance(text, str) else 0
    else:
        measure.attachments += 1
        image = item.get("image_url") if isinstance(item, dict) else None
        measure.data_bytes += data_url_bytes(image.get("url") if isinstance(image, dict) else image)
