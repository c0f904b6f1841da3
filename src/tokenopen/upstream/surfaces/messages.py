"""Messages: Anthropic's ``POST /v1/messages``, JSON and server-sent events."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.estimate import WRITTEN_BYTES_PER_UNIT, estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.dialect import ANTHROPIC
from tokenopen.upstream.hosted_tool import (
    CONTAINERS,
    WEB_SEARCHES,
    HostedTool,
    is_run_result,
    is_search_result,
    priced_classes,
    read_bound,
    with_units,
    written_files,
)
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object
from tokenopen.upstream.messages_content import measure_anthropic_messages
from tokenopen.upstream.messages_header import read_messages_headers
from tokenopen.upstream.messages_usage import read_messages_report, usage_from_messages_report
from tokenopen.upstream.refused_option import OPTION_NAMES, OfferedTools, is_asked, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_count, read_flag, read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, StreamReader, Target
from tokenopen.upstream.surfaces.messages_stream import MessagesStreamReader, container_id_of
from tokenopen.upstream.surfaces.openai_shape import find_usage, with_upstream_fields

MESSAGES_TOOLS: Final = OfferedTools(
    types=frozenset({"custom"}),
    # Defined by Anthropic and run by the caller; searches for tools are run by it, for nothing.
    prefixes=("bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_"),
    untyped_member="input_schema",
    # Servers that the request names itself. Fetching costs nothing but the tokens of what is fetched.
    hosted={"mcp_toolset": None},
    hosted_prefixes={"web_search_": WEB_SEARCHES, "code_execution_": CONTAINERS, "web_fetch_": None},
)
_NO_RUNS: Final = frozenset({CONTAINERS})
_NOTHING_WAIVED: Final[frozenset[str]] = frozenset()
_SERVERS: Final = "mcp_servers"
# platform.claude.com: code execution is free beside web search or web fetch from this date of theirs on.
_WEB_TOOLS: Final = ("web_search_", "web_fetch_")
_FREE_RUNS_FROM: Final = "20260209"
_KNOWN: Final = KnownNames(
    {"model", "messages", "system", "max_tokens", "stream", "context_management", "container"} | OPTION_NAMES
)


class _Reply(msgspec.Struct, gc=False):
    content: list[Any] | None = None
    container: Any = None


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
        hosted = refuse_options(fields, MESSAGES_TOOLS, allowed=(_SERVERS,))
        priced = _priced(hosted)
        measure = measure_anthropic_messages(fields)
        for reference in _container_ids(fields):
            measure.refer(reference, param="container")
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
            # What tools give back comes on top of what is sent.
            open_ended=bool(hosted) or is_asked(fields, _SERVERS),
            fields=fields,
            headers=sent.headers,
            references=measure.references,
            priced_above_units=sent.priced_above_units,
            counted_units=_bounds(priced),
            own_prices=priced_classes(priced),
            # Where no code was asked for, web tools run their own in one, for nothing.
            waived=_NOTHING_WAIVED if any(tool.unit_class == CONTAINERS for tool in priced) else _NO_RUNS,
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
        usage = None if report is None else usage_from_messages_report(report)
        if usage is None or b'"container"' not in body:
            return usage
        return with_units(usage, {CONTAINERS: len(container_id_of(_read(body).container))})

    def created_ids(self, body: bytes) -> Sequence[str]:
        if b'"container"' not in body:
            return ()
        reply = _read(body)
        files = [one for block in reply.content or () if is_run_result(block) for one in written_files(block)]
        return [*container_id_of(reply.container), *files]

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        reply = _read(body)
        content = reply.content
        if not content:
            return usage_of(source="estimated")
        written = sum(map(_written_bytes, content))
        least = estimated_usage(text_bytes=request.text_bytes, output_units=written // WRITTEN_BYTES_PER_UNIT)
        counted = {
            WEB_SEARCHES: sum(map(is_search_result, content)),
            CONTAINERS: len(container_id_of(reply.container)) or int(any(map(is_run_result, content))),
        }
        return with_units(least, counted)

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=content_events)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return MessagesStreamReader()


def _read(body: bytes) -> _Reply:
    """Return a whole JSON reply, an empty one where it cannot be read."""
    try:
        return _reply_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Reply()


def _priced(hosted: Sequence[HostedTool]) -> Sequence[HostedTool]:
    """Return those tools of a request that are charged."""
    free_runs = any(
        tool.kind.startswith(_WEB_TOOLS) and tool.kind.rpartition("_")[2] >= _FREE_RUNS_FROM
        for tool in hosted
    )
    return [tool for tool in hosted if tool.unit_class and not (free_runs and tool.unit_class == CONTAINERS)]


def _bounds(priced: Sequence[HostedTool]) -> dict[str, int]:
    """Return the most units of tools: of several searches their sum, of code one container."""
    bounds: dict[str, int] = {}
    for tool in priced:
        assert tool.unit_class is not None
        if tool.unit_class == WEB_SEARCHES:
            found = bounds.get(WEB_SEARCHES, 0) + read_bound(tool.tool, "max_uses", WEB_SEARCHES)
        else:
            found = read_bound(None, "", tool.unit_class)
        bounds[tool.unit_class] = found
    return bounds


def _container_ids(fields: JsonObject) -> list[Any]:
    """Return the ids of the container that a call is to run in, and of skills that somebody has uploaded."""
    try:
        container = msgspec.json.decode(fields.get("container", b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [0]
    if not isinstance(container, dict):
        return [container]
    skills = container.get("skills") or []
    skills = (
        [skill if isinstance(skill, dict) else {} for skill in skills] if isinstance(skills, list) else [{}]
    )
    uploaded = [skill.get("skill_id", 0) for skill in skills if skill.get("type") != "anthropic"]
    return [container.get("id"), *uploaded]


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
