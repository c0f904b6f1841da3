"""Time range: which stretch of time a list or a chart is of, as people choose it: by name, or by days."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from tokenopen.core.errors import InvalidRequest

_HOUR_MS: Final = 3_600_000
RANGES: Final[Mapping[str, int]] = {
    "1h": _HOUR_MS,
    "24h": 24 * _HOUR_MS,
    "7d": 7 * 24 * _HOUR_MS,
    "30d": 30 * 24 * _HOUR_MS,
    "90d": 90 * 24 * _HOUR_MS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """From an instant until before another; None leaves a side open.

    ``name`` is empty where days were named.
    """

    name: str = ""
    from_ms: int | None = None
    until_ms: int | None = None


def read_time_range(
    query: Mapping[str, str], *, now_ms: int, zone: ZoneInfo, otherwise: str = ""
) -> TimeRange:
    """Return the range that the days ``from`` and ``to`` name, both included, or the one called ``range``.

    ``otherwise`` is the range where nothing is named. Refuses InvalidRequest.
    """
    first, last = query.get("from", ""), query.get("to", "")
    if first or last:
        from_ms = day_begins_ms(read_day("from", first), zone) if first else None
        until_ms = day_begins_ms(read_day("to", last) + datetime.timedelta(days=1), zone) if last else None
        if from_ms is not None and until_ms is not None and from_ms >= until_ms:
            raise InvalidRequest("The first day must not lie behind the last.", param="from")
        return TimeRange(from_ms=from_ms, until_ms=until_ms)
    name = query.get("range", "") or otherwise
    if not name or name == "all":
        return TimeRange(name="all")
    if name not in RANGES:
        raise InvalidRequest(f"There is no range {name}.", param="range")
    return TimeRange(name=name, from_ms=now_ms - RANGES[name])


def day_begins_ms(day: datetime.date, zone: ZoneInfo) -> int:
    """Return the instant at which a day begins in the zone."""
    return int(datetime.datetime.combine(day, datetime.time(), zone).timestamp()) * 1000


def read_day(name: str, text: str) -> datetime.date:
    """Return the day that was typed into a field. Refuses InvalidRequest."""
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{name} must be a day such as 2026-12-01.", param=name) from error
    # Far enough from both ends of the calendar that no zone leads beyond them.
    if not 1970 < day.year < 9000:
        raise InvalidRequest(f"{name} must be a day such as 2026-12-01.", param=name)
    return day
