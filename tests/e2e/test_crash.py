"""kill -9 under mixed load, in short; ``make trial-crash`` is the long one."""

from pathlib import Path

from trials.crash import Options, run_trial

# Each of them is something that the trial is there to see.
MET = (
    "open holds at kills",
    "connections refused",
    "  whole: JSON",
    "  whole: SSE",
    "  cut: reply",
    "  left: reply",
    "  429 rpm_exceeded",
    "  429 tpd_exceeded",
    "  expired",
    "  settled",
    "  voided",
    "top-ups, each sent until answered",
)


def test_after_every_kill_each_reply_seen_whole_is_charged_once_and_nothing_else(tmp_path: Path) -> None:
    # Limits that the second round of calls is beyond, however slow the machine is.
    options = Options(
        kills=4, seconds_between=(0.5, 1.5), callers=30, requests_per_minute=6, requests_per_day=4
    )
    print(f"seed {options.seed}")
    result = run_trial(options, tmp_path, say=print)
    assert result.violations == []
    assert result.counts["kills"] == 4
    assert [name for name in MET if not result.counts.get(name)] == []
