"""Usage: what was called and charged over time, summed from the hourly rollups.

The rollups are written with each charge, at the hour of the charge. Later refunds are ledger entries and
are not in them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import add
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
from tokenopen.storage.schema_rollup import SUMMED
from tokenopen.storage.usage import DayCut, Told
from tokenopen.storage.usage_fold import HOURS_A_DAY

Interval = Literal["hour", "day"]
GroupBy = Literal["hour", "day", "model", "key", "group", "user"]

DAYS_SUMMED_MAX: Final = 400
# How many sums one answer holds: more than that no chart shows, and they take too long to be asked for.
POINTS_MAX: Final = 3_000
DAYS_DEFAULT: Final = 30
LINES_DEFAULT: Final = 10
LINES_MAX: Final = 50
_LABELS_MAX: Final = 1_000
_DAY_ZERO: Final = date(1970, 1, 1)
# Of what is told apart beside time.
_COLUMNS: Final[Mapping[GroupBy, str | None]] = {
    "hour": None,
    "day": None,
    "model": "model",
    "key": "key_id",
    "group": "group_id",
    "user": "account_id",
}

# An hour's beginning in ms, or a day.
Time = int | date
_Sums = dict[tuple[Time | None, str | None], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSum:
    """Sums at one time and under one label, None where they are of all times or of all that is not named.

    The label is a model, or the id of a key, a group or a user.
    """

    at: Time | None = None
    label: str | None = None
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
        hours = from_ms // HOUR_MS, ceil_div(until_ms, HOUR_MS)
        if hours[1] - hours[0] > DAYS_SUMMED_MAX * HOURS_A_DAY:
            raise InvalidRequest(f"Ask for at most {DAYS_SUMMED_MAX} days at once.", param="from")
        return hours


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageWanted:
    """What is summed by what; with an ``interval`` each label becomes a line over time.

    Only the ``lines`` labels with the highest charge get one; all others together are one without a label, as
    are those beyond 1,000 labels without an interval. No more than ``points_max`` sums may come of it.
    """

    group_by: GroupBy = "day"
    interval: Interval | None = None
    lines: int = LINES_DEFAULT
    points_max: int = POINTS_MAX

    @property
    def step(self) -> Interval | None:
        """The length of one time that is shown; None where all times are one."""
        if self.group_by == "hour" or self.group_by == "day":
            return self.group_by
        return self.interval


async def account_of(tx: Transaction, actor: Actor, user_id: str | None) -> str | None:
    """Return the account that an administrator asks about; None for everybody's."""
    actor.require_administrator()
    if user_id is None:
        return None
    return await find_account_id(tx, user_id) or ""


async def sum_usage(
    tx: Transaction, *, account_id: str | None, period: Period, wanted: UsageWanted
) -> UsageReport:
    """Return what an account used, or everybody where none is named.

    Days are those of the platform's time zone; an hour belongs to the day that it begins in. Everybody's
    usage by key or user is of whole days UTC, without an interval. Refuses more than ``points_max`` sums, and
    an interval of hours or days.
    """
    hours = _refuse_odd(account_id, wanted, period.hours(tx.now_ms))
    zone = (await load_platform(tx)).zone
    sums = await _sums(tx, account_id, wanted, hours, zone)
    total = [sum(column) for column in zip(*sums.values(), strict=True)] or [0] * len(SUMMED)
    names = await _names(tx, wanted.group_by, [label for _, label in sums if label is not None])
    return UsageReport(
        from_ms=hours[0] * HOUR_MS,
        until_ms=hours[1] * HOUR_MS,
        zone=zone,
        sums=[
            _usage_sum(at, label, values, names)
            for (at, label), values in sorted(sums.items(), key=lambda item: _place(*item[0]))
        ],
        total=_usage_sum(None, None, total, {}),
    )


def _refuse_odd(account_id: str | None, wanted: UsageWanted, hours: tuple[int, int]) -> tuple[int, int]:
    """Return the hours to sum, as many as are asked for or a little more. Raises InvalidRequest."""
    if wanted.interval is not None and wanted.group_by in ("hour", "day"):
        raise InvalidRequest("interval goes with group_by model, key or group.", param="interval")
    lines = None if wanted.interval is None else wanted.lines
    refuse_many(hours, wanted.step, lines=lines, points_max=wanted.points_max)
    if account_id is None and wanted.group_by in ("key", "user"):
        if wanted.interval is not None:
            raise InvalidRequest(
                "Everybody's usage by key or user has no interval; name a user, or group by model.",
                param="interval",
            )
        return hours[0] // HOURS_A_DAY * HOURS_A_DAY, ceil_div(hours[1], HOURS_A_DAY) * HOURS_A_DAY
    return hours


def refuse_many(
    hours: tuple[int, int], step: Interval | None, *, lines: int | None, points_max: int = POINTS_MAX
) -> None:
    """Refuse hours that come to too many sums for one answer: at each time one, or so many and the rest's."""
    if step is None:
        return
    hours_a_time = 1 if step == "hour" else HOURS_A_DAY
    at_once = 1 if lines is None else lines + 1
    if (hours[1] - hours[0]) // hours_a_time * at_once <= points_max:
        return
    days = points_max // at_once * hours_a_time // HOURS_A_DAY
    told_apart = "" if lines is None else f" with {lines} lines"
    instead = [*([] if lines is None else ["for fewer lines"]), *(["by day"] if step == "hour" else [])]
    raise InvalidRequest(
        ", or ".join([f"By the {step}{told_apart} ask for at most {days} days at once", *instead]) + ".",
        param="from",
    )


async def _sums(
    tx: Transaction, account_id: str | None, wanted: UsageWanted, hours: tuple[int, int], zone: ZoneInfo
) -> _Sums:
    column = _COLUMNS[wanted.group_by]
    labels: Collection[str] | None = None
    if column is not None and wanted.step == "hour":
        # Which of many get a line comes first, so that no more rows are read than there will be points. By
        # the day there are few rows, and to add everything up twice would cost more.
        totals = await _rows(tx, account_id, wanted, hours, Told(by=[column]))
        labels = _largest(totals, column, wanted.lines)
    # Time first, as in the rollup's key: its rows come in that order.
    by = [name for name in (wanted.step, column) if name is not None]
    days = cut_days(hours, zone) if wanted.step == "day" else None
    rows = await _rows(tx, account_id, wanted, hours, Told(by=by, days=days, labels=labels))
    if column is not None and labels is None:
        labels = _largest(rows, column, wanted.lines if wanted.interval else _LABELS_MAX)
    return _add_up(rows, wanted, labels or ())


async def _rows(
    tx: Transaction, account_id: str | None, wanted: UsageWanted, hours: tuple[int, int], told: Told
) -> Sequence[statements.Row]:
    from_hour, until_hour = hours
    if account_id is None and wanted.group_by in ("key", "user"):
        return await statements.sum_key_usage(tx, from_hour=from_hour, until_hour=until_hour, by=told.by)
    if account_id is None:
        return await statements.sum_platform_usage(tx, from_hour=from_hour, until_hour=until_hour, told=told)
    return await statements.sum_account_usage(
        tx, account_id, from_hour=from_hour, until_hour=until_hour, told=told
    )


def cut_days(hours: tuple[int, int], zone: ZoneInfo) -> Sequence[DayCut]:
    """Return the hours cut where the zone's distance from UTC changes, as it does for summer time."""
    cuts: list[DayCut] = []
    first, end = hours
    while first < end:
        ahead_min, after = _ahead_min(first, zone), first
        while after < end and _ahead_min(min(after + HOURS_A_DAY, end), zone) == ahead_min:
            after += HOURS_A_DAY
        while after < end and _ahead_min(after, zone) == ahead_min:
            after += 1
        after = min(after, end)
        cuts.append(DayCut(from_hour=first, until_hour=after, ahead_min=ahead_min))
        first = after
    return cuts


def _ahead_min(hour: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(hour * HOUR_MS // 1000, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(minutes=1)


def time_of_row(row: statements.Row, step: Interval | None) -> Time | None:
    """Return the time that a row of sums is shown under; None where all times are one."""
    if step is None:
        return None
    return row["hour"] * HOUR_MS if step == "hour" else _DAY_ZERO + timedelta(days=row["day"])


def _add_up(rows: Sequence[statements.Row], wanted: UsageWanted, shown: Collection[str]) -> _Sums:
    column = _COLUMNS[wanted.group_by]
    sums: _Sums = {}
    for row in rows:
        label = row[column] if column is not None and row[column] in shown else None
        key = time_of_row(row, wanted.step), label
        values = [row[name] for name in SUMMED]
        so_far = sums.get(key)
        sums[key] = values if so_far is None else [*map(add, so_far, values)]
    return sums


def time_of(hour: int, step: Interval | None, zone: ZoneInfo) -> Time | None:
    """Return which time an hour since 1970 UTC is shown under; None where all times are one."""
    if step is None:
        return None
    if step == "hour":
        return hour * HOUR_MS
    return datetime.fromtimestamp(hour * HOUR_MS // 1000, UTC).astimezone(zone).date()


def _largest(rows: Sequence[statements.Row], column: str, count: int) -> set[str]:
    """Return the labels that get a line of their own: those with the highest charge, then the most calls."""
    totals: dict[str, tuple[int, int]] = {}
    for row in rows:
        charge, calls = totals.get(row[column], (0, 0))
        totals[row[column]] = (charge + row["charge"], calls + row["calls"])
    return set(sorted(totals, key=lambda label: (totals[label], label), reverse=True)[:count])


def sort_key(at: Time | None) -> str:
    """Return what sorts times of one kind."""
    return f"{at:020}" if isinstance(at, int) else str(at)


def _place(at: Time | None, label: str | None) -> tuple[str, bool, str]:
    """Sort by time, then by label, what has none last."""
    return sort_key(at), label is None, label or ""


async def _names(
    tx: Transaction, group_by: GroupBy, labels: Sequence[str]
) -> Mapping[str, tuple[str | None, str]]:
    ids = sorted(set(labels))
    if group_by == "group":
        return await statements.list_group_names(tx, ids)
    if group_by == "user":
        return await statements.list_account_users(tx, ids)
    if group_by == "key":
        return {key_id: (None, name) for key_id, name in (await statements.list_key_names(tx, ids)).items()}
    return {}


def _usage_sum(
    at: Time | None,
    label: str | None,
    values: Sequence[int],
    names: Mapping[str, tuple[str | None, str]],
) -> UsageSum:
    slug, name = names.get(label or "", (None, None))
    calls, input_units, output_units, charge, absorbed = values
    return UsageSum(
        at=at,
        label=label,
        slug=slug,
        name=name,
        calls=calls,
        input_units=input_units,
        output_units=output_units,
        charge=Nanocredits(charge),
        absorbed=Nanocredits(absorbed),
    )
