"""The demo's trace: 300 calls over three groups, recomputed from the trace apart from the product's sums."""

import asyncio
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import typer

from tokenopen.bootstrap import create_upstream
from tokenopen.cli.demo_story import EVERYDAY_MODEL, NEW_MODEL, DemoFailed, Story
from tokenopen.cli.replay_summary import RowResult
from tokenopen.cli.replay_trace import DEMO_TRACE, ReplayOptions, read_trace, run_replay
from tokenopen.settings import Settings

# How many of every seven rows each group gets: Default has the lowest limit.
SHARES: Final = {"default": 1, "vip": 3, "enterprise": 3}
MODELS: Final = (EVERYDAY_MODEL, NEW_MODEL)
_CONCURRENCY: Final = 16


def run_trace(story: Story) -> None:
    """Send the trace and compare what it cost with the recomputation. Raises DemoFailed."""
    keys = [story.keys[slug] for slug, share in SHARES.items() for _ in range(share)]
    options = ReplayOptions(
        trace_path=DEMO_TRACE,
        base_url=f"{story.url}/v1",
        keys=keys,
        models=MODELS,
        speed=None,
        concurrency=_CONCURRENCY,
    )
    balance_before = Fraction(story.credit()["balance"])
    results: list[RowResult] = []
    # The gateway itself is on loopback.
    settings = Settings(upstream_networks="127.0.0.0/8")  # type: ignore[arg-type]

    async def replay() -> None:
        upstream = create_upstream(settings)
        try:
            await run_replay(options, upstream, on_row=results.append, console=story.console)
        finally:
            await upstream.close()

    asyncio.run(replay())
    unanswered = [result for result in results if not result.answered]
    if unanswered:
        raise DemoFailed(f"{len(unanswered)} calls of the trace were not answered: {unanswered[0]}")
    charged = balance_before - Fraction(story.credit()["balance"])
    expected = _recompute(story, results)
    streams = sum(result.stream for result in results)
    typer.echo(
        f"\nTrace: {len(results)} calls over {len(SHARES)} groups, {streams} of them as SSE, all answered."
    )
    if charged != expected:
        raise DemoFailed(f"charged {_decimal(charged)} credits, recomputed {_decimal(expected)}")
    typer.echo(f"sum of charges = recomputation ({_decimal(charged)} credits)")


def _recompute(story: Story, results: list[RowResult]) -> Fraction:
    """Return the sum of list price x multiplier, each call floored to the nano-credit."""
    rows = {row.index: row for row in read_trace(DEMO_TRACE)}
    rates = {
        (index, model): story.exact_rates(slug, model)
        for index, slug in enumerate(SHARES)
        for model in MODELS
    }
    total = Fraction(0)
    for result in results:
        row = rows[result.row]
        rate = rates[result.key_index, result.model]
        total += _price(rate, row.context_tokens, max(1, row.generated_tokens))
    return total


def _price(rate: Mapping[str, Fraction], input_units: int, output_units: int) -> Fraction:
    nano = (input_units * rate["input"] + output_units * rate["output"]) * 1_000
    return Fraction(nano.numerator // nano.denominator, 10**9)


def _decimal(amount: Fraction) -> str:
    nano = int(amount * 10**9)
    return f"{nano // 10**9}.{nano % 10**9:09d}".rstrip("0").rstrip(".")
