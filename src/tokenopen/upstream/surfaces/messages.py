"""Messages: Anthropic's ``POST /v1/messages``, JSON and server-sent events."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.estimate import TEXT_BYTES_PER_UNIT, estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.dialect import ANTHROPIC
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object
from tokenopen.upstream.messages_content import measure_anthropic_messages
from tokenopen.upstream.messages_header import read_messages_headers
from tokenopen.upstream.messages_usage import read_messages_report, usage_from_messages_report
from tokenopen.upstream.refused_option import OPTION_NAMES, FreeTools, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_count, read_flag, read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.messages_stream import MessagesStreamReader
from tokenopen.upstream.surfaces.openai_shape import find_usage, with_upstream_fields
from tokenopen.upstream.web_search import WEB_SEARCHES, counted, is_result, read_bound, with_searches

MESSAGES_TOOLS: Final = FreeTools(
    types=frozenset({"custom"}),
    # Defined by Anthropic and run by the caller; searches for tools are run by it, for nothing.
    prefixes=("bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_"),
    untyped_member="input_schema",
    search_prefixes=("web_search_",),
)
_KNOWN: Final = KnownNames(
    {"model", "messages", "system", "max_tokens", "stream", "context_management", "container"} | OPTION_NAMES
)


class _Reply(msgspec.Struct, gc=False):
    content: list[Any] | None = None


class _Edit(msgspec.Struct, gc=False):
    type: str = ""


class _ContextManagement(msgspec.Struct, gc=False):
    edits: list[_Edit] | None = None


_management_decoder: Final = msgspec.json.Decoder(_ContextManagement | None)
_reply_decoder: Final = msgspec.json.Decoder(_Reply)


class MessagesSurface:
    """Implements Surface."""

    name = "messages"
    dialect = ANTHROPIC
    method = "POST"
    path = "/v1/messages"
    upstream_path = "/messages"
    is_free = False

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        searches = refuse_options(fields, MESSAGES_TOOLS)
        measure = measure_anthropic_messages(fields)
        measure.refer(_container_id(fields), param="container")
        sent = read_messages_headers(target.headers)
        # A compaction reads everything and writes a summary before the reply is written.
        runs = 2 if _compacts(fields) else 1
        return CallRequest(
            model=model,
            stream=read_flag(fields, "stream"),
            wants_usage=False,
            # 0 asks for the cache to be filled.
            max_output_tokens=read_count(fields, "max_tokens", least=0, most=TOKENS_MAX),
            prompts=runs,
            choices=runs,
            input_bytes=runs * (len(body) - measure.data_bytes),
            attachments=runs * measure.attachments,
            text_bytes=measure.text_bytes,
            # What is found comes on top of what is sent.
            open_ended=bool(searches),
            fields=fields,
            headers=sent.headers,
            references=measure.references,
            priced_above_units=sent.priced_above_units,
            counted_units=counted(read_bound(searches, "max_uses", param="tools")),
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
            max_tokens_field="max_tokens",
            takes_usage_option=None,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        report = read_messages_report(find_usage(body))
        return None if report is None else usage_from_messages_report(report)

    def created_ids(self, body: bytes) -> Sequence[str]:
        return ()

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        try:
            content = _reply_decoder.decode(body).content
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            content = None
        if not content:
            return usage_of(source="estimated")
        written = sum(map(_written_bytes, content))
        least = estimated_usage(text_bytes=request.text_bytes, output_units=written // TEXT_BYTES_PER_UNIT)
        return with_searches(least, sum(map(is_result, content)))

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=content_events)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return MessagesStreamReader()


def _container_id(fields: JsonObject) -> Any:
    """Return the id of the container that a call is to run in; None where it names none."""
    try:
        container = msgspec.json.decode(fields.get("container", b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return container.get("id") if isinstance(container, dict) else container


def _compacts(fields: JsonObject) -> bool:
    """Tell whether a compaction may take place; what cannot be read may ask for one."""
    try:
        management = _management_decoder.decode(fields.get("context_management", b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    edits = () if management is None else management.edits or ()
    return any(edit.type.startswith("compact") for edit in edits)


def _written_bytes(block: Any) -> int:
    texts = (block.get("text"), block.get("thinking")) if isinstance(block, dict) else ()
    return sum(utf8_length(text) for text in texts if isinstance(text, str))
