"""Counting tokens: Anthropic's ``POST /v1/messages/count_tokens``. It costs nothing, and writes nothing."""

from collections.abc import Sequence
from typing import Final

from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.dialect import ANTHROPIC
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.messages_content import measure_anthropic_messages
from tokenopen.upstream.messages_header import read_messages_headers
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.messages import MESSAGES_TOOLS
from tokenopen.upstream.surfaces.messages_stream import MessagesStreamReader
from tokenopen.upstream.surfaces.openai_shape import with_upstream_fields

_KNOWN: Final = KnownNames({"model", "messages", "system"} | OPTION_NAMES)


class CountTokensSurface:
    """Implements Surface."""

    name = "count_tokens"
    dialect = ANTHROPIC
    method = "POST"
    path = "/v1/messages/count_tokens"
    upstream_path = "/messages/count_tokens"
    is_free = True

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        refuse_options(fields, MESSAGES_TOOLS, allowed=("mcp_servers",))
        measure = measure_anthropic_messages(fields)
        return CallRequest(
            model=model,
            stream=False,
            wants_usage=False,
            max_output_tokens=0,
            prompts=1,
            choices=1,
            input_bytes=len(body) - measure.data_bytes,
            attachments=measure.attachments,
            text_bytes=measure.text_bytes,
            open_ended=False,
            fields=fields,
            headers=read_messages_headers(target.headers).headers,
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
            cap_output_tokens=None,
            max_tokens_field="max_tokens",
            takes_usage_option=None,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return usage_of()

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return usage_of(source="estimated")

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return usage_of(source="estimated")

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return MessagesStreamReader()
