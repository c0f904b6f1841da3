"""Options that are refused, because they change what a call costs or which model answers (invariant I8).

A price is set for a model as its provider serves it by default. What makes the same tokens cost more, adds
charges that no usage report shows, hands the call to another model, or lets it finish where nobody meters
it, would be charged wrongly. The names are those of every provider that takes OpenAI's shape, since the
same field goes to whichever provider carries the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object

_OTHER_MODEL: Final = "another model than the one named could answer"
_OTHER_PRICE: Final = "it changes the price"
_SEARCH: Final = "searches are billed apart"
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
_TOOL_NAMES: Final = KnownNames({"type", "tools", "max_uses"})

_items_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw] | None)
_text_decoder: Final = msgspec.json.Decoder(str | None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeTools:
    """The kinds of tools that cost nothing beside their tokens: mostly those that the caller runs.

    ``types`` are given whole, ``prefixes`` are followed by a date. A tool without a type is free where it
    has the member ``untyped_member``. The tools inside a ``namespace`` are looked at as well.
    ``search_types`` and ``search_prefixes`` are kinds of web search, which is not free but can have a price.
    """

    types: frozenset[str]
    prefixes: tuple[str, ...] = ()
    untyped_member: str | None = None
    search_types: frozenset[str] = frozenset()
    search_prefixes: tuple[str, ...] = ()

    def include(self, kind: str | None, tool: JsonObject) -> bool:
        """Tell whether a tool of a type, or without one, is one of them."""
        if kind is None:
            return self.untyped_member is not None and self.untyped_member in tool
        return kind in self.types or kind.startswith(self.prefixes)

    def include_search(self, kind: str | None) -> bool:
        """Tell whether a tool of a type searches the web."""
        return kind is not None and (kind in self.search_types or kind.startswith(self.search_prefixes))


# Mistral takes functions without a type.
CHAT_TOOLS: Final = FreeTools(types=frozenset({"function", "custom"}), untyped_member="function")


def refuse_options(fields: JsonObject, tools: FreeTools = CHAT_TOOLS) -> Sequence[JsonObject]:
    """Raise InvalidRequest for an option that no model's price covers.

    Return the tools that search the web: they need a price of their own, and a bound.
    """
    for name in sorted(fields.keys() & REFUSED_OPTIONS.keys()):
        if fields[name] not in _NOTHING_ASKED:
            raise InvalidRequest(f"{name} is not offered here: {REFUSED_OPTIONS[name]}.", param=name)
    if "service_tier" in fields:
        _refuse_service(fields)
    if "tools" in fields:
        return refuse_hosted_tools(fields["tools"], tools, field="tools", allow_searches=True)
    return ()


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


def refuse_hosted_tools(
    raw: bytes, tools: FreeTools, *, field: str, allow_searches: bool = False
) -> Sequence[JsonObject]:
    """Raise InvalidRequest for a tool of ``field`` that the provider runs for a charge of its own.

    Return those that search the web, which are refused as well unless ``allow_searches``.
    """
    searches: list[JsonObject] = []
    try:
        given = _items_decoder.decode(raw) or ()
    except msgspec.DecodeError:
        raise InvalidRequest("tools must be an array of objects.", param=field) from None
    for one in given:
        tool = read_object(bytes(one), _TOOL_NAMES, of=field)
        try:
            kind = _text_decoder.decode(tool.view("type")) if "type" in tool else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            kind = ""
        if allow_searches and tools.include_search(kind):
            searches.append(tool)
        elif not tools.include(kind, tool):
            which = f"of type {kind[:_SHOWN_CHARACTERS]!a}" if kind else "without a type that is known"
            raise InvalidRequest(f"Tools {which} are not offered here: {_HOSTED_TOOL}.", param=field)
        if "tools" in tool:
            refuse_hosted_tools(tool["tools"], tools, field=field)
    return searches
