"""Rate windows outside the till: what an account has used of a group's limits."""

from sqlalchemy import func, select, text

from tokenopen.core.rate_limit import RateWindow
from tokenopen.core.token_window import TokenWindow
from tokenopen.ports.storage import Transaction
from tokenopen.storage.policy import decode_json
from tokenopen.storage.schema import calls, rate_windows, token_windows
from tokenopen.storage.schema_base import HELD


async def find_window(tx: Transaction, account_id: str, group_id: str) -> RateWindow:
    """Return the counters of an account within a group; empty ones where it has made no call."""
    row = await tx.fetch_one(
        select(rate_windows).where(
            rate_windows.c.account_id == account_id, rate_windows.c.group_id == group_id
        )
    )
    if row is None:
        return RateWindow()
    return RateWindow(
        newest_second=row["newest_second"],
        slots=row["slots"],
        day_ordinal=row["day_ordinal"],
        day_count=row["day_count"],
    )


async def find_token_window(tx: Transaction, account_id: str, group_id: str) -> TokenWindow:
    """Return the tokens of an account within a group; none where they were never counted."""
    row = await tx.fetch_one(
        select(token_windows).where(
            token_windows.c.account_id == account_id, token_windows.c.group_id == group_id
        )
    )
    if row is None:
        return TokenWindow()
    return TokenWindow({int(second): tokens for second, tokens in decode_json(row["counts"]).items()})


async def count_open_calls(tx: Transaction, account_id: str, group_id: str) -> int:
    """Return how many calls of an account run within a group."""
    row = await tx.fetch_one(
        select(func.count().label("count")).where(
            calls.c.account_id == account_id, calls.c.group_id == group_id, text(f"calls.{HELD}")
        )
    )
    assert row is not None
    return int(row["count"])
