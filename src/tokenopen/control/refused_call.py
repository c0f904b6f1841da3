"""Refused calls: the newest of an account in full, and how many there were of each code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tokenopen.control.group import find_group
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.control.usage import (
    POINTS_MAX,
    Interval,
    Period,
    Time,
    cut_days,
    refuse_many,
    sort_key,
    time_of_row,
)
from tokenopen.core.errors import NotFound
from tokenopen.core.refused_call import HOUR_MS, RefusedCall
from tokenopen.ports.storage import Transaction
from tokenopen.storage.platform import load_platform
from tokenopen.storage.policy import decode_json
from tokenopen.storage.refused_call import RefusedFilter, find_refused_call, list_refused_calls
from tokenopen.storage.usage import Told, sum_refused

Row = Mapping[str, Any]

# As many codes as an hour with many refusals may have.
_CODES_AT_ONCE: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecord:
    """A refused call with the names of its key, group and user today."""

    refused: RefusedCall
    key_name: str | None
    key_last_four: str | None
    group_slug: str | None
    group_name: str | None
    user_id: str | None
    user_email: str | None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the message is made of, such as limit and used; empty where it was not kept."""
        return {} if self.refused.facts is None else decode_json(self.refused.facts)


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
    tx: Transaction, *, wanted: RefusedFilter, group: str | None = None, page: PageRequest
) -> Page[RefusedRecord]:
    """Return an account's refused calls, or everybody's, newest first; the last 1,000 of each are kept.

    ``group`` is a slug; an unknown one is NotFound.
    """
    if group is not None:
        wanted = replace(wanted, group_id=(await find_group(tx, group)).id)
    rows = await list_refused_calls(tx, wanted=wanted, before_id=page.after, limit=page.fetch)
    return cut_page([_record(row) for row in rows], page, cursor_of=lambda record: record.refused.id)


async def find_refused(tx: Transaction, account_id: str | None, call_id: str) -> RefusedRecord:
    """Return an account's refused call, anybody's where no account is named. Refuses NotFound."""
    row = await find_refused_call(tx, call_id, account_id=account_id)
    if row is None:
        raise NotFound(f"There is no call {call_id}.")
    return _record(row)


def _record(row: Row) -> RefusedRecord:
    return RefusedRecord(
        refused=RefusedCall(**{name: row[name] for name in RefusedCall.__dataclass_fields__}),
        **{name: row[name] for name in RefusedRecord.__dataclass_fields__ if name != "refused"},
    )


async def count_refused(
    tx: Transaction, *, account_id: str | None, period: Period, interval: Interval | None = None
) -> Sequence[RefusedSum]:
    """Return the refused calls of an account, or of everybody, by code; the most frequent first.

    With an interval by time and code, the earliest first; days are those of the platform's time zone.
    """
    hours = period.hours(tx.now_ms)
    refuse_many(hours, interval, lines=None, points_max=POINTS_MAX // _CODES_AT_ONCE)
    zone = (await load_platform(tx)).zone
    sums: dict[tuple[Time | None, str], tuple[int, int]] = {}
    for row in await sum_refused(
        tx,
        account_id=account_id,
        from_hour=hours[0],
        until_hour=hours[1],
        told=Told(
            by=["code"] if interval is None else [interval, "code"],
            days=cut_days(hours, zone) if interval == "day" else None,
        ),
    ):
        key = time_of_row(row, interval), row["code"]
        calls, last_hour = sums.get(key, (0, 0))
        sums[key] = calls + row["calls"], max(last_hour, row["last_hour"])
    found = [
        RefusedSum(at=at, code=code, calls=calls, last_hour_ms=last_hour * HOUR_MS)
        for (at, code), (calls, last_hour) in sums.items()
    ]
    return sorted(found, key=lambda each: (sort_key(each.at), -each.calls, each.code))
