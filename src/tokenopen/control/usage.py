"""Usage: what was called and charged over time, summed from the hourly rollups.

The rollups are written with each charge, at the hour of the charge. Later refunds are ledger entries and
are not in them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

from tokenopen.control.actor import Actor
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.money import Nanocredits, ceil_div
from tokenopen.core.refused_call import HOUR_MS
from tokenopen.ports.storage import Transaction
from tokenopen.storage import usage as statements
from tokenopen.storage.ledger import find_account_id
from tokenopen.storage.platform import load_platform

GroupBy = Literal["hour", "day", "model", "key", "group"]

HOURS_SHOWN_MAX: Final = 93 * 24
DAYS_DEFAULT: Final = 30
_COLUMNS: Final[Mapping[GroupBy, str]] = {
    "hour": "hour",
    "day": "hour",
    "model": "model",
    "key": "key_id",
    "group": "group_id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum:
    """Sums under one label: an hour's beginning (ms), a day, a model, or the id of a key or group."""

    label: int | date | str
    # Of a group its slug; None for what has no other name.
    slug: str | None = None
    name: str | None = None
    calls: int
    input_units: int
    output_units: int
    charge: Nanocredits
    absorbed: Nanocredits


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """Usage of whole hours, ``[from_ms, until_ms)``."""

    from_ms: int
    until_ms: int
    zone: ZoneInfo
    sums: Sequence[UsageSum]
    total: UsageSum


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From an instant until before another, by default the last 30 days."""

    from_ms: int | None = None
    until_ms: int | None = None

    def hours(self, now_ms: int) -> tuple[int, int]:
        """Return the whole hours that the period touches, as ``[first, end)`` since 1970 UTC."""
        # The running hour too, also in its first instant.
        until_ms = now_ms + 1 if self.until_ms is None else self.until_ms
        from_ms = until_ms - DAYS_DEFAULT * 24 * HOUR_MS if self.from_ms is None else self.from_ms
        if from_ms >= until_ms:
            raise InvalidRequest("from must lie before to.", param="from")
        return from_ms // HOUR_MS, ceil_div(until_ms, HOUR_MS)


async def account_of(tx: Transaction, actor: Actor, user_id: str | None) -> str | None:
    """Return the account that an administrator asks about; None for everybody's."""
    actor.require_administrator()
    if user_id is None:
        return None
    return await find_account_id(tx, user_id) or ""


async def sum_usage(
    tx: Transaction, *, account_id: str | None, period: Period, group_by: GroupBy
) -> UsageReport:
    """Return what an account used, or everybody where none is named: sums per hour, day, model, key or group.

    Days are those of the platform's time zone; an hour belongs to the day that it begins in. Refuses hours
    over more than 93 days.
    """
    from_hour, until_hour = period.hours(tx.now_ms)
    if group_by == "hour" and until_hour - from_hour > HOURS_SHOWN_MAX:
        raise InvalidRequest("Ask for at most 93 days by the hour, or group by day.", param="group_by")
    zone = (await load_platform(tx)).zone
    rows = await statements.sum_usage(
        tx, account_id=account_id, from_hour=from_hour, until_hour=until_hour, by=_COLUMNS[group_by]
    )
    sums: dict[int | date | str, list[int]] = defaultdict(lambda: [0] * len(statements.SUMMED))
    for row in rows:
        total = sums[_label(row[_COLUMNS[group_by]], group_by, zone)]
        for index, column in enumerate(statements.SUMMED):
            # PostgreSQL sums integers into a decimal.
            total[index] += int(row[column])
    names = await _names(tx, group_by, list(sums))
    return UsageReport(
        from_ms=from_hour * HOUR_MS,
        until_ms=until_hour * HOUR_MS,
        zone=zone,
        sums=[_usage_sum(label, values, names) for label, values in sums.items()],
        total=_usage_sum("", [sum(column) for column in zip(*sums.values(), strict=True)] or [0] * 5, {}),
    )


def _label(value: int | str, group_by: GroupBy, zone: ZoneInfo) -> int | date | str:
    if group_by == "hour":
        return int(value) * HOUR_MS
    if group_by == "day":
        return datetime.fromtimestamp(int(value) * HOUR_MS // 1000, UTC).astimezone(zone).date()
    return value


async def _names(
    tx: Transaction, group_by: GroupBy, labels: Sequence[object]
) -> Mapping[str, tuple[str | None, str]]:
    ids = [str(label) for label in labels]
    if group_by == "group":
        return await statements.list_group_names(tx, ids)
    if group_by == "key":
        return {key_id: (None, name) for key_id, name in (await statements.list_key_names(tx, ids)).items()}
    return {}


def _usage_sum(
    label: int | date | str, values: Sequence[int], names: Mapping[str, tuple[str | None, str]]
) -> UsageSum:
    slug, name = names.get(str(label), (None, None))
    calls, input_units, output_units, charge, absorbed = values
    return UsageSum(
        label=label,
        slug=slug,
        name=name,
        calls=calls,
        input_units=input_units,
        output_units=output_units,
        charge=Nanocredits(charge),
        absorbed=Nanocredits(absorbed),
    )
