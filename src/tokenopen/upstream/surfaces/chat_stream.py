"""Chat streams: which events pass, which wait for the settlement, and what they report.

    no usage yet      events pass as they come
    usage reported    it and what follows is withheld
      then content    that usage was not the final one: what was withheld passes after all
    [DONE]            the reply is whole: it and all that follows is withheld
    end of the bytes  the reply is whole as well: providers without these marks end so

Providers that repeat running usage in every event thus stay one event behind; the last report stands.
"""

from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.sse import (
    EVENT_BYTES_MAX,
    EventSplitter,
    EventTooLarge,
    parse_event,
    single_line_events,
    with_data,
)
from tokenopen.upstream.surface import ReportConvention
from tokenopen.upstream.usage_report import UsageReport, read_report, usage_from_report

_DATA: Final = b"data: "
_DONE: Final = b"[DONE]"
_SOUND: Final = b'"audio"'
_EVENT_END: Final = b"\n\n"
_BETWEEN_EVENTS: Final = _EVENT_END + _DATA
# What may stand in an event that does not pass; in one that does it costs a closer look.
_NOT_PLAIN: Final = (b"[DONE]", b'"usage":{', b'"usage": {', b'"x_groq"', b'"error"')
# From how many events on it pays to decode them as one.
_MANY: Final = 3
_NO_NAMES: Final = KnownNames(())
_NULL: Final = msgspec.Raw(b"null")


class _Delta(msgspec.Struct, gc=False):
    """What can hold something that a model has written; in other events it is all empty."""

    content: Any = None
    tool_calls: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    function_call: Any = None
    audio: Any = None
    images: Any = None

    def has_content(self) -> bool:
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.reasoning_details
            or self.refusal
            or self.function_call
            or self.audio
            or self.images
        )


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    # Completions have this instead.
    text: Any = None
    # Moonshot reports here.
    usage: msgspec.Raw = _NULL


class _GroqReport(msgspec.Struct, gc=False):
    usage: UsageReport | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: UsageReport | None = None
    x_groq: _GroqReport | None = None
    error: Any = None

    @property
    def report(self) -> UsageReport | None:
        return self.usage if self.usage is not None or self.x_groq is None else self.x_groq.usage

    @property
    def in_choice(self) -> bytes:
        """What is reported inside a choice, unread; null where nothing is."""
        told = [bytes(choice.usage) for choice in self.choices or () if choice.usage != _NULL]
        return told[-1] if told else b"null"

    def has_content(self) -> bool:
        for choice in self.choices or ():
            if choice.text or (choice.delta is not None and choice.delta.has_content()):
                return True
        return False

    def passing_content(self) -> bool | None:
        """Tell whether an event that passes has content; None for one that may report or fail."""
        if self.usage is not None or self.x_groq is not None or self.error is not None:
            return None
        for choice in self.choices or ():
            if choice.usage is not _NULL:
                return None
        return self.has_content()


class _OddChunk(msgspec.Struct, gc=False):
    """What is read of a chunk in which something has another type than it should."""

    choices: Any = None
    usage: msgspec.Raw = _NULL
    error: Any = None


_chunk_decoder: Final = msgspec.json.Decoder(_Chunk)
_odd_chunk_decoder: Final = msgspec.json.Decoder(_OddChunk)


def _read_chunk(data: bytes) -> tuple[_Chunk, bytes]:
    """Return what an event's data says, as far as it can be read, and a usage that is still to be read."""
    try:
        try:
            return _chunk_decoder.decode(data), b"null"
        except msgspec.ValidationError:
            odd = _odd_chunk_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Chunk(), b"null"
    return _Chunk(choices=[_Choice()] if odd.choices else [], error=odd.error), bytes(odd.usage)


class _Withheld(NamedTuple):
    """An event that waits. ``event`` is empty for the usage event that was only asked for by us."""

    event: bytes
    has_content: bool
    has_usage: bool


class ChatStreamReader:
    """Implements StreamReader for chat completions and completions.

    ``feed`` raises EventTooLarge as well, where an event or all that is withheld exceeds EVENT_BYTES_MAX.
    """

    def __init__(self, *, wants_usage: bool, convention: ReportConvention) -> None:
        self.usage: Usage | None = None
        self.whole = False
        self.failed = False
        self.content_events = 0
        self.created_ids: list[str] = []
        self._wants_usage = wants_usage
        self._convention = convention
        self._splitter = EventSplitter()
        self._withheld: list[_Withheld] = []
        self._withheld_bytes = 0
        # May pass, but stood before a usage that cannot be true, whose exception was raised instead.
        self._owed = b""

    def feed(self, data: bytes) -> bytes:
        plain = 0
        if not self._withheld and not self._owed and self._splitter.between_events:
            plain = self._count_plain_bytes(data)
            if plain == len(data):
                return data
        passed = [self._owed, data[:plain]]
        self._owed = b""
        impossible: ImpossibleUsage | None = None
        for event in self._splitter.feed(data[plain:]):
            try:
                self._take(event, passed)
            except ImpossibleUsage as error:
                impossible = error
        if impossible is not None:
            self._owed = b"".join(passed)
            raise impossible
        return b"".join(passed)

    def _count_plain_bytes(self, data: bytes) -> int:
        """Return for how many bytes there is nothing but events that pass; counts those with content.

        Decoding them costs no more than searching their bytes for what does not pass.
        """
        if _SOUND in data:
            # Its id is kept for later calls.
            return 0
        known = self._count_known_bytes(data)
        if known:
            return known
        events = single_line_events(data)
        passing = 0
        try:
            for event in events:
                if not event.startswith(_DATA):
                    break
                chunk = _chunk_decoder.decode(event[len(_DATA) :])
                has_content = chunk.passing_content()
                if has_content is None:
                    break
                passing += 1
                self.content_events += has_content
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Whatever it is, it is looked at more closely.
            pass
        if passing and passing == len(events):
            return len(data)
        return sum(map(len, events[:passing])) + passing * len(b"\n\n")

    def _count_known_bytes(self, data: bytes) -> int:
        """Return the same for many events in nearly all providers' shape, decoded as one; 0 for others."""
        end = len(data)
        for mark in _NOT_PLAIN:
            found = data.find(mark, 0, end)
            if found >= 0:
                # Up to the end of the event before it.
                end = data.rfind(_EVENT_END, 0, found) + len(_EVENT_END)
        count = data.count(_EVENT_END, 0, end)
        if count < _MANY or b"\r" in data or not data.startswith(_DATA):
            return 0
        # Text in JSON holds no line ends, so these are all between events.
        lines = data[len(_DATA) : end - len(_EVENT_END)].replace(_BETWEEN_EVENTS, b"\n")
        try:
            chunks = _chunk_decoder.decode_lines(lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return 0
        if len(chunks) != count or not data.endswith(_EVENT_END, 0, end):
            return 0
        with_content = 0
        for chunk in chunks:
            has_content = chunk.passing_content()
            if has_content is None:
                return 0
            with_content += has_content
        self.content_events += with_content
        return end

    def _take(self, event: bytes, passed: list[bytes]) -> None:
        """Withhold an event, or add it to what may pass. Raises ImpossibleUsage once that is done."""
        name, data = parse_event(event)
        self.whole = self.whole or data.strip() == _DONE
        if self.whole:
            self._withhold(event)
            return
        if name == b"error":
            self.failed = True
        chunk, odd_usage = _read_chunk(data)
        if chunk.error is not None:
            self.failed = True
        has_content = chunk.has_content()
        if has_content:
            self._release(passed)
            self._note_sounds(chunk)
        impossible: ImpossibleUsage | None = None
        usage: Usage | None = None
        try:
            report = chunk.report or read_report(odd_usage) or read_report(chunk.in_choice)
            usage = None if report is None else usage_from_report(report, self._convention)
        except ImpossibleUsage as error:
            impossible = error
        if usage is None and impossible is None and not self._withheld:
            self.content_events += has_content
            passed.append(event)
            return
        self.usage = usage or self.usage
        reports = usage is not None or impossible is not None
        only_for_us = reports and not chunk.choices and chunk.error is None and not self._wants_usage
        self._withhold(b"" if only_for_us else event, has_content, has_usage=chunk.usage is not None)
        if impossible is not None:
            raise impossible

    def _note_sounds(self, chunk: _Chunk) -> None:
        """Note the ids of what is heard."""
        for choice in chunk.choices or ():
            sound = None if choice.delta is None else choice.delta.audio
            found = sound.get("id") if isinstance(sound, dict) else None
            if isinstance(found, str) and found not in self.created_ids:
                self.created_ids.append(found)

    def _withhold(self, event: bytes, has_content: bool = False, *, has_usage: bool = False) -> None:
        self._withheld.append(_Withheld(event, has_content, has_usage))
        self._withheld_bytes += len(event)
        if self._withheld_bytes > EVENT_BYTES_MAX:
            raise EventTooLarge(f"more than {EVENT_BYTES_MAX:,} bytes follow the final usage")

    def _release(self, passed: list[bytes]) -> None:
        for waiting in self._withheld:
            passed.append(waiting.event)
            self.content_events += waiting.has_content
        self._withheld.clear()
        self._withheld_bytes = 0

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
        pieces = [self._owed, *(waiting.event for waiting in self._withheld)]
        reporting = [place for place, waiting in enumerate(self._withheld, 1) if waiting.has_usage]
        if reporting and self._wants_usage and cost is not None:
            pieces[reporting[-1]] = _with_cost(pieces[reporting[-1]], cost)
        return b"".join(pieces) + self._splitter.take_rest()


def _with_cost(event: bytes, cost: str) -> bytes:
    """Return a usage event with ``usage.cost`` in it, in the place of the provider's own where it has one."""
    try:
        chunk = read_object(parse_event(event).data, _NO_NAMES)
        usage = read_object(chunk["usage"], _NO_NAMES)
    except InvalidRequest:
        return event
    return with_data(event, chunk.replaced({"usage": usage.replaced({"cost": msgspec.json.encode(cost)})}))
