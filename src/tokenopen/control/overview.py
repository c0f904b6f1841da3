"""Overview: what administrators look for first: calls and revenue, and what waits for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tokenopen.control.actor import Actor
from tokenopen.control.call import list_all_calls
from tokenopen.control.flagged_call import list_flagged_calls
from tokenopen.control.model import count_lacking_models
from tokenopen.control.page import Page, PageRequest
from tokenopen.control.refused_call import RefusedSum, count_refused
from tokenopen.control.upgrade_request import list_upgrade_requests
from tokenopen.control.usage import Period, UsageReport, UsageSum, UsageWanted, sum_usage
from tokenopen.core.money import Nanocredits
from tokenopen.core.refused_call import HOUR_MS
from tokenopen.ports.storage import Transaction
from tokenopen.storage.call_search import CallFilter

COUNTED_MAX = 100
_LINES = 4
_LARGEST = 5
_DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many of something wait; ``and_more`` where there are more than were counted."""

    count: int
    and_more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The last 30 days, everybody's; ``by_group`` has a line a group over time.

    ``failed_calls`` are those of the last 24 hours that no upstream replied to.
    """

    by_group: UsageReport
    calls_today: int
    charge_today: Nanocredits
    refused: Sequence[RefusedSum]
    models: Sequence[UsageSum]
    users: Sequence[UsageSum]
    requests: Waiting
    incomplete_models: Waiting
    flagged_calls: Waiting
    failed_calls: Waiting

    @property
    def refused_count(self) -> int:
        """How many calls were refused in all."""
        return sum(each.calls for each in self.refused)


async def read_overview(tx: Transaction, actor: Actor) -> Overview:
    """Return the overview, for administrators; today is that of the platform's time zone."""
    actor.require_administrator()
    by_group = await sum_usage(
        tx,
        account_id=None,
        period=Period(),
        wanted=UsageWanted(group_by="group", interval="day", lines=_LINES),
    )
    today = datetime.fromtimestamp(tx.now_ms // 1000, UTC).astimezone(by_group.zone).date()
    of_today = [each for each in by_group.sums if each.at == today]
    page = PageRequest(limit=COUNTED_MAX)
    failed = CallFilter(state="voided", end_reason="upstream_failed", from_ms=tx.now_ms - _DAY_MS)
    return Overview(
        by_group=by_group,
        calls_today=sum(each.calls for each in of_today),
        charge_today=Nanocredits(sum(each.charge for each in of_today)),
        refused=await count_refused(tx, account_id=None, period=Period()),
        models=_largest(
            await sum_usage(tx, account_id=None, period=Period(), wanted=UsageWanted(group_by="model"))
        ),
        users=_largest(
            await sum_usage(tx, account_id=None, period=Period(), wanted=UsageWanted(group_by="user"))
        ),
        requests=_waiting(await list_upgrade_requests(tx, actor, state="pending", page=page)),
        incomplete_models=Waiting(count=await count_lacking_models(tx, actor)),
        flagged_calls=_waiting(await list_flagged_calls(tx, actor, reviewed=False, page=page)),
        failed_calls=_waiting(
            await list_all_calls(tx, actor, wanted=failed, group=None, user_id=None, page=page)
        ),
    )


def _largest(report: UsageReport) -> Sequence[UsageSum]:
    named = [each for each in report.sums if each.label is not None]
    return sorted(named, key=lambda each: (-each.charge, -each.calls, each.label or ""))[:_LARGEST]


def _waiting(found: Page[Any]) -> Waiting:
    return Waiting(count=len(found.items), and_more=found.next_cursor is not None)
