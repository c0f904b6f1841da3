"""Hostile requests that nobody thought of: right ones, damaged at random by what parsers stumble over."""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from trials.hostile_bodies import MEMBERS
from trials.hostile_heads import CALL, chunked, request
from trials.raw_http import Case

_TOKENS: Final[Sequence[bytes]] = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\x00",
        b"\xff",
        b"\x7f",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"%00",
        b"%",
    ),
    *(
        b"0\r\n\r\n",
        b"-1",
        b"99999999999999999999",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ),
    *(
        b"HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"\\ud800",
        b"NaN",
    ),
    *(
        b"1e999",
        b"null",
        b"\xef\xbb\xbf",
        b"--b",
        b"--b--\r\n",
        b"..",
        b"/",
        b"?",
        b"#",
        b"a" * 5_000,
        b"[" * 5_000,
    ),
)
_DAMAGES_MAX: Final = 4
_PIECES_MAX: Final = 3
_FORM: Final = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n--b--\r\n'


def made_cases(key: str, *, count: int, seed: int) -> Iterator[Case]:
    """Yield so many cases, the same ones for a seed. Some of them may by chance be calls."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    right = list(_right_requests(key))
    for number in range(count):
        sent = bytearray(chance.choice(right))
        for _ in range(chance.randint(1, _DAMAGES_MAX)):
            _damage(sent, chance, right)
        cuts = sorted(chance.randrange(len(sent) + 1) for _ in range(chance.randrange(_PIECES_MAX)))
        edges = [0, *cuts, len(sent)]
        pieces = [bytes(sent[start:end]) for start, end in pairwise(edges)]
        yield Case(name=f"made {number} of seed {seed}", pieces=pieces, verdict="harmless", waits=True)


def _right_requests(key: str) -> Iterator[bytes]:
    for path, members in MEMBERS.items():
        yield request(key, line=b"POST %b HTTP/1.1" % path, body=b"{" + members + b"}")
    yield request(key, b"Transfer-Encoding: chunked", body=chunked(CALL), framed=False)
    yield request(key, b"Expect: 100-continue", b"Connection: close", b"Idempotency-Key: k")
    yield request(
        key,
        b"Content-Type: multipart/form-data; boundary=b",
        line=b"POST /v1/audio/transcriptions HTTP/1.1",
        body=_FORM,
    )
    for path in (
        b"/v1/models",
        b"/v1/receipts/call_x",
        b"/static/x.css",
        b"/sign-in",
        b"/api/me",
        b"/guide/x",
    ):
        yield request(key, line=b"GET %b HTTP/1.1" % path, body=b"")


def _damage(sent: bytearray, chance: random.Random, right: Sequence[bytes]) -> None:
    at = chance.randrange(len(sent) + 1)
    kind = chance.randrange(6)
    if kind == 0:
        sent[at:at] = chance.choice(_TOKENS)
    elif kind == 1:
        sent[at : at + chance.randint(1, 20)] = chance.choice(_TOKENS)
    elif kind == 2:
        del sent[at : at + chance.randint(1, 60)]
    elif kind == 3 and at < len(sent):
        sent[at] ^= 1 << chance.randrange(8)
    elif kind == 4:
        sent[at:at] = sent[at : at + chance.randint(1, 200)]
    else:
        other = chance.choice(right)
        sent[at:] = other[chance.randrange(len(other)) :]
    if not sent:
        sent += b"\r\n"
