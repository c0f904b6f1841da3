"""Limits over many workers, in short; ``make trial-limits`` is the long one."""

from pathlib import Path

from trials.limits import Options, run_trial


async def test_of_five_times_the_limit_offered_to_several_workers_the_limit_is_admitted_and_not_one_more(
    tmp_path: Path,
) -> None:
    options = Options(limits=(1, 2, 10, 60), offer_s=3, seconds=4, callers=30, workers=2)
    outcomes = await run_trial(options, tmp_path, say=print)
    assert [violation for outcome in outcomes for violation in outcome.violations] == []
    assert [outcome.admitted for outcome in outcomes] == [1, 2, 10, 60]
    # Or nothing would have been tried.
    assert max(outcome.workers for outcome in outcomes) >= 3
