"""Many slow streams, callers who leave, connections that trickle: small versions of the trials."""

import secrets
from pathlib import Path

from trials.endurance import Outcome, leaving, slow_streams, trickle


def assert_sound(outcome: Outcome) -> None:
    print(outcome.figures)
    assert outcome.violations == []


def test_a_hundred_slow_streams_at_once_are_whole_and_charged_exactly(tmp_path: Path) -> None:
    assert_sound(slow_streams(tmp_path, count=100, event_ms=100))


def test_callers_who_leave_at_any_moment_leave_nothing_behind(tmp_path: Path) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    outcome = leaving(tmp_path, count=100, seed=seed)
    assert_sound(outcome)
    assert outcome.figures["calls left"]


def test_beside_connections_that_trickle_every_good_call_is_answered_and_charged(tmp_path: Path) -> None:
    assert_sound(trickle(tmp_path, count=100, good_calls=40))
