"""Format: amounts, rates, multipliers, instants and durations as people read them. No float is made."""

import datetime
from typing import Final
from zoneinfo import ZoneInfo

from tokenopen.core.money import (
    PPM_ONE,
    Nanocredits,
    format_amount,
    format_multiplier,
    format_rate,
    format_rate_per_thousand,
)

_SHORT_UNITS: Final = ((10**9, "B"), (10**6, "M"), (10**3, "k"))
_MINUS: Final = "\N{MINUS SIGN}"


def _grouped(decimal: str, places_min: int) -> str:
    whole, _, fraction = decimal.partition(".")
    sign = _MINUS if whole.startswith("-") else ""
    fraction = fraction.ljust(places_min, "0")
    return f"{sign}{int(whole.lstrip('-')):,}{'.' if fraction else ''}{fraction}"


# What a browser says of itself, the most telling first: nearly all of them claim to be Safari too.
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("FxiOS/", "Firefox"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def credits_exact(amount: Nanocredits) -> str:
    """Return credits to the last digit: ``1,234.50``, ``0.000123456``."""
    return _grouped(format_amount(amount), 2)


def credits_short(amount: Nanocredits) -> str:
    """Return credits as they fit a tile: two places from 1 on, below that four digits; never rounded up.

    An amount that is cut so far that nothing would be left is shown as ``<0.0001``.
    """
    size = abs(amount)
    if size >= 10**9:
        cut = size // 10**7 * 10**7
    elif size >= 10**5:
        cut = size // 10**5 * 10**5
    else:
        return "0.00" if size == 0 else f"{_MINUS if amount < 0 else ''}<0.0001"
    return _grouped(format_amount(Nanocredits(cut if amount >= 0 else -cut)), 2)


def rate(price: Nanocredits, multiplier_ppm: int = PPM_ONE) -> str:
    """Return credits per million units, list price x multiplier, to the last digit: ``0.12``, ``2.50``."""
    return _grouped(format_rate(price, multiplier_ppm), 2)


def rate_per_thousand(price: Nanocredits, multiplier_ppm: int = PPM_ONE) -> str:
    """Return credits per thousand units, list price x multiplier, to the last digit."""
    return _grouped(format_rate_per_thousand(price, multiplier_ppm), 2)


def multiplier(multiplier_ppm: int) -> str:
    """Return a multiplier: ``0.8x``."""
    return f"{format_multiplier(multiplier_ppm)}x"


def number(value: int) -> str:
    """Return a whole number with thousands apart: ``20,000``."""
    return f"{value:,}".replace("-", _MINUS)


def number_short(value: int) -> str:
    """Return a whole number as it fits a column: ``950``, ``12.3k``, ``1.05M``; cut, never rounded up."""
    for unit, name in _SHORT_UNITS:
        if abs(value) >= unit:
            whole, rest = divmod(abs(value), unit)
            places = 2 if whole < 10 else 1 if whole < 100 else 0
            fraction = f"{rest * 10**places // unit:0{places}d}".rstrip("0") if places else ""
            return f"{_MINUS if value < 0 else ''}{whole}{'.' if fraction else ''}{fraction}{name}"
    return number(value)


def share(part: int, whole: int) -> str:
    """Return a part in percent: ``81.2%``, ``<0.1%``; cut, never rounded up."""
    per_mille = part * 1_000 // whole
    if part and not per_mille:
        return "<0.1%"
    return f"{per_mille // 10}.{per_mille % 10}%"


def limit(value: int | None) -> str | None:
    """Return a limit, or None where there is none."""
    return None if value is None else number(value)


def duration(milliseconds: int) -> str:
    """Return a duration: ``420 ms``, ``1.3 s``, ``2 min 5 s``, ``3 h 20 min``, ``5 d 2 h``."""
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        seconds, rest = divmod(milliseconds, 1_000)
        return f"{seconds}.{rest // 100} s" if rest >= 100 else f"{seconds} s"
    minutes = milliseconds // 60_000
    if minutes < 60:
        return _joined(minutes, "min", milliseconds // 1_000 % 60, "s")
    if minutes < 24 * 60:
        return _joined(minutes // 60, "h", minutes % 60, "min")
    return _joined(minutes // (24 * 60), "d", minutes // 60 % 24, "h")


def _joined(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def at_zone(instant_ms: int, zone: ZoneInfo) -> datetime.datetime:
    """Return an instant as a wall clock in the zone shows it."""
    return datetime.datetime.fromtimestamp(instant_ms // 1_000, zone)


def machine_instant(instant_ms: int) -> str:
    """Return an instant as the ``datetime`` attribute takes it: ``2026-12-01T00:00:00Z``."""
    return at_zone(instant_ms, ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(instant_ms: int, zone: ZoneInfo) -> str:
    """Return an instant with its zone: ``2026-12-01 00:00 UTC``."""
    return at_zone(instant_ms, zone).strftime("%Y-%m-%d %H:%M %Z")


def instant_to_second(instant_ms: int, zone: ZoneInfo) -> str:
    """Return an instant to the second, with its zone: ``2026-12-01 00:00:07 UTC``."""
    return at_zone(instant_ms, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def time_of_day(instant_ms: int, zone: ZoneInfo) -> str:
    """Return the time of day of an instant, with its zone: ``00:00:07 UTC``."""
    return at_zone(instant_ms, zone).strftime("%H:%M:%S %Z")


def day(instant_ms: int, zone: ZoneInfo) -> str:
    """Return the day of an instant in the zone: ``2026-12-01``."""
    return at_zone(instant_ms, zone).strftime("%Y-%m-%d")


def browser(user_agent: str) -> str:
    """Return a User-Agent header as people would say it: ``Firefox on Linux``; an unknown one as it is."""
    name = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    if name is None:
        return user_agent
    return name if system is None else f"{name} on {system}"
