"""A production trace over three groups: what is charged equals an independent recomputation, to the nano."""

import asyncio
import csv
from fractions import Fraction
from pathlib import Path

import pytest

from tests.e2e.running import Platform
from tokenopen.bootstrap import create_upstream
from tokenopen.cli.replay_summary import RowResult
from tokenopen.cli.replay_trace import ReplayOptions, run_replay
from tokenopen.settings import Settings

TRACE = Path(__file__).parents[3] / "shared" / "traces" / "azure-llm-2023-code.csv"
MULTIPLIERS = {"plain": "1.0", "cheap": "0.8", "odd": "0.333333"}
PRICES = {"small": ("0.15", "0.6"), "large": ("2.5", "10")}
CREDIT = 1_000


@pytest.mark.skipif(not TRACE.exists(), reason=f"needs the production trace at {TRACE}")
def test_the_production_trace_costs_exactly_what_it_should(platform: Platform) -> None:
    for model, (input_price, output_price) in PRICES.items():
        platform.add_model(model, prices={"input": input_price, "output": output_price})
    user = platform.add_user("trace@example.com", credit=str(CREDIT))
    keys = []
    for slug, multiplier in MULTIPLIERS.items():
        platform.add_group(slug, multiplier=multiplier)
        keys.append(platform.add_key(user, slug))
    results: list[RowResult] = []

    async def replay() -> None:
        upstream = create_upstream(Settings(upstream_networks="127.0.0.0/8"))  # type: ignore[arg-type]
        options = ReplayOptions(
            trace_path=TRACE,
            base_url=f"{platform.server.url}/v1",
            keys=keys,
            models=list(PRICES),
            speed=None,
            concurrency=32,
        )
        await run_replay(options, upstream, on_row=results.append)
        await upstream.close()

    asyncio.run(replay())
    with TRACE.open(newline="") as file:
        rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
    assert len(results) == len(rows) == 8_819
    assert [result for result in results if not result.answered] == []
    assert 0.4 < sum(result.stream for result in results) / len(results) < 0.6
    expected_nano = 0
    multipliers = list(MULTIPLIERS.values())
    for result in results:
        context, generated = rows[result.row]
        input_rate, output_rate = (Fraction(price) for price in PRICES[result.model])
        price = (context * input_rate + generated * output_rate) / 10**6
        nano = price * Fraction(multipliers[result.key_index]) * 10**9
        one = nano.numerator // nano.denominator
        assert result.charge == one
        expected_nano += one
    balance = Fraction(platform.ask("GET", f"/api/admin/users/{user}")["balance"])
    assert (CREDIT - balance) * 10**9 == expected_nano
    platform.audit()
