"""The reply of an HTTP/1.1 upstream: reads from its connection until the end, then lets go of it."""

import asyncio
from collections.abc import Sequence

from tokenopen.ports.upstream import ReplyBroken
from tokenopen.upstream.http1_connection import READING, WHOLE, Connection
from tokenopen.upstream.http1_head import Header


class Http1Reply:
    """Keeps the promises of ports.upstream.UpstreamReply; one reader at a time."""

    __slots__ = ("_closed", "_connection", "_idle_timeout_s", "headers", "status")

    def __init__(self, connection: Connection, *, idle_timeout_s: float) -> None:
        self.status: int = connection.status
        self.headers: Sequence[Header] = connection.headers
        self._connection: Connection | None = connection
        self._idle_timeout_s = idle_timeout_s
        self._closed = False

    async def read(self) -> bytes:
        """Return all bytes of the body that have gathered, waiting for the first; ``b""`` at the end.

        Raises IdleTimeout, ReplyBroken; what came before the trouble is returned first.
        """
        connection = self._connection
        if connection is None:
            if self._closed:
                raise ReplyBroken("the reply was closed before its end")
            return b""
        while connection.state is READING and not connection.chunks:
            try:
                await connection.changed(self._idle_timeout_s)
            except asyncio.CancelledError:
                self.close()
                raise
        data = connection.take_bytes()
        if connection.state is WHOLE:
            self._connection = None
            connection.rest()
        elif not data:
            assert connection.failure is not None
            raise connection.failure
        return data

    def close(self) -> None:
        """Close the connection unless the reply was read whole. Idempotent."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._closed = True
            connection.close()
