"""Affinity: calls of an account that begin alike go to the same upstream, whose cache then knows them.

Rendezvous hashing, weighted: each upstream gets a number from the digest and its own id, and the largest
wins. So an upstream that comes or goes moves only its own share of calls. Pure, and bounded whatever the
body's size.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Final
from zlib import crc32

from tokenopen.core.catalog import Route

PREFIX_BYTES_MAX: Final = 4_096
# What a provider's cache holds comes first in a prompt; a key that the caller gives says it best.
_WHOLE: Final = ("prompt_cache_key", "system", "systemInstruction", "system_instruction", "instructions")
_LISTS: Final = ("messages", "contents", "input")
_EMPTY: Final = frozenset({b"null", b'""', b"[]", b"{}"})
_SPAN: Final = 2**64 + 1


def prefix_of(fields: Mapping[str, bytes]) -> bytes | None:
    """Return how a prompt begins: its cache key, its system prompt or its first message; None without."""
    for name in _WHOLE:
        value = fields.get(name, b"null")
        if value not in _EMPTY:
            return name.encode() + value[:PREFIX_BYTES_MAX]
    for name in _LISTS:
        value = fields.get(name, b"null")
        if value not in _EMPTY:
            return name.encode() + _first_of(value)
    return None


def _first_of(value: bytes) -> bytes:
    """Return how the first element of a JSON array begins, or any other value.

    Up to the first closing brace, wherever that stands: what follows in a conversation changes nothing before
    it, and finding it costs no reading of JSON.
    """
    end = value.find(b"}", 0, PREFIX_BYTES_MAX) if value.startswith(b"[") else -1
    return value[: PREFIX_BYTES_MAX if end < 0 else end]


def order_routes(routes: Sequence[Route], *, account_id: str, fields: Mapping[str, bytes]) -> Sequence[Route]:
    """Return routes in the order to try: lower priority number first, equals by affinity and weight.

    A call whose prompt says nothing goes anywhere, by weighted chance.
    """
    prefix = prefix_of(fields)
    # A checksum tells prefixes apart well enough, at a fifth of what a digest of 4 KiB costs.
    seed = None if prefix is None else b"%d " % crc32(prefix, crc32(account_id.encode()))
    return sorted(routes, key=lambda route: (route.priority, -_score(route, seed)))


def _score(route: Route, seed: bytes | None) -> float:
    if seed is None:
        uniform = random.random()  # noqa: S311 not a secret
    else:
        digest = hashlib.blake2b(seed + route.endpoint.id.encode(), digest_size=8).digest()
        uniform = (int.from_bytes(digest) + 1) / _SPAN
    # The k-th root of a uniform number wins in proportion to k: Efraimidis and Spirakis, 2006.
    return float(uniform ** (1 / max(1, route.weight)))
