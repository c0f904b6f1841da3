"""A request for Anthropic's messages, carried as one for chat completions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.json_body import JsonObject
from tokenopen.upstream.messages_header import BETA
from tokenopen.upstream.surface import CallRequest
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.translation.members import Carrier, Members
from tokenopen.upstream.translation.reply_schema import carry_output_format
from tokenopen.upstream.translation.translation import Carried

_CHAT: Final = ChatSurface()
_NEUTRAL: Final[Mapping[str, Sequence[Any]]] = {"thinking": ({"type": "disabled"},)}
# Providers of the other shape keep prefixes by themselves, and report what they read from a cache.
_HINT: Final = "cache_control"
_TOOL_CHOICES: Final = {"auto": "auto", "none": "none", "any": "required"}
_TOOL_CALL: Final = "function"

Part = dict[str, Any]


def carry_messages_request(asked: CallRequest) -> Carried:
    """Return the request in the shape of chat completions. Refuses InvalidRequest for what that has nothing
    like, and for what Anthropic would refuse: no maximum of output."""
    assert isinstance(asked.fields, JsonObject)
    if not asked.max_output_tokens:
        raise InvalidRequest("max_tokens must be a whole number from 1 on.", param="max_tokens")
    carrier = Carrier(asked.model, "chat completions")
    given = carrier.open(msgspec.json.decode(asked.fields.source), "")
    body: dict[str, Any] = {"model": given.take("model")}
    messages = _system_messages(carrier, given.take("system"))
    turns = list(carrier.items(given.take("messages"), "messages"))
    for message, path in turns:
        messages += _turn(carrier, message, path)
    if messages and messages[-1]["role"] == "assistant":
        raise carrier.refusal(turns[-1][1], "which answers a last message instead of going on with it")
    body["messages"] = messages
    _carry_options(carrier, given, body)
    _carry_tools(carrier, given, body)
    carry_output_format(given, body)
    given.take_hint(_HINT)
    given.close(_NEUTRAL)
    if any(name == BETA for name, _ in asked.headers):
        # Each makes fields known that were looked at one by one.
        carrier.leave_out(BETA.decode())
    return Carried(request=_CHAT.read_request(msgspec.json.encode(body)), left_out=carrier.left_out)


def _carry_options(carrier: Carrier, given: Members, body: dict[str, Any]) -> None:
    given.take("max_tokens")
    for name, there in (
        ("stream", "stream"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("stop_sequences", "stop"),
    ):
        value = given.take(name)
        if value is not None and value is not False and value != []:
            body[there] = value
    if given.take("service_tier") not in (None, "auto"):
        body["service_tier"] = "default"
    metadata = given.take("metadata")
    if metadata is not None:
        about = carrier.open(metadata, "metadata")
        if (user := about.take("user_id")) is not None:
            body["user"] = user
        about.close()


def _carry_tools(carrier: Carrier, given: Members, body: dict[str, Any]) -> None:
    tools = []
    for tool, _path in carrier.items(given.take("tools"), "tools"):
        if tool.take("type") not in (None, "custom"):
            raise tool.refuse("type", "which takes tools with a schema only")
        carried = {
            "name": tool.take_text("name"),
            "description": tool.take("description"),
            "parameters": tool.take("input_schema"),
            "strict": tool.take("strict"),
        }
        tool.take_hint(_HINT, "eager_input_streaming")
        tool.close()
        function = {name: value for name, value in carried.items() if value is not None}
        tools.append({"type": _TOOL_CALL, _TOOL_CALL: function})
    if tools:
        body["tools"] = tools
    choice = given.take("tool_choice")
    if choice is None:
        return
    chosen = carrier.open(choice, "tool_choice")
    kind = chosen.take("type")
    if kind == "tool":
        body["tool_choice"] = {"type": _TOOL_CALL, _TOOL_CALL: {"name": chosen.take_text("name")}}
    elif kind in _TOOL_CHOICES:
        body["tool_choice"] = _TOOL_CHOICES[kind]
    else:
        raise chosen.refuse("type")
    if chosen.take("disable_parallel_tool_use") and tools:
        body["parallel_tool_calls"] = False
    chosen.close()
    if not tools:
        del body["tool_choice"]


def _system_messages(carrier: Carrier, system: Any) -> list[Part]:
    parts = _text_parts(carrier, system, "system")
    return [{"role": "system", "content": _content(parts)}] if parts else []


def _turn(carrier: Carrier, message: Members, path: str) -> list[Part]:
    """Return the messages that one becomes: each result of a tool is one of its own."""
    role, content = message.take("role"), message.take("content")
    message.close()
    if role == "assistant":
        return [_assistant_message(carrier, content, f"{path}.content")]
    if role == "user":
        return _user_messages(carrier, content, f"{path}.content")
    if role == "system":
        parts = _text_parts(carrier, content, f"{path}.content")
        return [{"role": "system", "content": _content(parts)}]
    raise message.refuse("role")


def _user_messages(carrier: Carrier, content: Any, path: str) -> list[Part]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    messages: list[Part] = []
    parts: list[Part] = []
    for block, block_path in carrier.items(content, path):
        kind = block.take("type")
        block.take_hint(_HINT)
        if kind == "tool_result":
            if parts:
                messages.append({"role": "user", "content": _content(parts)})
                parts = []
            messages.append(_tool_message(carrier, block, block_path))
        elif kind == "text":
            parts.append({"type": "text", "text": block.take_text("text")})
        elif kind == "image":
            parts.append(_image_part(carrier, block, block_path))
        else:
            raise carrier.refusal(block_path, "to which text, images and results of tools are carried")
        block.close()
    if parts:
        messages.append({"role": "user", "content": _content(parts)})
    return messages


def _tool_message(carrier: Carrier, block: Members, path: str) -> Part:
    call_id = block.take_text("tool_use_id")
    content = _text_parts(carrier, block.take("content"), f"{path}.content")
    if block.take("is_error"):
        raise block.refuse("is_error", "where a result does not tell that it is an error")
    return {"role": "tool", "tool_call_id": call_id, "content": _content(content)}


def _image_part(carrier: Carrier, block: Members, path: str) -> Part:
    source = carrier.open(block.take("source"), f"{path}.source")
    kind = source.take("type")
    if kind == "base64":
        url = f"data:{source.take_text('media_type')};base64,{source.take_text('data')}"
    elif kind == "url":
        url = source.take_text("url")
    else:
        raise source.refuse("type")
    source.close()
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant_message(carrier: Carrier, content: Any, path: str) -> Part:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    parts: list[Part] = []
    calls: list[Part] = []
    for block, block_path in carrier.items(content, path):
        kind = block.take("type")
        block.take_hint(_HINT)
        if kind == "text" and not calls:
            parts.append({"type": "text", "text": block.take_text("text")})
        elif kind == "tool_use":
            calls.append(_tool_call(block, block_path))
        elif kind == "thinking" and block.take("signature") == "":
            # Written by a translation: no provider of the other shape takes its thoughts back.
            block.take_hint("thinking")
        else:
            raise carrier.refusal(block_path, "which takes a message's text, then its calls of tools")
        block.close()
    message: Part = {"role": "assistant", "content": _content(parts) if parts else None}
    return {**message, "tool_calls": calls} if calls else {**message, "content": _content(parts)}


def _tool_call(block: Members, path: str) -> Part:
    arguments = block.take("input")
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"{path}.input must be an object.", param=f"{path}.input")
    caller = block.take("caller")
    if caller not in (None, {"type": "direct"}):
        raise block.refuse("caller")
    function = {"name": block.take_text("name"), "arguments": msgspec.json.encode(arguments).decode()}
    return {"id": block.take_text("id"), "type": _TOOL_CALL, _TOOL_CALL: function}


def _content(parts: list[Part]) -> str | list[Part]:
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts or ""


def _text_parts(carrier: Carrier, content: Any, path: str) -> list[Part]:
    """Return the parts of a content that can only be text."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts = []
    for block, block_path in carrier.items(content, path):
        if block.take("type") != "text":
            raise carrier.refusal(block_path, "which takes text only here")
        parts.append({"type": "text", "text": block.take_text("text")})
        block.take_hint(_HINT)
        block.close()
    return parts
