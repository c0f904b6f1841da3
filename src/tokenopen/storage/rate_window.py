"""Rate windows outside the till: what an account has used of a group's limits."""

from sqlalchemy import select

from tokenopen.core.rate_limit import RateWindow
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import rate_windows


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
