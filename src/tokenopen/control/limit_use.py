"""Limit use: how much of a group's limits an account has used, now."""

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from tokenopen.core.admission import limit_uses
from tokenopen.core.group import Limits
from tokenopen.core.rate_limit import LimitUse, day_at
from tokenopen.ports.storage import Transaction
from tokenopen.storage.rate_window import count_open_calls, find_token_window, find_window


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsUse:
    """What was used within a group, also where no limit is set; each LimitUse is None where none is."""

    limits: Limits
    minute: LimitUse | None
    today: LimitUse | None
    tokens: LimitUse | None
    used_minute: int
    used_today: int
    used_tokens: int
    running_calls: int
    now_ms: int


async def read_limits_use(
    tx: Transaction, *, account_id: str, group_id: str, limits: Limits, zone: ZoneInfo
) -> LimitsUse:
    """Return what an account has used of its limits within a group; ``zone`` is the platform's."""
    window = await find_window(tx, account_id, group_id)
    tokens = await find_token_window(tx, account_id, group_id)
    day = day_at(tx.now_ms, zone)
    window.advance(tx.now_ms, day)
    minute, today = limit_uses(
        window,
        per_minute=limits.requests_per_minute,
        per_day=limits.requests_per_day,
        now_ms=tx.now_ms,
        day=day,
    )
    tokens_limit = limits.tokens_per_minute
    return LimitsUse(
        limits=limits,
        minute=minute,
        today=today,
        tokens=None if tokens_limit is None else tokens.use(tokens_limit, tx.now_ms),
        used_minute=window.used_minute,
        used_today=window.day_count,
        used_tokens=tokens.used(tx.now_ms),
        running_calls=await count_open_calls(tx, account_id, group_id),
        now_ms=tx.now_ms,
    )
