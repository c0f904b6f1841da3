"""Tool calls: made where the caller insists on one, with arguments that fit the function's schema."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tokenopen.simulator.reply import Refused, anthropic_error, gemini_error, new_id, openai_error

_BY_TYPE: Final[dict[str, object]] = {
    "string": "alpha",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call; ``name`` and ``arguments`` are JSON strings, quotes and all."""

    id: bytes
    name: bytes
    arguments: str

    def whole(self) -> bytes:
        """Return the entry of ``tool_calls`` in a whole reply."""
        arguments = msgspec.json.encode(self.arguments)
        return b'{"id":"%b","type":"function","function":{"name":%b,"arguments":%b}}' % (
            self.id,
            self.name,
            arguments,
        )

    def opening(self) -> bytes:
        """Return the entry of ``tool_calls`` in the first event: all but the arguments."""
        return b'{"index":0,"id":"%b","type":"function","function":{"name":%b,"arguments":""}}' % (
            self.id,
            self.name,
        )

    def piece(self, start: int, end: int, *, of: int) -> bytes:
        """Return the entry with the share of the arguments that words ``start`` to ``end`` of all are."""
        return b'{"index":0,"function":{"arguments":%b}}' % self.share(start, end, of=of)

    def share(self, start: int, end: int, *, of: int) -> bytes:
        """Return, as a JSON string, the share of the arguments that words ``start`` to ``end`` of all are."""
        length = len(self.arguments)
        return msgspec.json.encode(self.arguments[length * start // of : length * end // of])


def called_tool(tools: list[dict[str, Any]], tool_choice: Any) -> ToolCall | None:
    """Return the call of the tool, in Anthropic's shape, that the caller insists on; None for text.

    Raises Refused with 400 where the named tool is not among the tools.
    """
    kind = tool_choice.get("type") if isinstance(tool_choice, dict) else None
    if kind not in ("any", "tool"):
        return None
    chosen = [tool for tool in tools if kind == "any" or tool.get("name") == tool_choice.get("name")]
    if not chosen:
        raise Refused(400, anthropic_error(400, "tool_choice: no such tool in tools."))
    return ToolCall(
        new_id(b"toolu_"),
        msgspec.json.encode(chosen[0].get("name")),
        msgspec.json.encode(_arguments(chosen[0].get("input_schema"))).decode(),
    )


def called_function(declared: list[dict[str, Any]], allowed: list[str] | None) -> ToolCall:
    """Return the call of the first function, in Gemini's shape, that the caller allows.

    Raises Refused with 400 where there is none.
    """
    chosen = [function for function in declared if allowed is None or function.get("name") in allowed]
    if not chosen:
        raise Refused(400, gemini_error(400, "function_calling_config: no such function is declared."))
    schema = chosen[0].get("parametersJsonSchema") or _lower_types(chosen[0].get("parameters"))
    return ToolCall(
        new_id(b"call_"),
        msgspec.json.encode(chosen[0].get("name")),
        msgspec.json.encode(_arguments(schema)).decode(),
    )


def _lower_types(schema: Any) -> Any:
    """Return a schema with its types as JSON Schema names them; Gemini writes them in capitals."""
    if isinstance(schema, list):
        return [_lower_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lower_types(value)
        for name, value in schema.items()
    }


def tool_call_for(tools: list[dict[str, Any]], tool_choice: Any) -> ToolCall | None:
    """Return the call of the function the caller insists on, None where text would do.

    Raises Refused with 400 where the named function is not among the tools.
    """
    functions = [tool["function"] for tool in tools if isinstance(tool.get("function"), dict)]
    if tool_choice == "required":
        chosen = functions[:1]
    elif isinstance(tool_choice, dict) and isinstance(tool_choice.get("function"), dict):
        name = tool_choice["function"].get("name")
        chosen = [function for function in functions if function.get("name") == name]
    else:
        return None
    if not chosen:
        raise Refused(400, openai_error(400, "Invalid 'tool_choice': no such function in 'tools'."))
    return ToolCall(
        new_id(b"call_"),
        msgspec.json.encode(chosen[0].get("name")),
        msgspec.json.encode(_arguments(chosen[0].get("parameters"))).decode(),
    )


def _arguments(schema: Any) -> dict[str, object]:
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return {}
    properties = schema["properties"]
    names = schema.get("required", list(properties))
    return {name: _value(properties.get(name)) for name in names}


def _value(schema: Any) -> object:
    if not isinstance(schema, dict):
        return None
    if schema.get("enum"):
        first: object = schema["enum"][0]
        return first
    if schema.get("type") == "object":
        return _arguments(schema)
    return _BY_TYPE.get(str(schema.get("type")))
