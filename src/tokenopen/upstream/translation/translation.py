"""Translation: what the gateway needs of one, and what is the same for every pair of APIs.

The provider's reply is read and metered by the surface it speaks, as any of its replies; what may pass to
the caller is written anew in the caller's shape. So what is withheld until the settlement is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.sse import Event, EventSplitter, parse_event
from tokenopen.upstream.surface import CallRequest, ReportConvention, StreamReader, Surface


class Untranslatable(ValueError):
    """A provider's reply holds what the caller's API has nothing like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A request in the provider's shape, without a maximum of output: it is named for each provider anew.

    ``left_out`` are the names of hints that it does not carry.
    """

    request: CallRequest
    left_out: Sequence[str]


class EventWriter(Protocol):
    """Writes a stream in the caller's shape, event by event of the provider's."""

    def write(self, event: Event) -> bytes:
        """Return what an event becomes, often nothing. Raises Untranslatable."""

    def end(self, usage: Usage | None, cost: str | None) -> bytes:
        """Return what ends the stream; nothing where the provider's did not end as a whole one does.

        ``cost`` is the charge in credits, for callers who asked for usage.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """One direction: ``spoken`` is the name of the surface that callers speak, ``wire`` the provider's."""

    spoken: str
    wire: Surface
    carry: Callable[[CallRequest], Carried]
    """Return a request in the provider's shape. Refuses InvalidRequest naming what it has nothing like."""
    write_reply: Callable[[bytes, Usage | None, int], bytes]
    """Return a whole JSON reply in the caller's shape, given when it was made in seconds since 1970. Raises
    Untranslatable."""
    write_rejection: Callable[[int, bytes], bytes]
    """Return a provider's refusal in the caller's shape, in the provider's words."""
    event_writer: Callable[[CallRequest, int], EventWriter]
    """Return a writer for one streamed reply to what was asked, given when it began."""

    def reply(self, body: bytes, *, convention: ReportConvention, created_s: int) -> bytes:
        """Return a whole JSON reply in the caller's shape. Raises Untranslatable."""
        try:
            usage = self.wire.read_reply(body, convention=convention)
        except ImpossibleUsage:
            usage = None
        return self.write_reply(body, usage, created_s)

    def stream_reader(self, reader: StreamReader, asked: CallRequest, *, created_s: int) -> StreamReader:
        """Return a reader whose bytes are in the caller's shape. Its methods raise Untranslatable."""
        return TranslatedStreamReader(reader, self.event_writer(asked, created_s))


class TranslatedStreamReader:
    """Implements StreamReader: the provider's reader meters and withholds, a writer writes what passes."""

    def __init__(self, reader: StreamReader, writer: EventWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._splitter = EventSplitter()
        self._last = b""
        self.whole = False
        self.failed = False

    @property
    def usage(self) -> Usage | None:
        return self._reader.usage

    @property
    def content_events(self) -> int:
        return self._reader.content_events

    @property
    def created_ids(self) -> Sequence[str]:
        return self._reader.created_ids

    def feed(self, data: bytes) -> bytes:
        try:
            return self._write(self._reader.feed(data))
        finally:
            self.whole, self.failed = self._reader.whole, self._reader.failed

    def end(self) -> None:
        self._reader.end()
        self.whole, self.failed = self._reader.whole, self._reader.failed
        # Written before the settlement: a reply that cannot be translated is never charged as a whole one.
        last = self._write(self._reader.tail(None))
        rest = self._splitter.take_rest()
        self._last = last + (self._writer.write(parse_event(rest)) if rest else b"")

    def tail(self, cost: str | None) -> bytes:
        last, self._last = self._last, b""
        return last + self._writer.end(self._reader.usage, cost)

    def _write(self, passed: bytes) -> bytes:
        return b"".join(self._writer.write(parse_event(event)) for event in self._splitter.feed(passed))
