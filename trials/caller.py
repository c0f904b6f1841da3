"""One call after the other over a socket, and exactly what came back of each.

Written apart from the product's own client: what is judged here is how a reply is framed, so nothing
may be smoothed over. A JSON reply is whole with the last byte of its content-length; a stream is whole
with ``[DONE]`` and the end of its chunked body.
"""

import asyncio
import json
import time
from typing import Any, Final

import msgspec

TIMEOUT_S: Final = 150
_LINE_BYTES_MAX: Final = 1024 * 1024


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A call to make. ``leave_after_s`` closes the connection that long after the request, if not None."""

    key: str
    model: str
    words: int
    max_tokens: int
    stream: bool
    include_usage: bool
    simulate: dict[str, Any]
    leave_after_s: float | None

    def body(self) -> bytes:
        """Return the request's body: so many words in, so many tokens out, by the simulator's rule."""
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": "word " * self.words}],
            "simulate": self.simulate,
        }
        if self.stream:
            body["stream"] = True
        if self.include_usage:
            body["stream_options"] = {"include_usage": True}
        return json.dumps(body).encode()


class Seen(msgspec.Struct, kw_only=True):
    """What a client saw of one call. ``end`` says how it ended for the client: whole, cut, left, hung.

    Instants are milliseconds since 1970 by the client's clock.
    """

    wish: Wish
    began_ms: int = 0
    ended_ms: int = 0
    call_id: str | None = None
    status: int | None = None
    done: bool = False
    whole: bool = False
    charge: str | None = None
    code: str | None = None
    retry_after: str | None = None
    end: str = "cut"


class Line:
    """A connection that is kept from call to call, and made anew where the last call left none."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, secret: str, wish: Wish) -> Seen:
        """Make the call and return what was seen of it. Raises OSError where nothing listens."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=_LINE_BYTES_MAX)
        reader, writer = self._streams
        seen = Seen(wish=wish, began_ms=_now_ms())
        body, keeps = bytearray(), False
        try:
            async with asyncio.timeout(TIMEOUT_S if wish.leave_after_s is None else wish.leave_after_s):
                writer.write(request_bytes(self._host, self._port, secret, wish.body()))
                keeps = await _read_reply(reader, seen, body)
        except TimeoutError:
            seen.end = "hung" if wish.leave_after_s is None else "left"
        except (EOFError, ConnectionError):
            seen.end = "cut"
        finally:
            if not keeps:
                self.drop()
        seen.ended_ms = _now_ms()
        _read_body(seen, bytes(body))
        if seen.whole:
            seen.end = "whole"
        return seen

    def drop(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def call(host: str, port: int, secret: str, wish: Wish) -> Seen:
    """Make a call over a connection of its own and return what was seen. Raises OSError as ``Line`` does."""
    line = Line(host, port)
    try:
        return await line.call(secret, wish)
    finally:
        line.drop()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def request_bytes(host: str, port: int, secret: str, body: bytes) -> bytes:
    """Return a call as it goes over the wire."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _read_reply(reader: asyncio.StreamReader, seen: Seen, body: bytearray) -> bool:
    """Read a reply; return whether another may follow on the connection. Raises EOFError, ConnectionError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    seen.status = int(head[0].split()[1])
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    # Ids and amounts have no capitals, so lower() above took nothing from them.
    seen.call_id = headers.get("x-request-id")
    seen.charge = headers.get("x-tokenopen-charge")
    seen.retry_after = headers.get("retry-after")
    keeps = headers.get("connection") != "close"
    if "content-length" in headers:
        missing = int(headers["content-length"])
        while missing:
            data = await reader.read(missing)
            if not data:
                raise EOFError
            body += data
            missing -= len(data)
        seen.whole = True
        return keeps
    assert headers["transfer-encoding"] == "chunked", headers
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    seen.whole = True
    return keeps


def _read_body(seen: Seen, body: bytes) -> None:
    """Note the charge, the end mark or the error's code that the body shows."""
    if seen.status is None:
        return
    if seen.status != 200:
        if seen.whole:
            try:
                seen.code = json.loads(body)["error"]["code"]
            except (ValueError, LookupError, TypeError):
                seen.code = f"no error of ours: {body[:100]!r}"
        return
    if not seen.wish.stream:
        return
    for line in body.split(b"\n"):
        if line == b"data: [DONE]":
            seen.done = True
        elif line.startswith(b"data: ") and b'"cost"' in line:
            seen.charge = json.loads(line[6:])["usage"]["cost"]
    # A stream that ends without its mark is not whole, however well it is framed.
    seen.whole = seen.whole and seen.done
