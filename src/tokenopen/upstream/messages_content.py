"""Content of messages in Anthropic's shape: how much of it is text, and how much is data for attachments."""

from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.content import Measure, is_media, utf8_length
from tokenopen.upstream.json_body import JsonObject

# Blocks whose bytes are all the input that they are. Any other, of a kind that is not known yet too, may
# cost as much as an image.
_PLAIN_BLOCKS: Final = frozenset(
    {
        "text",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "server_tool_use",
        "mcp_tool_use",
        "tool_addition",
        "tool_reference",
        "search_result",
    }
)
_RESULT: Final = "tool_result"


class _Message(msgspec.Struct, gc=False):
    content: Any = None


_messages_decoder: Final = msgspec.json.Decoder(list[_Message])
_system_decoder: Final = msgspec.json.Decoder(str | list[Any] | None)


def measure_anthropic_messages(fields: JsonObject) -> Measure:
    """Return the measure of ``messages`` and ``system``. Refuses InvalidRequest for what is neither."""
    measure = Measure()
    try:
        messages = _messages_decoder.decode(fields.view("messages")) if "messages" in fields else []
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("messages must be an array of messages.", param="messages") from None
    if not messages:
        raise InvalidRequest("messages must hold at least one message.", param="messages")
    try:
        system = _system_decoder.decode(fields.view("system")) if "system" in fields else None
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("system must be a string or an array of blocks.", param="system") from None
    _add_content(measure, system)
    for message in messages:
        _add_content(measure, message.content)
    return measure


def _add_content(measure: Measure, content: Any) -> None:
    """Add a text or a list of blocks."""
    if isinstance(content, str):
        measure.text_bytes += utf8_length(content)
    elif isinstance(content, list):
        for block in content:
            _add_block(measure, block)


def _add_block(measure: Measure, block: Any) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        measure.attachments += 1
    elif kind == "text":
        _add_content(measure, block.get("text"))
    elif kind == "compaction":
        # It stands for all that came before, which is not read any more.
        measure.text_bytes = 0
    elif kind.endswith(_RESULT):
        _add_content(measure, block.get("content"))
    elif kind not in _PLAIN_BLOCKS:
        measure.refer(block.get("file_id"), param="messages")
        _add_source(measure, block.get("source"))


def _add_source(measure: Measure, source: Any) -> None:
    """Add what an image, a document or the like is made from."""
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "content":
        _add_content(measure, source.get("content"))
    elif kind == "text":
        _add_content(measure, source.get("data"))
    else:
        measure.attachments += 1
        if isinstance(source, dict):
            measure.refer(source.get("file_id"), param="messages")
        if kind == "base64" and is_media(source.get("media_type")):
            data = source.get("data")
            measure.data_bytes += len(data) if isinstance(data, str) and data.isascii() else 0
