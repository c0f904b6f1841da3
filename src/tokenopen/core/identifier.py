"""Identifiers: ``call_01JD...``: the kind, then 48 bits of time and 80 random bits, so ids sort by age.

The shape after the kind is that of a ULID (Crockford's base 32, lower case).
"""

import os
from functools import lru_cache
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
# 80 bits: of each byte of chance five make a digit.
_RANDOM_DIGITS: Final = 16
_DIGIT_OF_BYTE: Final = (_DIGITS * 8).encode()
# Asking the kernel gives up the interpreter's lock, which then has to be waited for, so it is asked seldom.
_POOL_SIZE: Final = 400
_pool: Final[list[str]] = []
os.register_at_fork(after_in_child=_pool.clear)


def new_id(kind: Kind, now_ms: int) -> str:
    """Return a new identifier of the kind. The only randomness in core."""
    try:
        # Taken by one operation, so that no two threads ever get the same.
        chance = _pool.pop()
    except IndexError:
        drawn = os.urandom(_POOL_SIZE * _RANDOM_DIGITS).translate(_DIGIT_OF_BYTE).decode()
        chance, *rest = [drawn[at : at + _RANDOM_DIGITS] for at in range(0, len(drawn), _RANDOM_DIGITS)]
        _pool.extend(rest)
    return f"{kind}_{_begin(now_ms)}{chance}"


@lru_cache(maxsize=16)
def _begin(now_ms: int) -> str:
    """Return the 10 digits of an instant."""
    return "".join([_PAIRS[(now_ms >> shift) & 1023] for shift in range(40, -1, -10)])


def first_id(kind: Kind, at_ms: int) -> str:
    """Return what no identifier of the kind that was made at or after the instant sorts before."""
    return new_id(kind, at_ms)[: len(kind) + 1 + _TIME_DIGITS]


def charge_entry_id(call_id: str) -> str:
    """Return the id of a call's charge entry: one per call, so that a second cannot be written (I5)."""
    return "led_" + call_id.removeprefix("call_")
