"""The provider of the bench: the same reply to every call, for as little CPU as Python can.

    python -m trials.bench_upstream

Prints its port. What a call gets stands in its body: JSON, or a stream of EVENTS events, in one write or, for
the model ``paced``, one every EVENT_PAUSE_S. It does not look at anything else, and never has to close.
"""

import asyncio
import json
import socket
import sys
from typing import Final, cast

import uvloop

EVENTS: Final = 66
EVENT_PAUSE_S: Final = 0.01
INPUT_UNITS: Final = 24
OUTPUT_UNITS: Final = 64
PACED_MODEL: Final = "paced"
_ID: Final = {"id": "chatcmpl-bench0123456789abcdef", "created": 1_767_268_800, "model": "bench"}
_USAGE: Final = {
    "prompt_tokens": INPUT_UNITS,
    "completion_tokens": OUTPUT_UNITS,
    "total_tokens": INPUT_UNITS + OUTPUT_UNITS,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_TEXT: Final = "A gateway that counts every word it lets pass. " * 6


def json_reply() -> bytes:
    """Return a whole reply, head and all."""
    body = json.dumps(
        {
            **_ID,
            "object": "chat.completion",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}
            ],
            "usage": _USAGE,
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def stream_pieces() -> tuple[bytes, list[bytes], bytes]:
    """Return a stream's head, its events as chunks, and its end. The last event is the usage."""
    kind = {**_ID, "object": "chat.completion.chunk"}
    deltas = [{"content": f" word{number:02}"} for number in range(EVENTS - 2)]
    events = [
        *({**kind, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas),
        {**kind, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**kind, "choices": [], "usage": _USAGE},
    ]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [_chunk(b"data: %b\n\n" % json.dumps(event).encode()) for event in events]
    return head, chunks, _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_JSON: Final = json_reply()
_HEAD, _CHUNKS, _END = stream_pieces()
_BURST: Final = _HEAD + b"".join(_CHUNKS) + _END


class _Provider(asyncio.Protocol):
    """One connection: a request is whole with the last byte of its content-length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        self._transport = cast(asyncio.Transport, transport)
        self._gathered = b""

    def data_received(self, data: bytes) -> None:
        self._gathered = data = self._gathered + data if self._gathered else data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return
        at = data.lower().find(b"content-length:", 0, head_end)
        length = int(data[at + 15 : data.find(b"\r", at)]) if at >= 0 else 0
        if len(data) < head_end + 4 + length:
            return
        self._gathered = b""
        self._answer(data[head_end + 4 :])

    def _answer(self, body: bytes) -> None:
        if b'"stream":true' not in body:
            self._transport.write(_JSON)
        elif b'"paced"' not in body:
            self._transport.write(_BURST)
        else:
            self._transport.write(_HEAD)
            self._go_on(0)

    def _go_on(self, place: int) -> None:
        if self._transport.is_closing():
            return
        if place == EVENTS:
            self._transport.write(_END)
            return
        self._transport.write(_CHUNKS[place])
        asyncio.get_running_loop().call_later(EVENT_PAUSE_S, self._go_on, place + 1)


async def _serve() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = await asyncio.get_running_loop().create_server(_Provider, sock=listener)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
