"""The replay through real connections to the real simulator."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from tokenopen.cli.replay_trace import DEMO_TRACE, ReplayOptions, read_trace, run_replay
from tokenopen.simulator.process import SimulatorProcess
from tokenopen.upstream.http1 import Http1Upstream


@pytest.mark.slow
async def test_the_demo_trace_goes_through_real_connections(tmp_path: Path) -> None:
    upstream = Http1Upstream(allowed_networks=[ip_network("127.0.0.0/8")])
    with SimulatorProcess(log_path=tmp_path / "log") as simulator:
        options = ReplayOptions(
            trace_path=DEMO_TRACE,
            base_url=simulator.base_url,
            keys=["sk-a", "sk-b", "sim-bad"],
            models=["gpt-4o-mini"],
            speed=None,
            concurrency=16,
        )
        summary = await run_replay(options, upstream)
        await upstream.close()
    rows = [row for row in read_trace(DEMO_TRACE) if row.index % 3 < 2]
    assert summary.total.answered == 200
    assert summary.total.refused == {"invalid_api_key": 100}
    assert summary.total.prompt_tokens == sum(row.context_tokens for row in rows)
    assert summary.total.completion_tokens == sum(row.generated_tokens for row in rows)
    assert len((tmp_path / "log").read_text().splitlines()) == 300
