"""Which connections are used again, and which never are."""

import asyncio
import socket
import threading
import time
from contextlib import closing
from typing import Any

import pytest
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import LOOPBACK, RawConnection, a_request, chunked_reply, json_reply, read_all

from tokenopen.ports.upstream import NotReached, ReplyBroken
from tokenopen.upstream.http1 import Http1Upstream


async def answer_for_ever(connection: RawConnection) -> None:
    while True:
        await connection.answer(json_reply())


async def call(upstream: Http1Upstream, url: str) -> bytes:
    return await read_all(await upstream.send(a_request(url)))


async def test_calls_one_after_the_other_share_a_connection(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(answer_for_ever)
    for _ in range(5):
        assert await call(upstream, server.url) == b'{"ok":true}'
    assert server.accepted == 1


async def test_a_connection_is_free_as_soon_as_the_last_byte_was_read(
    upstream: Http1Upstream, serve: Serve
) -> None:
    server = await serve(answer_for_ever)
    first = await upstream.send(a_request(server.url))
    assert await first.read() == b'{"ok":true}'
    second = await upstream.send(a_request(server.url))
    first.close()
    assert await first.read() == b""
    assert await read_all(second) == b'{"ok":true}'
    assert server.accepted == 1


async def test_calls_at_the_same_time_each_have_a_connection(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(answer_for_ever)
    replies = await asyncio.gather(*[upstream.send(a_request(server.url)) for _ in range(5)])
    assert server.accepted == 5
    for reply in replies:
        await read_all(reply)
    await asyncio.gather(*[call(upstream, server.url) for _ in range(5)])
    assert server.accepted == 5


async def test_the_connection_used_last_is_used_first(upstream: Http1Upstream, serve: Serve) -> None:
    numbers = iter(range(1, 10))

    async def script(connection: RawConnection) -> None:
        number = b"%d" % next(numbers)
        while True:
            await connection.answer(json_reply(number))

    server = await serve(script)
    replies = [await upstream.send(a_request(server.url)) for _ in range(3)]
    bodies = [await read_all(reply) for reply in replies]
    assert await call(upstream, server.url) == bodies[-1]


async def test_origins_do_not_share_connections(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(answer_for_ever)
    await call(upstream, server.url)
    await call(upstream, server.url.replace("127.0.0.1", "localhost"))
    assert server.accepted == 2


@pytest.mark.parametrize(
    "raw",
    [
        json_reply(head=b"connection: close\r\n"),
        json_reply(head=b"Connection: keep-alive, Close\r\n"),
        json_reply().replace(b"HTTP/1.1", b"HTTP/1.0"),
        json_reply() + b"HTTP/1.1 200 OK\r\n",
        json_reply() + json_reply(b"somebody else's"),
        json_reply() + b"x",
        json_reply() + b"\x00",
        chunked_reply(b'{"ok":true}') + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\n" + b'{"ok":true}\r\n0\r\n\r\n!',
    ],
)
async def test_a_reply_that_leaves_doubt_costs_its_connection(
    upstream: Http1Upstream, serve: Serve, raw: bytes
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(raw)
        assert await connection.until_gone() == b""

    server = await serve(script)
    assert await call(upstream, server.url) == b'{"ok":true}'
    await server.until_over()
    assert await call(upstream, server.url) == b'{"ok":true}'
    assert server.accepted == 2


async def test_a_reply_to_head_costs_its_connection(upstream: Http1Upstream, serve: Serve) -> None:
    """Providers that send a body to HEAD all the same exist; it would be the next reply's beginning."""
    server = await serve(lambda connection: connection.answer(json_reply()))
    for _ in range(2):
        await read_all(await upstream.send(a_request(server.url, method=b"HEAD", body=b"")))
    assert server.accepted == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_reply_without_a_body_leaves_its_connection_free(
    upstream: Http1Upstream, serve: Serve, status: bytes
) -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            await connection.answer(b"HTTP/1.1 %b\r\n\r\n" % status)

    server = await serve(script)
    assert [await call(upstream, server.url) for _ in range(3)] == [b""] * 3
    assert server.accepted == 1


async def test_a_connection_that_was_closed_while_it_rested_is_not_used(
    upstream: Http1Upstream, serve: Serve
) -> None:
    server = await serve(lambda connection: connection.answer(json_reply()))
    for number in range(1, 4):
        assert await call(upstream, server.url) == b'{"ok":true}'
        await server.until_over(number)
        await asyncio.sleep(0.02)
    assert server.accepted == 3


async def test_a_connection_that_was_reset_while_it_rested_is_not_used(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        await asyncio.sleep(0.02)
        connection.reset()

    server = await serve(script)
    for number in range(1, 3):
        assert await call(upstream, server.url) == b'{"ok":true}'
        await server.until_over(number)
        await asyncio.sleep(0.02)


async def test_connections_that_were_closed_while_they_rested_are_forgotten(
    upstream: Http1Upstream, serve: Serve
) -> None:
    server = await serve(lambda connection: connection.answer(json_reply()))
    await asyncio.gather(*[call(upstream, server.url) for _ in range(5)])
    await server.until_over(5)
    await asyncio.sleep(0.02)
    [pool] = upstream._pools.values()
    assert not pool._resting
    assert not pool._open


async def test_a_connection_that_is_closed_as_soon_as_it_is_open_was_not_reached(
    upstream: Http1Upstream, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It happens between the loop's turns; here there is time for it."""
    connect = upstream._connector.connect

    async def connect_slowly(*arguments: Any) -> Any:
        connection = await connect(*arguments)
        await asyncio.sleep(0.05)
        return connection

    async def script(connection: RawConnection) -> None:
        if server.accepted == 2:
            connection.reset()
        elif server.accepted == 3:
            await connection.send(json_reply(b"too early"))
            await connection.until_gone()

    monkeypatch.setattr(upstream._connector, "connect", connect_slowly)
    server = await serve(script)
    for _ in range(3):
        with pytest.raises(NotReached, match="as soon as it was open"):
            await upstream.send(a_request(server.url))
    assert server.accepted == 3


async def test_bytes_on_a_resting_connection_close_it(upstream: Http1Upstream, serve: Serve) -> None:
    """Reply poisoning: a provider, or whoever sits before it, must not answer a call before it is made."""

    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        await asyncio.sleep(0.02)
        await connection.send(json_reply(b"poison"))
        assert await connection.until_gone() == b""

    server = await serve(script)
    assert await call(upstream, server.url) == b'{"ok":true}'
    await server.until_over()
    assert await call(upstream, server.url) == b'{"ok":true}'
    assert server.accepted == 2


def close_during_the_callers_sleep(listener: socket.socket, requests: list[bytes]) -> None:
    """Answer one request on each of two connections; close the first while the caller's loop stands still."""
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            requests.append(connection.recv(65_536))
            connection.sendall(json_reply())
            time.sleep(0.3)


async def test_a_connection_closed_while_the_loop_stood_still_is_not_used(upstream: Http1Upstream) -> None:
    """The loop has not seen the end yet; after a long rest the socket itself is asked."""
    requests: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(5)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread = threading.Thread(target=close_during_the_callers_sleep, args=(listener, requests))
        thread.start()
        assert await call(upstream, url) == b'{"ok":true}'
        time.sleep(1.1)  # noqa: ASYNC251 the loop standing still is the point
        assert await call(upstream, url) == b'{"ok":true}'
        await asyncio.to_thread(thread.join)
    assert len(requests) == 2


async def test_a_connection_that_rested_long_is_closed(serve: Serve) -> None:
    upstream = Http1Upstream(allowed_networks=LOOPBACK, max_idle_seconds=0.1)

    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        assert await connection.until_gone() == b""

    server = await serve(script)
    await call(upstream, server.url)
    await server.until_over()
    await upstream.close()


async def test_a_connection_in_use_is_not_closed_for_having_rested_before(serve: Serve) -> None:
    """The timer of the rest is still armed when the next call takes longer than the rest may."""
    upstream = Http1Upstream(allowed_networks=LOOPBACK, max_idle_seconds=0.1)

    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        await connection.read_request()
        await asyncio.sleep(0.3)
        await connection.send(json_reply(b"late"))

    server = await serve(script)
    assert await call(upstream, server.url) == b'{"ok":true}'
    assert await call(upstream, server.url) == b"late"
    assert server.accepted == 1
    await upstream.close()


async def test_a_request_is_never_sent_twice(upstream: Http1Upstream, serve: Serve) -> None:
    """The provider closes just as the call is sent: whether it took the call cannot be known."""
    requests = []

    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        requests.append(await connection.read_request())

    server = await serve(script)
    assert await call(upstream, server.url) == b'{"ok":true}'
    with pytest.raises(ReplyBroken):
        await call(upstream, server.url)
    assert len(requests) == 1
    assert server.accepted == 1


async def test_a_reply_that_was_not_read_whole_closes_its_connection(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(chunked_reply(b"one")[:-5])
        assert await connection.until_gone() == b""

    server = await serve(script)
    reply = await upstream.send(a_request(server.url))
    assert await reply.read() == b"one"
    reply.close()
    reply.close()
    await server.until_over()
    with pytest.raises(ReplyBroken):
        await reply.read()


async def test_closing_a_reply_ends_the_read_that_waits_for_it(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        await connection.until_gone()

    server = await serve(script)
    reply = await upstream.send(a_request(server.url))
    reading = asyncio.ensure_future(reply.read())
    await asyncio.sleep(0.02)
    reply.close()
    with pytest.raises(ReplyBroken):
        await reading


async def test_an_origin_has_a_highest_number_of_connections(serve: Serve) -> None:
    upstream = Http1Upstream(allowed_networks=LOOPBACK, max_connections_per_origin=2)
    server = await serve(answer_for_ever)
    replies = [await upstream.send(a_request(server.url)) for _ in range(2)]
    with pytest.raises(NotReached, match="2 connections"):
        await upstream.send(a_request(server.url))
    replies[0].close()
    assert await call(upstream, server.url) == b'{"ok":true}'
    assert await read_all(replies[1]) == b'{"ok":true}'
    assert await call(upstream, server.url) == b'{"ok":true}'
    await upstream.close()


async def test_failed_connects_free_their_place(serve: Serve) -> None:
    upstream = Http1Upstream(allowed_networks=LOOPBACK, max_connections_per_origin=1)
    server = await serve(answer_for_ever)
    url = server.url
    await server.stop()
    for _ in range(3):
        with pytest.raises(NotReached, match="could not be connected to"):
            await upstream.send(a_request(url))
    await upstream.close()


async def test_closing_the_adapter_breaks_the_calls_that_run_and_refuses_later_ones(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        request, _ = await connection.read_request()
        if b"/stream" in request:
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        await connection.until_gone()

    server = await serve(script)
    begun = await upstream.send(a_request(server.url + "/stream"))
    reading = asyncio.ensure_future(begun.read())
    waiting = asyncio.ensure_future(upstream.send(a_request(server.url)))
    await asyncio.sleep(0.05)
    await upstream.close()
    await upstream.close()
    with pytest.raises(ReplyBroken):
        await reading
    with pytest.raises(ReplyBroken):
        await waiting
    await server.until_over(2)
    with pytest.raises(NotReached):
        await upstream.send(a_request(server.url))
