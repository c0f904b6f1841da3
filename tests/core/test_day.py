"""Day: the platform's calendar day against zoneinfo, every five minutes around each clock change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tokenopen.core.rate_limit import Day, RateWindow, day_at

MINUTE_MS = 60_000
FIVE_MINUTES_MS = 5 * MINUTE_MS
HOUR_MS = 3_600_000

# Zone, a local day around which to look, and how long that day is, in hours.
DAYS = [
    ("UTC", date(2026, 12, 31), 24.0),
    ("UTC", date(2028, 2, 29), 24.0),
    ("Asia/Kolkata", date(2026, 6, 1), 24.0),
    ("Europe/Berlin", date(2026, 3, 29), 23.0),
    ("Europe/Berlin", date(2026, 10, 25), 25.0),
    # the clock goes from 24:00 to 1:00: the day begins at one
    ("America/Havana", date(2026, 3, 8), 23.0),
    # and from 1:00 back to 0:00: the day begins twice
    ("America/Havana", date(2026, 11, 1), 25.0),
    ("Asia/Beirut", date(2026, 3, 29), 23.0),
    # from 24:00 back to 23:00: the evening comes twice
    ("Asia/Beirut", date(2026, 10, 24), 25.0),
    ("Pacific/Chatham", date(2026, 4, 5), 25.0),
    ("Pacific/Chatham", date(2026, 9, 27), 23.0),
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
]


def local_date(at_ms: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(zone).date()


def noon_ms(day: date) -> int:
    """Return noon of a day in UTC, from which its local day is less than a day away."""
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(("zone_name", "day", "hours"), DAYS)
def test_a_day_is_what_zoneinfo_says_every_five_minutes(zone_name: str, day: date, hours: float) -> None:
    zone, middle_ms = ZoneInfo(zone_name), noon_ms(day)
    instants = range(middle_ms - 84 * HOUR_MS, middle_ms + 84 * HOUR_MS, FIVE_MINUTES_MS)
    by_date: dict[date, list[int]] = {}
    for at_ms in instants:
        by_date.setdefault(local_date(at_ms, zone), []).append(at_ms)
    # The first and the last day are cut off by the range.
    whole = sorted(by_date)[1:-1]
    assert day in whole
    for each in whole:
        expected = Day(
            ordinal=each.toordinal(),
            starts_at_ms=by_date[each][0],
            ends_at_ms=by_date[each][-1] + FIVE_MINUTES_MS,
        )
        for at_ms in by_date[each]:
            assert day_at(at_ms, zone) == expected
            assert day_at(at_ms + FIVE_MINUTES_MS - 1, zone) == expected
    found = day_at(by_date[day][0], zone)
    assert found.ends_at_ms - found.starts_at_ms == hours * HOUR_MS


@pytest.mark.parametrize("zone_name", sorted({zone_name for zone_name, _, _ in DAYS}))
def test_a_years_days_follow_one_another_without_gap_or_overlap(zone_name: str) -> None:
    zone = ZoneInfo(zone_name)
    at_ms = noon_ms(date(2025, 12, 31))
    before = day_at(at_ms, zone)
    for _ in range(370):
        found = day_at(before.ends_at_ms, zone)
        assert found.starts_at_ms == before.ends_at_ms
        assert found.ordinal == before.ordinal + 1
        assert day_at(found.starts_at_ms - 1, zone) == before
        assert day_at(found.ends_at_ms - 1, zone) == found
        before = found


@pytest.mark.parametrize(("zone_name", "day", "hours"), DAYS)
def test_the_daily_count_starts_anew_with_the_local_day_and_at_no_other_hour(
    zone_name: str, day: date, hours: float
) -> None:
    """One call every quarter of an hour: each local day counts exactly its own."""
    zone, middle_ms = ZoneInfo(zone_name), noon_ms(day)
    window = RateWindow()
    counted: dict[date, int] = {}
    for at_ms in range(middle_ms - 84 * HOUR_MS, middle_ms + 84 * HOUR_MS, 15 * MINUTE_MS):
        window.advance(at_ms, day_at(at_ms, zone))
        window.count()
        counted[local_date(at_ms, zone)] = window.day_count
    assert counted[day] == hours * 4
    assert counted[day + timedelta(days=1)] == counted[day - timedelta(days=1)] == 96
