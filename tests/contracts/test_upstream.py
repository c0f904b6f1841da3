"""What every adapter of the Upstream port promises: each test runs on each of them.

An adapter is reached through a ``Provider``, which says what the other side does; the tests say what the
gateway then sees, and nothing about how it gets there.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import pytest

from tests.upstream.raw_server import LOOPBACK, RawConnection, RawServer, a_request, read_all
from tokenopen.ports.upstream import (
    FirstByteTimeout,
    IdleTimeout,
    NotReached,
    ReplyBroken,
    Upstream,
    UpstreamFailure,
    UpstreamRequest,
)
from tokenopen.upstream.http1 import Http1Upstream

STALL = b"stall"
BREAK = b"break"
HEAD = b"HTTP/1.1 %d X\r\nContent-Type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
AWAY = "http://127.0.0.1:1/"


class Provider(Protocol):
    """The world behind an adapter. Each call is answered with the next of ``replies``."""

    upstream: Upstream
    url: str
    requests: list[bytes]
    left: int
    """Calls that were given up by the adapter before their reply's end."""

    def reply(self, status: int, *body: bytes) -> None:
        """Queue a reply; STALL after its pieces stands still, BREAK ends the connection."""

    async def until_called(self) -> None:
        """Return once a call has arrived."""

    async def until_left(self) -> None:
        """Return once a call was given up."""

    async def close(self) -> None:
        """End the world."""


class Http1Provider:
    """Http1Upstream before a real server on loopback."""

    def __init__(self) -> None:
        self.upstream: Upstream = Http1Upstream(allowed_networks=LOOPBACK)
        self.requests: list[bytes] = []
        self.left = 0
        self._replies: list[tuple[int, Sequence[bytes]]] = []
        self._called, self._left = asyncio.Event(), asyncio.Event()
        self._server = RawServer(self._serve)

    async def start(self) -> "Http1Provider":
        await self._server.start()
        self.url = self._server.url
        return self

    def reply(self, status: int, *body: bytes) -> None:
        self._replies.append((status, body))

    async def until_called(self) -> None:
        async with asyncio.timeout(5):
            await self._called.wait()

    async def until_left(self) -> None:
        async with asyncio.timeout(5):
            await self._left.wait()

    async def close(self) -> None:
        await self.upstream.close()
        await self._server.stop()
        assert self._server.failures == []

    async def _serve(self, connection: RawConnection) -> None:
        while True:
            self.requests.append((await connection.read_request())[1])
            self._called.set()
            status, pieces = self._replies.pop(0)
            body = [piece for piece in pieces if piece not in (STALL, BREAK)]
            if body or not pieces:
                await connection.send(HEAD % status)
            for piece in body:
                await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(0.01)
            if BREAK in pieces:
                return
            if STALL in pieces:
                await connection.until_gone()
                self.left += 1
                self._left.set()
                return
            await connection.send(b"0\r\n\r\n")


ADAPTERS = {"http1": Http1Provider}


@pytest.fixture(params=list(ADAPTERS.values()), ids=list(ADAPTERS))
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    provider = await request.param().start()
    yield provider
    await provider.close()


def call(
    provider: Provider, *, first_byte_timeout_ms: int = 5_000, idle_timeout_ms: int = 5_000
) -> UpstreamRequest:
    return a_request(
        provider.url, first_byte_timeout_ms=first_byte_timeout_ms, idle_timeout_ms=idle_timeout_ms
    )


async def test_a_reply_is_status_headers_and_its_bytes_to_the_end(provider: Provider) -> None:
    provider.reply(200, b"data: one\n\n", b"data: two\n\n")
    reply = await provider.upstream.send(call(provider))
    assert reply.status == 200
    assert (b"content-type", b"text/plain") in reply.headers
    assert await read_all(reply) == b"data: one\n\ndata: two\n\n"
    assert await reply.read() == b""
    assert provider.requests == [b'{"model":"gpt-4o-mini"}']


async def test_every_status_is_a_reply(provider: Provider) -> None:
    for status in (200, 302, 401, 429, 500, 503):
        provider.reply(status, b"body")
        reply = await provider.upstream.send(call(provider))
        assert (reply.status, await read_all(reply)) == (status, b"body")


async def test_bytes_can_be_read_as_soon_as_they_came(provider: Provider) -> None:
    provider.reply(200, b"first", STALL)
    reply = await provider.upstream.send(call(provider))
    assert await reply.read() == b"first"
    reply.close()


async def test_an_empty_body_ends_at_once(provider: Provider) -> None:
    provider.reply(200)
    assert await (await provider.upstream.send(call(provider))).read() == b""


async def test_a_provider_that_is_away_is_not_reached(provider: Provider) -> None:
    with pytest.raises(NotReached):
        await provider.upstream.send(a_request(AWAY))


async def test_no_reply_in_time_is_a_first_byte_timeout(provider: Provider) -> None:
    provider.reply(200, STALL)
    with pytest.raises(FirstByteTimeout):
        await provider.upstream.send(call(provider, first_byte_timeout_ms=50))
    await provider.until_left()


async def test_a_reply_that_stands_still_is_an_idle_timeout(provider: Provider) -> None:
    provider.reply(200, b"first", STALL)
    reply = await provider.upstream.send(call(provider, idle_timeout_ms=50))
    assert await reply.read() == b"first"
    with pytest.raises(IdleTimeout):
        await reply.read()
    await provider.until_left()


async def test_no_reply_at_all_is_broken(provider: Provider) -> None:
    provider.reply(200, BREAK)
    with pytest.raises(ReplyBroken):
        await provider.upstream.send(call(provider))


async def test_a_reply_that_stops_short_is_broken_and_never_looks_whole(provider: Provider) -> None:
    provider.reply(200, b"first", BREAK)
    reply = await provider.upstream.send(call(provider))
    assert await reply.read() == b"first"
    for _ in range(2):
        with pytest.raises(ReplyBroken):
            await reply.read()


async def test_cancelling_a_send_gives_the_call_up(provider: Provider) -> None:
    provider.reply(200, STALL)
    sending = asyncio.ensure_future(provider.upstream.send(call(provider)))
    await provider.until_called()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await provider.until_left()


async def test_closing_a_reply_before_its_end_gives_the_call_up(provider: Provider) -> None:
    provider.reply(200, b"first", STALL)
    reply = await provider.upstream.send(call(provider))
    reply.close()
    reply.close()
    await provider.until_left()


async def test_closing_a_reply_that_was_read_whole_harms_no_later_call(provider: Provider) -> None:
    provider.reply(200, b"one")
    provider.reply(200, b"two")
    first = await provider.upstream.send(call(provider))
    assert await read_all(first) == b"one"
    second = await provider.upstream.send(call(provider))
    first.close()
    assert await read_all(second) == b"two"
    assert provider.left == 0


async def test_closing_the_upstream_breaks_the_calls_that_run(provider: Provider) -> None:
    provider.reply(200, b"first", STALL)
    reply = await provider.upstream.send(call(provider))
    assert await reply.read() == b"first"
    await provider.upstream.close()
    with pytest.raises(ReplyBroken):
        await reply.read()
    with pytest.raises(UpstreamFailure):
        await provider.upstream.send(call(provider))
