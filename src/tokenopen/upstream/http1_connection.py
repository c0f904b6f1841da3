"""One HTTP/1.1 connection to a provider: a request out, then its reply in, strictly and byte for byte.

    resting --exchange--> waiting --head--> reading --end--> whole --all read--> resting
       |                     |                 |               |
       '---------------------'----> closed <---'---------------'

``waiting`` is for the head of a reply; ``whole`` means that a reply's end has come in, not that it has
been read. A connection rests only where the next reply cannot be confused with this one: the framing said
where this one ends, nothing came after it, the request had gone out whole, and nobody asked to close.
What closes a connection early is kept in ``failure`` and raised to whoever reads, after the bytes that
came before it.
"""

import asyncio
import math
import select
from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import httptools

from tokenopen.ports.upstream import (
    FirstByteTimeout,
    IdleTimeout,
    ReplyBroken,
    StreamedBody,
    UpstreamFailure,
)
from tokenopen.upstream.http1_head import (
    HEAD_BYTES_MAX,
    INTERIM_STATUSES,
    Header,
    HeadMalformed,
    read_reply_headers,
    refuse_long_head,
)

UNREAD_BYTES_MAX: Final = 256 * 1024
# Heads, chunk extensions and trailers: a reply may send this many bytes without one of its body.
_FRAMING_BYTES_MAX: Final = HEAD_BYTES_MAX
# A request up to this size goes out in one write; beyond it, in pieces of the second size.
_ONE_WRITE_BYTES_MAX: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024
# A connection that rested this long is asked whether the provider has closed it meanwhile.
_RESTED_LONG_S: Final = 1.0

RESTING: Final = "resting"
WAITING: Final = "waiting"
READING: Final = "reading"
WHOLE: Final = "whole"
CLOSED: Final = "closed"


class _StopParsing(Exception):
    """Raised in the parser's callbacks, after the state has been set, to make it take no further byte."""


class Connection(asyncio.Protocol):
    """``on_rest`` is told when the connection can be used again, ``on_closed`` once it never can be."""

    def __init__(
        self,
        *,
        rest_max_s: float,
        on_rest: Callable[["Connection"], None],
        on_closed: Callable[["Connection"], None],
    ) -> None:
        self.state: str = RESTING
        self.failure: UpstreamFailure | None = None
        self.status = 0
        self.headers: Sequence[Header] = ()
        self.chunks: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, None)  # until connection_made
        self._rest_max_s = rest_max_s
        self._on_rest = on_rest
        self._on_closed = on_closed
        self._rested_at = self._loop.time()
        self._raw_headers: list[Header] = []
        self._expects_body = True
        self._ends_with_connection = False
        self._reusable = False
        self._request_out = True
        self._writing_paused = False
        self._reading_paused = False
        self._unread_bytes = 0
        self._framing_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        # One timer per connection, which is only armed anew when a deadline comes before it.
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        # The parser looks its callbacks up once; this one is called for every chunk, so it is no Python.
        self.on_body = self.chunks.append
        self._parser = httptools.HttpResponseParser(self)

    # What the pool and the reply call.

    def is_alive(self) -> bool:
        """Return whether the provider still holds its end of a resting connection, as far as can be told."""
        if self.state is not RESTING or self._transport.is_closing():
            return False
        if self._loop.time() - self._rested_at < _RESTED_LONG_S:
            return True
        # The provider may have closed since the loop last looked; a request sent now would be lost.
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    async def exchange(
        self, head: bytes, body: bytes | StreamedBody, *, expects_body: bool, first_byte_timeout_s: float
    ) -> None:
        """Send a request; return when the head of its reply has come. Cancelling closes the connection.

        The first-byte timeout runs from when the request is out; while a large one is on its way, each
        piece of it has that time to be taken. Raises FirstByteTimeout, ReplyBroken.
        """
        assert self.state is RESTING
        self.state = WAITING
        self.status = self._unread_bytes = self._framing_bytes = 0
        self._expects_body = expects_body
        try:
            if not isinstance(body, bytes):
                await self._write_pieces(head, body.pieces(), first_byte_timeout_s)
            elif len(head) + len(body) <= _ONE_WRITE_BYTES_MAX:
                self._transport.write(head + body)
            else:
                await self._write_pieces(head, _pieces(body), first_byte_timeout_s)
            while self.state is WAITING:
                await self.changed(first_byte_timeout_s)
        except BaseException:
            self.close()
            raise
        if not self.status:
            assert self.failure is not None
            raise self.failure

    def changed(self, timeout_s: float) -> asyncio.Future[None]:
        """Return what is done when there is something new; the connection fails after the timeout."""
        assert self._waiter is None, "a reply has one reader"
        self._deadline = deadline = self._loop.time() + timeout_s
        if deadline < self._timer_at:
            self._arm_timer()
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def take_bytes(self) -> bytes:
        """Return the bytes of the body that have gathered, which lets the provider send on."""
        data = b"".join(self.chunks)
        self.chunks.clear()
        self._unread_bytes = 0
        if self._reading_paused:
            self._reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    def rest(self) -> None:
        """Be free for the next call, now that a reply was read whole; close where that is not safe."""
        assert self.state is WHOLE
        assert not self.chunks
        if not self._reusable or self._transport.is_closing():
            self.close()
            return
        self.state = RESTING
        self._rested_at = now = self._loop.time()
        self._deadline = deadline = now + self._rest_max_s
        if deadline < self._timer_at:
            self._arm_timer()
        self._on_rest(self)

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self._fail(ReplyBroken("the connection was closed on this side"))

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Writing goes on only once all is out: that is when the first-byte timeout of a request begins.
        self._transport.set_write_buffer_limits(high=_ONE_WRITE_BYTES_MAX, low=0)

    def data_received(self, data: bytes) -> None:
        if self.state is not READING and self.state is not WAITING:
            self._spoil("the provider sent bytes that nobody had asked for")
            return
        chunk_count = len(self.chunks)
        self._unread_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not isinstance(error.__context__, _StopParsing):
                self._spoil(f"the reply is not valid HTTP/1.1: {error}")
        if len(self.chunks) > chunk_count:
            self._framing_bytes = 0
            if self._unread_bytes > UNREAD_BYTES_MAX:
                self._pause_reading()
            self._wake()
        elif self.state is READING or self.state is WAITING:
            self._framing_bytes += len(data)
            if self._framing_bytes > _FRAMING_BYTES_MAX:
                self._fail(ReplyBroken("the reply's head, chunk extensions or trailers are too long"))
        else:
            self._wake()

    def eof_received(self) -> None:
        if self.state is READING and self._ends_with_connection:
            self.state = WHOLE
            self._reusable = False
            self._wake()
        else:
            self._spoil("the provider closed the connection before its reply's end")

    def connection_lost(self, exc: Exception | None) -> None:
        self._spoil(f"the connection was lost before the reply's end: {exc!r}")

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self.state is WAITING:
            self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.state is not WAITING:
            self._spoil("the provider sent more than its reply")
            raise _StopParsing
        self._raw_headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status in INTERIM_STATUSES:
            return
        try:
            self.headers, framed = read_reply_headers(
                status, self._parser.get_http_version(), self._raw_headers
            )
            if self._unread_bytes > HEAD_BYTES_MAX:
                refuse_long_head(self._raw_headers)
        except HeadMalformed as error:
            self._fail(ReplyBroken(str(error)))
            raise _StopParsing from error
        self.status = status
        self._ends_with_connection = not framed
        self._reusable = self._request_out and self._parser.should_keep_alive()
        self.state = READING
        self._wake()
        if not self._expects_body:
            # The parser cannot know that a reply to HEAD has no body, and would wait for it.
            self.state = WHOLE
            self._reusable = False
            raise _StopParsing

    def on_message_complete(self) -> None:
        if self.state is READING:
            self.state = WHOLE

    # What happens inside.

    async def _write_pieces(
        self, head: bytes, pieces: Iterator[bytes | memoryview], timeout_s: float
    ) -> None:
        """Hand over a large request as fast as it is taken, and no more of it once the reply begins."""
        self._request_out = False
        self._transport.write(head)
        for piece in pieces:
            self._transport.write(piece)
            while self._writing_paused and self.state is WAITING:
                await self.changed(timeout_s)
            if self.state is not WAITING or self._transport.is_closing():
                return
        self._request_out = True

    def _pause_reading(self) -> None:
        if self.state is READING and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _spoil(self, reason: str) -> None:
        """Never use the connection again; a reply that is whole can still be read."""
        if self.state is WHOLE:
            self._reusable = False
        else:
            self._fail(ReplyBroken(reason))

    def _fail(self, failure: UpstreamFailure) -> None:
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self.failure = failure
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        self._on_closed(self)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            self._deadline = math.inf
            if not waiter.done():
                waiter.set_result(None)

    def _arm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._deadline > self._loop.time():
            # It was armed for a wait that is over; the present one has time left, or nobody waits.
            if self._deadline < math.inf:
                self._arm_timer()
        elif self.state is RESTING:
            self.close()
        elif self.state is WAITING:
            self._fail(FirstByteTimeout("the request was sent and no reply began in time"))
        else:
            self._fail(IdleTimeout("the reply began, then stood still"))


def _pieces(body: bytes) -> Iterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), _PIECE_BYTES):
        yield view[start : start + _PIECE_BYTES]
