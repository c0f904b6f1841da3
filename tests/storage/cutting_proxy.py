"""A way to the PostgreSQL server that fails on command: cut around a COMMIT, cut off, or silent.

It tells messages by their text, so nothing may be encrypted between the client and it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

Cut = Literal["before", "after"]

_COMMIT = b"COMMIT\0"
_PORT = 5432


class _Connection:
    """One client's connection and the one to the server behind it. What ends one way ends both."""

    def __init__(self, proxy: "CuttingProxy", client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server: asyncio.StreamWriter | None = None
        self._answer_is_lost = False

    def cut(self) -> None:
        """Break the connection on both sides."""
        for writer in (self._client, self._server):
            if writer is not None:
                writer.transport.abort()

    async def serve(self, from_client: asyncio.StreamReader) -> None:
        """Pass on what comes until either side ends."""
        from_server, self._server = await self._proxy.connect()
        ways = (
            asyncio.create_task(self._pass_requests(from_client, self._server)),
            asyncio.create_task(self._pass_answers(from_server)),
        )
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        self.cut()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_requests(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            await self._proxy.loud.wait()
            if _COMMIT in piece:
                cut = self._proxy.cuts.popleft() if self._proxy.cuts else None
                if cut == "before":
                    return
                self._answer_is_lost = cut == "after"
            to.write(piece)
            await to.drain()

    async def _pass_answers(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(1 << 16):
            await self._proxy.loud.wait()
            if self._answer_is_lost:
                return
            self._client.write(piece)
            await self._client.drain()


class CuttingProxy:
    """``cuts`` is what happens to the next commits: lost on their way, or their answer on its way back.

    While ``loud`` is not set nothing passes either way, and nothing is closed.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._directory = parse_qs(self._parts.query).get("host", [""])[0]
        self._connections: set[_Connection] = set()
        self._port = 0
        self.cuts: deque[Cut] = deque()
        self._away = False
        self.loud = asyncio.Event()
        self.loud.set()

    @property
    def url(self) -> str:
        """The database's URL by way of this proxy."""
        login = f"{self._parts.username or ''}:{self._parts.password or ''}"
        query = urlencode({"sslmode": "disable"})
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self._port}", query=query))

    def cut_off(self) -> None:
        """Break every connection that there is."""
        for connection in self._connections:
            connection.cut()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Be as a server that does not run: connections break, and none is taken."""
        self._away = True
        self.cut_off()
        try:
            yield
        finally:
            self._away = False

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the server itself."""
        port = self._parts.port or _PORT
        if self._directory.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._directory}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self._parts.hostname, port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        connection = _Connection(self, writer)
        self._connections.add(connection)
        try:
            await connection.serve(reader)
        finally:
            self._connections.discard(connection)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["CuttingProxy"]:
        """Take connections on a free port of this machine."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.loud.set()
            self.cut_off()
