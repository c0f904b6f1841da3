"""Heads of HTTP/1.1 messages: a request's, built and checked; a reply's, read strictly.

Pure: bytes in, bytes out. Whatever could let one request be taken for two, or one reply's end for
another's, is refused here or by llhttp, whose leniencies are all off.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

Header = tuple[bytes, bytes]

HEAD_BYTES_MAX: Final = 64 * 1024
INTERIM_STATUSES: Final = frozenset({100, 102, 103})

_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"})
_WITHOUT_BODY: Final = frozenset({b"GET", b"HEAD"})
_NAME_BYTES: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_VALUE_BYTES: Final = bytes(byte for byte in range(256) if byte >= 0x20 and byte != 0x7F)
_SPACE: Final = b" \t"  # llhttp strips it from before a value only
# Of a connection, not of the message it carries (RFC 9110, 7.6.1).
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_OURS_TO_SEND: Final = _HOP_BY_HOP | {b"accept-encoding", b"content-length", b"expect", b"host"}


class HeadMalformed(Exception):
    """The head of a reply is none that HTTP/1.1 allows here; the text says why."""


def first_lines(method: bytes, host_header: str, target: str) -> bytes:
    """Return the lines that all requests with this method and URL begin with. Raises ValueError."""
    if method not in _METHODS:
        raise ValueError(f"No upstream takes the method {method!r}.")
    return b"%b %b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n" % (
        method,
        target.encode("ascii"),
        host_header.encode("ascii"),
    )


def header_lines(headers: Sequence[Header], value_bytes: bytes) -> bytes | None:
    """Return headers as a head has them; None where a name is no lower-case token, or a value holds other
    bytes than these."""
    lines = b"\r\n".join(map(b": ".join, headers)) + b"\r\n" if headers else b""
    if (
        # What is left without the harmless bytes must be the line ends that were put in just now.
        lines.translate(None, value_bytes) != b"\r\n" * len(headers)
        or b"".join([name for name, _ in headers]).translate(None, _NAME_BYTES)
    ):
        return None
    return lines


def request_head(first: bytes, headers: Sequence[Header], body_length: int) -> bytes:
    """Return the whole head of a request that begins with the lines ``first``.

    Raises ValueError, which holds no value since values are secrets, for control characters anywhere,
    for names that are no lower-case tokens, and for headers that are the adapter's to send.
    """
    names = [name for name, _ in headers]
    lines = header_lines(headers, _VALUE_BYTES)
    if lines is None or b"" in names or not _OURS_TO_SEND.isdisjoint(names):
        raise ValueError(f"Headers of an upstream's request are malformed or not the caller's: {names}.")
    if not body_length and first.partition(b" ")[0] in _WITHOUT_BODY:
        return b"%b%b\r\n" % (first, lines)
    return b"%b%bcontent-length: %d\r\n\r\n" % (first, lines, body_length)


def read_reply_headers(
    status: int, http_version: str, raw_headers: Sequence[Header]
) -> tuple[list[Header], bool]:
    """Return a final reply's end-to-end headers, names in lower case, and whether its length is framed.

    A reply that is not framed ends with its connection. Raises HeadMalformed.
    """
    if http_version not in ("1.1", "1.0"):
        raise HeadMalformed(f"the reply is HTTP/{http_version}")
    if not 200 <= status <= 599:
        raise HeadMalformed(f"the reply's status is {status}")
    headers = []
    framed = False
    for raw_name, value in raw_headers:
        name = _end_to_end_name(raw_name)
        if name is not None:
            headers.append((name, value.rstrip(_SPACE)))
            if name == b"content-length":
                framed = True
        elif raw_name.lower() == b"transfer-encoding":
            if framed or http_version == "1.0" or value.rstrip(_SPACE).lower() != b"chunked":
                raise HeadMalformed("the reply's transfer-encoding is not plainly chunked")
            framed = True
    return headers, framed


def refuse_long_head(raw_headers: Sequence[Header]) -> None:
    """Raise HeadMalformed for a reply whose headers alone are longer than HEAD_BYTES_MAX."""
    if sum(len(name) + len(value) for name, value in raw_headers) > HEAD_BYTES_MAX:
        raise HeadMalformed("the head of the reply is too long")


# Providers send the same few names for ever; the same answer for them costs a look-up.
@lru_cache(maxsize=1024)
def _end_to_end_name(raw_name: bytes) -> bytes | None:
    name = raw_name.lower()
    return None if name in _HOP_BY_HOP or name.startswith(b"proxy-") else name
