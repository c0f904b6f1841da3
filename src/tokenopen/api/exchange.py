"""Exchange: one request and its reply on a connection, as the server's protocol and the applications see it.

It is uvicorn's cycle where applications are concerned (ASGI). What differs is for calls, which are many:
the head goes out together with the first part of the body that follows it at once, nothing is waited for
that is there already, and an application that asks for it is told when the caller leaves, so that it need not
wait for that in a task of its own.
"""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tokenopen.api.unread_reply import UnreadBoundedProtocol
from tokenopen.upstream.http1_head import Header, header_lines

# Under this name an application finds its exchange among the scope's extensions.
EXCHANGE: Final = "tokenopen.exchange"
# RFC 9110, 5.5: a value holds no control character but a tab.
_VALUE_BYTES: Final = bytes(byte for byte in range(256) if byte == 0x09 or (byte >= 0x20 and byte != 0x7F))
_WITHOUT_BODY: Final = (204, 304)
# Headers that say how a reply ends.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})


def _status_lines() -> dict[int, bytes]:
    phrases = {status.value: status.phrase for status in HTTPStatus}
    return {code: f"HTTP/1.1 {code} {phrases.get(code, '')}\r\n".encode() for code in range(100, 600)}


_STATUS_LINES: Final = _status_lines()


class Exchange(RequestResponseCycle):
    """Belongs to the connection's protocol, which tells it of the body and of the caller's leaving."""

    def __init__(self, protocol: UnreadBoundedProtocol, *, keep_alive: bool) -> None:
        super().__init__(
            scope=protocol.scope,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=False,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=protocol.expect_100_continue,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )
        self._protocol = protocol
        # The application's, from when it runs.
        self.task: asyncio.Task[None] | None = None
        self._on_leave: Callable[[], None] | None = None
        self._body_is_handed_over = False
        self._unsent_head = b""
        self._says_close = False

    def let_go(self, task: asyncio.Task[None]) -> None:
        """The application has ended. What leads back here is let go of, or each request would leave a circle
        for the search for unreachable objects."""
        self._protocol.server_state.tasks.discard(task)
        self.task = self._on_leave = None
        self.scope.pop("extensions", None)

    def take_over(self, on_leave: Callable[[], None]) -> None:
        """Have ``on_leave`` called when the caller leaves before the reply is whole.

        The application answers for its own end from now on: a server that stops does not cancel it.
        """
        assert self.task is not None
        self._protocol.server_state.tasks.discard(self.task)
        self._on_leave = on_leave
        if self.disconnected:
            on_leave()
        # That the caller leaves is only noticed while its bytes are read.
        self.flow.resume_reading()

    @property
    def is_body_here(self) -> bool:
        """Tell whether receiving would not wait."""
        return not self.more_body

    @property
    def is_clogged(self) -> bool:
        """Tell whether sending would wait, since the caller reads more slowly than it is sent to."""
        return self.flow.write_paused

    def leave(self) -> None:
        """The caller is gone."""
        if not self.response_complete and not self.disconnected:
            self.disconnected = True
            if self._on_leave is not None:
                self._on_leave()
        self.message_event.set()

    def cut(self) -> None:
        """Leave the reply unfinished: the connection closes behind what has been sent of it."""
        self.disconnected = True
        self._protocol.close()

    def close_after_reply(self) -> None:
        """Close the connection behind the reply, which says so; to be called before it begins."""
        self.keep_alive = False

    def reply(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Send a whole reply without waiting. Names are lower case; content-length is added."""
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("a reply has begun already")
        lines = _header_lines([*self.default_headers, *headers])
        self.response_started = True
        self.waiting_for_100_continue = False
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        shown = b"" if self.scope["method"] == "HEAD" else body
        head = b"%b%b%bcontent-length: %d\r\n\r\n" % (_STATUS_LINES[status], lines, closing, len(body))
        self.transport.write(head + shown)
        self._end()

    # ASGI

    async def receive(self) -> Any:
        """Return what has come of the request, or that the caller has left or has its reply."""
        if not self.more_body and not self._body_is_handed_over and not self.disconnected:
            # All that is missing of it is here.
            self._body_is_handed_over = True
            self.message_event.clear()
            return {"type": "http.request", "body": bytes(self.body), "more_body": False}
        message = await super().receive()
        if message["type"] == "http.request" and not message["more_body"]:
            self._body_is_handed_over = True
        return message

    async def send(self, message: Any) -> None:
        """Send the head or a part of the body; waits while the caller reads too slowly."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message)
        elif not self.response_complete:
            self._send_body(message)
        else:
            raise RuntimeError(f"{message['type']} was sent after the end of the reply")

    def _start(self, message: Any) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError(f"{message['type']} was sent before the head of the reply")
        headers = [*self.default_headers]
        headers += [(name.lower(), value) for name, value in message.get("headers", ())]
        lines = _header_lines(headers)
        self.response_started = True
        self.waiting_for_100_continue = False
        for name, value in headers:
            if name in _FRAMING:
                self._note(name, value)
        if not self.keep_alive and not self._says_close:
            lines += b"connection: close\r\n"
        status = message["status"]
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY:
            self.chunked_encoding = True
            lines += b"transfer-encoding: chunked\r\n"
        self._unsent_head = b"%b%b\r\n" % (_STATUS_LINES[status], lines)
        # Where no part of the body follows at once, the head does not wait for it.
        self._protocol.loop.call_soon(self._send_head)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-length" and self.chunked_encoding is None:
            self.expected_content_length = int(value)
            self.chunked_encoding = False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.expected_content_length = 0
            self.chunked_encoding = True
        elif name == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]:
            self.keep_alive = False
            self._says_close = True

    def _send_head(self) -> None:
        head, self._unsent_head = self._unsent_head, b""
        if head and not self.disconnected:
            self.transport.write(head)

    def _send_body(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"{message['type']} was sent in the middle of a reply")
        body, more = message.get("body", b""), message.get("more_body", False)
        head, self._unsent_head = self._unsent_head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("The reply is longer than its content-length.")
        if head or body:
            self.transport.write(head + body if head else body)
        if not more:
            if self.expected_content_length != 0:
                raise RuntimeError("The reply is shorter than its content-length.")
            self._end()

    def _end(self) -> None:
        """The reply is whole."""
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self._protocol.close()
        self.on_response()


def _header_lines(headers: Sequence[Header]) -> bytes:
    """Return headers as they are sent. Names are lower case."""
    lines = header_lines(headers, _VALUE_BYTES)
    if lines is None:
        raise RuntimeError("The reply's headers hold what no header may hold.")
    return lines
