"""Upstream: sending one call to a provider's endpoint and reading its reply, byte for byte.

The methods are declared in the order in which they are called. Every failure is one of the
exceptions below, told apart by what the gateway may do next: only after ``NotReached`` and
``ReplyBroken`` before the first body byte may another route be tried, never after
``FirstByteTimeout`` (the provider may be working, and would charge twice).

    UpstreamFailure
      |-- NotReached          nothing was sent: no address, refused, TLS, connect timeout, pool full
      |     '-- AddressForbidden   the address is not one that upstreams may have (SSRF)
      |-- FirstByteTimeout    sent, and no reply began in time
      |-- IdleTimeout         the reply began, then stood still
      '-- ReplyBroken         the connection ended or the framing was wrong before the reply's end
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from tokenopen.core.frozen import Frozen


class UpstreamFailure(Exception):
    """The provider gave no whole reply. The text is for operators, never for callers."""


class NotReached(UpstreamFailure):
    """No byte of the request was sent."""


class AddressForbidden(NotReached):
    """The host resolves to an address that upstreams may not have (see TOKENOPEN_UPSTREAM_NETWORKS)."""


class FirstByteTimeout(UpstreamFailure):
    """The request was sent and the head of a reply did not come in time."""


class IdleTimeout(UpstreamFailure):
    """The reply began, then no byte came for longer than the idle timeout."""


class ReplyBroken(UpstreamFailure):
    """The connection ended early, was reset, or the reply was not valid HTTP/1.1."""


class StreamedBody(Protocol):
    """A body that is not held in memory as a whole."""

    def __len__(self) -> int:
        """Return how many bytes it has."""

    def pieces(self) -> Iterator[bytes]:
        """Return it from its beginning, in pieces of bounded size; again where a call is tried again."""


class UpstreamRequest(Frozen, frozen=True, kw_only=True):
    """One request to a provider. ``url`` is absolute; header names are lower case.

    ``host``, ``content-length``, ``connection`` and ``accept-encoding: identity`` are the adapter's to add.
    """

    method: bytes
    url: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | StreamedBody
    connect_timeout_ms: int
    first_byte_timeout_ms: int
    idle_timeout_ms: int


class UpstreamReply(Protocol):
    """A reply whose head has come. Header names are lower case, hop-by-hop headers are gone."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]

    async def read(self) -> bytes:
        """Return the next bytes of the body, as they came; ``b""`` only at the body's proper end.

        Raises IdleTimeout, ReplyBroken. Reading slowly holds the sender back.
        """

    def close(self) -> None:
        """Let go of the reply: a wholly read one frees its connection, another one closes it. Idempotent."""


class Upstream(Protocol):
    """Where calls are forwarded to."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send the request and return when the reply's head has come.

        Raises UpstreamFailure. Cancelling closes the connection.
        """

    async def close(self) -> None:
        """Close every connection. Calls that run fail with ReplyBroken."""
