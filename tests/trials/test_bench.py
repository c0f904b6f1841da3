"""The bench, in small: it measures something, and its sums are right. Never how fast it is."""

from pathlib import Path

import pytest
from trials.bench import Options, check_sums, measure, tables
from trials.bench_growth import measure_growth
from trials.bench_profile import LOOP, phase_of
from trials.bench_rig import read_sums, running_rig


@pytest.mark.slow
def test_a_small_bench_charges_what_it_calls_for_also_where_much_is_stored(tmp_path: Path) -> None:
    options = Options(rounds=1, seconds=0.5, streams=4, rate=20, only=("paced", "rate"))
    with running_rig(tmp_path) as rig:
        figures = measure(rig, options)
        assert "calls were charged" in check_sums(rig)
        assert read_sums(rig)[0] >= 14
        table = tables(figures, (2.0, 1.0))
        assert "| CPU a paced event, us | - |" in table
        measured = measure_growth(rig, lambda _: 1.0, calls=[2_000], keys=[500])
        assert measured == [("calls", 0, 1.0), ("calls", 2_000, 1.0), ("keys", 500, 1.0)]
        assert read_sums(rig)[0] >= 2_014


def test_a_sample_belongs_to_the_phase_that_it_is_deepest_in() -> None:
    start = "_serve_alone (tokenopen/cli/serve.py:9);Runner.run (asyncio/runners.py:118);"
    story = "run_call (tokenopen/gateway/pipeline.py:9);"
    assert phase_of(start.rstrip(";")) == LOOP
    assert phase_of(f"{start}{story}admit (tokenopen/gateway/pipeline.py:9)") == "other"
    assert phase_of(f"{start}{story}read_request (tokenopen/upstream/surfaces/chat.py:9)") == "parse"
    assert phase_of(f"{start}{story}forward (tokenopen/gateway/forward.py:9)") == "forward"
    assert phase_of(f"{start}_work (tokenopen/gateway/till.py:9)") == "till: gather and answer"
    post = f"{start}_work (tokenopen/gateway/till.py:9);post_batch (tokenopen/storage/sqlite_till.py:9)"
    assert phase_of(post) == "till: read and write rows"
    assert phase_of(f"{post};decide_batch (tokenopen/storage/till_rows.py:9)") == "till: decide"
