"""Searches that Google runs: what a request may ask for, and how many a reply is billed for."""

import json
from typing import Any

import pytest
from tests.upstream.test_gemini import CONVENTION, GENERATE, STREAM, read

from tokenopen.core.errors import NotFound
from tokenopen.core.usage import Usage


@pytest.mark.parametrize("name", ["fileSearch", "file_search"])
def test_a_store_of_files_kept_by_the_provider_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        read(tools=[{name: {"file_search_store_names": ["fileSearchStores/x"]}}])


@pytest.mark.parametrize("name", ["googleSearch", "google_search", "googleSearchRetrieval"])
def test_search_by_google_needs_a_price_and_may_fill_the_context_window(name: str) -> None:
    request = read(tools=[{name: {}}, {"functionDeclarations": []}])
    assert (request.counted_units, request.own_prices) == ({"web_searches": 20}, (("web_searches",),))
    assert request.open_ended


def test_each_query_of_the_grounding_counts_once_whole_and_streamed() -> None:
    first = {"groundingMetadata": {"webSearchQueries": ["a", "b", "", " "], "retrievalQueries": ["c"]}}
    second: dict[str, Any] = {
        "groundingMetadata": {"webSearchQueries": ["b", "d"], "imageSearchQueries": ["a"]}
    }
    report = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    expected = Usage({"input": 3, "output": 2, "web_searches": 4})
    whole = json.dumps({"candidates": [first, second], "usageMetadata": report}).encode()
    assert GENERATE.read_reply(whole, convention=CONVENTION) == expected
    reader = STREAM.stream_reader(read(), convention=CONVENTION)
    last: dict[str, Any] = {"candidates": [second | {"finishReason": "STOP"}], "usageMetadata": report}
    for said in ({"candidates": [first]}, {"candidates": [first]}, last):
        reader.feed(b"data: " + json.dumps(said).encode() + b"\n\n")
    assert reader.usage == expected


@pytest.mark.parametrize(
    ("model", "searches"),
    [("gemini-2.5-pro", 1), ("gemini-1.5-flash", 1), ("gemini-3-pro", 3), (None, 3), (5, 3)],
)
def test_models_before_gemini_3_are_billed_by_the_prompt_and_not_by_the_query(
    model: Any, searches: int
) -> None:
    candidate = {"groundingMetadata": {"webSearchQueries": ["a", "b", "c"]}, "finishReason": "STOP"}
    report = {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}
    body = {"candidates": [candidate], "usageMetadata": report, "modelVersion": model}
    expected = Usage({"input": 3, "output": 2, "web_searches": searches})
    assert GENERATE.read_reply(json.dumps(body).encode(), convention=CONVENTION) == expected
    reader = STREAM.stream_reader(read(), convention=CONVENTION)
    reader.feed(b"data: " + json.dumps(body).encode() + b"\n\n")
    assert reader.usage == expected
