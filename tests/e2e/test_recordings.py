"""Real traffic through the real process: each recorded reply reaches the caller as it was, and its classes
and charge are those of the expectation tables, which were derived apart from the code."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.e2e.recording_upstream import RecordingUpstream
from tests.e2e.running import Platform
from tests.upstream.recordings import Recording, recordings_at

TABLES: Final = Path(__file__).parents[1] / "upstream"
# Each class at a price of its own, in credits per million, so that none can stand for another.
PRICES: Final = {
    "input": "1",
    "cached_input": "0.1",
    "cache_write": "1.25",
    "cache_write_1h": "2",
    "audio_input": "3",
    "image_input": "1.5",
    "output": "5",
    "reasoning": "7",
    "audio_output": "11",
    "image_output": "13",
    "web_searches": "10000",
    "containers": "30000",
}
MULTIPLIER: Final = "0.8"
# Where callers find what providers take at paths with this end; and which table says what it cost.
SURFACES: Final = {
    "/chat/completions": ("/chat/completions", "chat"),
    "/embeddings": ("/embeddings", "chat"),
    "/messages": ("/messages", "messages"),
    "/responses": ("/responses", "responses"),
}
# Recorded requests that are refused before anything is sent, by what they ask for.
REFUSED: Final = {
    # "model" needs a price per call.
    "chat": {"tools": 1, "provider": 3, "model": 2, "models": 2, "preset": 1, "not_found": 1},
    "messages": {"tools": 3, "not_found": 6},
    "responses": {"background": 1, "service_tier": 1, "provider": 1, "not_found": 8},
}


# Their providers say in an event that they broke off, and report what that cost.
BROKE_OFF: Final = {"test_openrouter/test_openrouter_stream_error#0"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def caller(platform: Platform) -> Iterator[httpx.Client]:
    platform.add_group("recorded", multiplier=MULTIPLIER)
    user = platform.add_user("recorded@example.com", credit="100000")
    with platform.caller(platform.add_key(user, "recorded")) as caller:
        yield caller


def expected_usage(table: str) -> Mapping[str, tuple[str, Mapping[str, int]]]:
    """Return provider and units by class of each recording in a table."""
    with (TABLES / f"expected_usage_{table}.csv").open(newline="") as rows:
        return {
            row["recording"]: (
                row["provider"],
                {unit: int(count) for unit, count in (part.split("=") for part in row["classes"].split())},
            )
            for row in csv.DictReader(rows)
        }


def expected_charge(usage: Mapping[str, int], prices: Mapping[str, str] = PRICES) -> Fraction:
    """Return the exact charge in credits, rounded down to nano-credits."""
    price = sum((Fraction(prices[unit]) * count for unit, count in usage.items()), Fraction(0))
    return Fraction(int(price / 10**6 * Fraction(MULTIPLIER) * 10**9), 10**9)


def connect(
    platform: Platform, upstream: RecordingUpstream, table: str, provider: str, base_path: str
) -> str:
    """Connect the recorded provider at the base path that was recorded, and return its model."""
    model = f"recorded-{table}-{provider}{base_path.replace('/', '-')}"
    platform.add_model(model, prices=PRICES, context_window=2_000_000, max_output_tokens=200_000)
    platform.add_upstream(
        [model],
        name=model,
        provider=provider,
        base_url=upstream.url + base_path,
    )
    return model


def events_of(body: bytes, *, asked_for_usage: bool) -> list[Any]:
    """Return a chat stream's events without what the design touches: ``usage.cost``, which is ours or the
    provider's, and the usage event with empty ``choices``, which is for those who asked."""
    found: list[Any] = []
    for line in body.decode().splitlines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        event = data if data == "[DONE]" else json.loads(data)
        if isinstance(event, dict) and event.get("usage"):
            if not asked_for_usage and not event.get("choices"):
                continue
            event["usage"].pop("cost", None)
        found.append(event)
    return found


def assert_unchanged(surface: str, recording: Recording, reply: bytes) -> None:
    if surface != "chat" or not recording.is_stream:
        assert reply == recording.body, recording.id
        return
    asked = bool((recording.request.get("stream_options") or {}).get("include_usage"))
    assert events_of(reply, asked_for_usage=asked) == events_of(recording.body, asked_for_usage=asked)


@pytest.mark.parametrize("table", ["chat", "messages", "responses"])
def test_each_recorded_reply_passes_unchanged_and_is_charged_exactly(
    platform: Platform, upstream: RecordingUpstream, caller: httpx.Client, table: str
) -> None:
    expected = expected_usage(table)
    models: dict[tuple[str, str], str] = {}
    refused: Counter[str] = Counter()
    charged = 0
    for end, (path, its_table) in SURFACES.items():
        if its_table != table:
            continue
        for recording in recordings_at(end):
            if recording.id not in expected:
                continue
            provider, usage = expected[recording.id]
            place = (provider, recording.path.removesuffix(end))
            if place not in models:
                models[place] = connect(platform, upstream, table, *place)
            upstream.will_answer(recording)
            reply = caller.post(path, json=recording.request | {"model": models[place]})
            if upstream.received is None:
                error = reply.json()["error"]
                refused[error.get("param") or error["code"]] += 1
                continue
            assert reply.status_code == 200, (recording.id, reply.text)
            assert upstream.path == recording.path
            assert_unchanged(table, recording, reply.content)
            receipt = caller.get(f"/receipts/{reply.headers['x-request-id']}").json()
            assert receipt["usage"] == usage, recording.id
            assert Fraction(receipt["charge"]) == expected_charge(usage), recording.id
            ended = "upstream_broke_off" if recording.id in BROKE_OFF else "completed"
            assert (receipt["usage_source"], receipt["end_reason"]) == ("reported", ended), recording.id
            charged += 1
    assert refused == REFUSED[table]
    assert charged == len(expected) - sum(refused.values())


def test_the_books_are_right(platform: Platform) -> None:
    platform.audit()
