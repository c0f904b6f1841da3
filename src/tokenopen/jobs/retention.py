"""Retention: records of old calls are dropped where the platform's settings say so, a few at a time.

One worker at a time drops, some calls of one account in each transaction: a call of that account waits some
milliseconds at most. Balances, ledger, rollups, limits and claimed Idempotency-Keys are not touched.
"""

import asyncio
from typing import Final

import structlog

from tokenopen.ports.storage import Storage
from tokenopen.storage.dropped_call import drop_calls, find_account_to_drop_from, take_turn
from tokenopen.storage.platform import load_platform
from tokenopen.storage.version import lock_account

_DAY_MS: Final = 24 * 3_600_000
_DROPPED_AT_ONCE: Final = 200
# Between two transactions, so that calls come first.
_PAUSE_S: Final = 0.02

_log = structlog.get_logger()


async def drop_old_calls(storage: Storage) -> int:
    """Drop every call that is older than is kept; return how many there were. Raises StorageAway."""
    dropped = 0
    while count := await _drop_some(storage):
        dropped += count
        await asyncio.sleep(_PAUSE_S)
    if dropped:
        _log.info("old_calls_dropped", calls=dropped)
    return dropped


async def _drop_some(storage: Storage) -> int:
    async with storage.write() as tx:
        days = (await load_platform(tx)).call_retention_days
        if days is None or not await take_turn(tx):
            return 0
        until_ms = tx.now_ms - days * _DAY_MS
        account_id = await find_account_to_drop_from(tx, until_ms)
        if account_id is None:
            return 0
        await lock_account(tx, account_id)
        return await drop_calls(tx, account_id, until_ms=until_ms, limit=_DROPPED_AT_ONCE)
