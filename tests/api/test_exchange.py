"""The server's protocol and its exchanges over a real socket; the applications are of a few lines each."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from tests.gateway.world import until
from tokenopen.api import http_protocol, unread_reply
from tokenopen.api.connection import AsgiConnection
from tokenopen.api.exchange import EXCHANGE, Exchange
from tokenopen.api.http_protocol import BoundedHttpProtocol

App = Callable[[Any, Any, Any], Awaitable[None]]
GET = b"GET /%b HTTP/1.1\r\nhost: here\r\n\r\n"
PATIENCE_S = 10


@asynccontextmanager
async def serving(
    app: App, *, keep_alive_s: int = 60
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, ServerState]]:
    """Serve an application and connect to it once."""
    config = uvicorn.Config(app, http=BoundedHttpProtocol, lifespan="off", ws="none", log_config=None)
    config.timeout_keep_alive = keep_alive_s
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BoundedHttpProtocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield reader, writer, state
    finally:
        writer.close()
        server.close()


async def read_reply(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return a reply's head and its body, by its content-length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


def replies(
    status: int, headers: list[tuple[bytes, bytes]], *parts: bytes
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for place, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": place < len(parts)})

    return app


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers path and body."""
    body = scope["path"].encode()
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    headers = [(b"content-length", b"%d" % len(body))]
    await replies(200, headers, body)(scope, receive, send)


async def test_requests_of_one_connection_are_answered_one_after_the_other_also_where_they_come_at_once() -> (
    None
):
    async with serving(echo) as (reader, writer, _):
        writer.write(GET % b"one" + GET % b"two%20" + GET % b"three")
        bodies = [(await read_reply(reader))[1] for _ in range(3)]
        writer.write(GET % b"four")
        bodies.append((await read_reply(reader))[1])
    assert bodies == [b"/one", b"/two ", b"/three", b"/four"]


async def test_a_body_comes_whole_however_it_was_cut() -> None:
    async with serving(echo) as (reader, writer, _):
        for piece in (b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-", b"length: 6\r\n\r\nab", b"cd", b"ef"):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert (await read_reply(reader))[1] == b"/xabcdef"
        writer.write(b"POST /y HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"z")
        assert (await read_reply(reader))[1] == b"/yz"


async def test_a_reply_without_a_length_is_chunked_and_its_head_does_not_wait_for_its_body() -> None:
    goes_on = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"A", b"b")]})
        await goes_on.wait()
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with serving(app) as (reader, writer, _):
        writer.write(GET % b"")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head == b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"
        goes_on.set()
        assert await reader.readexactly(13) == b"3\r\none\r\n0\r\n\r\n"


async def test_a_head_is_asked_for_without_its_body_and_a_connection_closed_on_demand() -> None:
    async with serving(replies(200, [(b"content-length", b"3")], b"one")) as (reader, writer, _):
        writer.write(b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
        writer.write(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        assert await reader.read() == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\none"


@pytest.mark.parametrize(
    "app",
    [
        replies(200, [(b"x", b"a\r\nb: c"), (b"content-length", b"3")], b"one"),
        replies(200, [(b"x y", b"a"), (b"content-length", b"3")], b"one"),
    ],
    ids=["a line end in a value", "a space in a name"],
)
async def test_a_head_that_could_be_taken_for_another_does_not_leave(app: App) -> None:
    async with serving(app) as (reader, writer, _):
        writer.write(GET % b"")
        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("parts", [(b"o", b"n"), (b"on", b"es")], ids=["shorter", "longer"])
async def test_a_reply_of_another_length_than_it_says_is_cut(parts: tuple[bytes, ...]) -> None:
    async with serving(replies(200, [(b"content-length", b"3")], *parts)) as (reader, writer, _):
        writer.write(GET % b"")
        assert await reader.read() in (
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + parts[0],
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + b"".join(parts),
        )


async def test_who_takes_over_is_told_once_when_the_caller_leaves_and_is_not_the_servers_to_cancel() -> None:
    left: list[str] = []
    running: list[asyncio.Task[Any]] = []
    over = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope["extensions"][EXCHANGE]
        task = asyncio.current_task()
        assert task is not None
        running.append(task)
        await receive()
        exchange.take_over(lambda: left.append("gone"))
        await over.wait()
        # Nobody is there to read it.
        await replies(200, [(b"content-length", b"0")], b"")(scope, receive, send)

    async with serving(app) as (_, writer, state):
        writer.write(GET % b"" + GET % b"next")
        await until(lambda: bool(running))
        assert running[0] not in state.tasks
        writer.close()
        await until(lambda: bool(left))
        over.set()
        await running[0]
    assert left == ["gone"]
    assert len(running) == 1, "what was sent behind it is not begun for a caller who has left"


async def test_who_has_its_reply_does_not_leave() -> None:
    left: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][EXCHANGE].take_over(lambda: left.append("gone"))
        await replies(200, [(b"content-length", b"2")], b"ok")(scope, receive, send)

    async with serving(app) as (reader, writer, state):
        writer.write(GET % b"")
        assert (await read_reply(reader))[1] == b"ok"
        writer.close()
        await until(lambda: not state.connections)
    assert left == []


def replies_at_once(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, closing: bool = False
) -> App:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        exchange: Exchange = scope["extensions"][EXCHANGE]
        if closing:
            exchange.close_after_reply()
        exchange.reply(status, headers, body)

    return app


async def test_a_whole_reply_leaves_at_once_with_its_length_and_the_next_request_is_read() -> None:
    async with serving(replies_at_once(402, [(b"x-a", b"b")], b"one")) as (reader, writer, _):
        writer.write(GET % b"" + GET % b"")
        whole = b"HTTP/1.1 402 Payment Required\r\nx-a: b\r\ncontent-length: 3\r\n\r\none"
        assert await reader.readexactly(2 * len(whole)) == whole + whole
        writer.write(b"HEAD / HTTP/1.1\r\nhost: h\r\n\r\n" + GET % b"")
        assert await reader.readexactly(2 * len(whole) - 3) == whole[:-3] + whole


@pytest.mark.parametrize("closing", [True, False], ids=["we close", "the caller closes"])
async def test_a_connection_that_is_to_be_closed_says_so_with_a_whole_reply(closing: bool) -> None:
    async with serving(replies_at_once(200, [], b"one", closing=closing)) as (reader, writer, _):
        asked = b"" if closing else b"connection: close\r\n"
        writer.write(b"GET / HTTP/1.1\r\nhost: h\r\n%b\r\n" % asked)
        assert await reader.read() == b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\none"


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x: y", b"a"), (b"X", b"a"), (b"x", b"\0")])
async def test_a_whole_reply_whose_head_could_be_taken_for_another_does_not_leave(
    header: tuple[bytes, bytes],
) -> None:
    async with serving(replies_at_once(200, [header], b"one")) as (reader, writer, _):
        writer.write(GET % b"")
        assert (await reader.read()).startswith(b"HTTP/1.1 500 ")


async def test_nothing_but_its_own_end_keeps_an_exchange_alive() -> None:
    """What leads back to itself waits for a search for the unreachable, which every call then pays for."""
    exchanges: list[weakref.ref[Exchange]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope["extensions"][EXCHANGE]
        exchanges.append(weakref.ref(exchange))
        connection = AsgiConnection(send, exchange, "203.0.113.7")
        connection.task = exchange.task
        exchange.take_over(connection.leave)
        await receive()
        if scope["path"] == "/whole":
            await connection.reply(200, [], b"one")
        else:
            await connection.start(200, [(b"content-length", b"3")])
            await connection.finish(b"one")

    gc.collect()
    gc.disable()
    try:
        async with serving(app) as (reader, writer, _):
            for path in (b"whole", b"parts", b"whole", b"parts", b"last"):
                writer.write(GET % path)
                await read_reply(reader)
            assert [exchange() is None for exchange in exchanges[:-1]] == [True] * 4
    finally:
        gc.enable()


async def test_an_idle_connection_is_closed_and_one_in_use_is_not() -> None:
    goes_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await goes_on.wait()
        await echo(scope, receive, send)

    async with serving(app, keep_alive_s=1) as (reader, writer, _):
        writer.write(GET % b"quick")
        await read_reply(reader)
        writer.write(GET % b"slow")
        # Longer than an idle connection lives.
        await asyncio.sleep(1.2)
        goes_on.set()
        assert (await read_reply(reader))[1] == b"/slow"
        # Empty lines between requests are nothing that is asked.
        writer.write(b"\r\n")
        assert await reader.read() == b""


POST_CHUNKED = b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n"


async def test_what_comes_behind_a_body_is_no_header() -> None:
    """Or a caller could add to a head that was checked already."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await replies(200, [(b"content-length", b"1")], b"%d" % len(scope["headers"]))(scope, receive, send)

    async with serving(app) as (reader, writer, _):
        writer.write(POST_CHUNKED + b"\r\n1\r\na\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"0\r\nidempotency-key: k\r\n\r\n")
        assert (await read_reply(reader))[1] == b"2"


@pytest.mark.parametrize(
    "framing", [b"content-length: 2\r\n\r\nab", b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_another_protocol_that_is_asked_for_is_declined_and_the_body_read(
    framing: bytes, at_once: bool
) -> None:
    """Java's client asks for HTTP/2 so with each of its requests."""
    head, body = framing.split(b"\r\n\r\n", 1)
    head = b"POST /x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n" + head + b"\r\n\r\n"
    async with serving(echo) as (reader, writer, _):
        writer.write(head + body if at_once else head)
        if not at_once:
            await asyncio.sleep(0.01)
            writer.write(body)
        answered, echoed = await read_reply(reader)
        assert echoed == b"/xab"
        assert b"connection: close" in answered
        writer.write(GET % b"more")
        assert await reader.read() == b""


@pytest.mark.parametrize("flood", [b"1;" + b"a" * 100_000, b"0\r\nx: " + b"a" * 100_000])
async def test_a_body_without_bytes_of_its_own_is_not_read_for_ever(flood: bytes) -> None:
    async with serving(echo) as (_, writer, state):
        writer.write(POST_CHUNKED + b"\r\n")
        await until(lambda: bool(state.tasks))
        for at in range(0, len(flood), 10_000):
            writer.write(flood[at : at + 10_000])
            await asyncio.sleep(0.001)
        await until(lambda: not state.connections)


async def test_a_body_that_trickles_is_waited_for_as_long_as_its_size_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_protocol, "BODY_TIMEOUT_S", 0.2)
    async with serving(echo) as (reader, writer, state):
        writer.write(b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n")
        while state.connections:
            writer.write(b"a")
            await asyncio.sleep(0.02)
        # A byte that comes after the end is answered with a reset.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    monkeypatch.setattr(http_protocol, "BODY_BYTES_PER_S", 1)
    async with serving(echo) as (reader, writer, _):
        writer.write(b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 30\r\n\r\n" + b"a" * 29)
        await asyncio.sleep(0.5)
        writer.write(b"b")
        assert (await read_reply(reader))[1] == b"/x" + b"a" * 29 + b"b"


@pytest.mark.parametrize(
    "head",
    [
        b"POST /x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST_CHUNKED + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /x\r\n\r\n",
        b"GET /x HTTP/2.0\r\n\r\n",
    ],
)
async def test_another_coding_or_another_http_is_refused(head: bytes) -> None:
    async with serving(echo) as (reader, writer, _):
        writer.write(head)
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


# More than any kernel takes of what nobody reads.
LONG = 16 * 1024 * 1024
LONG_HEADERS = [(b"content-length", b"%d" % LONG)]
BEGUN_HEADERS = [(b"content-length", b"%d" % (LONG + 1))]


async def _cut(scope: Any, _receive: Any, send: Any) -> None:
    """Begins a long reply and leaves it unfinished."""
    await send({"type": "http.response.start", "status": 200, "headers": BEGUN_HEADERS})
    await send({"type": "http.response.body", "body": bytes(LONG), "more_body": True})
    scope["extensions"][EXCHANGE].cut()


@pytest.mark.parametrize("app", [replies(200, LONG_HEADERS, bytes(LONG)), _cut], ids=["whole", "cut"])
async def test_a_reply_that_nobody_reads_does_not_keep_its_connection(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever asks and does not read would have megabytes and a descriptor kept for ever."""
    monkeypatch.setattr(unread_reply, "READ_NOTHING_S", 0.1)
    async with serving(app, keep_alive_s=1) as (reader, writer, state):
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET % b"long")
        await until(lambda: bool(state.connections))
        await until(lambda: not state.connections)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(LONG + 1024)


async def test_a_reply_that_is_read_slowly_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread_reply, "READ_NOTHING_S", 0.5)
    async with serving(replies(200, LONG_HEADERS, bytes(LONG)), keep_alive_s=1) as (reader, writer, _):
        writer.write(GET % b"long")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(8):
            # Longer in all than a caller may read nothing.
            await asyncio.sleep(0.1)
            assert await reader.readexactly(LONG // 8) == bytes(LONG // 8)


async def test_a_stream_that_is_written_as_fast_as_it_is_read_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What waits is as much after a minute as before, yet all of it is new."""
    monkeypatch.setattr(unread_reply, "READ_NOTHING_S", 0.5)
    part = bytes(LONG // 16)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": LONG_HEADERS})
        for number in range(1, 17):
            await send({"type": "http.response.body", "body": part, "more_body": number < 16})

    async with serving(app) as (reader, writer, _):
        writer.write(GET % b"long")
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(16):
            await asyncio.sleep(0.05)
            assert await reader.readexactly(len(part)) == part


async def test_a_cut_reply_ends_after_what_was_sent_of_it() -> None:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        scope["extensions"][EXCHANGE].cut()

    async with serving(app) as (reader, writer, _):
        writer.write(GET % b"x")
        assert (await reader.read()).endswith(b"4\r\nhalf\r\n")
