"""Going out through a CONNECT proxy."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.upstream.certificates import Authority
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import LOOPBACK, RawConnection, RawServer, a_request, json_reply, read_all

from tokenopen.ports.upstream import AddressForbidden, NotReached
from tokenopen.upstream.http1 import Http1Upstream

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def answer_for_ever(connection: RawConnection) -> None:
    while True:
        await connection.answer(json_reply())


async def pass_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


class TunnelTo:
    """A proxy's script that leads every tunnel to one server, and keeps what it was asked."""

    def __init__(self, server: RawServer) -> None:
        self.requests: list[bytes] = []
        self._server = server

    async def __call__(self, connection: RawConnection) -> None:
        self.requests.append((await connection.read_request())[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        await connection.send(*[bytes([byte]) for byte in ESTABLISHED])
        await asyncio.gather(pass_bytes(connection.reader, writer), pass_bytes(reader, connection.writer))


def proxy_url(proxy: RawServer, credential: str = "") -> str:
    return f"http://{credential}127.0.0.1:{proxy.port}"


async def test_calls_to_http_origins_go_through_a_tunnel_that_is_kept(serve: Serve) -> None:
    """The proxy resolves the name, so the name need not resolve here, and no network need be allowed."""
    server = await serve(answer_for_ever)
    script = TunnelTo(server)
    proxy = await serve(script)
    upstream = Http1Upstream(allowed_networks=(), proxy_url=proxy_url(proxy))
    for _ in range(3):
        reply = await upstream.send(a_request("http://provider.invalid/v1", body=b"x" * 300_000))
        assert await read_all(reply) == b'{"ok":true}'
    assert script.requests == [b"CONNECT provider.invalid:80 HTTP/1.1\r\nhost: provider.invalid:80\r\n\r\n"]
    assert server.accepted == 1
    await upstream.close()
    await server.until_over()


async def test_calls_to_https_origins_are_encrypted_within_the_tunnel(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = await serve(answer_for_ever, tls=authority.server_context("provider.invalid"))
    script = TunnelTo(server)
    proxy = await serve(script)
    upstream = Http1Upstream(
        allowed_networks=(), proxy_url=proxy_url(proxy), tls_context=authority.client_context()
    )
    for _ in range(3):
        reply = await upstream.send(a_request("https://provider.invalid/v1", body=b"x" * 300_000))
        assert await read_all(reply) == b'{"ok":true}'
    assert script.requests == [b"CONNECT provider.invalid:443 HTTP/1.1\r\nhost: provider.invalid:443\r\n\r\n"]
    with pytest.raises(NotReached, match="certificate"):
        await upstream.send(a_request("https://other.invalid/v1"))
    await upstream.close()
    await proxy.until_over(2)


async def test_the_proxys_credential_goes_to_the_proxy_only(serve: Serve) -> None:
    heads = []

    async def answer(connection: RawConnection) -> None:
        heads.append((await connection.read_request())[0])
        await connection.send(json_reply())

    script = TunnelTo(await serve(answer))
    proxy = await serve(script)
    upstream = Http1Upstream(allowed_networks=(), proxy_url=proxy_url(proxy, "us%40er:pass%3Aword@"))
    await read_all(await upstream.send(a_request("http://provider.invalid/v1")))
    assert b"\r\nproxy-authorization: Basic dXNAZXI6cGFzczp3b3Jk\r\n" in script.requests[0]
    assert b"proxy" not in heads[0]
    await upstream.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "status 407"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n", "status 302"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "status 100"),
        (b"SOCKS\r\n\r\n", "not valid"),
        (ESTABLISHED + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "not valid"),
        (b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 70_000, "not valid"),
        (b"HTTP/1.1 200 OK\r\n", "closed"),
        (b"", "closed"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_gives_no_tunnel_leaves_the_origin_unreached(
    serve: Serve, scheme: str, answer: bytes, reason: str
) -> None:
    proxy = await serve(lambda connection: connection.answer(answer))
    upstream = Http1Upstream(allowed_networks=(), proxy_url=proxy_url(proxy))
    with pytest.raises(NotReached, match=reason):
        await upstream.send(a_request(f"{scheme}://provider.invalid/v1"))
    await upstream.close()
    await proxy.until_over()


async def test_a_proxy_that_is_silent_is_left_in_time_and_closed(serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.until_gone()

    proxy = await serve(script)
    upstream = Http1Upstream(allowed_networks=(), proxy_url=proxy_url(proxy))
    with pytest.raises(NotReached, match="within 100 ms"):
        await upstream.send(a_request("http://provider.invalid/", connect_timeout_ms=100))
    await proxy.until_over()
    sending = asyncio.ensure_future(upstream.send(a_request("http://provider.invalid/")))
    await asyncio.sleep(0.05)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await proxy.until_over(2)
    await upstream.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_an_address_in_the_url_is_judged_before_the_proxy_is_asked(serve: Serve, host: str) -> None:
    proxy = await serve(lambda connection: connection.answer(ESTABLISHED))
    upstream = Http1Upstream(allowed_networks=(), proxy_url=proxy_url(proxy))
    with pytest.raises(AddressForbidden):
        await upstream.send(a_request(f"http://{host}/latest/meta-data"))
    assert proxy.accepted == 0
    await upstream.close()


@pytest.mark.parametrize(
    "url", ["https://proxy:3128", "socks5://proxy:1080", "proxy:3128", "http://pro xy", ""]
)
async def test_a_proxys_url_must_be_one_of_http(url: str) -> None:
    with pytest.raises(ValueError):
        Http1Upstream(allowed_networks=LOOPBACK, proxy_url=url)
