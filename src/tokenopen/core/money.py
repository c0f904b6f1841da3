"""Money: integers of nano-credits, and the decimal strings that people and JSON see.

    credit        what is bought, held and charged; 1 credit = 1 USD by default
    nano-credit   10^-9 credit, the unit of every amount in code and storage
    price         nano-credits per million units
    multiplier    parts per million: 1.0x is 1_000_000

No float is ever made from an amount or turned into one (invariant I7).
"""

import re
from typing import Final, NewType

Nanocredits = NewType("Nanocredits", int)

ZERO: Final = Nanocredits(0)

NANO_PER_CREDIT: Final = 10**9
UNITS_PER_PRICE: Final = 10**6
PPM_ONE: Final = 10**6

# Bounds at every edge, so that what is stored fits 64 bits. A charge beyond AMOUNT_MAX cannot be true.
AMOUNT_MAX: Final = Nanocredits(10**9 * NANO_PER_CREDIT)
PRICE_MAX: Final = Nanocredits(10**6 * NANO_PER_CREDIT)
MULTIPLIER_PPM_MAX: Final = 1_000 * PPM_ONE

_DECIMAL = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?", re.ASCII)


class InvalidAmount(ValueError):
    """The text is no decimal number of credits, or lies outside the bounds."""


def _parse_scaled(text: str, *, places: int) -> int:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InvalidAmount(f"{text!r} is not a decimal number such as 12.5")
    sign, whole, fraction = match.groups(default="")
    if len(fraction.rstrip("0")) > places:
        raise InvalidAmount(f"{text!r} has more than {places} decimal places")
    value = int(f"{whole}{fraction[:places].ljust(places, '0')}")
    return -value if sign else value


def _format_scaled(value: int, *, places: int, places_min: int) -> str:
    whole, fraction = divmod(abs(value), 10**places)
    digits = str(fraction).zfill(places).rstrip("0").ljust(places_min, "0")
    return f"{'-' if value < 0 else ''}{whole}{'.' if digits else ''}{digits}"


def parse_amount(text: str) -> Nanocredits:
    """Return the nano-credits of a decimal string of credits, such as ``"12.5"`` or ``"-3"``.

    Raises InvalidAmount for anything but plain digits with at most 9 decimal places, or beyond AMOUNT_MAX.
    """
    value = _parse_scaled(text, places=9)
    if abs(value) > AMOUNT_MAX:
        raise InvalidAmount(f"{text!r} is beyond {format_amount(AMOUNT_MAX)} credits")
    return Nanocredits(value)


def format_amount(amount: Nanocredits) -> str:
    """Return credits as the shortest exact decimal string: ``0.000123``, ``12.5``, ``3``."""
    return _format_scaled(amount, places=9, places_min=0)


def parse_price(text: str) -> Nanocredits:
    """Return the nano-credits per million units of a decimal string of credits per million units.

    Raises InvalidAmount; a price is never negative and at most PRICE_MAX.
    """
    value = _parse_scaled(text, places=9)
    if not 0 <= value <= PRICE_MAX:
        raise InvalidAmount(f"{text!r} is not a price between 0 and {format_amount(PRICE_MAX)}")
    return Nanocredits(value)


def parse_multiplier(text: str) -> int:
    """Return the parts per million of a decimal multiplier with at most 6 places, such as ``"0.8"``.

    Raises InvalidAmount; a multiplier is never negative and at most 1000.
    """
    value = _parse_scaled(text, places=6)
    if not 0 <= value <= MULTIPLIER_PPM_MAX:
        raise InvalidAmount(f"{text!r} is not a multiplier between 0 and 1000")
    return value


def format_multiplier(multiplier_ppm: int) -> str:
    """Return a multiplier as the shortest decimal string with at least one place: ``1.0``, ``0.85``."""
    return _format_scaled(multiplier_ppm, places=6, places_min=1)


def format_rate(price: Nanocredits, multiplier_ppm: int) -> str:
    """Return the credit consumption rate, list price x multiplier, exactly: credits per million units."""
    return _format_scaled(price * multiplier_ppm, places=15, places_min=0)


def format_rate_per_thousand(price: Nanocredits, multiplier_ppm: int) -> str:
    """Return the same for a thousand units, for what nobody uses a million of."""
    return _format_scaled(price * multiplier_ppm, places=18, places_min=0)


def ceil_div(dividend: int, divisor: int) -> int:
    """Return the quotient rounded up; both must be exact integers and the divisor positive."""
    assert divisor > 0
    return -(-dividend // divisor)
