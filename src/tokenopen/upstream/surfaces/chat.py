"""Chat completions: OpenAI's ``POST /v1/chat/completions``, JSON and server-sent events."""

from collections.abc import Sequence
from typing import Final

from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import Usage
from tokenopen.upstream.content import measure_messages
from tokenopen.upstream.dialect import OPENAI
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_count, read_flag, read_largest_count, read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.chat_stream import ChatStreamReader
from tokenopen.upstream.surfaces.openai_shape import (
    estimate_openai_reply,
    find_audio_ids,
    read_openai_reply,
    read_usage_option,
    with_upstream_fields,
)

CHOICES_MAX: Final = 128

_KNOWN: Final = KnownNames(
    {"model", "messages", "stream", "stream_options", "max_completion_tokens", "max_tokens", "n"}
    | OPTION_NAMES
)


class ChatSurface:
    """Implements Surface."""

    name = "chat"
    dialect = OPENAI
    method = "POST"
    path = "/v1/chat/completions"
    upstream_path = "/chat/completions"
    is_free = False

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        refuse_options(fields)
        stream = read_flag(fields, "stream")
        measure = measure_messages(fields)
        return CallRequest(
            model=model,
            stream=stream,
            wants_usage=read_usage_option(fields) and stream,
            max_output_tokens=read_largest_count(
                fields, "max_completion_tokens", "max_tokens", most=TOKENS_MAX
            ),
            prompts=1,
            choices=read_count(fields, "n", most=CHOICES_MAX) or 1,
            input_bytes=len(body) - measure.data_bytes,
            attachments=measure.attachments,
            text_bytes=measure.text_bytes,
            open_ended=False,
            fields=fields,
            references=measure.references,
        )

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        return with_upstream_fields(
            request,
            upstream_model=upstream_model,
            cap_output_tokens=cap_output_tokens,
            max_tokens_field=convention.max_tokens_field,
            takes_usage_option=convention.takes_usage_option,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return read_openai_reply(body, convention)

    def created_ids(self, body: bytes) -> Sequence[str]:
        return find_audio_ids(body)

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return estimate_openai_reply(request, body)

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=content_events)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return ChatStreamReader(wants_usage=request.wants_usage, convention=convention)
