"""Server-sent events: a byte stream cut into events, however it arrives in pieces (WHATWG HTML, 9.2.5).

Lines end with LF, CR LF or CR, in any mixture; an empty line ends an event. The events of a stream joined
are the stream, byte for byte.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

EVENT_BYTES_MAX: Final = 32 * 1024 * 1024

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# A CR after a line's end may be half of a CR LF: which, only the next byte tells. A CR after a CR ends the
# event at once; should LF follow, that is an empty line of the next event, and changes nothing there.
_END: Final = re.compile(rb"\n\n|\n\r\n|\n\r(?=[^\n])|\r\r")
_LINE: Final = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|$)")
# How much of what was searched already may be the beginning of an end.
_END_BYTES_BEFORE: Final = 3


class EventTooLarge(ValueError):
    """An event does not end within EVENT_BYTES_MAX."""


class EventSplitter:
    """Cuts a stream into events. The work is linear in the stream's length, whatever its pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()
        # Streams without CR, nearly all, are searched several times faster.
        self._has_cr = False

    @property
    def between_events(self) -> bool:
        """Whether all that has come so far are whole events."""
        return not self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are whole now, each with the empty line that ends it.

        Raises EventTooLarge.
        """
        self._has_cr = self._has_cr or b"\r" in data
        rest = self._rest
        if not rest:
            return self._cut(data, self._find_end(data, 0))
        searched = max(0, len(rest) - _END_BYTES_BEFORE)
        rest += data
        end = self._find_end(rest, searched)
        if end < 0:
            self._limit()
            return []
        self._rest = bytearray()
        return self._cut(bytes(rest), end)

    def take_rest(self) -> bytes:
        """Return what has come of an event that has not ended, and forget it."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _find_end(self, data: bytes | bytearray, start: int) -> int:
        """Return where the next event ends, -1 where none does."""
        if self._has_cr:
            match = _END.search(data, start)
            return -1 if match is None else match.end()
        found = data.find(b"\n\n", start)
        return found if found < 0 else found + 2

    def _cut(self, data: bytes, end: int) -> list[bytes]:
        """Return the events in ``data``, the first of which ends at ``end``; keep the rest."""
        events = []
        begin = 0
        while end >= 0:
            events.append(data[begin:end])
            begin, end = end, self._find_end(data, end)
        self._rest += data[begin:]
        self._limit()
        return events

    def _limit(self) -> None:
        if len(self._rest) > EVENT_BYTES_MAX:
            raise EventTooLarge(f"an event is larger than {EVENT_BYTES_MAX:,} bytes")


class Event(NamedTuple):
    """What an event says: its ``event:`` field and its ``data:`` lines joined, empty where it has none."""

    name: bytes
    data: bytes


def parse_event(event: bytes) -> Event:
    """Return what an event says; comments and other fields are left out."""
    # The two ways in which nearly all are written, tried first because it is several times faster.
    first = event.find(b"\n")
    if event.startswith(b"data: ") and first == len(event) - 2 and b"\r" not in event:
        return Event(b"", event[6:-2])
    if (
        event.startswith(b"event: ")
        and event.startswith(b"data: ", first + 1)
        and event.find(b"\n", first + 1) == len(event) - 2
        and b"\r" not in event
    ):
        return Event(event[7:first], event[first + 7 : -2])
    name = b""
    data: list[bytes] = []
    for line in (
        event.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    ):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return Event(name, b"\n".join(data))


def with_data(event: bytes, data: bytes) -> bytes:
    """Return an event with other data; its other lines and line ends stay as they are."""
    pieces = []
    pending: bytes | None = data
    for match in _LINE.finditer(event):
        line, end = match.groups()
        mark, field = (b"", line) if not line.startswith(_BYTE_ORDER_MARK) else (line[:3], line[3:])
        if field.partition(b":")[0] != b"data":
            pieces.append(line + end)
        elif pending is not None:
            pieces.append(mark + b"data: " + pending.replace(b"\n", (end or b"\n") + b"data: ") + end)
            pending = None
    return b"".join(pieces)


def single_line_events(data: bytes) -> Sequence[bytes]:
    """Return the events without their ends where each is one line and ends with two LF, else nothing.

    That is how nearly every provider writes; it costs a fraction of looking for any other end.
    """
    if not data.endswith(b"\n\n") or b"\r" in data:
        return ()
    if data.find(b"\n") == len(data) - 2:
        return (data[:-2],)
    lines = data.split(b"\n")
    return () if any(lines[1::2]) else lines[0:-1:2]
