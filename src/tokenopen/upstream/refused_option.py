"""Options that are refused, because they change what a call costs or which model answers (invariant I8).

A price is set for a model as its provider serves it by default. What makes the same tokens cost more, adds
charges that no usage report shows, hands the call to another model, or lets it finish where nobody meters
it, would be charged wrongly. The names are those of every provider that takes OpenAI's shape, since the
same field goes to whichever provider carries the model.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.hosted_tool import WEB_SEARCHES, HostedTool
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object

_OTHER_MODEL: Final = "another model than the one named could answer"
_OTHER_PRICE: Final = "it changes the price"
_SEARCH: Final = "searches are billed apart, and no reply tells how many there were"
_HOSTED_TOOL: Final = "hosted tools are billed apart"
_LATER: Final = "the reply would come later and by another way"
_UNSEEN_INPUT: Final = "it adds input that is not in the request"
_ELSEWHERE: Final = "it sends the call elsewhere"

REFUSED_OPTIONS: Final[Mapping[str, str]] = {
    # OpenAI, Azure
    "web_search_options": _SEARCH,
    "background": _LATER,
    "data_sources": _UNSEEN_INPUT,
    # Anthropic
    "speed": _OTHER_PRICE,
    "inference_geo": _OTHER_PRICE,
    "mcp_servers": _HOSTED_TOOL,
    # Gemini
    "extra_body": "its options are not checked here",
    "cached_content": _UNSEEN_INPUT,
    # OpenRouter, Vercel
    "models": _OTHER_MODEL,
    "route": _OTHER_MODEL,
    "preset": _OTHER_MODEL,
    "provider": "which provider answers is decided here, and changes the price",
    "providerOptions": "which provider answers is decided here, and changes the price",
    "plugins": "plugins are billed apart",
    "transforms": "the model would not get the request that was checked",
    # xAI
    "search_parameters": _SEARCH,
    "deferred": _LATER,
    # Groq
    "compound_custom": _HOSTED_TOOL,
    # Qwen, Perplexity and others that search on request
    "enable_search": _SEARCH,
    "web_search": _SEARCH,
    # LiteLLM and other gateways
    "fallbacks": _OTHER_MODEL,
    "context_window_fallbacks": _OTHER_MODEL,
    "content_policy_fallbacks": _OTHER_MODEL,
    "user_config": _ELSEWHERE,
    "api_base": _ELSEWHERE,
    "base_url": _ELSEWHERE,
    "api_key": _ELSEWHERE,
}

# Names under which providers sell the service that list prices are for; Groq says on_demand.
_STANDARD_SERVICE: Final = frozenset({"auto", "default", "standard", "standard_only", "on_demand"})
# An empty object is not among them: an empty web_search_options asks for searches.
_NOTHING_ASKED: Final = frozenset({b"null", b"false", b"[]"})
_SHOWN_CHARACTERS: Final = 60
OPTION_NAMES: Final = frozenset(REFUSED_OPTIONS) | {"service_tier", "tools"}
# Of a tool, what decides whether it costs and what it may read.
_TOOL_NAMES: Final = KnownNames(
    {
        "type",
        "tools",
        "max_uses",
        "parameters",
        "container",
        "environment",
        "vector_store_ids",
        "input_image_mask",
    }
)

_items_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw] | None)
_text_decoder: Final = msgspec.json.Decoder(str | None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTools:
    """The kinds of tools that may be asked for; all others are refused.

    ``types`` and ``prefixes`` (followed by a date) cost nothing beside the tokens of the request: they are
    mostly run by the caller. A tool without a type is one of them where it has the member ``untyped_member``.
    ``hosted`` and ``hosted_prefixes`` are run by the provider, each with the class of units that it is priced
    by, or None where it adds nothing but tokens. The tools inside a ``namespace`` are looked at as well.
    """

    types: frozenset[str]
    prefixes: tuple[str, ...] = ()
    untyped_member: str | None = None
    hosted: Mapping[str, str | None] = field(default_factory=dict)
    hosted_prefixes: Mapping[str, str | None] = field(default_factory=dict)

    def include(self, kind: str | None, tool: JsonObject) -> bool:
        """Tell whether a tool of a type, or without one, costs nothing beside the tokens of the request."""
        if kind is None:
            return self.untyped_member is not None and self.untyped_member in tool
        return kind in self.types or kind.startswith(self.prefixes)

    def find_hosted(self, kind: str | None, tool: JsonObject) -> HostedTool | None:
        """Return a tool that the provider runs; None where it is none that may be asked for."""
        if kind is None:
            return None
        if kind in self.hosted:
            return HostedTool(kind=kind, unit_class=self.hosted[kind], tool=tool)
        for prefix, unit_class in self.hosted_prefixes.items():
            if kind.startswith(prefix):
                return HostedTool(kind=kind, unit_class=unit_class, tool=tool)
        return None


# Mistral takes functions without a type. OpenRouter reports its own searches.
CHAT_TOOLS: Final = OfferedTools(
    types=frozenset({"function", "custom"}),
    untyped_member="function",
    hosted={"openrouter:web_search": WEB_SEARCHES},
)

# What MCP servers list has no type, and is called by the model through its server.
MCP_LIST: Final = OfferedTools(types=frozenset(), untyped_member="input_schema")


def refuse_options(
    fields: JsonObject, tools: OfferedTools = CHAT_TOOLS, *, allowed: Collection[str] = ()
) -> Sequence[HostedTool]:
    """Raise InvalidRequest for an option that no model's price covers, but for those ``allowed``.

    Return the tools that the provider is to run: they may need prices of their own, and add input.
    """
    for name in sorted(fields.keys() & REFUSED_OPTIONS.keys()):
        if name not in allowed and fields[name] not in _NOTHING_ASKED:
            raise InvalidRequest(f"{name} is not offered here: {REFUSED_OPTIONS[name]}.", param=name)
    if "service_tier" in fields:
        _refuse_service(fields)
    if "tools" in fields:
        return read_tools(fields["tools"], tools, field_name="tools")
    return ()


def is_asked(fields: JsonObject, name: str) -> bool:
    """Tell whether an option asks for anything."""
    return name in fields and fields[name] not in _NOTHING_ASKED


def _refuse_service(fields: JsonObject) -> None:
    try:
        service = _text_decoder.decode(fields.view("service_tier"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        service = ""
    if service is not None and service not in _STANDARD_SERVICE:
        raise InvalidRequest(
            'service_tier may only be "auto" or "default" here: others have prices of their own.',
            param="service_tier",
        )


def read_tools(
    raw: bytes, tools: OfferedTools, *, field_name: str, allow_hosted: bool = True
) -> Sequence[HostedTool]:
    """Raise InvalidRequest for a tool of a field that is not offered.

    Return those that the provider is to run, which are refused as well unless ``allow_hosted``.
    """
    hosted: list[HostedTool] = []
    try:
        given = _items_decoder.decode(raw) or ()
    except msgspec.DecodeError:
        raise InvalidRequest("tools must be an array of objects.", param=field_name) from None
    for one in given:
        tool = read_object(bytes(one), _TOOL_NAMES, of=field_name)
        try:
            kind = _text_decoder.decode(tool.view("type")) if "type" in tool else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            kind = ""
        found = tools.find_hosted(kind, tool) if allow_hosted else None
        if found is not None:
            hosted.append(found)
        elif not tools.include(kind, tool):
            which = f"of type {kind[:_SHOWN_CHARACTERS]!a}" if kind else "without a type that is known"
            raise InvalidRequest(f"Tools {which} are not offered here: {_HOSTED_TOOL}.", param=field_name)
        if "tools" in tool:
            read_tools(tool["tools"], tools, field_name=field_name, allow_hosted=False)
    return hosted
