"""HTTP protocol: uvicorn's, with bounds on a request's head, which anybody can send before any key is read.

uvicorn neither bounds a head's size nor how long it may take to come (OWASP: slow HTTP attacks). Requests are
given to the application when their bytes have been taken in, so that nearly all are whole by then, and no
timer is set for what comes at once: one that is set looks for itself whether its time has come.
"""

import asyncio
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tokenopen.api.exchange import EXCHANGE, Exchange

HEAD_BYTES_MAX: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 30
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose next request's head is too large or does not come in time."""

    _head_bytes = 0
    # Between a request's first byte and the end of its head.
    _head_begun = False
    _head_timer: asyncio.TimerHandle | None = None
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
        super().data_received(data)
        exchange, self._next = self._next, None
        if self.transport.is_closing():
            return
        if exchange is not None:
            self._start_asgi_task(exchange, self.app)
        if self._head_begun:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
            elif self._head_timer is None:
                self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_begun = True
        self._head_bytes = 0
        self._idle_since_s = None

    def on_headers_complete(self) -> None:
        self._head_begun = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        http_version = self.parser.get_http_version()
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        scope = cast(dict[str, Any], self.scope)
        scope["http_version"] = http_version
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = target.path
        scope["query_string"] = target.query or b""
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
        super()._start_asgi_task(cycle, app)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close_late)

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._idle_timer = None

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
            self.transport.close()
        else:
            self._idle_timer = self.loop.call_later(left_s, self._close_idle)
