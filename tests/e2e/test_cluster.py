"""Two servers with two workers each on one PostgreSQL, hurt under load, in short; ``make trial-cluster`` is
the long one."""

from pathlib import Path

from trials.cluster import Options, run_trial

KINDS = (
    "kill -9 of a worker",
    "SIGSTOP of a worker beyond its lease",
    "connections cut at COMMIT",
    "database restart, immediate",
    "power cut of a machine",
)
# Each of them is something that the trial is there to see.
MET = (
    *(f"  {kind}" for kind in KINDS),
    "commits whose answer was lost",
    "looks into the database",
    "  402 insufficient_credit",
    "  429 rpm_exceeded",
    "  429 tpd_exceeded",
    "  cut: reply",
    "  whole: JSON",
    "  whole: SSE",
    "  expired",
    "  settled",
    "  voided",
)


async def test_whatever_befalls_workers_and_database_each_reply_seen_whole_is_charged_once(
    tmp_path: Path,
) -> None:
    options = Options(
        faults=len(KINDS),
        kinds=KINDS,
        calls=500,
        callers=40,
        seconds_between=(0.8, 1.6),
        lease_s=3,
        requests_per_minute=15,
        requests_per_day=20,
    )
    print(f"seed {options.seed}")
    result = await run_trial(options, tmp_path, say=print)
    assert result.violations == []
    assert [name for name in MET if not result.counts.get(name)] == []
