"""HTTP protocol: uvicorn's, with bounds on what anybody can send before any key is read.

uvicorn bounds neither a head nor what stands around a body's bytes, and waits for both as long as they
take (OWASP: slow HTTP attacks). Requests are given to the application when their bytes have been taken in,
so that nearly all are whole by then, and no timer is set for what comes at once: one that is set looks for
itself whether its time has come.
"""

import asyncio
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tokenopen.api.exchange import EXCHANGE, Exchange
from tokenopen.api.unread_reply import UnreadBoundedProtocol

HEAD_BYTES_MAX: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 30
# What may come of a body's framing (chunk extensions, trailers) without a byte of the body.
FRAMING_BYTES_MAX: Final = 64 * 1024
# A body has so long, and a second more for each so many bytes that have come.
BODY_TIMEOUT_S: Final = 90
BODY_BYTES_PER_S: Final = 64 * 1024
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
_INVALID: Final = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_VERSIONS: Final = ("1.1", "1.0")
# Longer targets are not kept.
_USUAL_TARGET_BYTES: Final = 128
_FRAMING: Final = (b"content-length", b"transfer-encoding")


def _read_target(url: bytes) -> tuple[str, bytes, bytes]:
    """Return a request target's path, decoded and as it came, and its query."""
    target = httptools.parse_url(url)
    path = target.path.decode("ascii")
    return unquote(path) if "%" in path else path, target.path, target.query or b""


# Callers use the same few.
_read_usual_target: Final = lru_cache(maxsize=1024)(_read_target)


class BoundedHttpProtocol(UnreadBoundedProtocol):
    """Closes a connection whose next request is too large around its body, or does not come in time."""

    _head_bytes = 0
    # Between a request's first byte and the end of its head.
    _head_begun = False
    _head_timer: asyncio.TimerHandle | None = None
    # Between the end of a request's head and the request's.
    _body_begun = False
    _body_bytes = 0
    _framing_bytes = 0
    # When the body is too late, were nothing of it here, on the loop's clock; None where it came at once.
    _body_due_s: float | None = None
    _body_timer: asyncio.TimerHandle | None = None
    # Since when no request has begun, on the loop's clock; None while one is there.
    _idle_since_s: float | None = None
    _idle_timer: asyncio.TimerHandle | None = None
    # Whose head has come with the bytes that are being taken in, and whose application runs.
    _next: Exchange | None = None
    _running: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        super().connection_made(cast(asyncio.Transport, transport))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        if self._running is not None:
            self._running.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        body_bytes = self._body_bytes
        # Not uvicorn's way of saying no, which writes a line for each to the log.
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(_INVALID)
        exchange, self._next = self._next, None
        if self.transport.is_closing():
            return
        if exchange is not None:
            self._start_asgi_task(exchange, self.app)
        if self._head_begun:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(_TOO_LARGE)
            elif self._head_timer is None:
                self._await_head()
        elif self._body_begun:
            self._framing_bytes = self._framing_bytes + len(data) if self._body_bytes == body_bytes else 0
            if self._framing_bytes > FRAMING_BYTES_MAX:
                self._refuse(_TOO_LARGE)
            elif self._body_due_s is None:
                self._await_body()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, whatever other protocol was asked for (RFC 9110, 7.8).

        The parser takes what follows such a head for that protocol's, so another one reads the body; nothing
        may come after it.
        """
        framing = [header for header in self.scope["headers"] if header[0] in _FRAMING]
        self.cycle.keep_alive = False
        self.cycle.more_body = self._body_begun = bool(framing)
        self.parser = httptools.HttpRequestParser(_BodyOnly(self))
        if framing:
            lines = b"".join(b"%b: %b\r\n" % header for header in framing)
            self.parser.feed_data(b"POST / HTTP/1.1\r\nconnection: close\r\n%b\r\n%b" % (lines, rest))

    def _refuse(self, answer: bytes) -> None:
        """Answer what cannot be a request, unless a reply has begun, and close."""
        if self.transport.is_closing():
            return
        if self._running is None or self._running.response_complete:
            self.transport.write(answer)
        self.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True
        self._head_bytes = 0
        self._body_bytes = self._framing_bytes = 0
        self._body_due_s = None
        self._idle_since_s = None

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_begun = False
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._head_begun = False
        self._body_begun = True
        # What comes after the body is no header (RFC 9110, 6.5.1), whatever it is named.
        self.headers = []
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        http_version = self.parser.get_http_version()
        if http_version not in _VERSIONS or self._is_encoded():
            # The parser has it that the request is invalid.
            raise ValueError("another HTTP, or a body in a coding that is not undone here")
        read = _read_usual_target if len(self.url) <= _USUAL_TARGET_BYTES else _read_target
        scope = cast(dict[str, Any], self.scope)
        scope["http_version"] = http_version
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["path"], scope["raw_path"], scope["query_string"] = read(self.url)
        before = self.cycle
        keep_alive = http_version != "1.0" and self.parser.should_keep_alive()
        self.cycle = exchange = Exchange(self, keep_alive=keep_alive)
        scope["extensions"] = {EXCHANGE: exchange}
        if before is None or before.response_complete:
            self._next = exchange
        else:
            # Sent before the request before it was answered: it waits for its turn, and what follows for it.
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def _is_encoded(self) -> bool:
        """Tell whether a body is in another transfer coding than chunks (RFC 9112, 6.1)."""
        codings = [value.lower() for name, value in self.scope["headers"] if name == b"transfer-encoding"]
        return codings not in ([], [b"chunked"])

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since_s = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_idle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        assert isinstance(cycle, Exchange)
        self._running = cycle
        cycle.task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(cycle.let_go)
        self.tasks.add(task)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close_late)

    def _await_body(self) -> None:
        self._body_due_s = self.loop.time() + BODY_TIMEOUT_S
        if self._body_timer is None:
            self._body_timer = self.loop.call_later(BODY_TIMEOUT_S, self._close_slow)

    def _close_slow(self) -> None:
        """Close a connection whose body has not come in time; it may be another body by now."""
        self._body_timer = None
        if not self._body_begun or self._body_due_s is None or self.transport.is_closing():
            return
        # What is sent behind a request that is not answered yet is not read meanwhile.
        if self.pipeline:
            self._body_due_s = self.loop.time() + BODY_TIMEOUT_S
        left_s = self._body_due_s + self._body_bytes / BODY_BYTES_PER_S - self.loop.time()
        if left_s <= 0:
            self.transport.close()
        else:
            self._body_timer = self.loop.call_later(left_s, self._close_slow)

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._body_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._body_timer = self._idle_timer = None

    def _close_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _close_idle(self) -> None:
        """Close a connection that has been idle for long enough; it may have been in use meanwhile."""
        self._idle_timer = None
        if self._idle_since_s is None or self.transport.is_closing():
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            self.close()
        else:
            self._idle_timer = self.loop.call_later(left_s, self._close_idle)


class _BodyOnly:
    """What a parser tells of a message whose head is known."""

    def __init__(self, protocol: BoundedHttpProtocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete
