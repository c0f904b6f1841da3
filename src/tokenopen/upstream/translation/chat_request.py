"""A request for chat completions, carried as one for Anthropic's messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.json_body import JsonObject
from tokenopen.upstream.surface import CallRequest
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.translation.members import Carrier, Members
from tokenopen.upstream.translation.reply_schema import carry_response_format
from tokenopen.upstream.translation.translation import Carried

_MESSAGES: Final = MessagesSurface()
_NEUTRAL: Final[Mapping[str, Sequence[Any]]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "modalities": (["text"],),
}
# Where a prefix that was cached is looked for, and for how long it is kept: nothing of the reply.
_HINTS: Final = ("prompt_cache_key", "prompt_cache_retention")
# What replies that were translated tell of a model's thinking; this API does not take it back.
_THOUGHTS: Final = ("reasoning_content", "reasoning", "reasoning_details")
# The last word is Mistral's.
_TOOL_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any", "any": "any"}
_DATA_URL: Final = re.compile(r"data:(image/(?:jpeg|png|gif|webp));base64,", re.IGNORECASE)
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}
_BLOCK_MEMBERS: Final = ("cache_control",)

Block = dict[str, Any]


def carry_chat_request(asked: CallRequest) -> Carried:
    """Return the request in the shape of messages. Refuses InvalidRequest for what that has nothing like."""
    assert isinstance(asked.fields, JsonObject)
    carrier = Carrier(asked.model, "Anthropic's messages")
    given = carrier.open(msgspec.json.decode(asked.fields.source), "")
    body: dict[str, Any] = {"model": given.take("model")}
    _carry_messages(carrier, given.take("messages"), body)
    _carry_options(given, body)
    _carry_tools(carrier, given, body)
    carry_response_format(given, body)
    given.take_hint(*_HINTS)
    if given.take("web_search_options") is not None:
        # Also empty it asks for a search.
        raise given.refuse("web_search_options")
    given.close(_NEUTRAL)
    request = _MESSAGES.read_request(msgspec.json.encode(body))
    return Carried(request=request, left_out=carrier.left_out)


def _carry_options(given: Members, body: dict[str, Any]) -> None:
    if given.take("stream"):
        body["stream"] = True
    options = given.take("stream_options")
    if options is not None:
        asked = Members(given.carrier, options, "stream_options")
        asked.take("include_usage")
        asked.close({"include_obfuscation": (False,)})
    most = [count for name in ("max_tokens", "max_completion_tokens") if (count := given.take(name))]
    if len(set(most)) > 1:
        raise given.refuse("max_completion_tokens", "which takes one maximum, but two were given")
    temperature = given.take("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        raise given.refuse("temperature", "which takes temperatures from 0 to 1")
    stop = given.take("stop")
    same = {
        "temperature": temperature,
        "top_p": given.take("top_p"),
        "stop_sequences": [stop] if isinstance(stop, str) else stop,
    }
    body.update({name: value for name, value in same.items() if value is not None})
    user = given.take("user")
    if user is not None:
        body["metadata"] = {"user_id": user}
    if given.take("service_tier") not in (None, "auto"):
        # Reading the request has refused every other than the standard ones.
        body["service_tier"] = "standard_only"


def _carry_tools(carrier: Carrier, given: Members, body: dict[str, Any]) -> None:
    tools = []
    for tool, path in carrier.items(given.take("tools"), "tools"):
        if tool.take("type") not in (None, "function"):
            raise tool.refuse("type", "which takes functions only")
        function = carrier.open(tool.take("function"), f"{path}.function")
        carried = {
            "name": function.take_text("name"),
            "description": function.take("description"),
            "input_schema": function.take("parameters") or _NO_PARAMETERS,
            "strict": function.take("strict"),
            "cache_control": tool.take("cache_control"),
        }
        function.close()
        tool.close()
        tools.append({name: value for name, value in carried.items() if value is not None})
    choice = _tool_choice(carrier, given)
    parallel = given.take("parallel_tool_calls")
    if not tools:
        if choice is not None and choice["type"] not in ("auto", "none"):
            raise InvalidRequest("tool_choice asks for a tool, but there are no tools.", param="tool_choice")
        return
    body["tools"] = tools
    if parallel is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool_choice(carrier: Carrier, given: Members) -> Block | None:
    choice = given.take("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice not in _TOOL_CHOICES:
            raise given.refuse("tool_choice", 'which takes "auto", "none", "required" and one function')
        return {"type": _TOOL_CHOICES[choice]}
    chosen = carrier.open(choice, "tool_choice")
    if chosen.take("type") != "function":
        raise given.refuse("tool_choice", 'which takes "auto", "none", "required" and one function')
    function = carrier.open(chosen.take("function"), "tool_choice.function")
    name = function.take_text("name")
    function.close()
    chosen.close()
    return {"type": "tool", "name": name}


def _carry_messages(carrier: Carrier, messages: Any, body: dict[str, Any]) -> None:
    """Fill ``system`` and ``messages``. Turns that follow each other in one role are one turn there."""
    system: list[Block] = []
    turns: list[tuple[str, list[Block]]] = []
    for message, path in carrier.items(messages, "messages"):
        role = message.take("role")
        if role in ("system", "developer"):
            if turns:
                raise carrier.refusal(path, "which takes instructions before the first message only")
            system += _text_blocks(carrier, message.take("content"), f"{path}.content")
        elif role in ("user", "assistant", "tool"):
            blocks = _READERS[role](carrier, message, path)
            turn = "user" if role == "tool" else role
            if turns and turns[-1][0] == turn:
                turns[-1][1].extend(blocks)
            else:
                turns.append((turn, blocks))
        else:
            raise message.refuse("role")
        message.close()
    if system:
        body["system"] = _content(system)
    body["messages"] = [{"role": role, "content": _content(blocks)} for role, blocks in turns]


def _content(blocks: list[Block]) -> str | list[Block]:
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


def _user_blocks(carrier: Carrier, message: Members, path: str) -> list[Block]:
    content = message.take("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = []
    for part, part_path in carrier.items(content, f"{path}.content"):
        kind = part.take("type")
        if kind == "text":
            block = {"type": "text", "text": part.take_text("text")}
        elif kind == "image_url":
            block = _image_block(carrier, part, part_path)
        else:
            raise carrier.refusal(part_path, "to which text and images are carried")
        blocks.append(_closed(part, block))
    return blocks


def _closed(part: Members, block: Block) -> Block:
    """Return a block with what else stands in its part and is the same there."""
    for name in _BLOCK_MEMBERS:
        if (value := part.take(name)) is not None:
            block[name] = value
    part.close()
    return block


def _image_block(carrier: Carrier, part: Members, path: str) -> Block:
    image = carrier.open(part.take("image_url"), f"{path}.image_url")
    url = image.take_text("url")
    image.close({"detail": ("auto",)})
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    head = _DATA_URL.match(url)
    if head is None:
        raise carrier.refusal(
            f"{path}.image_url.url", "which takes JPEG, PNG, GIF and WebP in base64, and addresses"
        )
    data = url[head.end() :]
    return {"type": "image", "source": {"type": "base64", "media_type": head[1].lower(), "data": data}}


def _assistant_blocks(carrier: Carrier, message: Members, path: str) -> list[Block]:
    message.take_hint(*_THOUGHTS)
    content = message.take("content")
    blocks = [block for block in _text_blocks(carrier, content, f"{path}.content") if block["text"]]
    for call, call_path in carrier.items(message.take("tool_calls"), f"{path}.tool_calls"):
        if call.take("type") not in (None, "function"):
            raise call.refuse("type", "which takes functions only")
        function = carrier.open(call.take("function"), f"{call_path}.function")
        blocks.append(
            {
                "type": "tool_use",
                "id": call.take_text("id"),
                "name": function.take_text("name"),
                "input": _arguments(function),
            }
        )
        function.close()
        # Its place among the calls, as streams tell it.
        call.take("index")
        call.close()
    return blocks


def _arguments(function: Members) -> Any:
    written = function.take_text("arguments")
    try:
        value = msgspec.json.decode(written or "{}")
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise function.refuse("arguments", "which takes a JSON object")
    return value


def _tool_blocks(carrier: Carrier, message: Members, path: str) -> list[Block]:
    content = _text_blocks(carrier, message.take("content"), f"{path}.content")
    # The call that is answered names its function.
    message.take_hint("name")
    block = {"type": "tool_result", "tool_use_id": message.take_text("tool_call_id")}
    return [_closed(message, {**block, "content": _content(content)})]


def _text_blocks(carrier: Carrier, content: Any, path: str) -> list[Block]:
    """Return the blocks of a content that can only be text."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = []
    for part, part_path in carrier.items(content, path):
        if part.take("type") != "text":
            raise carrier.refusal(part_path, "which takes text only here")
        blocks.append(_closed(part, {"type": "text", "text": part.take_text("text")}))
    return blocks


_READERS: Final = {"user": _user_blocks, "assistant": _assistant_blocks, "tool": _tool_blocks}
