"""Writing down what the gateway refused, every few seconds in one transaction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Final, Protocol

from tokenopen.core.refused_call import RefusedCall, RefusedHour
from tokenopen.ports.storage import Storage, StorageAway
from tokenopen.storage.refused_call import add_refused_hour, insert_refused_call, trim_refused_calls

KEPT_PER_ACCOUNT: Final = 1_000


class Gathered(Protocol):
    """Where refusals gather meanwhile."""

    def take(self) -> tuple[Counter[RefusedHour], Sequence[RefusedCall]]:
        """Return what has gathered and begin anew."""

    def put_back(self, counts: Counter[RefusedHour]) -> None:
        """Count again what could not be written."""


async def write_refused_calls(storage: Storage, gathered: Gathered) -> None:
    """Write what has gathered. Raises StorageAway; the counts are kept then, the refusals in full are not."""
    counts, newest = gathered.take()
    if not counts:
        return
    try:
        async with storage.write() as tx:
            # In one order in every worker, so that no two of them wait for each other's rows.
            for row in sorted(counts, key=astuple):
                await add_refused_hour(tx, {**asdict(row), "calls": counts[row]})
            for refused in newest:
                await insert_refused_call(tx, asdict(refused))
            for account_id in {refused.account_id for refused in newest}:
                await trim_refused_calls(tx, account_id, keep=KEPT_PER_ACCOUNT)
    except StorageAway:
        gathered.put_back(counts)
        raise
