"""Raw HTTP: bytes sent just as they are, each case over a connection of its own, and what came back.

Nothing is smoothed over on the way, as any client library would do: a case may be half a request, two at
once, or no HTTP at all.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

# By then every case has to be answered or its connection closed; a head has 30 s, a body 60 s.
DEADLINE_S: Final = 90
# How long after an answer a second one is waited for, which a smuggled request would get.
_ONE_MORE_S: Final = 0.02
# How long after what is not whole its sender's side is closed.
_PATIENCE_S: Final = 0.05
_PIECE_BYTES: Final = 65_536
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) [^\r\n]*\r\n")
_LENGTH: Final = re.compile(rb"^content-length: ([0-9]+)\r$", re.IGNORECASE | re.MULTILINE)
_BODILESS: Final = (204, 304)

# refused: every answer is 4xx, or there is none. harmless: no 5xx. legal: one call, charged.
Verdict = Literal["refused", "harmless", "legal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is sent, piece by piece. One that ``waits`` is not whole: the sender's side is closed after it."""

    name: str
    pieces: Sequence[bytes]
    verdict: Verdict = "refused"
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The statuses that came, without those of 100 to 199; whether it was over in time; the bytes."""

    statuses: Sequence[int]
    in_time: bool
    seconds: float
    raw: bytes

    def mistake(self, case: Case) -> str | None:
        """Return what is wrong with this answer to a case, None where nothing is."""
        if not self.in_time:
            return f"neither answered nor closed within {DEADLINE_S} s"
        if any(status >= 500 for status in self.statuses):
            return f"answered {self.statuses}"
        if self.raw and not self.statuses and not self.raw.startswith(b"HTTP/1.1 100 "):
            return "answered what is no HTTP"
        if case.verdict == "refused" and any(status < 400 for status in self.statuses):
            return f"answered {self.statuses}"
        if case.verdict == "legal" and list(self.statuses) != [200]:
            return f"answered {self.statuses}"
        return None


def read_answers(raw: bytes, *, without_body: bool) -> tuple[list[int], bool]:
    """Return the statuses of the answers in ``raw``, and whether the last one is whole."""
    statuses: list[int] = []
    at = 0
    while at < len(raw):
        line = _STATUS_LINE.match(raw, at)
        head_end = raw.find(b"\r\n\r\n", at)
        if line is None or head_end < 0:
            return statuses, False
        status, head = int(line[1]), raw[at : head_end + 2]
        at = head_end + 4
        if status < 200:
            continue
        statuses.append(status)
        if without_body or status in _BODILESS:
            continue
        if (length := _LENGTH.search(head)) is not None:
            at += int(length[1])
            if at > len(raw):
                return statuses, False
            continue
        body_end = raw.find(b"\r\n0\r\n\r\n", at - 2)
        if body_end < 0:
            return statuses, False
        at = body_end + 7
    return statuses, bool(statuses)


async def send_case(host: str, port: int, case: Case) -> Answered:
    """Send a case and return what came of it."""
    began_s = time.monotonic()
    raw = bytearray()
    without_body = case.pieces[0].startswith(b"HEAD ")
    in_time = True
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            sending = asyncio.create_task(_send(writer, case))
            try:
                await _read(reader, raw, without_body)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
    except TimeoutError:
        in_time = False
    finally:
        writer.transport.abort()
    statuses, _ = read_answers(bytes(raw), without_body=without_body)
    return Answered(
        statuses=statuses, in_time=in_time, seconds=time.monotonic() - began_s, raw=bytes(raw[:2_000])
    )


async def _send(writer: asyncio.StreamWriter, case: Case) -> None:
    # A server that has had enough closes while it is still being sent to.
    with contextlib.suppress(ConnectionError):
        for number, piece in enumerate(case.pieces):
            if number:
                await asyncio.sleep(0.005)
            writer.write(piece)
            await writer.drain()
        if case.waits:
            await asyncio.sleep(_PATIENCE_S)
            writer.write_eof()


async def _read(reader: asyncio.StreamReader, raw: bytearray, without_body: bool) -> None:
    """Read until the server closes, or has answered and adds nothing."""
    with contextlib.suppress(ConnectionError):
        while True:
            _, whole = read_answers(bytes(raw), without_body=without_body)
            try:
                async with asyncio.timeout(_ONE_MORE_S if whole else None):
                    data = await reader.read(_PIECE_BYTES)
            except TimeoutError:
                return
            if not data:
                return
            raw += data


async def send_cases(
    host: str, port: int, cases: Sequence[Case], *, at_once: int = 16
) -> list[tuple[Case, Answered]]:
    """Send cases, so many at once, and return what came of each."""
    answered: list[tuple[Case, Answered]] = []
    waiting = iter(cases)

    async def go_on() -> None:
        answered.extend([(case, await send_case(host, port, case)) for case in waiting])

    await asyncio.gather(*(go_on() for _ in range(at_once)))
    return answered
