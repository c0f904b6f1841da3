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


_RANDOM_BYTES: Final = 10
# Asking the kernel gives up the interpreter's lock, which then has to be waited for, so it is asked seldom.
_POOL_SIZE: Final = 400
_pool: Final[list[bytes]] = []
os.register_at_fork(after_in_child=_pool.clear)


def new_id(kind: Kind, now_ms: int) -> str:
    """Return a new identifier of the kind. The only randomness in core."""
    try:
        # Taken by one operation, so that no two threads ever get the same.
        chance = _pool.pop()
    except IndexError:
        drawn = os.urandom(_POOL_SIZE * _RANDOM_BYTES)
        chance, *rest = [drawn[at : at + _RANDOM_BYTES] for at in range(0, len(drawn), _RANDOM_BYTES)]
        _pool.extend(rest)
    # In halves of 40 bits: small integers are fast ones.
    high, low = int.from_bytes(chance[:5], "big"), int.from_bytes(chance[5:], "big")
    return f"{kind}_{_begin(now_ms)}{_encode(high)}{_encode(low)}"


def _encode(bits: int) -> str:
    """Return 40 bits as 8 digits."""
    return (
        _PAIRS[bits >> 30] + _PAIRS[(bits >> 20) & 1023] + _PAIRS[(bits >> 10) & 1023] + _PAIRS[bits & 1023]
    )


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
