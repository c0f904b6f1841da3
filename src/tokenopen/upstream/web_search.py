"""Web search that a provider runs: how many searches a call may make, and how many it made. Pure.

It is the one hosted tool that can have a price, ``web_searches``: what is asked bounds its calls, and what is
answered tells them. Anthropic reports their number; of OpenAI's they are items of the output.
A search that failed is not charged (docs.anthropic.com says so of Anthropic's; the same here for all), nor is
opening a page that was found, or looking for something in it.
"""

from collections.abc import Sequence
from typing import Any, Final

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage
from tokenopen.upstream.json_body import JsonObject
from tokenopen.upstream.request_field import read_count

WEB_SEARCHES: Final = "web_searches"
# No answer needs as many; a larger number is a mistake.
SEARCHES_MAX: Final = 10_000
CALL_ITEM: Final = "web_search_call"
_RESULT_BLOCK: Final = "web_search_tool_result"
_FREE_ACTIONS: Final = frozenset({"open_page", "find_in_page", "find"})


def read_bound(places: Sequence[JsonObject], name: str, *, param: str) -> int:
    """Return the most searches that tools may make together: the sum of a field of each of ``places``.

    Refuses InvalidRequest where one of them names no bound.
    """
    bounds = [read_count(place, name, most=SEARCHES_MAX) for place in places]
    named = [bound for bound in bounds if bound is not None]
    if len(named) < len(bounds):
        raise InvalidRequest(
            f"Web search needs {name} here: each search is charged, and that bounds how many there are.",
            param=param,
        )
    return sum(named)


def counted(searches: int) -> dict[str, int]:
    """Return searches as units by class; none where there are none."""
    return {WEB_SEARCHES: searches} if searches else {}


def with_searches(usage: Usage, searches: int) -> Usage:
    """Return a usage with searches that its report does not tell."""
    return Usage({**usage.units, **counted(searches)}, usage.source, usage.cost) if searches else usage


def count_searches(output: Any) -> int:
    """Return how many items of a response's output are searches."""
    return sum(map(is_search, output)) if isinstance(output, list) else 0


def is_search(item: Any) -> bool:
    """Tell whether an item of a response's output is a search; a call of an action that is not known is."""
    if not isinstance(item, dict) or item.get("type") != CALL_ITEM or item.get("status") == "failed":
        return False
    action = item.get("action")
    kind = action.get("type") if isinstance(action, dict) else None
    return not (isinstance(kind, str) and kind in _FREE_ACTIONS)


def is_result(block: Any) -> bool:
    """Tell whether a block of a message holds what a search has found; one that failed holds an error."""
    if not isinstance(block, dict) or block.get("type") != _RESULT_BLOCK:
        return False
    return isinstance(block.get("content"), list)
