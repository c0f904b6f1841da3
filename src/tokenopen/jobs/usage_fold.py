"""Folding usage: everybody's rollups are made of each account's, hour by hour, by one worker at a time."""

from typing import Final

import structlog

from tokenopen.ports.storage import Storage
from tokenopen.storage.usage_fold import (
    DAYS_A_WEEK,
    HOURS_A_DAY,
    find_week_to_fold,
    fold_hour,
    fold_week,
    list_differing,
    lock_folded_until,
    set_folded_row,
)

FOLD_USAGE_S: Final = 300
_HOUR_MS: Final = 3_600_000
# What is decided in an hour is committed within seconds of its end; refusals wait for their turn a little.
_SETTLED_MS: Final = 10 * 60 * 1000
# A day is compared once more after it has been folded for so long.
_COMPARED_AFTER_DAYS: Final = 1
_REPAIRED_AT_ONCE: Final = 200

_log = structlog.get_logger()


async def fold_usage(storage: Storage) -> int:
    """Fold every hour and week that is over, each in its own transaction; return how many hours there were.

    Raises StorageAway.
    """
    folded = 0
    while (hour := await _fold_next(storage)) is not None:
        folded += 1
        day, hour_of_day = divmod(hour, HOURS_A_DAY)
        if hour_of_day == 0:
            await compare_day(storage, day - 1 - _COMPARED_AFTER_DAYS)
    while await _fold_next_week(storage):
        pass
    return folded


async def _fold_next(storage: Storage) -> int | None:
    async with storage.write() as tx:
        hour = await lock_folded_until(tx)
        if hour is None or tx.now_ms < (hour + 1) * _HOUR_MS + _SETTLED_MS:
            return None
        await fold_hour(tx, hour)
    return hour


async def _fold_next_week(storage: Storage) -> bool:
    async with storage.write() as tx:
        hour = await lock_folded_until(tx)
        week = await find_week_to_fold(tx)
        if hour is None or week is None:
            return False
        # Its last day has to have been compared.
        day = (week + 1) * DAYS_A_WEEK + 1 + _COMPARED_AFTER_DAYS
        if hour <= day * HOURS_A_DAY:
            return False
        await fold_week(tx, week)
    return True


async def compare_day(storage: Storage, day: int) -> int:
    """Set right what was added to a day's hours after they had been folded; return how many rows."""
    async with storage.read() as tx:
        differing = await list_differing(tx, day)
    for start in range(0, len(differing), _REPAIRED_AT_ONCE):
        async with storage.write() as tx:
            for row in differing[start : start + _REPAIRED_AT_ONCE]:
                await set_folded_row(tx, row)
    if differing:
        _log.warning("usage_folded_again", day=day, rows=len(differing))
    return len(differing)
