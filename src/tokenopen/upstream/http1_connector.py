"""Opens connections to origins: directly, to an address that was checked, or through a CONNECT proxy.

Direct: the name is resolved here, once, each address is judged, and the connection goes to a judged
address and nowhere else; a name that resolves differently the next moment gains nothing (DNS rebinding).
Through a proxy, names are resolved by the proxy, so it is the proxy that must keep private addresses out;
only addresses that stand in the URL itself are judged here.
"""

import asyncio
import base64
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from tokenopen.ports.upstream import AddressForbidden, NotReached
from tokenopen.upstream.addresses import Address, Network, Origin, address_allowed, parse_origin
from tokenopen.upstream.http1_connection import Connection
from tokenopen.upstream.http1_head import HEAD_BYTES_MAX

_ANSWER: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class Proxy:
    """A forward proxy, as its URL names it: ``http://[user:password@]host:port``. Raises ValueError."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        credential, _, authority = rest.rpartition("@")
        self.origin: Final = parse_origin(f"{scheme}://{authority}")
        if self.origin.scheme != "http":
            raise ValueError("A proxy's URL must begin with http://.")
        self._credential = unquote_to_bytes(credential)

    def connect_request(self, origin: Origin) -> bytes:
        """Return the request for a tunnel to ``origin``."""
        authority = origin.authority.encode("ascii")
        lines = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (authority, authority)
        if self._credential:
            lines += b"proxy-authorization: Basic %b\r\n" % base64.b64encode(self._credential)
        return lines + b"\r\n"


class Connector:
    """Opens connections; ``proxy`` None opens them directly."""

    def __init__(
        self, *, allowed_networks: Sequence[Network], proxy: Proxy | None, tls_context: ssl.SSLContext
    ) -> None:
        self._allowed_networks = tuple(allowed_networks)
        self._proxy = proxy
        self._tls_context = tls_context

    async def connect(
        self, origin: Origin, new_connection: Callable[[], Connection], timeout_ms: int
    ) -> Connection:
        """Return an open connection, after TLS for https. Cancelling leaves nothing open.

        The timeout covers name resolution, TCP, proxy and TLS; of what is left of it each address gets an
        equal share. Raises NotReached, AddressForbidden.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1000) as timeout:
                if self._proxy is not None:
                    return await self._through_proxy(self._proxy, origin, new_connection)
                deadline = timeout.when()
                assert deadline is not None
                return await self._directly(origin, new_connection, deadline)
        except TimeoutError as error:
            raise NotReached(f"{origin} could not be connected to within {timeout_ms} ms") from error
        except OSError as error:
            # Of TLS as well: ssl.SSLError is an OSError.
            raise NotReached(f"{origin} could not be connected to: {error}") from error

    async def _directly(
        self, origin: Origin, new_connection: Callable[[], Connection], deadline: float
    ) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = self._judge(origin, await _resolve(origin))
        failure: OSError | None = None
        for position, address in enumerate(addresses):
            share_s = (deadline - loop.time()) / (len(addresses) - position)
            try:
                async with asyncio.timeout(share_s):
                    _, connection = await loop.create_connection(
                        new_connection,
                        str(address),
                        origin.port,
                        flags=socket.AI_NUMERICHOST,
                        ssl=self._tls_context if origin.scheme == "https" else None,
                        server_hostname=origin.host if origin.scheme == "https" else None,
                    )
                    return connection
            except OSError as error:
                failure = error
        assert failure is not None
        raise failure

    def _judge(self, origin: Origin, addresses: Sequence[Address]) -> Sequence[Address]:
        allowed = [address for address in addresses if address_allowed(address, self._allowed_networks)]
        if not allowed:
            raise AddressForbidden(
                f"{origin} is at {', '.join(map(str, addresses))}, where upstreams may not be; "
                "TOKENOPEN_UPSTREAM_NETWORKS names the networks that may be used besides public addresses"
            )
        return allowed

    async def _through_proxy(
        self, proxy: Proxy, origin: Origin, new_connection: Callable[[], Connection]
    ) -> Connection:
        if origin.address is not None:
            self._judge(origin, [origin.address])
        loop = asyncio.get_running_loop()
        transport, tunnel = await loop.create_connection(_Tunnel, proxy.origin.host, proxy.origin.port)
        try:
            await tunnel.open(proxy.connect_request(origin))
            connection = new_connection()
            connection.connection_made(transport)
            if origin.scheme == "https":
                connection.connection_made(await self._secure(transport, connection, origin))
            else:
                transport.set_protocol(connection)
        except BaseException:
            transport.abort()
            raise
        return connection

    async def _secure(
        self, transport: asyncio.Transport, connection: Connection, origin: Origin
    ) -> asyncio.Transport:
        secured = await asyncio.get_running_loop().start_tls(
            transport, connection, self._tls_context, server_hostname=origin.host
        )
        if secured is None:
            raise ConnectionResetError("the proxy closed the tunnel")
        return secured


async def _resolve(origin: Origin) -> Sequence[Address]:
    if origin.address is not None:
        return [origin.address]
    found = await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(socket_address[0]) for *_, socket_address in found]


class _Tunnel(asyncio.Protocol):
    """The talk with a proxy before the tunnel is open."""

    def __init__(self) -> None:
        self._transport = cast(asyncio.Transport, None)  # until connection_made
        self._opened = asyncio.get_running_loop().create_future()
        self._reply = b""

    async def open(self, request: bytes) -> None:
        """Ask for a tunnel; return once it is there. Raises ConnectionError."""
        self._transport.write(request)
        await self._opened
        if self._transport.is_closing():
            raise ConnectionResetError("the proxy closed the tunnel")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reply += data
        head, end, rest = self._reply.partition(b"\r\n\r\n")
        if not end and len(head) <= HEAD_BYTES_MAX:
            return
        answer = _ANSWER.match(head)
        # Nobody speaks first inside a fresh tunnel: further bytes would be the proxy's own.
        if not end or answer is None or rest:
            self._refuse("the proxy's answer is not valid HTTP/1.1")
        elif not answer[1].startswith(b"2"):
            self._refuse(f"the proxy refused the tunnel with status {answer[1].decode()}")
        elif not self._opened.done():
            self._opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._refuse("the proxy closed the connection")

    def _refuse(self, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(reason))
