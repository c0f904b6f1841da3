"""What goes out: these bytes and no others, and nothing that could be read as two requests."""

from typing import Any

import pytest
from tests.upstream.conftest import Serve
from tests.upstream.raw_server import RawConnection, a_request, json_reply, read_all

from tokenopen.upstream.http1 import Http1Upstream


async def sent(
    upstream: Http1Upstream, serve: Serve, path: str = "/v1", **changes: Any
) -> tuple[bytes, bytes]:
    """Return head and body of what arrives, with the server's port replaced."""
    requests = []

    async def script(connection: RawConnection) -> None:
        requests.append(await connection.read_request())
        await connection.send(json_reply())

    server = await serve(script)
    await read_all(await upstream.send(a_request(f"http://127.0.0.1:{server.port}{path}", **changes)))
    head, body = requests[0]
    return head.replace(b":%d" % server.port, b":PORT"), body


async def test_a_request_is_these_bytes(upstream: Http1Upstream, serve: Serve) -> None:
    headers = [(b"authorization", b"Bearer sk"), (b"content-type", b"application/json"), (b"x-empty", b"")]
    head, body = await sent(upstream, serve, "/v1/chat?a=%20", headers=headers, body=b'{"a":1}')
    assert head == (
        b"POST /v1/chat?a=%20 HTTP/1.1\r\n"
        b"host: 127.0.0.1:PORT\r\n"
        b"accept-encoding: identity\r\n"
        b"authorization: Bearer sk\r\n"
        b"content-type: application/json\r\n"
        b"x-empty: \r\n"
        b"content-length: 7\r\n"
        b"\r\n"
    )
    assert body == b'{"a":1}'


async def test_a_get_without_a_body_has_no_content_length(upstream: Http1Upstream, serve: Serve) -> None:
    head, _ = await sent(upstream, serve, method=b"GET", headers=[], body=b"")
    assert head == b"GET /v1 HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\naccept-encoding: identity\r\n\r\n"


async def test_a_post_without_a_body_says_so(upstream: Http1Upstream, serve: Serve) -> None:
    head, _ = await sent(upstream, serve, headers=[], body=b"")
    assert head.endswith(b"content-length: 0\r\n\r\n")


@pytest.mark.parametrize("size", [1, 65_000, 65_536, 65_537, 262_144, 262_145, 1_000_000])
async def test_bodies_of_every_size_arrive_whole(upstream: Http1Upstream, serve: Serve, size: int) -> None:
    _, body = await sent(upstream, serve, body=b"0123456789" * (size // 10) + b"x" * (size % 10))
    assert body == b"0123456789" * (size // 10) + b"x" * (size % 10)


async def test_values_may_hold_spaces_and_latin_letters(upstream: Http1Upstream, serve: Serve) -> None:
    head, _ = await sent(upstream, serve, headers=[(b"x-title", b"two words, \xe9")])
    assert b"\r\nx-title: two words, \xe9\r\n" in head


@pytest.mark.parametrize(
    "header",
    [
        (b"x-a", b"a\r\nx-b: b"),
        (b"x-a", b"a\nx-b: b"),
        (b"x-a", b"a\rb"),
        (b"x-a", b"a\r\n"),
        (b"x-a", b"a\x00"),
        (b"x-a", b"a\x7f"),
        (b"x-a", b"a\tb"),
        (b"x-a\r\nx-b", b"a"),
        (b"x-a: b\r\nx-c", b"a"),
        (b"x a", b"a"),
        (b"x-a ", b"a"),
        (b"x-a:", b"a"),
        (b"X-A", b"a"),
        (b"x-\xe9", b"a"),
        (b"", b"a"),
        (b"host", b"elsewhere.example"),
        (b"content-length", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"accept-encoding", b"gzip"),
        (b"expect", b"100-continue"),
        (b"upgrade", b"h2c"),
        (b"te", b"trailers"),
    ],
)
async def test_a_header_that_is_malformed_or_the_adapters_own_is_a_callers_bug(
    upstream: Http1Upstream, serve: Serve, header: tuple[bytes, bytes]
) -> None:
    """The message holds no value: values are credentials."""
    server = await serve(lambda connection: connection.answer(json_reply()))
    headers = [(b"authorization", b"Bearer sk-secret"), header]
    with pytest.raises(ValueError, match="Headers") as error:
        await upstream.send(a_request(server.url, headers=headers))
    assert "sk-secret" not in str(error.value)
    assert server.accepted == 0


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE", b"post", b"POST /a HTTP/1.1\r\n", b"P OST", b""])
async def test_a_method_that_upstreams_do_not_take_is_a_callers_bug(
    upstream: Http1Upstream, serve: Serve, method: bytes
) -> None:
    server = await serve(lambda connection: connection.answer(json_reply()))
    with pytest.raises(ValueError, match="method"):
        await upstream.send(a_request(server.url, method=method))
    assert server.accepted == 0


async def test_ever_new_urls_are_not_remembered_for_ever(upstream: Http1Upstream, serve: Serve) -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            await connection.answer(json_reply())

    server = await serve(script)
    for number in range(2_100):
        await read_all(await upstream.send(a_request(f"{server.url}/{number}")))
    assert len(upstream._targets) <= 1_000
    assert server.accepted == 1
