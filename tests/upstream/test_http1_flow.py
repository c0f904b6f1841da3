"""Large bodies, slow readers, early replies, and callers that leave."""

import asyncio
import hashlib

import pytest
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import RawConnection, a_request, json_reply, read_all

from tokenopen.ports.upstream import ReplyBroken
from tokenopen.upstream.http1 import Http1Upstream

MEGABYTE = 1_000_000


async def test_reading_slowly_holds_the_sender_back(upstream: Http1Upstream, serve: Serve) -> None:
    size = 60 * MEGABYTE
    piece = bytes(range(250)) * 400
    sent = 0

    async def script(connection: RawConnection) -> None:
        nonlocal sent
        await connection.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            await connection.send(piece)
            sent += len(piece)

    server = await serve(script)
    reply = await upstream.send(a_request(server.url))
    await asyncio.sleep(0.3)
    stuck_at = sent
    await asyncio.sleep(0.2)
    assert sent == stuck_at
    # What is not held here is in the kernel's buffers, which are the kernel's to size.
    assert stuck_at < size / 2
    expected, received = hashlib.sha256(), hashlib.sha256()
    longest = total = 0
    while data := await reply.read():
        received.update(data)
        longest, total = max(longest, len(data)), total + len(data)
    for _ in range(size // len(piece)):
        expected.update(piece)
    assert total == size
    assert received.digest() == expected.digest()
    assert longest < MEGABYTE


async def test_a_connection_that_was_held_back_can_be_used_again(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            await connection.answer(json_reply(b"x" * 2 * MEGABYTE))

    server = await serve(script)
    for _ in range(3):
        reply = await upstream.send(a_request(server.url))
        await asyncio.sleep(0.05)
        assert len(await read_all(reply)) == 2 * MEGABYTE
    assert server.accepted == 1


async def test_a_body_of_fifty_megabytes_arrives_as_it_is(upstream: Http1Upstream, serve: Serve) -> None:
    body = bytes(range(256)) * (50 * MEGABYTE // 256)

    async def script(connection: RawConnection) -> None:
        while True:
            _, received = await connection.read_request()
            await connection.send(json_reply(hashlib.sha256(received).hexdigest().encode()))

    server = await serve(script)
    for _ in range(2):
        reply = await upstream.send(a_request(server.url, body=body))
        assert await read_all(reply) == hashlib.sha256(body).hexdigest().encode()
    assert server.accepted == 1


async def test_a_reply_that_begins_before_the_request_is_out_is_delivered(
    upstream: Http1Upstream, serve: Serve
) -> None:
    """And its connection is not used again: the rest of the request was never sent."""
    received = []

    async def script(connection: RawConnection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(json_reply(b"too large", status=b"413 Content Too Large"))
        received.append(len(await connection.until_gone()))

    server = await serve(script)
    for number in range(1, 3):
        reply = await upstream.send(a_request(server.url, body=b"x" * 40 * MEGABYTE))
        assert reply.status == 413
        assert await read_all(reply) == b"too large"
        await server.until_over(number)
    assert server.accepted == 2
    assert max(received) < 40 * MEGABYTE


async def test_a_provider_that_leaves_within_a_large_request_breaks_the_reply(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.reader.readexactly(MEGABYTE)
        connection.reset()

    server = await serve(script)
    with pytest.raises(ReplyBroken):
        await upstream.send(a_request(server.url, body=b"x" * 40 * MEGABYTE))


@pytest.mark.parametrize(
    ("body", "beginning"),
    [(b"{}", b""), (b"{}", b"HTTP/1.1 200 OK\r\ncontent-"), (b"x" * 40 * MEGABYTE, b"")],
    ids=["before the head", "within the head", "within the request"],
)
async def test_cancelling_a_send_closes_the_connection(
    upstream: Http1Upstream, serve: Serve, body: bytes, beginning: bytes
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(beginning)
        await asyncio.sleep(0.1)
        await connection.until_gone()

    server = await serve(script)
    sending = asyncio.ensure_future(upstream.send(a_request(server.url, body=body)))
    await asyncio.sleep(0.05)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await server.until_over()


async def test_cancelling_a_send_within_the_tls_handshake_closes_the_connection(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.until_gone()

    server = await serve(script)
    sending = asyncio.ensure_future(upstream.send(a_request(server.url.replace("http:", "https:"))))
    await asyncio.sleep(0.05)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await server.until_over()


async def test_cancelling_a_read_closes_the_connection(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
        assert await connection.until_gone() == b""

    server = await serve(script)
    reply = await upstream.send(a_request(server.url))
    assert await reply.read() == b"ab"
    reading = asyncio.ensure_future(reply.read())
    await asyncio.sleep(0.02)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await server.until_over()
    with pytest.raises(ReplyBroken):
        await reply.read()


async def test_cancelling_in_the_very_turn_in_which_the_reply_came_closes_the_connection(
    upstream: Http1Upstream, serve: Serve
) -> None:
    """The waiter is already done when the cancellation arrives: neither reply nor connection may stay."""
    answered = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        answered.set()
        await connection.until_gone()

    server = await serve(script)
    for turns in range(12):
        answered.clear()
        sending = asyncio.ensure_future(upstream.send(a_request(server.url)))
        await answered.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        results = await asyncio.gather(sending, return_exceptions=True)
        for result in results:
            if not isinstance(result, BaseException):
                result.close()
        await server.until_over(turns + 1)


async def test_a_hundred_calls_that_are_cancelled_at_any_moment_leave_nothing_open(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            await connection.answer(*[b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", b"a", b"b", b"c"])

    async def call() -> None:
        await read_all(await upstream.send(a_request(server.url)))

    server = await serve(script)
    for moment in range(100):
        task = asyncio.ensure_future(call())
        await asyncio.sleep(moment / 10_000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await call()
    await upstream.close()
    await server.until_over(server.accepted)
