"""Tools that a provider runs for the model: what each is priced by, how many units a call may use. Pure.

Some cost nothing but the tokens that they add (an MCP server, fetching a page). Others are sold beside them,
by units that the reply tells of, each at a price that the model has to name:

    web_searches  Anthropic and OpenRouter report their number, xAI too; OpenAI's are items of the output,
                  Google's the queries of the grounding
    containers    in which code ran: OpenAI's and Anthropic's by their ids, runs without one each for itself
    images        that were made on the way, items of OpenAI's output

A search that failed is not charged (docs.anthropic.com says so of Anthropic's; the same here for all), nor is
opening a page that was found, or looking for something in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenopen.core.usage import Usage
from tokenopen.upstream.json_body import JsonObject
from tokenopen.upstream.request_field import read_count

WEB_SEARCHES: Final = "web_searches"
CONTAINERS: Final = "containers"
IMAGES: Final = "images"
# No answer needs as many; a larger number is a mistake.
CALLS_MAX: Final = 10_000
# What is held where a caller names no bound. What comes beyond is charged as far as credit goes.
CALLS_WITHOUT_BOUND: Final[Mapping[str, int]] = {WEB_SEARCHES: 20, CONTAINERS: 1, IMAGES: 4}

# Items that tell of tools that are charged.
_ITEMS: Final = frozenset({"web_search_call", "code_interpreter_call", "shell_call", "image_generation_call"})
_TOLD: Final = tuple(kind.encode() for kind in _ITEMS)
_FREE_ACTIONS: Final = frozenset({"open_page", "find_in_page", "find"})
_KEPT_MEMBERS: Final = ("type", "status", "action", "container_id", "environment")
_RUN_RESULT: Final = "code_execution_tool_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedTool:
    """A tool that a request asks its provider to run. ``unit_class`` is None where only its tokens cost."""

    kind: str
    unit_class: str | None
    tool: JsonObject


def priced_classes(tools: Iterable[HostedTool]) -> tuple[tuple[str], ...]:
    """Return what a model's prices have to name for tools to be run, as ``own_prices`` has it."""
    return tuple((name,) for name in sorted({tool.unit_class for tool in tools if tool.unit_class}))


def read_bound(place: JsonObject | None, name: str, unit_class: str) -> int:
    """Return the most units of a class, from the field that bounds it. Refuses InvalidRequest."""
    bound = None if place is None else read_count(place, name, most=CALLS_MAX)
    return CALLS_WITHOUT_BOUND[unit_class] if bound is None else bound


def with_units(usage: Usage, counted: Mapping[str, int]) -> Usage:
    """Return a usage with units of tools that its report does not tell."""
    added = {name: units for name, units in counted.items() if units}
    return Usage({**usage.units, **added}, usage.source, usage.cost) if added else usage


def beside_report(told: Mapping[str, int], reported: Usage) -> Mapping[str, int]:
    """Return the units that items tell of, but for classes that the report counts: that is what is billed."""
    return {name: units for name, units in told.items() if name not in reported.units}


def tells_of_tools(body: bytes) -> bool:
    """Tell whether a response may hold items of tools that are charged."""
    return any(name in body for name in _TOLD)


def item_of(item: Any) -> dict[str, Any] | None:
    """Return what has to be kept of an item of a response's output to count it; None where it is none."""
    kind = item.get("type") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in _ITEMS:
        return None
    kept = {name: item[name] for name in _KEPT_MEMBERS if name in item}
    return kept | {"result": bool(item.get("result"))}


def count_items(output: Any) -> dict[str, int]:
    """Return the units of tools by class that the items of a response's output tell of."""
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    containers = [_container_of(item) for item in items]
    runs = [container for container in containers if container is not None]
    return {
        WEB_SEARCHES: sum(map(_is_search, items)),
        CONTAINERS: len({container for container in runs if container}) + runs.count(""),
        IMAGES: sum(map(_is_image, items)),
    }


def _is_search(item: Mapping[str, Any]) -> bool:
    """Tell whether an item is a search; a call of an action that is not known is."""
    if item.get("type") != "web_search_call" or item.get("status") == "failed":
        return False
    action = item.get("action")
    kind = action.get("type") if isinstance(action, dict) else None
    return not (isinstance(kind, str) and kind in _FREE_ACTIONS)


def _container_of(item: Mapping[str, Any]) -> str | None:
    """Return the id of the container that an item's code ran in, empty without one; None without code."""
    kind = item.get("type")
    if kind == "code_interpreter_call":
        found = item.get("container_id")
    elif kind == "shell_call":
        environment = item.get("environment")
        if not isinstance(environment, dict) or environment.get("type") == "local":
            # The caller's own machine.
            return None
        found = environment.get("container_id")
    else:
        return None
    return found if isinstance(found, str) else ""


def _is_image(item: Mapping[str, Any]) -> bool:
    made = item.get("type") == "image_generation_call" and item.get("status") != "failed"
    return made and (bool(item.get("result")) or item.get("status") == "completed")


def container_ids(output: Any) -> Sequence[str]:
    """Return the ids of containers that a response's output names: a later call may run in them."""
    items = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    return [found for found in map(_container_of, items) if found]


def is_search_result(block: Any) -> bool:
    """Tell whether a block of a message holds what a search has found; one that failed holds an error."""
    if not isinstance(block, dict) or block.get("type") != "web_search_tool_result":
        return False
    return isinstance(block.get("content"), list)


def is_run_result(block: Any) -> bool:
    """Tell whether a block of a message holds what came of code that ran."""
    kind = block.get("type") if isinstance(block, dict) else None
    return isinstance(kind, str) and kind.endswith(_RUN_RESULT)


def written_files(block: Mapping[str, Any]) -> Sequence[str]:
    """Return the ids of files that code has written, as the result of its run names them."""
    content = block.get("content")
    made = content.get("content") if isinstance(content, dict) else None
    found = [one.get("file_id") for one in made if isinstance(one, dict)] if isinstance(made, list) else []
    return [one for one in found if isinstance(one, str) and one]
