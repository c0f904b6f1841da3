"""Gemini's real traffic through the real process, as its SDK sends it: bodies, classes and charges."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import httpx
import pytest

from tests.e2e.recording_upstream import RecordingUpstream
from tests.e2e.running import Platform
from tests.e2e.test_recordings import PRICES, expected_charge, expected_usage
from tests.upstream.recordings import load_recordings

GEMINI_PRICES = PRICES | {"cached_audio_input": "0.3", "video_input": "1.7"}
# Recorded requests that are refused before anything is sent, by Google's status: what Google
# keeps (files, stores of files, a cache, customers' storage).
REFUSED = {"NOT_FOUND": 21}


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as upstream:
        yield upstream


def test_each_recorded_reply_passes_unchanged_and_is_charged_exactly(
    platform: Platform, upstream: RecordingUpstream
) -> None:
    platform.add_group("gemini", multiplier="0.8")
    user = platform.add_user("gemini@example.com", credit="100000")
    key = platform.add_key(user, "gemini")
    refused: Counter[str] = Counter()
    charged = 0
    expected = expected_usage("gemini")
    models: set[str] = set()
    with httpx.Client(
        base_url=platform.server.url, headers={"x-goog-api-key": key}, timeout=60, verify=False
    ) as caller:
        for recording in load_recordings():
            if recording.id not in expected:
                continue
            model, _, method = recording.path.rpartition("/")[2].partition(":")
            if model not in models:
                models.add(model)
                platform.add_model(
                    model,
                    prices=GEMINI_PRICES,
                    steps=[],
                    context_window=2_000_000,
                    max_output_tokens=0 if "embed" in model else 100_000,
                )
                platform.add_upstream([model], name=model, provider="gemini", base_url=upstream.url)
            upstream.will_answer(recording)
            query = "?alt=sse" if recording.is_stream else ""
            reply = caller.post(f"/v1beta/models/{model}:{method}{query}", json=recording.request)
            if upstream.received is None:
                refused[reply.json()["error"]["status"]] += 1
                continue
            assert (reply.status_code, reply.content) == (200, recording.body), recording.id
            assert upstream.path == f"/v1beta/models/{model}:{method}{query}"
            assert upstream.received == recording.request
            call_id = reply.headers["x-request-id"]
            receipt = caller.get(f"/v1/receipts/{call_id}", headers={"authorization": f"Bearer {key}"}).json()
            usage = expected[recording.id][1]
            assert receipt["usage"] == usage, recording.id
            assert Fraction(receipt["charge"]) == expected_charge(usage, GEMINI_PRICES), recording.id
            assert (receipt["usage_source"], receipt["end_reason"]) == ("reported", "completed"), recording.id
            charged += 1
    assert dict(refused) == REFUSED
    assert charged == len(expected) - sum(refused.values())
    platform.audit()
