"""Reports about sound and reranking, in the shapes of different providers."""

import json
from typing import Any

import pytest

from tokenopen.core.usage import ImpossibleUsage
from tokenopen.upstream.media_usage import read_ranking_usage, read_sound_usage, read_transcript_usage


def ranking_of(**reply: Any) -> dict[str, int]:
    usage = read_ranking_usage(json.dumps(reply).encode())
    return {} if usage is None else dict(usage)


def transcript_of(**reply: Any) -> dict[str, int]:
    return dict(read_transcript_usage(json.dumps({"text": "Hi"} | reply).encode()))


def test_whole_numbers_may_be_written_with_a_point() -> None:
    """Cohere's API calls its search units doubles."""
    assert ranking_of(meta={"billed_units": {"search_units": 2.0}}, results=[{"relevance_score": 1.0}]) == {
        "searches": 2
    }
    assert ranking_of(meta={"tokens": {"input_tokens": 12.0, "output_tokens": 1.0}}) == {
        "input": 12,
        "output": 1,
    }
    report = {"type": "tokens", "input_tokens": 5.0, "output_tokens": 1.0, "total_tokens": 6.0}
    assert transcript_of(usage=report, duration=2.5) == {"input": 5, "output": 1}
    for units in (1.5, -1.0, "2", 1e300):
        with pytest.raises(ImpossibleUsage):
            ranking_of(meta={"billed_units": {"search_units": units}})


def test_a_transcript_is_told_in_seconds_under_the_names_of_different_providers() -> None:
    assert transcript_of(usage={"type": "duration", "seconds": 8}) == {"seconds": 8}
    assert transcript_of(duration=8.47) == transcript_of(duration="8.47") == {"seconds": 9}
    # Mistral sells by the minute, and tells the tokens of its model as well.
    mistrals = {"prompt_audio_seconds": 9, "prompt_tokens": 4, "completion_tokens": 40, "total_tokens": 500}
    assert transcript_of(usage=mistrals) == {"seconds": 9}
    found = read_sound_usage(json.dumps(mistrals).encode())
    assert found is not None
    assert dict(found) == {"seconds": 9}
    # Where it has nothing to tell it writes an object without members.
    nothings: list[Any] = [{}, None]
    for nothing in nothings:
        with pytest.raises(ImpossibleUsage):
            transcript_of(usage={"prompt_audio_seconds": nothing})
