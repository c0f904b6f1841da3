"""What a Gemini request asks for beside its contents: tools, and options that change what a call costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tokenopen.core.errors import InvalidRequest, NotFound
from tokenopen.upstream.gemini_field import (
    gemini_names,
    read_items,
    read_member,
    read_text,
    read_value,
    snake_case,
    written_name,
)
from tokenopen.upstream.hosted_tool import CALLS_WITHOUT_BOUND, WEB_SEARCHES
from tokenopen.upstream.json_body import JsonObject, read_object
from tokenopen.upstream.request_field import TOKENS_MAX, read_count

CANDIDATES_MAX: Final = 128
TOP_NAMES: Final = (
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "cachedContent",
    "serviceTier",
)
KNOWN: Final = gemini_names(TOP_NAMES)
_CONFIG: Final = gemini_names(
    ("maxOutputTokens", "candidateCount", "responseModalities", "serviceTier", "speechConfig")
)
# Run by the caller: only their tokens cost.
_FREE_TOOLS: Final = ("functionDeclarations", "computerUse")
# Run by Google for nothing but the tokens that they add, which are reported (toolUsePromptTokenCount).
_TOKEN_TOOLS: Final = ("codeExecution", "urlContext")
# Each query is charged by Google, of older models each prompt with any; the reply tells the queries.
_SEARCH_TOOLS: Final = ("googleSearch", "googleSearchRetrieval")
# Searches what somebody has uploaded.
_STORE_TOOL: Final = "fileSearch"
_TOOL: Final = gemini_names((*_FREE_TOOLS, *_TOKEN_TOOLS, *_SEARCH_TOOLS, _STORE_TOOL))
_STANDARD_SERVICE: Final = frozenset(
    {"standard", "STANDARD", "unspecified", "SERVICE_TIER_STANDARD", "SERVICE_TIER_UNSPECIFIED"}
)
# Which class of units a kind of output gives. Text needs no price of its own.
_MODALITIES: Final = {
    "TEXT": None,
    "MODALITY_UNSPECIFIED": None,
    "AUDIO": "audio_output",
    "IMAGE": "image_output",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiOptions:
    """What of a request's options decides over what it may cost.

    ``own_prices`` are those of classes of which the reply may hold units and that are sold dearer than text.
    """

    max_output_tokens: int | None
    candidates: int
    own_prices: tuple[tuple[str, ...], ...]
    open_ended: bool
    counted_units: Mapping[str, int]


def read_options(fields: JsonObject) -> GeminiOptions:
    """Return a request's options. Refuses InvalidRequest for what no price covers, and NotFound for what is
    kept by the provider for another."""
    if read_value(fields, "cachedContent") is not None:
        raise NotFound("There is no such cached content of this account.")
    _refuse_service(fields)
    hosted = _hosted_tools(fields)
    searches = any(_is_one_of(name, _SEARCH_TOOLS) for name in hosted)
    counted = {WEB_SEARCHES: CALLS_WITHOUT_BOUND[WEB_SEARCHES]} if searches else {}
    own_prices: tuple[tuple[str, ...], ...] = ((WEB_SEARCHES,),) if searches else ()
    config = read_member(fields, "generationConfig", _CONFIG)
    if config is None:
        return GeminiOptions(
            max_output_tokens=None,
            candidates=1,
            own_prices=own_prices,
            open_ended=bool(hosted),
            counted_units=counted,
        )
    _refuse_service(config)
    return GeminiOptions(
        max_output_tokens=_count(config, "maxOutputTokens", most=TOKENS_MAX),
        candidates=_count(config, "candidateCount", most=CANDIDATES_MAX) or 1,
        own_prices=(*own_prices, *_own_prices(config)),
        open_ended=bool(hosted),
        counted_units=counted,
    )


def with_output_cap(fields: JsonObject, cap_output_tokens: int) -> dict[str, bytes]:
    """Return what is to be replaced for a request to carry a maximum."""
    written = written_name(fields, "generationConfig") or "generationConfig"
    config = read_member(fields, "generationConfig", _CONFIG)
    number = b"%d" % cap_output_tokens
    if config is None:
        return {written: b'{"maxOutputTokens":%b}' % number}
    return {written: config.replaced({written_name(config, "maxOutputTokens") or "maxOutputTokens": number})}


def _count(config: JsonObject, name: str, *, most: int) -> int | None:
    written = written_name(config, name)
    return None if written is None else read_count(config, written, most=most)


def _refuse_service(fields: JsonObject) -> None:
    service = read_value(fields, "serviceTier")
    if service is not None and read_text(service) not in _STANDARD_SERVICE:
        raise InvalidRequest(
            'serviceTier may only be "standard" here: others have prices of their own.', param="serviceTier"
        )


def _own_prices(config: JsonObject) -> tuple[tuple[str], ...]:
    found = set()
    for item in read_items(read_value(config, "responseModalities"), of="responseModalities"):
        modality = read_text(item)
        if modality not in _MODALITIES:
            raise InvalidRequest(
                "responseModalities may hold TEXT, IMAGE and AUDIO here: others have no price.",
                param="responseModalities",
            )
        found.add(_MODALITIES[modality])
    if read_value(config, "speechConfig") is not None:
        found.add("audio_output")
    return tuple(sorted((unit_class,) for unit_class in found if unit_class is not None))


def _hosted_tools(fields: JsonObject) -> Sequence[str]:
    """Return the tools that Google runs: they add input that is not in the request. Refuses what no price
    covers, and NotFound for what is kept for another."""
    hosted = []
    for item in read_items(read_value(fields, "tools"), of="tools"):
        tool = read_object(item, _TOOL, of="tools")
        for name in tool:
            if tool[name] == b"null" or _is_one_of(name, _FREE_TOOLS):
                continue
            if _is_one_of(name, (_STORE_TOOL,)):
                raise NotFound("There is no such file search store of this account.")
            if not _is_one_of(name, (*_TOKEN_TOOLS, *_SEARCH_TOOLS)):
                raise InvalidRequest(
                    f"The tool {name[:60]!a} is not offered here: hosted tools are billed apart.",
                    param="tools",
                )
            hosted.append(name)
    return hosted


def _is_one_of(name: str, names: tuple[str, ...]) -> bool:
    return any(name in (known, snake_case(known)) for known in names)
