"""Every stage of a call has its own patience, and its own failure."""

import asyncio
import socket
from contextlib import closing
from typing import Any

import pytest
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import LOOPBACK, RawConnection, a_request, json_reply, read_all

from tokenopen.ports.upstream import FirstByteTimeout, IdleTimeout, NotReached
from tokenopen.upstream.http1 import Http1Upstream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"


async def test_a_connect_timeout_covers_the_tls_handshake(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.until_gone()

    server = await serve(script)
    with pytest.raises(NotReached, match="within 100 ms"):
        await upstream.send(a_request(server.url.replace("http:", "https:"), connect_timeout_ms=100))
    await server.until_over()


async def test_a_connect_timeout_covers_name_resolution(
    upstream: Http1Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    with pytest.raises(NotReached, match="within 50 ms"):
        await upstream.send(a_request("http://provider.example/", connect_timeout_ms=50))


async def test_a_connect_timeout_covers_tcp(upstream: Http1Upstream) -> None:
    """A listener whose queue is full drops further handshakes, as a firewall would."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        address = listener.getsockname()
        crowd = [socket.socket() for _ in range(8)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(address)
        await asyncio.sleep(0.05)
        with pytest.raises(NotReached, match="within 100 ms"):
            await upstream.send(a_request(f"http://127.0.0.1:{address[1]}/", connect_timeout_ms=100))
        for one in crowd:
            one.close()


async def test_a_port_where_nobody_listens_is_not_reached(upstream: Http1Upstream) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotReached):
        await upstream.send(a_request(f"http://127.0.0.1:{port}/"))


async def test_a_name_that_nobody_knows_is_not_reached(
    upstream: Http1Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(NotReached, match="not known"):
        await upstream.send(a_request("http://provider.invalid/"))


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 200 OK\r\ncontent-", b"HTTP/1.1 103 Early Hints\r\n\r\n"]
)
async def test_a_reply_that_does_not_begin_in_time_is_a_first_byte_timeout(
    upstream: Http1Upstream, serve: Serve, beginning: bytes
) -> None:
    """A part of a head, or an interim reply, is no beginning."""

    async def script(connection: RawConnection) -> None:
        await connection.answer(beginning)
        await connection.until_gone()

    server = await serve(script)
    with pytest.raises(FirstByteTimeout):
        await upstream.send(a_request(server.url, first_byte_timeout_ms=100))
    await server.until_over()


async def test_a_reply_that_stands_still_is_an_idle_timeout(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(HEAD + b"abc")
        assert await connection.until_gone() == b""

    server = await serve(script)
    reply = await upstream.send(a_request(server.url, idle_timeout_ms=100))
    assert await reply.read() == b"abc"
    with pytest.raises(IdleTimeout):
        await reply.read()
    with pytest.raises(IdleTimeout):
        await reply.read()
    await server.until_over()


async def test_each_byte_gives_new_patience(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(HEAD)
        for byte in b"abcdef":
            await asyncio.sleep(0.1)
            await connection.send(bytes([byte]))

    server = await serve(script)
    reply = await upstream.send(a_request(server.url, idle_timeout_ms=300, first_byte_timeout_ms=300))
    assert await read_all(reply) == b"abcdef"


async def test_who_reads_late_is_not_told_that_the_provider_stood_still(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(HEAD + b"abc")
        await asyncio.sleep(0.3)
        await connection.send(b"def")

    server = await serve(script)
    reply = await upstream.send(a_request(server.url, first_byte_timeout_ms=100, idle_timeout_ms=200))
    await asyncio.sleep(0.25)
    assert await read_all(reply) == b"abcdef"


async def test_a_short_patience_after_a_long_one_is_kept(upstream: Http1Upstream, serve: Serve) -> None:
    """The connection's one timer is armed for the longer wait, and must come forward."""

    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        await connection.answer(b"")
        await connection.until_gone()

    server = await serve(script)
    await read_all(await upstream.send(a_request(server.url, first_byte_timeout_ms=60_000)))
    async with asyncio.timeout(3):
        with pytest.raises(FirstByteTimeout):
            await upstream.send(a_request(server.url, first_byte_timeout_ms=100))
    assert server.accepted == 1


async def test_a_long_patience_after_a_short_one_is_kept(serve: Serve) -> None:
    """The one timer goes off for the rest that is over, and must go off once more."""
    upstream = Http1Upstream(allowed_networks=LOOPBACK, max_idle_seconds=0.1)

    async def script(connection: RawConnection) -> None:
        await connection.answer(json_reply())
        await connection.answer(b"")
        await connection.until_gone()

    server = await serve(script)
    await read_all(await upstream.send(a_request(server.url)))
    async with asyncio.timeout(3):
        with pytest.raises(FirstByteTimeout):
            await upstream.send(a_request(server.url, first_byte_timeout_ms=300))
    assert server.accepted == 1
    await upstream.close()


async def test_the_first_byte_timeout_begins_when_a_large_body_is_out(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        for _ in range(15):
            await asyncio.sleep(0.1)
            await connection.reader.readexactly(1_000_000)
        await connection.send(json_reply())

    server = await serve(script)
    request = a_request(server.url, body=b"x" * 15_000_000, first_byte_timeout_ms=700)
    assert await read_all(await upstream.send(request)) == b'{"ok":true}'


async def test_a_body_that_is_not_taken_is_a_first_byte_timeout(
    upstream: Http1Upstream, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined] # a ReadTransport as well
        await asyncio.sleep(1)

    server = await serve(script)
    with pytest.raises(FirstByteTimeout):
        await upstream.send(a_request(server.url, body=b"x" * 30_000_000, first_byte_timeout_ms=200))
