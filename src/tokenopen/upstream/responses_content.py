"""Content of a response's input, in the shape of OpenAI's responses: text, data for attachments, and what
the provider adds by itself."""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.content import REFERENCES_MAX, Measure, base64_bytes, data_url_bytes, utf8_length
from tokenopen.upstream.json_body import JsonObject
from tokenopen.upstream.refused_option import MCP_LIST, OfferedTools, read_tools

# Items that hold all that they stand for, so their ids are only names. What any other item with an id stands
# for may be looked up by the provider.
_OWN_ITEMS: Final = frozenset(
    {
        "message",
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "apply_patch_call",
        "computer_call",
        "tool_search_call",
        "additional_tools",
    }
)
# Parts and items whose bytes are all the input that they are. Any other, of a kind that is not known yet
# too, may cost as much as an image.
_TEXT_PARTS: Final = frozenset(
    {"input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"}
)
_PLAIN_ITEMS: Final = frozenset(
    {
        "message",
        "reasoning",
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "apply_patch_call",
        "computer_call",
        "tool_search_call",
        "tool_search_output",
        "additional_tools",
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_request",
        "mcp_approval_response",
    }
)
_OUTPUT: Final = "_output"
# What an MCP server has listed in an earlier reply.
_LISTED: Final = "mcp_list_tools"


@dataclass(slots=True)
class InputMeasure(Measure):
    """A measure, with whether there is input that the provider adds and that is not seen here, and ids of
    items that it may look up."""

    open_ended: bool = False
    item_ids: list[str] = field(default_factory=list)


class _Item(msgspec.Struct, gc=False):
    type: Any = None
    id: Any = None
    encrypted_content: Any = None
    container_id: Any = None
    environment: Any = None
    approval_request_id: Any = None
    content: Any = None
    output: Any = None
    tools: msgspec.Raw = msgspec.Raw(b"null")


_input_decoder: Final = msgspec.json.Decoder(str | list[_Item] | None)


def measure_input(fields: JsonObject, tools: OfferedTools) -> InputMeasure:
    """Return the measure of ``input`` and ``instructions``.

    Refuses InvalidRequest for what is neither text nor items, and for hosted tools among the items.
    """
    measure = InputMeasure()
    for name in ("instructions", "input"):
        try:
            given = _input_decoder.decode(fields.view(name)) if name in fields else None
        except (msgspec.DecodeError, RecursionError):
            raise InvalidRequest(f"{name} must be a string or an array of items.", param=name) from None
        if isinstance(given, str):
            measure.text_bytes += utf8_length(given)
        for item in given or () if not isinstance(given, str) else ():
            offered = MCP_LIST if item.type == _LISTED else tools
            read_tools(bytes(item.tools), offered, field_name=name, allow_hosted=False)
            _add_item(measure, item)
    return measure


def _add_item(measure: InputMeasure, item: _Item) -> None:
    kind = item.type
    # Code that is asked for next may run in the container of a run among the input.
    measure.refer(item.container_id, param="input")
    if isinstance(item.environment, dict):
        measure.refer(item.environment.get("container_id"), param="input")
    # What is approved stands in the input as well, or where the provider keeps it.
    if isinstance(item.approval_request_id, str):
        _add_item_id(measure, item.approval_request_id)
    # A reference may leave its type out.
    if kind == "item_reference" or (kind is None and item.content is None):
        measure.refer(item.id, param="input")
        measure.open_ended = True
    elif isinstance(item.id, str) and not _is_whole(item, kind):
        _add_item_id(measure, item.id)
    _add_input(measure, item)


def _add_item_id(measure: InputMeasure, item_id: str) -> None:
    measure.item_ids.append(item_id)
    if len(measure.item_ids) > REFERENCES_MAX:
        raise InvalidRequest(f"input holds more than {REFERENCES_MAX} items of that kind.", param="input")


def _add_input(measure: InputMeasure, item: _Item) -> None:
    kind = item.type
    if kind == "item_reference":
        return
    if kind == "compaction":
        # It stands for all that came before, which is not read any more.
        measure.text_bytes = 0
    elif kind is None or kind == "message":
        _add_content(measure, item.content)
    elif not isinstance(kind, str):
        measure.attachments += 1
    elif kind.endswith(_OUTPUT):
        _add_content(measure, item.output)
    elif kind not in _PLAIN_ITEMS:
        measure.attachments += 1


def _is_whole(item: _Item, kind: Any) -> bool:
    """Tell whether an item holds all that it stands for."""
    if isinstance(item.encrypted_content, str) and item.encrypted_content:
        return True
    return kind is None or (isinstance(kind, str) and (kind in _OWN_ITEMS or kind.endswith(_OUTPUT)))


def _add_content(measure: Measure, content: Any) -> None:
    """Add a text, a part or a list of parts."""
    if isinstance(content, str):
        measure.text_bytes += utf8_length(content)
    elif isinstance(content, list):
        for part in content:
            _add_part(measure, part)
    elif isinstance(content, dict):
        _add_part(measure, content)


def _add_part(measure: Measure, part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in _TEXT_PARTS:
        text = part.get("text")
        measure.text_bytes += utf8_length(text) if isinstance(text, str) else 0
        return
    measure.attachments += 1
    if isinstance(part, dict):
        measure.refer(part.get("file_id"), param="input")
    if kind in ("input_image", "computer_screenshot"):
        measure.data_bytes += data_url_bytes(part.get("image_url"))
    elif kind == "input_file":
        measure.data_bytes += base64_bytes(part.get("file_data"))
