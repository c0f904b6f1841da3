"""How a reply goes out: at once where nothing else is asked, else as the directives have it.

``finishing`` is called once per call with its outcome, before the last bytes leave.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from tokenopen.simulator.connection import Connection, Header
from tokenopen.simulator.directive import ABSENT, Directives
from tokenopen.simulator.reply import JSON, Reply, new_id

Finishing = Callable[[str], None]

ANSWERED: Final = "answered"
REFUSED: Final = "refused"
CLIENT_GONE: Final = "client_gone"

_SSE: Final = (b"content-type", b"text/event-stream; charset=utf-8")
_GARBAGE: Final = b"\xff\xfe<garbage>\x00{\n\n"
_ERROR_EVENT: Final = (
    b'data: {"error":{"message":"The server had an error while processing your request.",'
    b'"type":"server_error","param":null,"code":null}}\n\n'
)


async def deliver(reply: Reply, connection: Connection, finishing: Finishing) -> None:
    """Send the reply that nothing was asked of but to be right."""
    if not reply.stream:
        finishing(ANSWERED)
        await send_body(connection, 200, reply.body, content_type=reply.content_type)
        return
    await connection.start(200, [_SSE, (b"x-request-id", new_id(b"req_"))])
    connection.chunks_at_once(reply.events)
    finishing(ANSWERED)
    await connection.body(reply.end_mark)


async def send_body(connection: Connection, status: int, body: bytes, *, content_type: bytes = JSON) -> None:
    """Send a body of known length, JSON where nothing else is said."""
    await connection.start(status, _headers(body, (), content_type))
    await connection.body(body)


def _headers(body: bytes, further_headers: tuple[Header, ...], content_type: bytes = JSON) -> list[Header]:
    length = (b"content-length", b"%d" % len(body))
    return [(b"content-type", content_type), length, (b"x-request-id", new_id(b"req_")), *further_headers]


async def deliver_as_directed(
    reply: Reply,
    directives: Directives,
    connection: Connection,
    finishing: Finishing,
    error_body: Callable[[int, str], bytes],
) -> None:
    """Send the reply as its directives have it."""
    if directives.delay_ms:
        await asyncio.sleep(directives.delay_ms / 1000)
    if connection.gone:
        finishing(CLIENT_GONE)
    elif directives.reset:
        finishing("reset")
        await connection.reset()
    elif directives.silent:
        finishing("silent")
        await connection.until_gone()
    elif reply.stream and not directives.is_error:
        await _stream(reply, directives, connection, finishing)
    else:
        body = reply.body
        if directives.is_error:
            body = bytes(directives.error_body)
            if directives.error_body == ABSENT:
                status = directives.status or 0
                body = error_body(status, f"Simulated error {status}.")
        await _json(body, directives, connection, finishing)


def _further_headers(directives: Directives) -> tuple[Header, ...]:
    headers = directives.headers or {}
    return tuple((name.lower().encode(), value.encode()) for name, value in headers.items())


async def _json(body: bytes, directives: Directives, connection: Connection, finishing: Finishing) -> None:
    if directives.garbage_after_events is not None:
        body = _GARBAGE
    if directives.body_bytes is not None:
        body = _padded(body, directives.body_bytes)
    await connection.start(directives.status or 200, _headers(body, _further_headers(directives)))
    if directives.cut_in_body or directives.silent_in_body:
        await connection.body(body[: len(body) // 2], more=True)
        finishing("cut" if directives.cut_in_body else "silent")
        await (connection.cut() if directives.cut_in_body else connection.until_gone())
        return
    *pieces, last = _pieces([body], directives.split_bytes)
    if await _paced(pieces, directives, connection):
        finishing(REFUSED if directives.is_error else ANSWERED)
        await connection.body(last)
    else:
        finishing(CLIENT_GONE)


def _padded(body: bytes, length: int) -> bytes:
    """Return a JSON object of that many bytes; as it was where it is longer already."""
    member = b',"padding":""}'
    missing = length - (len(body) - 1 + len(member))
    if missing < 0 or not body.endswith(b"}"):
        return body
    return body[:-1] + b',"padding":"' + b"x" * missing + b'"}'


async def _stream(reply: Reply, directives: Directives, connection: Connection, finishing: Finishing) -> None:
    await connection.start(directives.status or 200, [_SSE, *_further_headers(directives)])
    events = [*reply.events] if directives.no_done else [*reply.events, reply.end_mark]
    before_ending, outcome = _ending(directives)
    if before_ending is not None:
        events = events[:before_ending]
    if directives.error_event_after is not None:
        events.append(_ERROR_EVENT)
    elif directives.garbage_after_events is not None:
        events.append(_GARBAGE)
    if directives.crlf:
        events = [event.replace(b"\n", b"\r\n") for event in events]
    pieces = list(_pieces(events, directives.split_bytes))
    last = pieces.pop() if pieces and outcome in _ENDS_PROPERLY else b""
    if not await _paced(pieces, directives, connection):
        finishing(CLIENT_GONE)
        return
    finishing(outcome)
    if outcome in _ENDS_PROPERLY:
        await connection.body(last)
    elif outcome == "silent":
        await connection.until_gone()
    elif outcome == "reset":
        await connection.reset()
    else:
        if outcome == "bad_framing":
            connection.write_raw(b"this is no chunk\r\n")
        await connection.cut()


_ENDS_PROPERLY: Final = (ANSWERED, "error_event", "garbage")


def _ending(directives: Directives) -> tuple[int | None, str]:
    """Return after how many events the stream ends otherwise than well, and as what it is logged."""
    endings = (
        (directives.cut_after_events, "cut"),
        (directives.reset_after_events, "reset"),
        (directives.silent_after_events, "silent"),
        (directives.garbage_after_events, "garbage"),
        (directives.bad_framing_after_events, "bad_framing"),
        (directives.error_event_after, "error_event"),
    )
    return next(((after, outcome) for after, outcome in endings if after is not None), (None, ANSWERED))


def _pieces(events: list[bytes], split_bytes: int | None) -> Iterator[bytes]:
    if split_bytes is None:
        yield from events
        return
    stream = b"".join(events)
    for start in range(0, len(stream), split_bytes):
        yield stream[start : start + split_bytes]


async def _paced(pieces: list[bytes], directives: Directives, connection: Connection) -> bool:
    """Send the pieces, more to follow, each after its wait. Return False when the caller has left."""
    for number, piece in enumerate(pieces):
        if number and directives.chunk_delay_ms:
            await asyncio.sleep(directives.chunk_delay_ms / 1000)
        await connection.body(piece, more=True)
        if connection.gone:
            return False
    if pieces and directives.chunk_delay_ms:
        await asyncio.sleep(directives.chunk_delay_ms / 1000)
    return not connection.gone
