"""A provider on loopback whose every byte a test's script decides, and what tests say to it."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from typing import Any, Self

from tokenopen.ports.upstream import UpstreamReply, UpstreamRequest

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
Script = Callable[["RawConnection"], Awaitable[None]]


class RawConnection:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read_request(self) -> tuple[bytes, bytes]:
        """Return the next request's head and body; raises IncompleteReadError at the connection's end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = [
            line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        return head, await self.reader.readexactly(int(length[0])) if length else b""

    async def send(self, *pieces: bytes) -> None:
        """Send each piece so that it arrives by itself."""
        for position, piece in enumerate(pieces):
            if position:
                await asyncio.sleep(0.002)
            if self.writer.is_closing():
                raise ConnectionResetError
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self, *pieces: bytes) -> None:
        """Read a request, then send the pieces."""
        await self.read_request()
        await self.send(*pieces)

    async def until_gone(self) -> bytes:
        """Return what else came, once the other side has closed or reset the connection."""
        received = b""
        try:
            while piece := await self.reader.read(65_536):
                received += piece
        except ConnectionError:
            pass
        return received

    def reset(self) -> None:
        """End the connection with a reset (RST)."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class RawServer:
    """Runs the script once for each connection, and closes the connection when the script is over."""

    def __init__(self, script: Script) -> None:
        self.accepted = 0
        self._over = asyncio.Semaphore(0)
        self._over_count = 0
        self.failures: list[BaseException] = []
        self._script = script
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    async def start(self, *, tls: ssl.SSLContext | None = None) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        return self

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_over(self, count: int = 1) -> None:
        """Return once the script has run to its end for so many connections."""
        async with asyncio.timeout(5):
            while self._over_count < count:
                await self._over.acquire()
                self._over_count += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._script(RawConnection(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has left
        except Exception as error:
            self.failures.append(error)
        finally:
            self._over.release()
            self._tasks.discard(task)
            writer.close()


def a_request(url: str, **changes: Any) -> UpstreamRequest:
    """Return a call as the gateway would make it, with patience of five seconds in every stage."""
    fields: dict[str, Any] = {
        "method": b"POST",
        "url": url,
        "headers": [(b"authorization", b"Bearer sk-provider"), (b"content-type", b"application/json")],
        "body": b'{"model":"gpt-4o-mini"}',
        "connect_timeout_ms": 5_000,
        "first_byte_timeout_ms": 5_000,
        "idle_timeout_ms": 5_000,
    }
    return UpstreamRequest(**(fields | changes))


async def read_all(reply: UpstreamReply) -> bytes:
    """Return the rest of a reply's body."""
    body = b""
    while data := await reply.read():
        body += data
    return body


def json_reply(body: bytes = b'{"ok":true}', *, head: bytes = b"", status: bytes = b"200 OK") -> bytes:
    """Return a reply with a content-length; ``head`` holds further header lines with their ends."""
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, head, len(body), body)


def chunked_reply(*chunks: bytes, head: bytes = b"") -> bytes:
    """Return a reply in chunks."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\n%btransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % (head, framed)
