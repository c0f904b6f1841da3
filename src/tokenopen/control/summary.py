"""Summary: what a user looks for first: credit, spend, limits, refusals, and the last charge."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from tokenopen.control.access_notice import ANNOUNCED_MS, AccessNotice, list_access_notices
from tokenopen.control.actor import Actor
from tokenopen.control.call import list_calls
from tokenopen.control.group_terms import GroupTerms, terms_of
from tokenopen.control.limit_use import LimitsUse, read_limits_use
from tokenopen.control.page import PageRequest
from tokenopen.control.price_list import step_of
from tokenopen.control.receipt import Receipt, get_receipt
from tokenopen.control.refused_call import RefusedRecord, list_refused
from tokenopen.control.upgrade_request import list_my_upgrade_requests
from tokenopen.control.usage import Period, UsageWanted, sum_usage
from tokenopen.control.user import find_user
from tokenopen.core.money import Nanocredits
from tokenopen.core.upgrade_request import UpgradeRequest
from tokenopen.core.user import User
from tokenopen.ports.storage import Transaction
from tokenopen.storage.api_key import count_usable_api_keys
from tokenopen.storage.call_search import CallFilter
from tokenopen.storage.entitlement import list_entitlements
from tokenopen.storage.group import list_groups
from tokenopen.storage.platform import load_platform
from tokenopen.storage.refused_call import RefusedFilter

REFUSED_SHOWN = 5
_REQUESTS_LOOKED_AT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Calls that were charged in some time, and what they were charged in all."""

    calls: int
    charge: Nanocredits


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInUse:
    """A group that keys of an account are in, and what was used of its limits."""

    terms: GroupTerms
    key_count: int
    use: LimitsUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """``news`` are requests without an answer, and answers of the last 14 days that nothing came of yet."""

    user: User
    today: Spent
    month: Spent
    groups: Sequence[GroupInUse]
    notices: Sequence[AccessNotice]
    news: Sequence[UpgradeRequest]
    refused: Sequence[RefusedRecord]
    last_charged: Receipt | None


async def read_summary(tx: Transaction, actor: Actor) -> Summary:
    """Return the actor's own summary; day and month are those of the platform's time zone."""
    platform = await load_platform(tx)
    zone = platform.zone
    today, month = await _sum_spent(tx, actor, zone)
    counts = await count_usable_api_keys(tx, actor.account_id)
    entitlements = await list_entitlements(tx, [actor.account_id])
    groups = []
    for group in sorted(await list_groups(tx), key=lambda one: step_of(one, platform.default_group)):
        if group.id in counts:
            terms = terms_of(group, entitlements, tx.now_ms)
            use = await read_limits_use(
                tx, account_id=actor.account_id, group_id=group.id, limits=terms.limits, zone=zone
            )
            groups.append(GroupInUse(terms=terms, key_count=counts[group.id], use=use))
    refused = await list_refused(
        tx, wanted=RefusedFilter(account_id=actor.account_id), page=PageRequest(limit=REFUSED_SHOWN)
    )
    return Summary(
        user=await find_user(tx, actor, actor.user_id),
        today=today,
        month=month,
        groups=groups,
        notices=await list_access_notices(tx, actor.account_id),
        news=await list_upgrade_news(tx, actor),
        refused=refused.items,
        last_charged=await _find_last_charged(tx, actor),
    )


async def list_upgrade_news(tx: Transaction, actor: Actor) -> Sequence[UpgradeRequest]:
    """Return the actor's open requests, and answers of the last 14 days that nothing came of yet.

    An approval is news until a key is in the group.
    """
    counts = await count_usable_api_keys(tx, actor.account_id)
    page = await list_my_upgrade_requests(tx, actor, page=PageRequest(limit=_REQUESTS_LOOKED_AT))
    return [request for request in page.items if _is_news(request, counts.keys(), tx.now_ms)]


def _is_news(request: UpgradeRequest, groups: Set[str], now_ms: int) -> bool:
    if request.state == "pending":
        return True
    assert request.decided_at_ms is not None
    if request.state == "cancelled" or now_ms - request.decided_at_ms > ANNOUNCED_MS:
        return False
    return request.state == "declined" or request.group_id not in groups


async def _sum_spent(tx: Transaction, actor: Actor, zone: ZoneInfo) -> tuple[Spent, Spent]:
    today = datetime.fromtimestamp(tx.now_ms // 1000, UTC).astimezone(zone).date()
    first = today.replace(day=1)
    begins_at_ms = int(datetime(first.year, first.month, 1, tzinfo=zone).timestamp()) * 1000
    report = await sum_usage(
        tx,
        account_id=actor.account_id,
        period=Period(from_ms=begins_at_ms),
        wanted=UsageWanted(group_by="day"),
    )
    # The hour in which the month begins may be shared with the day before.
    days = [each for each in report.sums if isinstance(each.at, date) and each.at >= first]
    return (
        _spent([(each.calls, each.charge) for each in days if each.at == today]),
        _spent([(each.calls, each.charge) for each in days]),
    )


def _spent(sums: Sequence[tuple[int, Nanocredits]]) -> Spent:
    return Spent(calls=sum(calls for calls, _ in sums), charge=Nanocredits(sum(charge for _, charge in sums)))


async def _find_last_charged(tx: Transaction, actor: Actor) -> Receipt | None:
    page = await list_calls(
        tx, actor, wanted=CallFilter(state="settled"), group=None, page=PageRequest(limit=1)
    )
    return await get_receipt(tx, actor.account_id, page.items[0].id) if page.items else None
