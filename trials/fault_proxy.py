"""A TCP proxy between workers and their database that does what networks do: cut, stall, swallow, refuse."""

import asyncio
from typing import Final, cast

# Forwarded to the server before both ends are cut, so that it commits and nobody is told.
_COMMIT: Final = b"COMMIT\0"


class _End(asyncio.Protocol):
    """One of the two ends of a connection."""

    def __init__(self, link: "_Link", *, is_client: bool) -> None:
        self._link = link
        self._is_client = is_client
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._is_client:
            self._link.accepted()

    def data_received(self, data: bytes) -> None:
        self._link.forward(data, from_client=self._is_client)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost()


class _Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: "FaultProxy") -> None:
        self._proxy = proxy
        self.client = _End(self, is_client=True)
        self.server = _End(self, is_client=False)
        self._early = bytearray()
        self._commits_unheard = False
        self._dialling: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        self._proxy.links.add(self)
        if self._proxy.refusing:
            self.cut()
        elif self._proxy.stalled:
            self.pause()
        else:
            self.dial()

    def dial(self) -> None:
        if self._dialling is None:
            self._dialling = asyncio.create_task(self._dial())

    async def _dial(self) -> None:
        host, port = self._proxy.target
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, host, port)
        except OSError:
            self.cut()
            return
        assert self.server.transport is not None
        if self.client.transport is None or self.client.transport.is_closing():
            self.server.transport.abort()
            return
        if self._early:
            self.server.transport.write(bytes(self._early))
            self._early.clear()

    def forward(self, data: bytes, *, from_client: bool) -> None:
        if from_client and self.server.transport is None:
            self._early += data
            return
        if self._commits_unheard and not from_client:
            self.cut()
            return
        if from_client and self._proxy.commits_to_swallow and data.endswith(_COMMIT):
            self._proxy.commits_to_swallow -= 1
            self._proxy.commits_swallowed += 1
            self._commits_unheard = True
        other = self.server if from_client else self.client
        if other.transport is not None and not other.transport.is_closing():
            other.transport.write(data)

    def pause(self) -> None:
        for end in (self.client, self.server):
            if end.transport is not None and end.transport.is_reading():
                end.transport.pause_reading()

    def resume(self) -> None:
        for end in (self.client, self.server):
            if end.transport is not None and not end.transport.is_closing():
                end.transport.resume_reading()
        self.dial()

    def cut(self) -> None:
        for end in (self.client, self.server):
            if end.transport is not None:
                end.transport.abort()

    def lost(self) -> None:
        self._proxy.links.discard(self)
        self.cut()


class FaultProxy:
    """Passes connections on to ``target`` (host, port) until told otherwise."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.links: set[_Link] = set()
        self.stalled = False
        self.refusing = False
        self.commits_to_swallow = 0
        self.commits_swallowed = 0
        self._server: asyncio.Server | None = None

    async def start(self, host: str) -> int:
        """Listen on an address and return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Link(self).client, host, 0)
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Cut every connection; new ones are welcome."""
        for link in tuple(self.links):
            link.cut()

    def stall(self) -> None:
        """Pass nothing on, in either direction; connections stay open."""
        self.stalled = True
        for link in self.links:
            link.pause()

    def refuse(self) -> None:
        """Cut every connection, and every new one, until resumed."""
        self.refusing = True
        self.cut()

    def resume(self) -> None:
        """Be a wire again. Idempotent."""
        self.stalled = self.refusing = False
        self.commits_to_swallow = 0
        for link in tuple(self.links):
            link.resume()

    def swallow_commits(self, count: int) -> None:
        """Cut the next connections at their COMMIT: the server does it, and its answer is lost."""
        self.commits_to_swallow = count

    async def close(self) -> None:
        """Stop listening and cut what is left."""
        assert self._server is not None
        self._server.close()
        self.cut()
