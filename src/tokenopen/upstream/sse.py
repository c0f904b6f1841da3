"""Server-sent events: a stream of bytes cut into events, however it arrives in pieces.

An event ends with an empty line; lines end with LF, CRLF or CR (WHATWG HTML, 9.2.5).
"""

import re
from typing import Final

EVENT_BYTES_MAX: Final = 32 * 1024 * 1024
_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n|\r\n\r|\r\r\n|\n\r")


class EventTooLarge(ValueError):
    """No end of an event within EVENT_BYTES_MAX."""


class EventSplitter:
    """Cuts a stream into events; each comes with its end, so their sum is the stream."""

    def __init__(self) -> None:
        # What has come of an event that has not ended; joined only once its end is there.
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are whole now. Raises EventTooLarge."""
        if self._parts:
            # An end may lie across the cut; its longest form has four bytes.
            if not _END.search(self._parts[-1][-3:] + data) and len(data) > 3:
                return self._keep(data)
            data = b"".join((*self._parts, data))
            self._parts.clear()
            self._size = 0
        if b"\r" in data:
            events, rest = _split_mixed(data)
        else:
            *whole, rest = data.split(b"\n\n")
            events = [event + b"\n\n" for event in whole]
        if rest:
            self._keep(rest)
        return events

    def _keep(self, data: bytes) -> list[bytes]:
        self._parts.append(data)
        self._size += len(data)
        if self._size > EVENT_BYTES_MAX:
            raise EventTooLarge(f"an event is larger than {EVENT_BYTES_MAX} bytes")
        return []

    @property
    def has_rest(self) -> bool:
        """Tell whether an event has begun that has not ended."""
        return bool(self._parts)

    @property
    def rest(self) -> bytes:
        """What has come of an event that has not ended."""
        return b"".join(self._parts)


def _split_mixed(data: bytes) -> tuple[list[bytes], bytes]:
    events = []
    begin = 0
    for match in _END.finditer(data):
        # A CR at the very end may be the first half of CRLF, which the next piece will tell.
        if match.end() == len(data) and data.endswith(b"\r"):
            break
        events.append(data[begin : match.end()])
        begin = match.end()
    return events, data[begin:]


def data_of(event: bytes) -> bytes:
    """Return an event's data: its ``data:`` lines joined; empty where it has none."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2 and b"\r" not in event:
        return event[6:-2]
    parts = []
    for line in re.split(rb"\r\n|\n|\r", event):
        name, colon, value = line.partition(b":")
        if name == b"data":
            parts.append(value.removeprefix(b" ") if colon else b"")
    return b"\n".join(parts)
