"""Usage: spend, calls and tokens over time, by model, key or group; refused calls by reason; as CSV."""

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response

from tokenopen.control.refused_call import RefusedSum, count_refused
from tokenopen.control.usage import (
    DAYS_SUMMED_MAX,
    LINES_MAX,
    Interval,
    Period,
    Time,
    UsageReport,
    UsageWanted,
    sum_usage,
)
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.money import format_amount
from tokenopen.web import format as as_text
from tokenopen.web.csv_file import csv_file
from tokenopen.web.render import render
from tokenopen.web.time_range import RANGES, day_begins_ms, read_time_range
from tokenopen.web.usage_chart import (
    MEASURES,
    NAMED_MAX,
    label_text,
    largest,
    refused_chart,
    sum_by_label,
    time_axis,
    usage_chart,
)
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit, Visit

router = APIRouter()

By = Literal["model", "key", "group"]

USAGE_RANGES: Final = ("24h", "7d", "30d", "90d")
RANGE_DEFAULT: Final = "30d"
# How many models, keys or groups the table tells apart; the rest are one line.
LABELS_SHOWN: Final = 200
BYS: Final[tuple[By, ...]] = ("model", "key", "group")
_DAY_MS: Final = 24 * 3_600_000
# Up to so much is shown by the hour.
_HOURLY_MS: Final = 2 * _DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which usage is asked for, and by what it is told apart."""

    period: Period
    interval: Interval
    by: By


def read_usage_query(query: Mapping[str, str], *, now_ms: int, zone: ZoneInfo) -> UsageQuery:
    """Return what a page's address asks for; ranges of days are of whole ones. Refuses InvalidRequest."""
    chosen = read_time_range(query, now_ms=now_ms, zone=zone, otherwise=RANGE_DEFAULT)
    if chosen.name == "all":
        raise InvalidRequest("Name a range, or days.", param="range")
    from_ms, until_ms = chosen.from_ms, chosen.until_ms
    end_ms = now_ms if until_ms is None else until_ms
    if from_ms is None:
        from_ms = end_ms - RANGES[RANGE_DEFAULT]
    if chosen.name and RANGES[chosen.name] > _DAY_MS:
        today = as_text.at_zone(now_ms, zone).date()
        days = RANGES[chosen.name] // _DAY_MS
        from_ms = day_begins_ms(today - datetime.timedelta(days=days - 1), zone)
    return UsageQuery(
        period=Period(from_ms=from_ms, until_ms=until_ms),
        interval="hour" if end_ms - from_ms <= _HOURLY_MS else "day",
        by=_read_by(query.get("by", "")),
    )


def _read_by(name: str) -> By:
    for by in BYS:
        if name == by:
            return by
    if name:
        raise InvalidRequest(f"Usage is not told apart by {name}.", param="by")
    return BYS[0]


@router.get("/usage")
async def show_usage(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """One's own usage, as charts and tables."""
    query = read_usage_query(request.query_params, now_ms=visit.now_ms, zone=visit.zone)
    account_id, text = viewer.actor.account_id, visit.text
    async with services.storage.read() as tx:
        report = await sum_usage(
            tx,
            account_id=account_id,
            period=query.period,
            wanted=UsageWanted(group_by=query.by, interval=query.interval, lines=NAMED_MAX),
        )
        totals = await sum_usage(
            tx, account_id=account_id, period=query.period, wanted=UsageWanted(group_by=query.by)
        )
        refused = await count_refused(tx, account_id=account_id, period=query.period, interval=query.interval)
    sums = sum_by_label(report.sums)
    axis = time_axis(report.from_ms, report.until_ms, query.interval, visit.zone)
    return render(
        request,
        "usage/usage.html",
        usage_query=query,
        of_time=_time_of(query, request.query_params, visit.zone),
        choices=_choices(visit),
        total=report.total,
        sums=largest(totals.sums, LABELS_SHOWN),
        charts=[usage_chart(report, sums, measure, axis, text) for measure in MEASURES],
        refused_chart=refused_chart(refused, axis, text),
        refused=_refused_by_code(refused),
    )


def _time_of(query: UsageQuery, asked: Mapping[str, str], zone: ZoneInfo) -> Mapping[str, str]:
    """Return what has the call log show the same stretch of time: days, or the last 24 hours."""
    if asked.get("range") == "24h" and not asked.get("from") and not asked.get("to"):
        return {"range": "24h"}
    assert query.period.from_ms is not None
    days = {"from": as_text.day(query.period.from_ms, zone)}
    if query.period.until_ms is not None:
        days["to"] = as_text.day(query.period.until_ms - 1, zone)
    return days


def _choices(visit: Visit) -> Mapping[str, Sequence[tuple[str, str]]]:
    text = visit.text
    ranges = [("" if name == RANGE_DEFAULT else name, text(f"range.{name}")) for name in USAGE_RANGES]
    return {"ranges": ranges, "bys": [(by, text(f"usage.by.{by}")) for by in BYS]}


def _refused_by_code(sums: Sequence[RefusedSum]) -> Sequence[tuple[str, int]]:
    counts: Counter[str] = Counter()
    for each in sums:
        counts[each.code] += each.calls
    return counts.most_common()


@router.get("/usage.csv")
async def download_usage(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """One's own usage over time as a CSV file; beyond 50 labels the rest is one line."""
    query = read_usage_query(request.query_params, now_ms=visit.now_ms, zone=visit.zone)
    async with services.storage.read() as tx:
        report = await sum_usage(
            tx,
            account_id=viewer.actor.account_id,
            period=query.period,
            wanted=UsageWanted(
                group_by=query.by,
                interval=query.interval,
                lines=LINES_MAX,
                points_max=DAYS_SUMMED_MAX * (LINES_MAX + 1),
            ),
        )
    columns = (
        query.interval,
        query.by,
        f"{query.by}_id",
        "calls",
        "input_tokens",
        "output_tokens",
        "credits",
        "credits_not_covered",
    )
    first_day = as_text.day(report.from_ms, visit.zone)
    return csv_file(f"usage-by-{query.by}-from-{first_day}.csv", columns, _csv_rows(report, visit))


def _csv_rows(report: UsageReport, visit: Visit) -> Iterator[Sequence[str | int]]:
    for each in report.sums:
        yield (
            _csv_time(each.at),
            label_text(each, visit.text),
            each.slug or each.label or "",
            each.calls,
            each.input_units,
            each.output_units,
            format_amount(each.charge),
            format_amount(each.absorbed),
        )


def _csv_time(at: Time | None) -> str:
    return as_text.machine_instant(at) if isinstance(at, int) else str(at)
