"""Streams that one event marks as whole: what comes before it passes, it and what follows is withheld."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.sse import EVENT_BYTES_MAX, Event, EventSplitter, EventTooLarge, parse_event


class Seen(NamedTuple):
    """What an event is: whether it holds something a model has written, marks the reply as whole, ends it;
    and why a usage in it cannot be true."""

    has_content: bool = False
    is_mark: bool = False
    is_end: bool = False
    impossible: ImpossibleUsage | None = None


class MarkedStreamReader(ABC):
    """Implements StreamReader but for what the events of a surface mean.

    ``feed`` raises EventTooLarge as well, where an event or all that is withheld exceeds EVENT_BYTES_MAX.
    """

    def __init__(self) -> None:
        self.whole = False
        self.failed = False
        self.content_events = 0
        self._splitter = EventSplitter()
        self._is_marked = False
        self._withheld: list[bytes] = []
        self._withheld_bytes = 0
        # May pass, but came with a usage that cannot be true, whose exception was raised instead.
        self._owed = b""

    @property
    def created_ids(self) -> Sequence[str]:
        """As StreamReader's."""
        return ()

    @property
    @abstractmethod
    def usage(self) -> Usage | None:
        """As StreamReader's."""

    @abstractmethod
    def _see(self, event: Event) -> Seen:
        """Return what an event is, once its usage and failure are noted."""

    def feed(self, data: bytes) -> bytes:
        untouched = self._splitter.between_events and not self._owed
        passed = [self._owed]
        self._owed = b""
        impossible: ImpossibleUsage | None = None
        for event in self._splitter.feed(data):
            try:
                self._take(event, passed)
            except ImpossibleUsage as error:
                impossible = error
        if impossible is not None:
            self._owed = b"".join(passed)
            raise impossible
        if untouched and self._splitter.between_events and not self._withheld:
            return data
        return b"".join(passed)

    def _take(self, event: bytes, passed: list[bytes]) -> None:
        """Withhold an event, or add it to what may pass. Raises ImpossibleUsage once that is done."""
        said = parse_event(event)
        seen = Seen() if self.whole else self._see(said)
        self.failed = self.failed or said.name == b"error"
        self._is_marked = self._is_marked or seen.is_mark
        self.whole = self.whole or seen.is_end
        if self._is_marked:
            self._withhold(event)
        else:
            self.content_events += seen.has_content
            passed.append(event)
        if seen.impossible is not None:
            raise seen.impossible

    def _withhold(self, event: bytes) -> None:
        self._withheld.append(event)
        self._withheld_bytes += len(event)
        if self._withheld_bytes > EVENT_BYTES_MAX:
            raise EventTooLarge(f"more than {EVENT_BYTES_MAX:,} bytes follow the mark of a whole reply")

    def end(self) -> None:
        rest = self._splitter.take_rest()
        if rest:
            passed = [self._owed]
            # An event without an end is one that clients may drop; what was reported before it stands.
            with suppress(ImpossibleUsage):
                self._take(rest, passed)
            self._owed = b"".join(passed)
        self.whole = True

    def tail(self, cost: str | None) -> bytes:
        return b"".join((self._owed, *self._withheld)) + self._splitter.take_rest()
