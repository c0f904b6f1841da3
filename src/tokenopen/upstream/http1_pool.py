"""Connections to one origin, kept alive between calls; the one used last is used first."""

from tokenopen.ports.upstream import NotReached
from tokenopen.upstream.addresses import Origin
from tokenopen.upstream.http1_connection import Connection
from tokenopen.upstream.http1_connector import Connector


class ConnectionPool:
    """Every connection to ``origin``: resting, in use, or being opened; at most ``connections_max``."""

    def __init__(
        self, origin: Origin, connector: Connector, *, connections_max: int, rest_max_s: float
    ) -> None:
        self._origin = origin
        self._connector = connector
        self._connections_max = connections_max
        self._rest_max_s = rest_max_s
        self._resting: dict[Connection, None] = {}
        self._open: set[Connection] = set()
        self._opening = 0
        self._closed = False

    def take_resting(self) -> Connection | None:
        """Return the living connection that was used last, None where none rests."""
        while self._resting:
            connection, _ = self._resting.popitem()
            if connection.is_alive():
                return connection
            connection.close()
        return None

    async def open(self, timeout_ms: int) -> Connection:
        """Return a new connection. Raises NotReached, AddressForbidden."""
        if len(self._open) + self._opening >= self._connections_max:
            raise NotReached(f"{self._origin} has its {self._connections_max} connections in use")
        self._opening += 1
        try:
            connection = await self._connector.connect(self._origin, self._new_connection, timeout_ms)
        finally:
            self._opening -= 1
        if self._closed:
            connection.close()
        if not connection.is_alive():
            # The provider can have closed it as well, before this coroutine had its turn.
            connection.close()
            raise NotReached(f"the connection to {self._origin} was closed as soon as it was open")
        self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close every connection, and open no more. Idempotent."""
        self._closed = True
        for connection in tuple(self._open):
            connection.close()

    def _new_connection(self) -> Connection:
        return Connection(rest_max_s=self._rest_max_s, on_rest=self._put, on_closed=self._forget)

    def _put(self, connection: Connection) -> None:
        self._resting[connection] = None

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._resting.pop(connection, None)
