"""The Upstream port over HTTP/1.1: a small, strict and fast client on httptools and asyncio transports.

What it does on purpose:

- Connections are kept alive for REST_MAX_S, less than any common server does (uvicorn and Node: 5 s), so
  that a provider rarely closes one just as a call is sent on it. Where that happens all the same, the call
  ends in ReplyBroken: whether the provider took it cannot be known, and a POST is never sent twice here.
- No redirect is followed, nothing is decompressed, no cookie is kept: a reply is delivered as it came, but
  for the headers that concern the connection only.
- Where the provider is away, calls end in NotReached, or in one of the timeouts; nothing is retried.
- A body without framing ends with its connection; over https, with TLS's own end. asyncio's transports do
  not tell that from a cut socket, uvloop's do, and the gateway runs on those.
- The transports write and close for themselves; nothing here needs a task or a thread of its own.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import certifi

from tokenopen.ports.upstream import NotReached, UpstreamRequest
from tokenopen.upstream.addresses import Network, Origin, split_url
from tokenopen.upstream.http1_connector import Connector, Proxy
from tokenopen.upstream.http1_head import first_lines, request_head
from tokenopen.upstream.http1_pool import ConnectionPool
from tokenopen.upstream.http1_reply import Http1Reply

CONNECTIONS_PER_ORIGIN_MAX: Final = 4_000
REST_MAX_S: Final = 4.0
_TARGETS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What requests with the same method and URL have in common."""

    pool: ConnectionPool
    first_lines: bytes
    expects_body: bool


class Http1Upstream:
    """Keeps the promises of ports.upstream.Upstream.

    ``allowed_networks`` may be connected to besides public addresses. ``proxy_url`` names a CONNECT proxy
    for every connection (see http1_connector for who then judges addresses). ``tls_context`` replaces the
    one that trusts certifi's authorities. Belongs to the event loop that it is first used on.
    """

    def __init__(
        self,
        *,
        allowed_networks: Sequence[Network],
        proxy_url: str | None = None,
        max_connections_per_origin: int = CONNECTIONS_PER_ORIGIN_MAX,
        max_idle_seconds: float = REST_MAX_S,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._connector = Connector(
            allowed_networks=allowed_networks,
            proxy=None if proxy_url is None else Proxy(proxy_url),
            tls_context=create_tls_context() if tls_context is None else tls_context,
        )
        self._connections_max = max_connections_per_origin
        self._rest_max_s = max_idle_seconds
        self._pools: dict[Origin, ConnectionPool] = {}
        self._targets: dict[tuple[bytes, str], _Target] = {}
        self._closed = False

    async def send(self, request: UpstreamRequest) -> Http1Reply:
        """Send the request and return when the reply's head has come; see the port.

        Raises UpstreamFailure; ValueError where the URL or a header is malformed, which is a caller's bug.
        """
        if self._closed:
            raise NotReached("the upstream adapter is closed")
        target = self._targets.get((request.method, request.url)) or self._new_target(request)
        head = request_head(target.first_lines, request.headers, len(request.body))
        connection = target.pool.take_resting() or await target.pool.open(request.connect_timeout_ms)
        await connection.exchange(
            head,
            request.body,
            expects_body=target.expects_body,
            first_byte_timeout_s=request.first_byte_timeout_ms / 1000,
        )
        return Http1Reply(connection, idle_timeout_s=request.idle_timeout_ms / 1000)

    async def close(self) -> None:
        """Close every connection; calls that run fail with ReplyBroken, later ones with NotReached."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        # The transports let go of their sockets in the loop's next turn.
        await asyncio.sleep(0)

    def _new_target(self, request: UpstreamRequest) -> _Target:
        origin, path_and_query = split_url(request.url)
        target = _Target(
            pool=self._pool(origin),
            first_lines=first_lines(request.method, origin.host_header, path_and_query),
            expects_body=request.method != b"HEAD",
        )
        if len(self._targets) >= _TARGETS_MAX:
            # URLs can hold what callers name (Gemini: the model), so there is no end to them.
            self._targets.clear()
        self._targets[request.method, request.url] = target
        return target

    def _pool(self, origin: Origin) -> ConnectionPool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = ConnectionPool(
                origin,
                self._connector,
                connections_max=self._connections_max,
                rest_max_s=self._rest_max_s,
            )
        return pool


def create_tls_context() -> ssl.SSLContext:
    """Return a context that verifies names against certifi's authorities and speaks HTTP/1.1 only."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context
