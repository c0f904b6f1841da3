"""Embeddings: OpenAI's ``POST /v1/embeddings``."""

from collections.abc import Mapping
from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.json_body import UNREADABLE, assemble, decode_field, read_fields
from tokenopen.upstream.surface import CallRequest, ReportConvention, StreamReader
from tokenopen.upstream.surfaces.chat import read_value, refuse_unpriced
from tokenopen.upstream.surfaces.openai_error import openai_error
from tokenopen.upstream.usage_report import UsageReport, usage_from_report

_KNOWN: Final = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


class _Reply(msgspec.Struct):
    usage: UsageReport | None = None


_reply_decoder = msgspec.json.Decoder(_Reply)
_input_decoder = msgspec.json.Decoder(str | list[msgspec.Raw])


class EmbeddingsSurface:
    """Implements Surface."""

    name = "embeddings"
    upstream_path = "/embeddings"

    def read_request(self, body: bytes) -> CallRequest:
        fields = read_fields(body, _KNOWN)
        model = read_value(fields, "model", str)
        if not model:
            raise InvalidRequest("model must name a model.", param="model")
        refuse_unpriced(fields)
        prompts, text_bytes = _measure(fields)
        return CallRequest(
            model=model,
            stream=False,
            wants_usage=False,
            max_output_tokens=None,
            prompts=prompts,
            choices=1,
            input_bytes=len(body),
            attachments=0,
            text_bytes=text_bytes,
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
        return assemble({**request.fields, "model": msgspec.json.encode(upstream_model)})

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        try:
            reply = _reply_decoder.decode(body)
        except msgspec.ValidationError as error:
            raise ImpossibleUsage(str(error)) from None
        except UNREADABLE:
            return None
        return None if reply.usage is None else usage_from_report(reply.usage, convention)

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=0)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        raise NotImplementedError("embeddings do not stream")

    def error_body(self, *, status: int, code: str, message: str, facts: Mapping[str, object]) -> bytes:
        return openai_error(code=code, message=message, facts=facts)


def _measure(fields: Mapping[str, bytes]) -> tuple[int, int]:
    """Return how many inputs there are, and the bytes of their text."""
    value = decode_field(_input_decoder, fields, "input", "a string or an array")
    if not value:
        raise InvalidRequest("input must not be empty.", param="input")
    if isinstance(value, str):
        return 1, len(value.encode("utf-8", "surrogatepass"))
    items = [bytes(item) for item in value]
    texts = sum(len(item) - 2 for item in items if item.startswith(b'"'))
    # An array of numbers is one input, given as tokens.
    numbers = items[0][:1].isdigit()
    return 1 if numbers else len(items), texts
