"""Embeddings: OpenAI's ``POST /v1/embeddings``. JSON alone, and nothing but input is charged."""

from collections.abc import Sequence
from typing import Final

import msgspec

from tokenopen.core.errors import RequestTooLarge
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import measure_prompts
from tokenopen.upstream.dialect import OPENAI
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.chat_stream import ChatStreamReader
from tokenopen.upstream.surfaces.openai_shape import find_usage, with_upstream_fields
from tokenopen.upstream.usage_report import input_usage_from_report, read_report

# 2,048 inputs of some length; more tokens in one body would hold up every other call while they are read.
BODY_BYTES_MAX: Final = 8 * 1024 * 1024
_KNOWN: Final = KnownNames({"model", "input"} | OPTION_NAMES)


class _Reply(msgspec.Struct, gc=False):
    data: msgspec.Raw = msgspec.Raw(b"null")


_reply_decoder: Final = msgspec.json.Decoder(_Reply)


class EmbeddingsSurface:
    """Implements Surface."""

    name = "embeddings"
    dialect = OPENAI
    method = "POST"
    path = "/v1/embeddings"
    upstream_path = "/embeddings"
    is_free = False

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        if len(body) > BODY_BYTES_MAX:
            raise RequestTooLarge(limit_bytes=BODY_BYTES_MAX)
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        refuse_options(fields)
        measure = measure_prompts(fields, "input")
        return CallRequest(
            model=model,
            stream=False,
            wants_usage=False,
            max_output_tokens=0,
            prompts=measure.prompts,
            choices=1,
            input_bytes=len(body),
            attachments=0,
            text_bytes=measure.text_bytes,
            open_ended=False,
            fields=fields,
        )

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        assert cap_output_tokens is None, "there is no output to cap"
        return with_upstream_fields(
            request,
            upstream_model=upstream_model,
            cap_output_tokens=None,
            max_tokens_field=convention.max_tokens_field,
            takes_usage_option=None,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        report = read_report(find_usage(body))
        return None if report is None else input_usage_from_report(report)

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        try:
            answered = bytes(_reply_decoder.decode(body).data) not in (b"null", b"[]")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            answered = False
        if not answered:
            return usage_of(source="estimated")
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        # No provider streams embeddings; one that did would report as it does elsewhere.
        return ChatStreamReader(wants_usage=False, convention=convention)
