"""Usage charts: what was called, charged and refused over time, a colour for each of the largest labels."""

import datetime
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from tokenopen.control.refused_call import RefusedSum
from tokenopen.control.usage import Interval, Time, UsageReport, UsageSum, time_of
from tokenopen.core.money import Nanocredits
from tokenopen.core.refused_call import HOUR_MS
from tokenopen.web import format as as_text
from tokenopen.web.chart import Chart, ColumnHead, Series, draw_chart
from tokenopen.web.text import Catalogue
from tokenopen.web.time_range import day_begins_ms

Measure = Literal["spend", "calls", "tokens"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)

# One colour is left for all others together.
NAMED_MAX: Final = 4

_AMOUNTS: Final[Mapping[Measure, Callable[[UsageSum], int]]] = {
    "spend": lambda each: each.charge,
    "calls": lambda each: each.calls,
    "tokens": lambda each: each.input_units + each.output_units,
}
_TEXTS: Final[Mapping[Measure, Callable[[int], str]]] = {
    "spend": lambda amount: as_text.credits_exact(Nanocredits(amount)),
    "calls": as_text.number,
    "tokens": as_text.number_short,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAxis:
    """The columns of a chart: every hour or day of a stretch of time, also those in which nothing was."""

    times: Sequence[Time]
    heads: Sequence[ColumnHead]


def time_axis(from_ms: int, until_ms: int, interval: Interval, zone: ZoneInfo) -> TimeAxis:
    """Return the hours or days that ``[from_ms, until_ms)`` touches."""
    hours = range(from_ms // HOUR_MS, -(-until_ms // HOUR_MS))
    # Each once, in order: a day is met once an hour.
    times = list(dict.fromkeys(time_of(hour, interval, zone) for hour in hours))
    found = [time for time in times if time is not None]
    return TimeAxis(times=found, heads=[_head(time, zone) for time in found])


def _head(time: Time, zone: ZoneInfo) -> ColumnHead:
    if isinstance(time, datetime.date):
        return ColumnHead(at_s=day_begins_ms(time, zone) // 1000, text=time.isoformat())
    return ColumnHead(at_s=time // 1000, text=as_text.at_zone(time, zone).strftime("%m-%d %H:%M"))


def label_text(each: UsageSum, text: Catalogue) -> str:
    """Return what a label is called: a name of today, else what it was called by."""
    return text("usage.others") if each.label is None else each.name or each.label


def sum_by_label(sums: Sequence[UsageSum]) -> Sequence[UsageSum]:
    """Return what sums come to over all their time, the dearest label first and what has none last."""
    totals: dict[str | None, UsageSum] = {}
    for each in sums:
        so_far = totals.get(each.label)
        totals[each.label] = replace(each, at=None) if so_far is None else _added(so_far, each)
    return sorted(totals.values(), key=lambda each: (each.label is None, -each.charge, -each.calls))


def largest(sums: Sequence[UsageSum], count: int) -> Sequence[UsageSum]:
    """Return the dearest of sums that differ in their label; all others are one without a label."""
    ordered = sum_by_label(sums)
    rest = [replace(each, label=None, slug=None, name=None) for each in ordered[count:]]
    return [*ordered[:count], *sum_by_label(rest)]


def _added(first: UsageSum, second: UsageSum) -> UsageSum:
    return replace(
        first,
        calls=first.calls + second.calls,
        input_units=first.input_units + second.input_units,
        output_units=first.output_units + second.output_units,
        charge=Nanocredits(first.charge + second.charge),
        absorbed=Nanocredits(first.absorbed + second.absorbed),
    )


def usage_chart(
    report: UsageReport, sums: Sequence[UsageSum], measure: Measure, axis: TimeAxis, text: Catalogue
) -> Chart:
    """Return the chart of a report that was summed with an interval, and of what it comes to by label.

    The dearest labels have a colour of their own, the same in every chart; all others together have the last.
    """
    amount_of = _AMOUNTS[measure]
    names: dict[str | None, str] = {each.label: label_text(each, text) for each in sums[:NAMED_MAX]}
    if len(sums) > len(names):
        names[None] = text("usage.others")
    amounts: Counter[tuple[Time | None, str | None]] = Counter()
    for each in report.sums:
        amounts[each.at, each.label if each.label in names else None] += amount_of(each)
    labels = list(names)
    return draw_chart(
        axis.heads,
        [Series(name=names[label], amounts=[amounts[at, label] for at in axis.times]) for label in labels],
        title=text(f"usage.measure.{measure}"),
        unit=text(f"usage.unit.{measure}"),
        amount_text=_TEXTS[measure],
    )


def refused_chart(sums: Sequence[RefusedSum], axis: TimeAxis, text: Catalogue) -> Chart:
    """Return the chart of refused calls by reason, counted with an interval."""
    totals: Counter[str] = Counter()
    for each in sums:
        totals[each.code] += each.calls
    named = [code for code, _ in totals.most_common(NAMED_MAX)]
    amounts: Counter[tuple[Time | None, str | None]] = Counter()
    for each in sums:
        amounts[each.at, each.code if each.code in named else None] += each.calls
    labels = [*named, *([None] if len(totals) > len(named) else [])]
    return draw_chart(
        axis.heads,
        [
            Series(
                name=text("usage.others") if code is None else text(f"refusal.{code}.title"),
                amounts=[amounts[at, code] for at in axis.times],
            )
            for code in labels
        ],
        title=text("usage.measure.refused"),
        unit=text("usage.unit.calls"),
        amount_text=as_text.number,
    )
