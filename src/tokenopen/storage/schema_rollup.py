"""Schema of what is summed: what charts are drawn from, and what retention leaves of dropped calls."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from tokenopen.storage.schema_base import Text, metadata

# What is summed of usage, in every rollup of it.
SUMMED: Final = ("calls", "input_units", "output_units", "charge", "absorbed")


def _summed() -> list[Column[int]]:
    """Return the columns of the sums; each table needs its own."""
    return [Column(name, BigInteger, nullable=False) for name in SUMMED]


# Rollups: what charts are drawn from, written in the settling transaction.
usage_hours = Table(
    "usage_hours",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    *_summed(),
    Index(None, "hour"),
    sqlite_with_rowid=False,
)

refused_hours = Table(
    "refused_hours",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Index(None, "hour"),
)

# Rollups of everybody, folded from those above once an hour or a day (UTC) is over: what is yet to be folded
# is read there. How far they go is in ``versions``.
platform_usage_hours = Table(
    "platform_usage_hours",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("group_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    *_summed(),
    sqlite_with_rowid=False,
)

key_usage_days = Table(
    "key_usage_days",
    metadata,
    # Days since 1970 UTC.
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("account_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    *_summed(),
    sqlite_with_rowid=False,
)

# Made of the above once a week is over: days (UTC) seven at a time since 1970.
key_usage_weeks = Table(
    "key_usage_weeks",
    metadata,
    Column("week", Integer, primary_key=True, autoincrement=False),
    Column("account_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    *_summed(),
    sqlite_with_rowid=False,
)

platform_refused_hours = Table(
    "platform_refused_hours",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("group_id", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What retention has dropped, per key, so that sums over calls can still be re-derived: how many of the calls
# were settled, and so have a charge entry, and what they were charged. Up to when is in ``versions``.
dropped_calls = Table(
    "dropped_calls",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("charge", BigInteger, nullable=False),
)
