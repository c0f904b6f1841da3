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
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)


def new_id(kind: Kind, now_ms: int) -> str:
    """Return a new identifier of the kind. The only randomness in core."""
    value = (now_ms << 80) | secrets.randbits(80)
    pairs = [_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{kind}_{''.join(pairs)}"


def charge_entry_id(call_id: str) -> str:
    """Return the id of a call's charge entry: one per call, so that a second cannot be written (I5)."""
    return "led_" + call_id.removeprefix("call_")
