"""RPM and TPD: how many calls of an account within a group were admitted lately, and today.

RPM counts in 61 one-second slots: whatever 60 seconds one looks at touch at most 61 of them, so no 60
seconds ever hold more than the limit, and a call is refused only while the last 61 hold that many.
TPD counts per calendar day in the platform's time zone. Admitted calls count, also where no limit is
set and when the call later fails; refused ones do not.
"""

from array import array
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from tokenopen.core.frozen import Frozen
from tokenopen.core.money import ceil_div

SLOTS: Final = 61
_QUARTER_MS: Final = 15 * 60 * 1000
_NO_SLOTS: Final = bytes(4 * SLOTS)


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day in the platform's time zone, as ``[starts_at_ms, ends_at_ms)``."""

    ordinal: int
    starts_at_ms: int
    ends_at_ms: int


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    # Where a clock change skips midnight, the offset before it applies, which gives the change's instant.
    return int(datetime.combine(day, time.min, tzinfo=zone).timestamp()) * 1000


def day_at(now_ms: int, zone: ZoneInfo) -> Day:
    """Return the calendar day that an instant lies in; 23 or 25 hours long at a daylight-saving change."""
    return _day_of_quarter(now_ms // _QUARTER_MS, zone)


# Every zone in use changes its day and its offset on a quarter of an hour of UTC, so a day is worked out
# once a quarter instead of once a call.
@lru_cache(maxsize=64)
def _day_of_quarter(quarter: int, zone: ZoneInfo) -> Day:
    local = datetime.fromtimestamp(quarter * _QUARTER_MS // 1000, zone).date()
    return Day(
        ordinal=local.toordinal(),
        starts_at_ms=_midnight_ms(local, zone),
        ends_at_ms=_midnight_ms(local + timedelta(days=1), zone),
    )


class LimitUse(Frozen, frozen=True, kw_only=True):
    """One limit after a call was admitted or refused. Seconds are rounded up."""

    limit: int
    used: int
    resets_in_s: int

    @property
    def remaining(self) -> int:
        """How many more calls would pass now."""
        return self.limit - self.used if self.used < self.limit else 0


class RateWindow:
    """The counters of one account within one group, as of the newest instant they were used at."""

    __slots__ = ("_slots", "day_count", "day_ordinal", "newest_second", "used_minute")

    def __init__(
        self, *, newest_second: int = 0, slots: bytes = _NO_SLOTS, day_ordinal: int = 0, day_count: int = 0
    ) -> None:
        assert len(slots) == 4 * SLOTS
        self._slots = array("I", slots)
        self.newest_second = newest_second
        self.used_minute = sum(self._slots)
        self.day_ordinal = day_ordinal
        self.day_count = day_count

    @property
    def slots(self) -> bytes:
        """The 61 counts as stored, second modulo 61 first."""
        return self._slots.tobytes()

    def advance(self, now_ms: int, day: Day) -> None:
        """Let the slots that lie too far back, and a day that is over, fall out of the counts.

        Time never runs backwards: an instant before the newest one changes nothing.
        """
        second = now_ms // 1000
        if second - self.newest_second >= SLOTS:
            self._slots = array("I", _NO_SLOTS)
            self.used_minute = 0
        else:
            for passed in range(self.newest_second + 1, second + 1):
                self.used_minute -= self._slots[passed % SLOTS]
                self._slots[passed % SLOTS] = 0
        self.newest_second = max(self.newest_second, second)
        if day.ordinal > self.day_ordinal:
            self.day_ordinal = day.ordinal
            self.day_count = 0

    def count(self) -> None:
        """Count one admitted call at the newest instant."""
        self._slots[self.newest_second % SLOTS] += 1
        self.used_minute += 1
        self.day_count += 1

    def passes_in_s(self, limit: int, now_ms: int) -> int:
        """Return in how many whole seconds, at least 1, one more call would be under ``limit`` a minute."""
        remaining = self.used_minute
        for second in range(self.newest_second - SLOTS + 1, self.newest_second + 1):
            remaining -= self._slots[second % SLOTS]
            if remaining < limit:
                return max(1, ceil_div((second + SLOTS) * 1000 - now_ms, 1000))
        return SLOTS

    def empty_in_s(self, now_ms: int) -> int:
        """Return in how many whole seconds the minute's count is back at zero if nothing is added."""
        for second in range(self.newest_second, self.newest_second - SLOTS, -1):
            if self._slots[second % SLOTS]:
                return max(1, ceil_div((second + SLOTS) * 1000 - now_ms, 1000))
        return 0
