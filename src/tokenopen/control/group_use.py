"""Group use: how much each group is used: whose keys are in it, and what the last 30 days' calls came to."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenopen.control.actor import Actor
from tokenopen.control.usage import Period
from tokenopen.core.money import ZERO, Nanocredits
from tokenopen.ports.storage import Transaction
from tokenopen.storage.group import count_accounts
from tokenopen.storage.usage import Told, sum_platform_usage, sum_refused


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUse:
    """``accounts`` have keys in the group that are not revoked; all else is of the last 30 days."""

    accounts: int = 0
    calls: int = 0
    charge: Nanocredits = ZERO
    refused: int = 0


UNUSED = GroupUse()


async def list_group_use(tx: Transaction, actor: Actor) -> Mapping[str, GroupUse]:
    """Return the use of every group that has any, by its id; calls are summed from the hourly rollups."""
    actor.require_administrator()
    from_hour, until_hour = Period().hours(tx.now_ms)
    told = Told(by=["group_id"])
    usage = await sum_platform_usage(tx, from_hour=from_hour, until_hour=until_hour, told=told)
    refused = await sum_refused(tx, account_id=None, from_hour=from_hour, until_hour=until_hour, told=told)
    accounts = await count_accounts(tx)
    calls, charges, refusals = _add(usage, "calls"), _add(usage, "charge"), _add(refused, "calls")
    return {
        group_id: GroupUse(
            accounts=accounts.get(group_id, 0),
            calls=calls.get(group_id, 0),
            charge=Nanocredits(charges.get(group_id, 0)),
            refused=refusals.get(group_id, 0),
        )
        for group_id in {*accounts, *calls, *refusals}
    }


def _add(rows: Iterable[Mapping[str, Any]], column: str) -> Mapping[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[row["group_id"]] += int(row[column])
    return sums
