"""Refused calls: the newest of an account in full, and how many there were of each code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.control.usage import HOURS_SHOWN_MAX, Interval, Period, Time, sort_key, time_of
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.refused_call import HOUR_MS, RefusedCall
from tokenopen.ports.storage import Transaction
from tokenopen.storage.platform import load_platform
from tokenopen.storage.refused_call import list_refused_calls
from tokenopen.storage.usage import sum_refused

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecord:
    """A refused call with the names of its key and group today."""

    refused: RefusedCall
    key_name: str | None
    group_slug: str | None
    group_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedSum:
    """How many calls were refused with a code, and the hour that the last of them came in.

    ``at`` is the time they are of, where they are counted over time.
    """

    at: Time | None
    code: str
    calls: int
    last_hour_ms: int


async def list_refused(
    tx: Transaction, *, account_id: str | None, code: str | None, page: PageRequest
) -> Page[RefusedRecord]:
    """Return an account's refused calls, or everybody's, newest first; the last 1,000 of each are kept."""
    rows = await list_refused_calls(
        tx, account_id=account_id, code=code, before_id=page.after, limit=page.fetch
    )
    return cut_page([_record(row) for row in rows], page, cursor_of=lambda record: record.refused.id)


def _record(row: Row) -> RefusedRecord:
    return RefusedRecord(
        refused=RefusedCall(**{name: row[name] for name in RefusedCall.__dataclass_fields__}),
        key_name=row["key_name"],
        group_slug=row["group_slug"],
        group_name=row["group_name"],
    )


async def count_refused(
    tx: Transaction, *, account_id: str | None, period: Period, interval: Interval | None = None
) -> Sequence[RefusedSum]:
    """Return the refused calls of an account, or of everybody, by code; the most frequent first.

    With an interval by time and code, the earliest first; days are those of the platform's time zone.
    """
    from_hour, until_hour = period.hours(tx.now_ms)
    if interval == "hour" and until_hour - from_hour > HOURS_SHOWN_MAX:
        raise InvalidRequest("Ask for at most 93 days by the hour, or by day.", param="from")
    zone = (await load_platform(tx)).zone
    sums: dict[tuple[Time | None, str], tuple[int, int]] = {}
    for row in await sum_refused(tx, account_id=account_id, from_hour=from_hour, until_hour=until_hour):
        key = time_of(row["hour"], interval, zone), row["code"]
        calls, last_hour = sums.get(key, (0, 0))
        sums[key] = calls + row["calls"], max(last_hour, row["hour"])
    found = [
        RefusedSum(at=at, code=code, calls=calls, last_hour_ms=last_hour * HOUR_MS)
        for (at, code), (calls, last_hour) in sums.items()
    ]
    return sorted(found, key=lambda each: (sort_key(each.at), -each.calls, each.code))
