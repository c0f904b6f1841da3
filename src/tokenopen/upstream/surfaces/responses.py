"""Responses: OpenAI's ``POST /v1/responses``, JSON and server-sent events."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import TEXT_BYTES_PER_UNIT, estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.dialect import OPENAI_RESPONSES
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object
from tokenopen.upstream.refused_option import OPTION_NAMES, FreeTools, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_count, read_flag, read_model
from tokenopen.upstream.responses_content import measure_input
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.openai_shape import find_usage, with_upstream_fields
from tokenopen.upstream.surfaces.responses_stream import ResponsesStreamReader, find_response_ids
from tokenopen.upstream.usage_report import read_responses_report, usage_from_report
from tokenopen.upstream.web_search import (
    CALL_ITEM,
    WEB_SEARCHES,
    count_searches,
    counted,
    read_bound,
    with_searches,
)

RESPONSES_TOOLS: Final = FreeTools(
    types=frozenset(
        {
            "function",
            "custom",
            "local_shell",
            "apply_patch",
            "computer",
            "computer_use_preview",
            # Run by the provider, but over the request's own tools and for nothing.
            "tool_search",
            "namespace",
        }
    ),
    search_types=frozenset(
        {"web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"}
    ),
)
# Names of what the provider keeps and adds to the input.
_KEPT_INPUT: Final = ("previous_response_id", "conversation")
_KNOWN: Final = KnownNames(
    {"model", "input", "instructions", "stream", "max_output_tokens", "prompt", "context_management"}
    | {"max_tool_calls"}
    | {*_KEPT_INPUT}
    | OPTION_NAMES
)


class _Output(msgspec.Struct, gc=False):
    content: Any = None


class _Reply(msgspec.Struct, gc=False):
    output: list[_Output] | None = None


_reply_decoder: Final = msgspec.json.Decoder(_Reply)


class _Items(msgspec.Struct, gc=False):
    output: Any = None


_items_decoder: Final = msgspec.json.Decoder(_Items)


class ResponsesSurface:
    """Implements Surface."""

    name = "responses"
    dialect = OPENAI_RESPONSES
    method = "POST"
    path = "/v1/responses"
    upstream_path = "/responses"
    is_free = False

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        searches = refuse_options(fields, RESPONSES_TOOLS)
        # It bounds the calls of all hosted tools, and there are no others.
        bound = read_bound((fields,), "max_tool_calls", param="max_tool_calls") if searches else 0
        if _is_given(fields, "prompt"):
            raise InvalidRequest(
                "prompt is not offered here: a stored prompt decides over model and tools.", param="prompt"
            )
        measure = measure_input(fields, RESPONSES_TOOLS)
        for name in _KEPT_INPUT:
            measure.refer(_kept_id(fields, name), param=name)
        # A compaction reads everything and writes a summary before the reply is written.
        runs = 2 if _is_given(fields, "context_management") else 1
        return CallRequest(
            model=model,
            stream=read_flag(fields, "stream"),
            wants_usage=False,
            max_output_tokens=read_count(fields, "max_output_tokens", most=TOKENS_MAX),
            prompts=runs,
            choices=runs,
            input_bytes=runs * (len(body) - measure.data_bytes),
            attachments=runs * measure.attachments,
            text_bytes=measure.text_bytes,
            # What is found comes on top of what is sent.
            open_ended=bool(searches)
            or measure.open_ended
            or any(_is_given(fields, name) for name in _KEPT_INPUT),
            fields=fields,
            references=measure.references,
            item_ids=measure.item_ids,
            counted_units=counted(bound),
            own_prices=((WEB_SEARCHES,),) if searches else (),
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
            max_tokens_field="max_output_tokens",
            takes_usage_option=None,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        report = read_responses_report(find_usage(body))
        usage = None if report is None else usage_from_report(report, convention)
        return None if usage is None else with_searches(usage, _searches_in(body))

    def created_ids(self, body: bytes) -> Sequence[str]:
        return find_response_ids(body)

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        try:
            output = _reply_decoder.decode(body).output
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            output = None
        if not output:
            return usage_of(source="estimated")
        written = sum(_text_length(part) for item in output for part in _parts(item.content))
        least = estimated_usage(text_bytes=request.text_bytes, output_units=written // TEXT_BYTES_PER_UNIT)
        return with_searches(least, _searches_in(body))

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=content_events)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return ResponsesStreamReader(convention=convention, text_bytes=request.text_bytes)


def _is_given(fields: JsonObject, name: str) -> bool:
    return name in fields and fields[name] != b"null"


def _kept_id(fields: JsonObject, name: str) -> Any:
    """Return the id of earlier input that the provider is asked to add; None where there is none."""
    try:
        kept = msgspec.json.decode(fields.get(name, b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return kept.get("id", 0) if isinstance(kept, dict) else kept


def _searches_in(body: bytes) -> int:
    if CALL_ITEM.encode() not in body:
        return 0
    try:
        return count_searches(_items_decoder.decode(body).output)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def _text_length(part: Any) -> int:
    text = part.get("text") if isinstance(part, dict) else None
    return utf8_length(text) if isinstance(text, str) else 0
