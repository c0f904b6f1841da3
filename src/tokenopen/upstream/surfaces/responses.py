"""Responses: OpenAI's ``POST /v1/responses``, JSON and server-sent events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import WRITTEN_BYTES_PER_UNIT, estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.dialect import OPENAI_RESPONSES
from tokenopen.upstream.hosted_tool import (
    CONTAINERS,
    IMAGES,
    WEB_SEARCHES,
    beside_report,
    count_items,
    priced_classes,
    read_bound,
    tells_of_tools,
    with_units,
)
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object
from tokenopen.upstream.refused_option import OPTION_NAMES, OfferedTools, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_count, read_flag, read_model
from tokenopen.upstream.responses_content import measure_input
from tokenopen.upstream.responses_tool import read_run
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.openai_shape import find_usage, with_upstream_fields
from tokenopen.upstream.surfaces.responses_stream import ResponsesStreamReader, find_response_ids
from tokenopen.upstream.usage_report import read_responses_report, usage_from_report

RESPONSES_TOOLS: Final = OfferedTools(
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
    hosted={
        "web_search": WEB_SEARCHES,
        "web_search_2025_08_26": WEB_SEARCHES,
        "web_search_preview": WEB_SEARCHES,
        "web_search_preview_2025_03_11": WEB_SEARCHES,
        # xAI's, of posts.
        "x_search": WEB_SEARCHES,
        "code_interpreter": CONTAINERS,
        "shell": CONTAINERS,
        "image_generation": IMAGES,
        # Its servers are named by the request; the stores that files are searched in are not.
        "mcp": None,
        "file_search": None,
    },
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
        hosted = read_run(refuse_options(fields, RESPONSES_TOOLS))
        priced = priced_classes(hosted.tools)
        if _is_given(fields, "prompt"):
            raise InvalidRequest(
                "prompt is not offered here: a stored prompt decides over model and tools.", param="prompt"
            )
        measure = measure_input(fields, RESPONSES_TOOLS)
        for name in _KEPT_INPUT:
            measure.refer(_kept_id(fields, name), param=name)
        for reference in hosted.references:
            measure.refer(reference, param="tools")
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
            # What tools give back comes on top of what is sent.
            open_ended=bool(hosted.tools)
            or measure.open_ended
            or any(_is_given(fields, name) for name in _KEPT_INPUT),
            fields=fields,
            references=measure.references,
            item_ids=measure.item_ids,
            # It bounds the calls of all hosted tools together, so of each of them.
            counted_units={name: read_bound(fields, "max_tool_calls", name) for (name,) in priced},
            own_prices=priced,
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
        return None if usage is None else with_units(usage, _units_in(body, usage))

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
        least = estimated_usage(text_bytes=request.text_bytes, output_units=written // WRITTEN_BYTES_PER_UNIT)
        return with_units(least, _units_in(body, least))

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


def _units_in(body: bytes, reported: Usage) -> Mapping[str, int]:
    """Return the units of tools that the items of a reply tell of, beside those that are reported."""
    if not tells_of_tools(body):
        return {}
    try:
        return beside_report(count_items(_items_decoder.decode(body).output), reported)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def _text_length(part: Any) -> int:
    text = part.get("text") if isinstance(part, dict) else None
    return utf8_length(text) if isinstance(text, str) else 0
