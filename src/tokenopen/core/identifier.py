"""Identifiers: ``call_01JD...``: the kind, then 48 bits of time and 80 random bits, so ids sort by age.

The shape after the kind is that of a ULID (Crockford's base 32, lower case).
"""

import secrets
from typing import Final, Literal

Kind = Literal[
    "usr",
    "acc",
    "key",
    "grp",
    "grv",
    "etl",
    "ups",
    "prv",
    "call",
    "led",
    "mgk",
    "wrk",
    "upg",
    "aud",
    "ref",
    "ses",
    "otl",
]

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
# Ten digits of base 32 hold the 48 bits of time.
_TIME_DIGITS: Final = 10
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)


def new_id(kind: Kind, now_ms: int) -> str:
    """Return a new identifier of the kind. The only randomness in core."""
    value = (now_ms << 80) | secrets.randbits(80)
    pairs = [_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{kind}_{''.join(pairs)}"


def first_id(kind: Kind, at_ms: int) -> str:
    """Return what no identifier of the kind that was made at or after the instant sorts before."""
    return new_id(kind, at_ms)[: len(kind) + 1 + _TIME_DIGITS]


def charge_entry_id(call_id: str) -> str:
    """Return the id of a call's charge entry: one per call, so that a second cannot be written (I5)."""
    return "led_" + call_id.removeprefix("call_")
