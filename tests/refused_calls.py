"""Refused calls as the gateway's log of them writes them down, without a call."""

from collections import Counter
from typing import Any

import msgspec

from tokenopen.control.actor import Actor
from tokenopen.core.identifier import new_id
from tokenopen.core.refused_call import HOUR_MS, RefusedCall, RefusedHour
from tokenopen.jobs.refused_calls import write_refused_calls
from tokenopen.ports.storage import Storage
from tokenopen.storage.platform import load_platform


class _Gathered:
    """What has been refused since it was last taken: one call."""

    def __init__(self, refused: RefusedCall, hour: RefusedHour) -> None:
        self._refused, self._hour = refused, hour

    def take(self) -> tuple[Counter[RefusedHour], list[RefusedCall]]:
        return Counter([self._hour]), [self._refused]

    def put_back(self, counts: Counter[RefusedHour]) -> None:
        raise AssertionError(f"not written: {counts}")


async def refuse_call(
    storage: Storage,
    owner: Actor,
    *,
    code: str = "rpm_exceeded",
    status: int = 429,
    message: str = "Group Default allows 60 requests per minute; 60 used.",
    facts: dict[str, Any] | None = None,
    model: str | None = "gpt-4o-mini",
    key_id: str = "key_none",
) -> str:
    """Note a refused call of a user's, in the default group, and return its id."""
    async with storage.read() as tx:
        now_ms, group_id = tx.now_ms, (await load_platform(tx)).default_group
    refused = RefusedCall(
        id=new_id("call", now_ms),
        account_id=owner.account_id,
        key_id=key_id,
        group_id=group_id,
        model=model,
        surface="chat",
        status=status,
        code=code,
        message=message,
        facts=None if facts is None else msgspec.json.encode(facts).decode(),
        refused_at_ms=now_ms,
    )
    hour = RefusedHour(
        account_id=owner.account_id, key_id=key_id, group_id=group_id, code=code, hour=now_ms // HOUR_MS
    )
    await write_refused_calls(storage, _Gathered(refused, hour))
    return refused.id
