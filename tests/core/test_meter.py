"""Meter: adding up what several processes have counted."""

from collections import Counter
from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.meter import METRICS, Distribution, Reading, add_up

SERIES = st.sampled_from([("calls", "chat"), ("calls", "messages"), ("refused_calls", "rpm_exceeded")])
DISTRIBUTIONS = st.builds(
    Distribution, st.lists(st.integers(0, 9), min_size=3, max_size=3), st.integers(0, 1_000)
)
READINGS = st.lists(
    st.builds(
        Reading,
        st.dictionaries(SERIES, st.integers(1, 10**12)).map(Counter),
        st.dictionaries(SERIES, DISTRIBUTIONS),
    )
)


@given(READINGS)
def test_the_sum_over_processes_is_that_of_each_series_and_changes_none_of_them(
    readings: list[Reading],
) -> None:
    before = deepcopy(readings)
    total = add_up(readings)
    assert readings == before
    for series, value in total.counts.items():
        assert value == sum(reading.counts[series] for reading in before)
    for series, distribution in total.distributions.items():
        parts = [reading.distributions[series] for reading in before if series in reading.distributions]
        assert distribution.sum == sum(part.sum for part in parts)
        assert distribution.counts == [
            sum(column) for column in zip(*(part.counts for part in parts), strict=True)
        ]
    assert set(total.counts) == {series for reading in before for series in reading.counts}


def test_buckets_go_up_and_times_say_their_unit() -> None:
    for name, metric in METRICS.items():
        assert list(metric.bounds) == sorted(set(metric.bounds)), name
        assert metric.help
        if metric.bounds and name != "till_batch_items":
            assert name.endswith(("_ms", "_us")), name
