"""Chat completions: OpenAI's ``POST /v1/chat/completions``, JSON and server-sent events."""

from collections.abc import Sequence
from typing import Final

from tokenopen.core.catalog import PER_CALL
from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import Usage
from tokenopen.upstream.content import measure_messages
from tokenopen.upstream.dialect import OPENAI
from tokenopen.upstream.hosted_tool import HostedTool, priced_classes, read_bound
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.refused_option import OPTION_NAMES, is_asked, refuse_options
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
# Models that search in each call take it; no reply tells how often, so what that costs is a price per call.
_SEARCH_OPTIONS: Final = "web_search_options"

_KNOWN: Final = KnownNames(
    {"model", "messages", "stream", "stream_options", "max_completion_tokens", "max_tokens", "n"}
    | OPTION_NAMES
)
_PARAMETERS: Final = KnownNames({"max_uses"})


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
        hosted = refuse_options(fields, allowed=(_SEARCH_OPTIONS,))
        priced = priced_classes(hosted)
        searches = is_asked(fields, _SEARCH_OPTIONS)
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
            # What is found comes on top of what is sent.
            open_ended=bool(hosted) or searches,
            fields=fields,
            references=measure.references,
            counted_units=_bounds(hosted),
            own_prices=(*priced, *(((PER_CALL,),) if searches else ())),
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


def _bounds(hosted: Sequence[HostedTool]) -> dict[str, int]:
    """Return the most units of tools that a call may use: of several tools of a class the sum."""
    bounds: dict[str, int] = {}
    for tool in hosted:
        if tool.unit_class is not None:
            raw = tool.tool.get("parameters", b"null")
            parameters = None if raw == b"null" else read_object(raw, _PARAMETERS, of="tools")
            bound = read_bound(parameters, "max_uses", tool.unit_class)
            bounds[tool.unit_class] = bounds.get(tool.unit_class, 0) + bound
    return bounds
