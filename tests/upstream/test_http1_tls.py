"""TLS: whom the adapter believes, and what it says."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from tests.upstream.certificates import Authority
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import LOOPBACK, RawConnection, a_request, chunked_reply, json_reply, read_all

from tokenopen.ports.upstream import NotReached, ReplyBroken
from tokenopen.upstream.http1 import Http1Upstream, create_tls_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def tls_upstream(authority: Authority) -> AsyncIterator[Http1Upstream]:
    upstream = Http1Upstream(allowed_networks=LOOPBACK, tls_context=authority.client_context())
    yield upstream
    await upstream.close()


def https(url: str, host: str = "localhost") -> str:
    return url.replace("http://127.0.0.1", f"https://{host}")


async def answer_for_ever(connection: RawConnection) -> None:
    while True:
        await connection.answer(json_reply())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_with_a_right_certificate_is_called_and_its_connection_kept(
    tls_upstream: Http1Upstream, authority: Authority, serve: Serve, host: str
) -> None:
    server = await serve(answer_for_ever, tls=authority.server_context("localhost", "127.0.0.1"))
    for _ in range(3):
        assert await read_all(await tls_upstream.send(a_request(https(server.url, host)))) == b'{"ok":true}'
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("host", "names", "days"),
    [
        ("localhost", ["other.example"], 30),
        ("localhost", ["127.0.0.1"], 30),
        ("127.0.0.1", ["localhost"], 30),
        ("localhost", ["localhost"], -1),
    ],
)
async def test_a_certificate_for_another_name_or_time_is_refused(
    tls_upstream: Http1Upstream, authority: Authority, serve: Serve, host: str, names: list[str], days: int
) -> None:
    server = await serve(answer_for_ever, tls=authority.server_context(*names, days=days))
    with pytest.raises(NotReached, match="certificate"):
        await tls_upstream.send(a_request(https(server.url, host)))


async def test_a_certificate_of_an_unknown_authority_is_refused(
    upstream: Http1Upstream, authority: Authority, serve: Serve
) -> None:
    server = await serve(answer_for_ever, tls=authority.server_context("localhost"))
    with pytest.raises(NotReached, match="certificate"):
        await upstream.send(a_request(https(server.url)))


async def test_a_server_that_speaks_no_tls_is_not_reached(upstream: Http1Upstream, serve: Serve) -> None:
    server = await serve(lambda connection: connection.send(json_reply()))
    with pytest.raises(NotReached):
        await upstream.send(a_request(https(server.url)))


def test_the_context_verifies_names_against_known_authorities() -> None:
    context = create_tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(context.get_ca_certs()) > 50


async def test_only_http_1_1_is_offered(authority: Authority, serve: Serve) -> None:
    chosen = []

    async def script(connection: RawConnection) -> None:
        chosen.append(connection.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answer_for_ever(connection)

    context = create_tls_context()
    context.load_verify_locations(cadata=authority.pem)
    upstream = Http1Upstream(allowed_networks=LOOPBACK, tls_context=context)
    for offered in (["h2", "http/1.1"], ["h2"]):
        server_context = authority.server_context("localhost")
        server_context.set_alpn_protocols(offered)
        server = await serve(script, tls=server_context)
        await read_all(await upstream.send(a_request(https(server.url))))
    assert chosen == ["http/1.1", None]
    await upstream.close()


async def test_large_bodies_pass_both_ways(
    tls_upstream: Http1Upstream, authority: Authority, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            _, body = await connection.read_request()
            await connection.send(chunked_reply(body[:5_000_000], body[5_000_000:]))

    body = bytes(range(250)) * 40_000
    server = await serve(script, tls=authority.server_context("localhost"))
    for _ in range(2):
        reply = await tls_upstream.send(a_request(https(server.url), body=body))
        await asyncio.sleep(0.05)
        assert await read_all(reply) == body
    assert server.accepted == 1


async def test_a_reply_cut_short_is_broken(
    tls_upstream: Http1Upstream, authority: Authority, serve: Serve
) -> None:
    server = await serve(
        lambda connection: connection.answer(chunked_reply(b"one")[:-5]),
        tls=authority.server_context("localhost"),
    )
    reply = await tls_upstream.send(a_request(https(server.url)))
    assert await reply.read() == b"one"
    with pytest.raises(ReplyBroken):
        await reply.read()


async def test_a_body_without_framing_ends_where_tls_was_ended(
    tls_upstream: Http1Upstream, authority: Authority, serve: Serve
) -> None:
    server = await serve(
        lambda connection: connection.answer(b"HTTP/1.1 200 OK\r\n\r\nwhole"),
        tls=authority.server_context("localhost"),
    )
    assert await read_all(await tls_upstream.send(a_request(https(server.url)))) == b"whole"


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_body_without_framing_has_no_end_where_the_socket_was_cut(
    tls_upstream: Http1Upstream, authority: Authority, serve: Serve
) -> None:
    """Whoever sits between could cut it anywhere: only TLS's own end is an end."""

    async def script(connection: RawConnection) -> None:
        await connection.answer(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        connection.writer.transport.abort()

    server = await serve(script, tls=authority.server_context("localhost"))
    reply = await tls_upstream.send(a_request(https(server.url)))
    assert await reply.read() == b"half"
    with pytest.raises(ReplyBroken):
        await reply.read()


async def test_cancelling_a_read_closes_the_connection(
    tls_upstream: Http1Upstream, authority: Authority, serve: Serve
) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        await connection.until_gone()

    server = await serve(script, tls=authority.server_context("localhost"))
    reply = await tls_upstream.send(a_request(https(server.url)))
    reading = asyncio.ensure_future(reply.read())
    await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await server.until_over()
