"""What a provider says that it takes for a call: exact, rounded up, and unknown rather than nothing."""

import msgspec
import pytest

from tokenopen.upstream.cost_report import read_cost
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.usage_report import (
    read_report,
    read_responses_report,
    usage_from_report,
)

TOKENS = {"prompt_tokens": 10, "completion_tokens": 2}


def chat_cost(provider: str, raw: str) -> int | None:
    body = msgspec.json.encode(TOKENS).replace(b"}", b"," + raw.encode() + b"}", 1)
    report = read_report(body)
    assert report is not None
    usage = usage_from_report(report, PROVIDERS[provider].convention)
    assert usage is not None
    assert usage.units == {"input": 10, "output": 2}
    return usage.cost


@pytest.mark.parametrize(
    ("provider", "raw", "nano"),
    [
        # As OpenRouter has written it in recorded replies.
        ("openrouter", '"cost": 0.0145476', 14_547_600),
        ("openrouter", '"cost": 8.6e-05', 86_000),
        ("openrouter", '"cost": 0', 0),
        ("openrouter", '"cost": 0.0000000001', 1),
        ("openrouter", '"cost": 0.002196, "cost_details": {"upstream_inference_cost": 0.002196}', 2_196_000),
        (
            "openrouter",
            '"cost": 0.0001, "is_byok": true, "cost_details": {"upstream_inference_cost": 0.002}',
            2_100_000,
        ),
        ("openrouter", '"cost": 0.0001, "is_byok": true, "cost_details": null', None),
        ("openrouter", '"cost": 0.0001, "is_byok": true', None),
        ("tokenopen", '"cost": "0.00017496"', 174_960),
        # The example of the vendor's documentation.
        ("xai", '"cost_in_usd_ticks": 37756000', 3_775_600),
        ("xai", '"cost_in_usd_ticks": 1', 1),
        ("xai", '"cost": 5', None),
        ("openai", '"cost": 5, "cost_in_usd_ticks": 5', None),
    ],
)
def test_a_cost_is_read_where_the_provider_tells_it(provider: str, raw: str, nano: int | None) -> None:
    assert chat_cost(provider, raw) == nano


@pytest.mark.parametrize(
    "value",
    [
        "null",
        '""',
        '"free"',
        "-0.1",
        "1e400",
        '"NaN"',
        '"Infinity"',
        "{}",
        "[1]",
        "true",
        "9" * 60,
        '"\u00b2"',
    ],
)
def test_a_cost_that_cannot_be_read_is_unknown_and_changes_nothing_else(value: str) -> None:
    assert chat_cost("openrouter", f'"cost": {value}') is None
    assert chat_cost("xai", f'"cost_in_usd_ticks": {value}') is None


def test_responses_tell_their_cost_alike() -> None:
    report = read_responses_report(b'{"input_tokens": 3, "output_tokens": 4, "cost": 0.0000113}')
    assert report is not None
    assert read_cost(report, "cost") == 11_300
    usage = usage_from_report(report, PROVIDERS["openrouter"].convention)
    assert usage is not None
    assert usage.cost == 11_300
