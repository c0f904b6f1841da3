"""Searches that Google ran for a reply, as its grounding tells: each query once, empty ones not. Pure.

ai.google.dev/gemini-api/docs/pricing: Gemini 3 and later are billed by the query, what came before by the
prompt that was grounded, whatever the number of its queries. The reply says which model answered.
"""

from collections.abc import Iterable
from typing import Any, Final

# In both spellings, as for requests.
_GROUNDING: Final = ("groundingMetadata", "grounding_metadata")
_QUERIES: Final = ("webSearchQueries", "web_search_queries", "imageSearchQueries", "image_search_queries")
_BY_THE_PROMPT: Final = ("gemini-1", "gemini-2")
QUERIES_IN_JSON: Final = tuple(name.encode() for name in _QUERIES)


def queries_of(candidates: Iterable[Any]) -> frozenset[tuple[str, str]]:
    """Return the different queries of candidates, each with its kind."""
    found = set()
    for candidate in candidates:
        given = candidate if isinstance(candidate, dict) else {}
        grounding = next((given[name] for name in _GROUNDING if name in given), None)
        if not isinstance(grounding, dict):
            continue
        for kind in _QUERIES:
            queries = grounding.get(kind)
            for query in queries if isinstance(queries, list) else ():
                if isinstance(query, str) and query.strip():
                    found.add((kind, query))
    return frozenset(found)


def searches_of(queries: frozenset[tuple[str, str]], model_version: Any) -> int:
    """Return how many searches Google bills for a reply's queries."""
    by_the_prompt = isinstance(model_version, str) and model_version.startswith(_BY_THE_PROMPT)
    return min(len(queries), 1) if by_the_prompt else len(queries)
