"""Where a reply ends: right framing gives the body, wrong or short framing never looks like an end."""

import asyncio

import pytest
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import RawConnection, a_request, chunked_reply, json_reply, read_all

from tokenopen.ports.upstream import ReplyBroken, UpstreamReply
from tokenopen.upstream.http1 import Http1Upstream

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


async def test_a_body_with_a_content_length_is_read_to_its_end(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(lambda connection: connection.answer(json_reply(b"0123456789")))
    reply = await upstream.send(a_request(server.url))
    assert reply.status == 200
    assert reply.headers == [(b"content-length", b"10")]
    assert await read_all(reply) == b"0123456789"
    assert await reply.read() == b""


async def test_a_body_without_framing_ends_with_its_connection(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(lambda connection: connection.answer(OK + b"\r\n01234", b"56789"))
    assert await read_all(await upstream.send(a_request(server.url))) == b"0123456789"


async def test_bytes_that_have_gathered_come_in_one_read(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(lambda connection: connection.answer(chunked_reply(*[b"event\n\n"] * 66)))
    reply = await upstream.send(a_request(server.url))
    assert await reply.read() == b"event\n\n" * 66
    assert await reply.read() == b""


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (chunked_reply(b"data: one\n\n", b"data: two\n\n"), b"data: one\n\ndata: two\n\n"),
        (OK + CHUNKED + b'5;ext="a;b"\r\nhello\r\n00\r\ntrailer-field: x\r\nother: y\r\n\r\n', b"hello"),
        (json_reply(b"0123456789"), b"0123456789"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + json_reply(b"then this"), b"then this"),
    ],
    ids=["chunked", "extensions and trailers", "content-length", "interim"],
)
async def test_a_reply_cut_in_two_at_any_byte_is_the_same_reply(
    upstream: Http1Upstream, serve: Serve, raw: bytes, body: bytes
) -> None:
    async def script(connection: RawConnection) -> None:
        for cut in range(len(raw)):
            await connection.answer(*(piece for piece in (raw[:cut], raw[cut:]) if piece))

    server = await serve(script)
    heads = []
    for _ in range(len(raw)):
        reply = await upstream.send(a_request(server.url))
        assert (reply.status, await read_all(reply)) == (200, body)
        heads.append(tuple(reply.headers))
    assert len(set(heads)) == 1
    assert server.accepted == 1


async def test_a_reply_that_comes_byte_by_byte_is_the_same_reply(
    upstream: Http1Upstream, serve: Serve
) -> None:
    raw = chunked_reply(b"data: one\n\n", b"data: two\n\n")
    server = await serve(lambda connection: connection.answer(*(bytes([byte]) for byte in raw)))
    assert await read_all(await upstream.send(a_request(server.url))) == b"data: one\n\ndata: two\n\n"


async def read_until_broken(reply: UpstreamReply) -> bytes:
    body = b""
    try:
        while data := await reply.read():
            body += data
    except ReplyBroken:
        return body
    pytest.fail(f"a reply cut short had a proper end after {body!r}")


@pytest.mark.parametrize(
    ("raw", "all_but_the_end"),
    [
        (chunked_reply(b"data: one\n\n", b"data: two\n\n"), b"data: one\n\ndata: two\n\n"),
        (json_reply(b"0123456789"), b"012345678"),
    ],
    ids=["chunked", "length"],
)
async def test_a_reply_that_stops_at_any_byte_is_broken_and_keeps_what_came(
    upstream: Http1Upstream, serve: Serve, raw: bytes, all_but_the_end: bytes
) -> None:
    cuts = iter(range(len(raw)))
    server = await serve(lambda connection: connection.answer(raw[: next(cuts)]))
    head_length = raw.index(b"\r\n\r\n") + 4
    bodies = []
    for cut in range(len(raw)):
        if cut < head_length:
            with pytest.raises(ReplyBroken):
                await upstream.send(a_request(server.url))
            continue
        reply = await upstream.send(a_request(server.url))
        bodies.append(await read_until_broken(reply))
        with pytest.raises(ReplyBroken):
            await reply.read()
    assert bodies[0] == b""
    assert bodies == sorted(bodies)
    assert bodies[-1] == all_but_the_end
    assert server.accepted == len(raw)


async def test_a_reset_within_the_body_is_broken(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(OK + b"content-length: 10\r\n\r\n01234")
        await asyncio.sleep(0.05)
        connection.reset()

    server = await serve(script)
    reply = await upstream.send(a_request(server.url))
    assert await reply.read() == b"01234"
    with pytest.raises(ReplyBroken):
        await reply.read()


async def test_a_reset_ends_no_body_without_framing(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(OK + b"\r\n01234")
        await asyncio.sleep(0.05)
        connection.reset()

    server = await serve(script)
    reply = await upstream.send(a_request(server.url))
    with pytest.raises(ReplyBroken):
        await read_all(reply)


MALFORMED = {
    "garbage": b"\x16\x03\x01\x02\x00 no HTTP\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 OK\r\ncontent-length: 2\r\n\r\nok",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nok",
    "switching without upgrade": b"HTTP/1.1 101 Switching\r\ncontent-length: 2\r\n\r\nok",
    "unknown interim": b"HTTP/1.1 104 Hm\r\n\r\n" + json_reply(),
    "length and chunked": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked and length": OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok!",
    "the same length twice": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok",
    "a list of lengths": OK + b"content-length: 2, 2\r\n\r\nok",
    "signed length": OK + b"content-length: +2\r\n\r\nok",
    "negative length": OK + b"content-length: -2\r\n\r\nok",
    "hexadecimal length": OK + b"content-length: 0x2\r\n\r\nok",
    "length with a space inside": OK + b"content-length: 1 0\r\n\r\n0123456789",
    "no length in content-length": OK + b"content-length: \r\n\r\nok",
    "length beyond 64 bits": OK + b"content-length: 99999999999999999999\r\n\r\nok",
    "gzip as transfer-encoding": OK + b"transfer-encoding: gzip\r\n\r\nok",
    "gzip, chunked": OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked, identity": OK + b"transfer-encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked twice": OK + b"transfer-encoding: chunked\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
    "xchunked": OK + b"transfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
    "chunk size with a sign": OK + CHUNKED + b"+2\r\nok\r\n0\r\n\r\n",
    "chunk size with a prefix": OK + CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "no chunk size": OK + CHUNKED + b"\r\nok\r\n0\r\n\r\n",
    "chunk size that is none": OK + CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": OK + CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
    "chunk longer than its size": OK + CHUNKED + b"2\r\nok!!\r\n0\r\n\r\n",
    "chunk size with a bare line feed": OK + CHUNKED + b"2\nok\r\n0\r\n\r\n",
    "chunk size with a space": OK + CHUNKED + b"2 \r\nok\r\n0\r\n\r\n",
    "folded header": OK + b"x-long: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    "header without a colon": OK + b"content-length 2\r\n\r\nok",
    "space before the colon": OK + b"content-length : 2\r\n\r\nok",
    "space before the name": OK + b" content-length: 2\r\n\r\nok",
    "NUL in a header": OK + b"x-a: a\x00b\r\ncontent-length: 2\r\n\r\nok",
    "carriage return in a header": OK + b"x-a: a\rb\r\ncontent-length: 2\r\n\r\nok",
    "no name": OK + b": a\r\ncontent-length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_reply_is_broken_and_its_connection_closed(
    upstream: Http1Upstream, serve: Serve, raw: bytes
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(raw)
        await connection.until_gone()

    server = await serve(script)
    with pytest.raises(ReplyBroken):
        await read_all(await upstream.send(a_request(server.url)))
    await server.until_over()


async def test_interim_replies_are_skipped(upstream: Http1Upstream, serve: Serve) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    server = await serve(lambda connection: connection.answer(interim + json_reply(b"at last")))
    reply = await upstream.send(a_request(server.url))
    assert (reply.status, reply.headers) == (200, [(b"content-length", b"7")])
    assert await read_all(reply) == b"at last"


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n"),
        (b"HEAD", OK + b"content-length: 10\r\n\r\n"),
        (b"HEAD", OK + b"transfer-encoding: chunked\r\n\r\n"),
        (b"HEAD", OK + b"content-length: 4\r\n\r\nbody"),
        (b"POST", OK + b"content-length: 0\r\n\r\n"),
        (b"POST", OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ],
)
async def test_a_reply_without_a_body_ends_with_its_head(
    upstream: Http1Upstream, serve: Serve, method: bytes, raw: bytes
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(raw)
        await connection.until_gone()

    server = await serve(script)
    reply = await upstream.send(a_request(server.url, method=method, body=b""))
    assert await reply.read() == b""


LINE = b"x-a: " + b"a" * 1_000 + b"\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [OK, *[LINE] * 70, b"content-length: 2\r\n\r\nok"],
        [OK + LINE * 70 + b"content-length: 2\r\n\r\nok"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3_000],
        [OK + b"x-a: " + b"a" * 70_000],
    ],
    ids=["in pieces", "at once", "interim replies", "one header"],
)
async def test_a_head_beyond_64_kib_is_broken(
    upstream: Http1Upstream, serve: Serve, pieces: list[bytes]
) -> None:
    server = await serve(lambda connection: connection.answer(*pieces))
    with pytest.raises(ReplyBroken, match="too long"):
        await upstream.send(a_request(server.url))


async def test_a_head_of_60_kib_is_read(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(lambda connection: connection.answer(json_reply(b"ok", head=LINE * 60)))
    reply = await upstream.send(a_request(server.url))
    assert len(reply.headers) == 61
    assert await read_all(reply) == b"ok"


@pytest.mark.parametrize(
    "flood",
    [b"2;" + b"a" * 70_000, b"2\r\nok\r\n0\r\n" + LINE * 90, b"2\r\nok\r\n0\r\nx-a: " + b"a" * 90_000],
    ids=["chunk extension", "trailers", "one trailer"],
)
async def test_framing_that_never_gives_a_byte_is_broken(
    upstream: Http1Upstream, serve: Serve, flood: bytes
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(OK + CHUNKED)
        await connection.send(*(flood[start : start + 8_192] for start in range(0, len(flood), 8_192)))
        await connection.until_gone()

    server = await serve(script)
    with pytest.raises(ReplyBroken, match="too long"):
        await read_all(await upstream.send(a_request(server.url)))


async def test_a_long_stream_of_chunks_cut_from_their_sizes_is_no_flood_of_framing(
    upstream: Http1Upstream, serve: Serve
) -> None:
    """Some servers send a chunk's size and its bytes apart: framing counts only while no body byte comes."""

    async def script(connection: RawConnection) -> None:
        await connection.answer(OK + CHUNKED)
        for _ in range(20):
            await connection.send(b"2;" + b"a" * 8_192, b"\r\nok\r\n", b"")
        await connection.send(b"0\r\n\r\n")

    server = await serve(script)
    assert await read_all(await upstream.send(a_request(server.url))) == b"ok" * 20


async def test_headers_of_the_connection_are_gone_and_the_others_stay_as_they_came(
    upstream: Http1Upstream, serve: Serve
) -> None:
    hop_by_hop = (
        b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: x\r\nUpgrade: h2c\r\n"
        b"Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nTransfer-Encoding: Chunked\r\n"
    )
    head = hop_by_hop + b"Set-Cookie: a=1\r\nX-Request-ID: Req_1\r\nset-cookie: b=2 \r\nx-latin: \xe9\r\n"
    server = await serve(
        lambda connection: connection.answer(OK + head + b"\r\n2\r\nok\r\n0\r\nx-trailer: a\r\n\r\n")
    )
    reply = await upstream.send(a_request(server.url))
    assert reply.headers == [
        (b"set-cookie", b"a=1"),
        (b"x-request-id", b"Req_1"),
        (b"set-cookie", b"b=2"),
        (b"x-latin", b"\xe9"),
    ]
    assert await read_all(reply) == b"ok"


async def test_a_compressed_body_is_delivered_as_it_came(upstream: Http1Upstream, serve: Serve) -> None:
    packed = b"\x1f\x8b\x08 not unpacked"
    server = await serve(
        lambda connection: connection.answer(json_reply(packed, head=b"content-encoding: gzip\r\n"))
    )
    reply = await upstream.send(a_request(server.url))
    assert (b"content-encoding", b"gzip") in reply.headers
    assert await read_all(reply) == packed


async def test_a_redirect_is_a_reply_and_leads_nowhere(upstream: Http1Upstream, serve: Serve) -> None:
    elsewhere = await serve(lambda connection: connection.answer(json_reply()))
    location = b"location: %b\r\n" % elsewhere.url.encode()
    server = await serve(
        lambda connection: connection.answer(json_reply(b"", head=location, status=b"307 Temporary Redirect"))
    )
    reply = await upstream.send(a_request(server.url))
    assert reply.status == 307
    assert await read_all(reply) == b""
    assert elsewhere.accepted == 0
