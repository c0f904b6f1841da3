"""Hosted tools of a response's request: which of them run at the provider, and what they may read there."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.hosted_tool import HostedTool
from tokenopen.upstream.json_body import JsonObject

# Where a tool says in what its code runs; and the smallest container, which the price is for.
_PLACES: Final = ("container", "environment")
_SMALLEST: Final = "1g"
_LOCAL: Final = "local"


class Run(NamedTuple):
    """The tools that the provider runs, and ids of what it keeps that they may read."""

    tools: Sequence[HostedTool]
    references: Sequence[Any]


def read_run(asked: Sequence[HostedTool]) -> Run:
    """Return what of the tools that a request names its provider runs. Refuses InvalidRequest."""
    tools: list[HostedTool] = []
    references: list[Any] = []
    for tool in asked:
        place = _read(tool.tool, "container") or _read(tool.tool, "environment")
        # A shell without an environment, or with the caller's own, is run by the caller.
        if tool.kind == "shell" and (place is None or _kind_of(place) == _LOCAL):
            continue
        tools.append(tool)
        references += _references(place)
        if tool.kind == "file_search":
            references += _stores(tool.tool)
        mask = _read(tool.tool, "input_image_mask")
        if isinstance(mask, dict):
            references.append(mask.get("file_id"))
    return Run(tools, references)


def _references(place: Any) -> Sequence[Any]:
    """Return the ids of the container that code runs in and of what is put into it."""
    if not isinstance(place, dict):
        return () if place is None else (place,)
    if place.get("memory_limit") not in (None, _SMALLEST):
        raise InvalidRequest(
            f'memory_limit may only be "{_SMALLEST}" here: larger containers have prices of their own.',
            param="tools",
        )
    found: list[Any] = [place.get("container_id")]
    files = place.get("file_ids") or []
    found += files if isinstance(files, list) else [files]
    skills = place.get("skills") or []
    for skill in skills if isinstance(skills, list) else [skills]:
        if not isinstance(skill, dict):
            found.append(0)
        elif skill.get("type") != "inline":
            found.append(skill.get("skill_id", 0))
    return found


def _stores(tool: JsonObject) -> Sequence[Any]:
    stores = _read(tool, "vector_store_ids")
    if not isinstance(stores, list) or not stores:
        raise InvalidRequest("file_search needs vector_store_ids.", param="tools")
    return stores


def _read(tool: JsonObject, name: str) -> Any:
    try:
        return msgspec.json.decode(tool.get(name, b"null"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(f"{name} of a tool cannot be read.", param="tools") from None


def _kind_of(place: Any) -> Any:
    return place.get("type") if isinstance(place, dict) else None
