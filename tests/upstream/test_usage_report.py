"""Usage reports in OpenAI's shape: every provider's way of counting, as disjoint classes that sum."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenopen.core.usage import ImpossibleUsage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.usage_report import input_usage_from_report, read_report, usage_from_report


def units_of(report: dict[str, Any], provider: str = "openai") -> dict[str, int] | None:
    """Return what a report comes to, by class."""
    read = read_report(json.dumps(report).encode())
    assert read is not None
    usage = usage_from_report(read, PROVIDERS[provider].convention)
    if usage is None:
        return None
    assert usage.source == "reported"
    return dict(usage)


def report_of(prompt: int, completion: int, total: int | None = None, **more: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion if total is None else total,
        **more,
    }


def cached(units: int, **more: int) -> dict[str, Any]:
    return {"prompt_tokens_details": {"cached_tokens": units, **more}}


def reasoning(units: int, **more: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": units, **more}}


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_cached_units_are_inside_the_input_of_every_provider(provider: str) -> None:
    assert units_of(report_of(100, 5, **cached(60)), provider) == {
        "input": 40,
        "cached_input": 60,
        "output": 5,
    }


def test_each_providers_name_for_cached_units_is_read_and_none_is_added_to_another() -> None:
    expected = {"input": 80, "cached_input": 896, "output": 61}
    deepseek = {"prompt_cache_hit_tokens": 896, "prompt_cache_miss_tokens": 80}
    assert units_of(report_of(976, 61, **deepseek), "deepseek") == expected
    assert units_of(report_of(976, 61, **deepseek, **cached(896)), "deepseek") == expected
    assert units_of(report_of(976, 61, num_cached_tokens=896), "mistral") == expected
    assert units_of(report_of(976, 61, cached_tokens=896), "openai-compatible") == expected


@pytest.mark.parametrize(
    "details",
    [
        {"created_cache_tokens": 4},
        {"cache_creation_input_tokens": 4, "cache_creation": {"ephemeral_5m_input_tokens": 4}},
        {"cached_creation_tokens": 4},
    ],
)
def test_each_providers_name_for_units_written_to_the_cache_is_read(details: dict[str, Any]) -> None:
    expected = {"input": 3, "cached_input": 3, "cache_write": 4, "output": 1}
    assert units_of(report_of(10, 1, prompt_tokens_details={"cached_tokens": 3, **details})) == expected


def test_a_gateways_names_of_anthropic_are_inside_the_input_too() -> None:
    report = report_of(10, 1, cache_read_input_tokens=3, cache_creation_input_tokens=4)
    expected = {"input": 3, "cached_input": 3, "cache_write": 4, "output": 1}
    assert units_of(report, "openai-compatible") == expected
    assert units_of(report | cached(3), "openai-compatible") == expected
    with pytest.raises(ImpossibleUsage):
        units_of(report | {"cache_read_input_tokens": 11}, "openai-compatible")


def test_units_written_to_the_cache_are_inside_the_input() -> None:
    """OpenRouter's price for this very call: 3 x 3 + 329 x 3.75 + 2,240 x 0.30 dollars a million."""
    assert units_of(report_of(2572, 100, **cached(2240, cache_write_tokens=329)), "openrouter") == {
        "input": 3,
        "cached_input": 2240,
        "cache_write": 329,
        "output": 100,
    }
    assert units_of(report_of(10, 1, prompt_tokens_details={"cache_creation_tokens": 4})) == {
        "input": 6,
        "cache_write": 4,
        "output": 1,
    }


def test_a_unit_both_written_to_the_cache_and_read_from_it_counts_once_as_written() -> None:
    """As OpenRouter reports Gemini's; it charged 7 units as fresh input for this call."""
    assert units_of(report_of(2168, 100, **cached(2161, cache_write_tokens=2161)), "openrouter") == {
        "input": 7,
        "cache_write": 2161,
        "output": 100,
    }
    assert units_of(report_of(200, 1, **cached(150, cache_write_tokens=100)), "openrouter") == {
        "input": 50,
        "cached_input": 50,
        "cache_write": 100,
        "output": 1,
    }


def test_sound_and_images_are_classes_of_their_own() -> None:
    report = report_of(
        100,
        50,
        prompt_tokens_details={
            "cached_tokens": 10,
            "audio_tokens": 30,
            "image_tokens": 20,
            "text_tokens": 50,
        },
        completion_tokens_details={"audio_tokens": 15, "image_tokens": 5, "reasoning_tokens": 10},
    )
    assert units_of(report) == {
        "input": 40,
        "cached_input": 10,
        "audio_input": 30,
        "image_input": 20,
        "output": 30,
        "audio_output": 15,
        "image_output": 5,
    }


@pytest.mark.parametrize(
    ("report", "units"),
    [
        # Voxtral's, as callers have published them; the second leaves its details out but for the cache.
        (report_of(6, 2, 383, prompt_audio_seconds=0, **cached(0, audio_tokens=375)), (6, 0, 375, 2)),
        (report_of(5, 24, 404, prompt_audio_seconds=5, **cached(368)), (0, 368, 12, 24)),
        (report_of(4, 635, 3264, prompt_audio_seconds=203), (4, 0, 2625, 635)),
        # Text alone, in the three forms in which nothing is said.
        (report_of(24, 27, prompt_audio_seconds=0), (24, 0, 0, 27)),
        (report_of(24, 27, prompt_audio_seconds={}), (24, 0, 0, 27)),
        (report_of(24, 27, prompt_audio_seconds=None), (24, 0, 0, 27)),
    ],
)
def test_sound_that_mistral_counts_beside_the_input_is_input(
    report: dict[str, Any], units: tuple[int, ...]
) -> None:
    names = ("input", "cached_input", "audio_input", "output")
    expected = {name: count for name, count in zip(names, units, strict=True) if count}
    assert units_of(report, "mistral") == expected


def test_a_gap_that_sound_does_not_explain_is_impossible() -> None:
    for report in (
        report_of(6, 2, 383, **cached(0, audio_tokens=375)),
        report_of(6, 2, 383, prompt_audio_seconds=3, **cached(0, audio_tokens=300)),
        report_of(6, 2, 7, prompt_audio_seconds=3),
    ):
        with pytest.raises(ImpossibleUsage):
            units_of(report, "mistral")


def test_video_is_a_class_of_its_own() -> None:
    report = report_of(100, 1, **cached(10, audio_tokens=5, image_tokens=5, video_tokens=60))
    assert units_of(report, "openrouter") == {
        "input": 20,
        "cached_input": 10,
        "audio_input": 5,
        "image_input": 5,
        "video_input": 60,
        "output": 1,
    }
    with pytest.raises(ImpossibleUsage):
        units_of(report_of(10, 1, prompt_tokens_details={"image_tokens": 5, "video_tokens": 6}))


def test_cached_sound_and_images_count_once_as_cached() -> None:
    """Text is cached before they are: only what cannot be text is taken from them."""
    assert units_of(report_of(100, 1, **cached(90, audio_tokens=60, image_tokens=20))) == {
        "cached_input": 90,
        "audio_input": 10,
        "output": 1,
    }


def test_reasoning_inside_the_output_stays_there() -> None:
    assert units_of(report_of(31, 467, **reasoning(448))) == {"input": 31, "output": 467}


def test_more_reasoning_than_output_does_not_matter_where_it_is_inside() -> None:
    assert units_of(report_of(43, 10, **reasoning(11)), "openrouter") == {"input": 43, "output": 10}


def test_reasoning_on_top_is_added_as_the_total_says() -> None:
    """xAI: 10,120 + 1,499 + 2,809 = 14,428, which is what it charged for."""
    report = report_of(10_120, 1_499, 14_428, **cached(128), **reasoning(2_809))
    expected = {"input": 9_992, "cached_input": 128, "output": 1_499, "reasoning": 2_809}
    assert units_of(report, "xai") == expected
    # A reseller that passes such a report on is told by the total.
    assert units_of(report, "openai-compatible") == expected


def test_reasoning_on_top_that_is_in_the_total_alone_is_found_where_the_provider_counts_so() -> None:
    report = report_of(66, 6, 100)
    assert units_of(report, "gemini") == {"input": 66, "output": 6, "reasoning": 28}
    # Another TokenOpen passes on what it is told, and would not have taken it from anybody else.
    assert units_of(report, "tokenopen") == {"input": 66, "output": 6, "reasoning": 28}
    assert units_of(report_of(66, 6, **reasoning(5)), "tokenopen") == {"input": 66, "output": 6}
    for total in (100, 73):
        with pytest.raises(ImpossibleUsage):
            units_of(report | {"total_tokens": total}, "openai")


def test_reasoning_that_stands_beside_the_details_is_read_too() -> None:
    """As Vertex reports it, whose total alone has it inside; and where it is inside the output."""
    report = report_of(2_181, 57, 2_518, reasoning_tokens=280)
    expected = {"input": 2_181, "output": 57, "reasoning": 280}
    assert units_of(report, "gemini") == units_of(report, "openai-compatible") == expected
    assert units_of(report_of(9, 57, reasoning_tokens=28), "openai-compatible") == {"input": 9, "output": 57}


def test_reasoning_inside_the_total_is_not_added_again_where_others_come_on_top() -> None:
    assert units_of(report_of(32, 9, 41, **reasoning(4)), "xai") == {"input": 32, "output": 9}


def test_without_a_total_the_providers_way_of_counting_decides() -> None:
    report = {"prompt_tokens": 10, "completion_tokens": 5, **reasoning(3)}
    assert units_of(report, "xai") == {"input": 10, "output": 5, "reasoning": 3}
    assert units_of(report, "openai") == {"input": 10, "output": 5}


def test_all_output_can_be_reasoning() -> None:
    assert units_of({"prompt_tokens": 9, "total_tokens": 108}, "gemini") == {"input": 9, "reasoning": 99}


@pytest.mark.parametrize("report", [{}, {"total_time": 1.5}, {"prompt_tokens": 5}, {"completion_tokens": 5}])
def test_a_report_without_its_numbers_is_none(report: dict[str, Any]) -> None:
    assert units_of(report) is None


def test_a_null_report_is_none() -> None:
    assert read_report(b"null") is None


def test_numbers_that_are_null_are_not_there() -> None:
    report = report_of(
        10, 5, prompt_tokens_details=None, completion_tokens_details=None, num_cached_tokens=None
    )
    assert units_of(report) == {"input": 10, "output": 5}


def test_whole_numbers_with_a_fraction_and_objects_written_as_arrays_are_read() -> None:
    raw = b"""{"prompt_tokens":10.0,"completion_tokens":5,"total_tokens":1.5e1,"prompt_tokens_details":[],
        "completion_tokens_details":{"reasoning_tokens":2.0}}"""
    report = read_report(raw)
    assert report is not None
    usage = usage_from_report(report, PROVIDERS["openai"].convention)
    assert usage is not None
    assert dict(usage) == {"input": 10, "output": 5}


@pytest.mark.parametrize(
    "report",
    [
        report_of(-1, 5),
        report_of(10, -5),
        report_of(10, 5, -1),
        report_of(10, 5, 14),
        report_of(10, 5, 18, **reasoning(2)),
        report_of(10**9 + 1, 0),
        report_of(10, 5, **cached(11)),
        report_of(10, 5, **cached(-1)),
        report_of(10, 5, num_cached_tokens=11),
        report_of(10, 5, **cached(0, cache_write_tokens=11)),
        report_of(10, 5, **cached(0, audio_tokens=6, image_tokens=5)),
        report_of(10, 5, **reasoning(0, audio_tokens=3, image_tokens=3)),
        report_of(10, 5, prompt_cache_hit_tokens=4, prompt_cache_miss_tokens=7),
        {"prompt_tokens": 10.5, "completion_tokens": 5},
        {"prompt_tokens": "10", "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": [5]},
        report_of(10, 5, prompt_tokens_details=[1]),
    ],
)
@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_what_cannot_be_true_is_impossible(report: dict[str, Any], provider: str) -> None:
    with pytest.raises(ImpossibleUsage):
        units_of(report, provider)


@pytest.mark.parametrize("raw", [b"1", b'"none"', b"[]", b"true", b"{", b'{"prompt_tokens":1e999}'])
def test_what_is_no_report_is_impossible(raw: bytes) -> None:
    with pytest.raises(ImpossibleUsage):
        read_report(raw)


UNITS = st.none() | st.integers(-2, 40)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": UNITS,
            "completion_tokens": UNITS,
            "total_tokens": UNITS,
            "prompt_cache_hit_tokens": UNITS,
            "prompt_cache_miss_tokens": UNITS,
            "num_cached_tokens": UNITS,
            "prompt_tokens_details": st.none()
            | st.dictionaries(
                st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens"]),
                UNITS,
            ),
            "completion_tokens_details": st.none()
            | st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens", "image_tokens"]), UNITS),
        },
    ),
    st.sampled_from(["openai", "xai"]),
)
def test_classes_sum_to_the_providers_totals_or_the_report_is_impossible(
    report: dict[str, Any], provider: str
) -> None:
    try:
        units = units_of(report, provider)
    except ImpossibleUsage:
        return
    if units is None:
        assert report.get("total_tokens") is None
        return
    inputs = [
        units.get(name, 0) for name in ("input", "cached_input", "cache_write", "audio_input", "image_input")
    ]
    outputs = [units.get(name, 0) for name in ("output", "audio_output", "image_output")]
    assert sum(inputs) == (report.get("prompt_tokens") or 0)
    assert sum(outputs) == (report.get("completion_tokens") or 0)
    assert all(count > 0 for count in units.values())
    if report.get("total_tokens") is not None:
        assert sum(units.values()) == report["total_tokens"]


def input_units_of(report: dict[str, Any]) -> dict[str, int] | None:
    read = read_report(json.dumps(report).encode())
    assert read is not None
    usage = input_usage_from_report(read)
    return None if usage is None else dict(usage)


def test_reports_about_input_alone() -> None:
    assert input_units_of({"prompt_tokens": 2, "total_tokens": 2}) == {"input": 2}
    assert input_units_of({"prompt_tokens": 2}) == {"input": 2}
    assert input_units_of({"total_tokens": 2}) == {"input": 2}
    assert input_units_of({"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}) == {"input": 2}
    assert input_units_of({"prompt_tokens": 8, "prompt_tokens_details": {"image_tokens": 5}}) == {
        "input": 3,
        "image_input": 5,
    }
    assert input_units_of({}) is None
    for report in ({"prompt_tokens": 2, "total_tokens": 3}, {"prompt_tokens": -2}, {"total_tokens": 1.5}):
        with pytest.raises(ImpossibleUsage):
            input_units_of(report)
