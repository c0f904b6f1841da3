"""Growth: what a call costs with few and with many stored calls and keys, on one database that is filled.

Rows are copies of one of the account's own, written past the gateway while it is down. They say nothing of
money, only whether each statement of a call still finds its rows by their keys.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from trials.bench_rig import Rig, restart

_COUNTER: Final = "WITH RECURSIVE number(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM number WHERE n < ?)"

_SAMPLES: Final = {"calls": "state = 'settled'", "api_keys": "state = 'active'"}


def _copies(path: Path, table: str, changes: dict[str, str], first: int, last: int) -> None:
    """Copy a row of the table for each number; ``changes`` are expressions of ``n``."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(changes.get(column, f"one.{column}") for column in columns)
        connection.execute(
            f"{_COUNTER} INSERT INTO {table} ({', '.join(columns)}) SELECT {values} "  # noqa: S608 names are ours
            f"FROM number, (SELECT * FROM {table} WHERE {_SAMPLES[table]} LIMIT 1) AS one",
            (first, last),
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def add_calls(first: int, last: int) -> Callable[[Path], None]:
    """Return what adds made-up calls of the account, older than all that it makes."""
    return lambda path: _copies(path, "calls", {"id": "printf('call_%026d', n)"}, first, last)


def add_keys(first: int, last: int) -> Callable[[Path], None]:
    """Return what adds made-up keys of the same user."""
    changes = {
        "id": "printf('key_%026d', n)",
        "public_id": "printf('bench%08d', n)",
        "key_hash": "randomblob(32)",
        "name": "printf('made up %d', n)",
    }
    return lambda path: _copies(path, "api_keys", changes, first, last)


def measure_growth(
    rig: Rig, measure_us: Callable[[Rig], float], *, calls: Sequence[int], keys: Sequence[int]
) -> list[tuple[str, int, float]]:
    """Return what was stored, how many of it, and the CPU of a call then, in microseconds."""
    found = [("calls", 0, measure_us(rig))]
    there = 0
    for count in calls:
        rig = restart(rig, add_calls(there + 1, count))
        there = count
        found.append(("calls", count, measure_us(rig)))
    there = 1
    for count in keys:
        rig = restart(rig, add_keys(there + 1, count))
        there = count
        found.append(("keys", count, measure_us(rig)))
    return found
