"""Time range: which stretch of time a list or a chart is of, as people choose it: by name, or by days."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from tokenopen.core.errors import InvalidRequest

_HOUR_MS: Final = 3_600_000
# Far enough from both ends of the calendar that no zone leads beyond them.
_EARLIEST: Final = datetime.date(1971, 1, 1)
_LATEST: Final = datetime.date(8999, 12, 31)
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

    Two days the wrong way round mean what lies between them. ``otherwise`` is the range where nothing is
    named. Refuses InvalidRequest.
    """
    first, last = (_read_bound(name, query.get(name, "")) for name in ("from", "to"))
    if first or last:
        if first and last and first > last:
            first, last = last, first
        return TimeRange(
            from_ms=day_begins_ms(first, zone) if first else None,
            until_ms=day_begins_ms(last + datetime.timedelta(days=1), zone) if last else None,
        )
    name = query.get("range", "") or otherwise
    if not name or name == "all":
        return TimeRange(name="all")
    if name not in RANGES:
        raise InvalidRequest(f"There is no range {name}.", param="range")
    return TimeRange(name=name, from_ms=now_ms - RANGES[name])


def day_begins_ms(day: datetime.date, zone: ZoneInfo) -> int:
    """Return the instant at which a day begins in the zone."""
    return int(datetime.datetime.combine(day, datetime.time(), zone).timestamp()) * 1000


def _read_bound(name: str, text: str) -> datetime.date | None:
    """Return a bound of a range, moved to where there is a calendar. Refuses InvalidRequest.

    A browser sends the years 2, 20 and 202 while somebody types 2026.
    """
    return min(max(_parse_day(name, text), _EARLIEST), _LATEST) if text else None


def read_day(name: str, text: str) -> datetime.date:
    """Return the day that was typed into a field. Refuses InvalidRequest."""
    day = _parse_day(name, text)
    if not _EARLIEST <= day <= _LATEST:
        raise InvalidRequest(f"{name} must be a day such as 2026-12-01.", param=name)
    return day


def _parse_day(name: str, text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"{name} must be a day such as 2026-12-01.", param=name) from error
