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
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that are whole now. Raises EventTooLarge."""
        data = self._rest + data if self._rest else data
        if b"\r" not in data:
            *whole, self._rest = data.split(b"\n\n")
            events = [event + b"\n\n" for event in whole]
        else:
            events = self._feed_mixed(data)
        if len(self._rest) > EVENT_BYTES_MAX:
            raise EventTooLarge(f"an event is larger than {EVENT_BYTES_MAX} bytes")
        return events

    def _feed_mixed(self, data: bytes) -> list[bytes]:
        events = []
        begin = 0
        for match in _END.finditer(data):
            # A CR at the very end may be the first half of CRLF, which the next piece will tell.
            if match.end() == len(data) and data.endswith(b"\r"):
                break
            events.append(data[begin : match.end()])
            begin = match.end()
        self._rest = data[begin:]
        return events

    @property
    def rest(self) -> bytes:
        """What has come of an event that has not ended."""
        return self._rest


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
