"""The load of the bench: as fast as wrk can, at a steady rate, and slow streams beside each other."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from trials.bench_upstream import EVENTS, PACED_MODEL

_WORDS: Final = 20
_TIMEOUT_S: Final = 60
_WRK_DONE: Final = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"calls":%d,"us":%d,"errors":%d}\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def body(model: str, *, stream: bool) -> bytes:
    """Return a call's body, without white space."""
    said: dict[str, object] = {
        "model": model,
        "messages": [{"role": "user", "content": "word " * _WORDS}],
        "max_tokens": 64,
    }
    return json.dumps(said | ({"stream": True} if stream else {}), separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where calls are sent, and which process takes them; the kernel tells of its CPU time."""

    name: str
    port: int
    pid: int
    secret: str

    def request(self, model: str, *, stream: bool) -> bytes:
        """Return a whole request."""
        content = body(model, stream=stream)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Authorization: Bearer {self.secret}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


def has_wrk() -> bool:
    """Tell whether wrk is installed."""
    return shutil.which("wrk") is not None


def flood(target: Target, *, stream: bool, connections: int, seconds: float) -> tuple[int, float]:
    """Have wrk call as fast as it can; return how many calls were answered, and in how many seconds."""
    content = body("bench", stream=stream).decode()
    script = (
        f"wrk.method = 'POST'\nwrk.body = '{content}'\n"
        f"wrk.headers['Authorization'] = 'Bearer {target.secret}'\n"
        f"wrk.headers['Content-Type'] = 'application/json'\n{_WRK_DONE}"
    )
    with tempfile.TemporaryDirectory(prefix="tokenopen-wrk-") as directory:
        path = Path(directory) / "call.lua"
        path.write_text(script)
        done = subprocess.run(
            [
                *("wrk", "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"),
                *("-s", str(path), f"http://127.0.0.1:{target.port}/v1/chat/completions"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["errors"] == 0, f"{target.name}: {done.stdout}"
    return told["calls"], told["us"] / 1_000_000


class _Caller(asyncio.Protocol):
    """A connection that makes one call after the other and looks only for a reply's end."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._gathered = bytearray()
        self._missing: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        self.transport = cast(asyncio.Transport, transport)

    async def call(self, request: bytes) -> None:
        """Make a call, which has to be answered 200 and whole."""
        self._gathered.clear()
        self._missing = None
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        async with asyncio.timeout(_TIMEOUT_S):
            await self._waiter
        assert self._gathered.startswith(b"HTTP/1.1 200"), bytes(self._gathered[:300])

    def data_received(self, data: bytes) -> None:
        self._gathered += data
        if self._missing is None:
            head_end = self._gathered.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = bytes(self._gathered[:head_end]).lower()
            at = head.find(b"content-length: ")
            # Of a chunked reply the end is looked for.
            self._missing = head_end + 4 + int(head[at + 16 :].split(b"\r", 1)[0]) if at >= 0 else -1
        whole = (
            self._gathered.endswith(b"\r\n0\r\n\r\n")
            if self._missing < 0
            else len(self._gathered) >= self._missing
        )
        if whole:
            self._wake(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wake(exc or ConnectionError("the connection was closed before the reply's end"))

    def _wake(self, error: Exception | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


async def _connect(target: Target, count: int) -> list[_Caller]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(_Caller, "127.0.0.1", target.port))[1] for _ in range(count)]


async def pace(target: Target, *, rate: int, seconds: float, callers: int = 32) -> list[float]:
    """Call at a steady rate; return how long each call took from when it was due, in ms."""
    request = target.request("bench", stream=False)
    free: asyncio.Queue[_Caller] = asyncio.Queue()
    lines = await _connect(target, callers)
    for line in lines:
        free.put_nowait(line)
    took_ms: list[float] = []

    async def make(due_s: float) -> None:
        line = await free.get()
        await line.call(request)
        took_ms.append((time.perf_counter() - due_s) * 1000)
        free.put_nowait(line)

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as calls:
        for number in range(int(rate * seconds)):
            due_s = began_s + number / rate
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            calls.create_task(make(due_s))
    _close(lines)
    return took_ms


async def drip(target: Target, *, streams: int, seconds: float) -> int:
    """Keep so many slow streams running; return how many events they were made of."""
    request = target.request(PACED_MODEL, stream=True)
    lines = await _connect(target, streams)
    end_s = time.perf_counter() + seconds
    done = 0

    async def go_on(line: _Caller) -> None:
        nonlocal done
        while time.perf_counter() < end_s:
            await line.call(request)
            done += 1

    await asyncio.gather(*map(go_on, lines))
    _close(lines)
    return done * EVENTS


def _close(lines: Sequence[_Caller]) -> None:
    for line in lines:
        line.transport.abort()
