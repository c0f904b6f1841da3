"""Charts: days as their zone has them, and no more points than a chart can show."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor
from tokenopen.control.refused_call import count_refused
from tokenopen.control.usage import Period, UsageWanted, cut_days, sum_usage
from tokenopen.core.errors import InvalidRequest
from tokenopen.ports.storage import Storage

DAY_MS = 24 * 3_600_000
# 2026-01-01.
NEW_YEAR_HOUR = 490_896
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/St_Johns",
)


@pytest.mark.parametrize("name", ZONES)
def test_every_hour_is_cut_into_the_day_that_the_zone_has_it_in(name: str) -> None:
    zone = ZoneInfo(name)
    end = NEW_YEAR_HOUR + 400 * 24
    days: dict[int, date] = {}
    for first in (NEW_YEAR_HOUR, end - 1):
        for cut in cut_days((first, end), zone):
            for hour in range(cut.from_hour, cut.until_hour):
                days[hour] = date(1970, 1, 1) + timedelta(days=(hour * 60 + cut.ahead_min) // (24 * 60))
    assert days == {
        hour: datetime.fromtimestamp(hour * 3600, UTC).astimezone(zone).date()
        for hour in range(NEW_YEAR_HOUR, end)
    }


def test_hours_in_a_zone_that_keeps_its_time_are_one_cut() -> None:
    assert len(cut_days((NEW_YEAR_HOUR, NEW_YEAR_HOUR + 9_000), ZoneInfo("Asia/Kolkata"))) == 1
    assert cut_days((5, 5), ZoneInfo("UTC")) == []


@pytest.mark.parametrize(
    ("wanted", "days", "message"),
    [
        (
            UsageWanted(group_by="model", interval="hour"),
            11,
            "By the hour with 10 lines ask for at most 11 days at once, or for fewer lines, or by day.",
        ),
        (UsageWanted(group_by="hour"), 125, "By the hour ask for at most 125 days at once, or by day."),
        (
            UsageWanted(group_by="key", interval="day", lines=50),
            58,
            "By the day with 50 lines ask for at most 58 days at once, or for fewer lines.",
        ),
    ],
)
async def test_a_chart_of_more_points_than_one_can_see_is_refused_with_what_may_be_asked(
    storage: Storage, clock: MovableClock, administrator: Actor, wanted: UsageWanted, days: int, message: str
) -> None:
    now_ms = clock.now_ms()
    async with storage.read() as tx:
        for longer in (0, 1):
            period = Period(from_ms=now_ms - (days + longer) * DAY_MS, until_ms=now_ms)
            if not longer:
                await sum_usage(tx, account_id="acc_none", period=period, wanted=wanted)
                continue
            with pytest.raises(InvalidRequest) as refused:
                await sum_usage(tx, account_id="acc_none", period=period, wanted=wanted)
            assert str(refused.value) == message


async def test_refused_calls_by_the_hour_are_counted_over_seventeen_days_at_most(
    storage: Storage, clock: MovableClock, administrator: Actor
) -> None:
    now_ms = clock.now_ms()
    async with storage.read() as tx:
        period = Period(from_ms=now_ms - 17 * DAY_MS, until_ms=now_ms)
        assert not await count_refused(tx, account_id=None, period=period, interval="hour")
        longer = Period(from_ms=now_ms - 30 * DAY_MS, until_ms=now_ms)
        assert not await count_refused(tx, account_id=None, period=longer, interval="day")
        with pytest.raises(InvalidRequest, match="By the hour ask for at most 17 days at once, or by day"):
            await count_refused(tx, account_id=None, period=longer, interval="hour")
