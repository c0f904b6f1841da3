"""Chat streams: which events pass, which wait for the settlement, and what they report.

Withheld from the event with the final usage, or from ``[DONE]``, whichever comes first. A provider may
repeat running usage in every event: an event that follows with content shows that the one before was not
the final one, and sets it free.
"""

from typing import Any, Final

import msgspec

from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.json_body import UNREADABLE
from tokenopen.upstream.sse import EventSplitter, data_of
from tokenopen.upstream.surface import ReportConvention
from tokenopen.upstream.usage_report import UsageReport, usage_from_report

_DONE: Final = b"[DONE]"
_UNDECODED_BYTES_MAX: Final = 32 * 1024
_NULL: Final = msgspec.Raw(b"null")


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None

    def has_content(self) -> bool:
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.function_call
            or self.audio
        )


class _Choice(msgspec.Struct):
    delta: _Delta | None = None


class _Groq(msgspec.Struct):
    usage: msgspec.Raw = _NULL


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NULL
    x_groq: _Groq | None = None
    error: msgspec.Raw = _NULL


_event_decoder = msgspec.json.Decoder(_Event)
_report_decoder = msgspec.json.Decoder(UsageReport | None)


def _plain_bytes(data: bytes) -> int:
    """Return how many bytes at the beginning are whole events without anything that this reader looks for.

    Most of a stream is: bytes that hold neither usage, nor an end mark, nor an error need not be decoded to
    be passed on. ``"usage":null``, which OpenAI puts into every event, is passed over.
    """
    end = len(data)
    for mark in (b"[DONE]", b'"error"', b'"x_groq"'):
        found = data.find(mark, 0, end)
        end = found if found >= 0 else end
    at = data.find(b'"usage"', 0, end)
    while at >= 0:
        if not data.startswith(b":null", at + 7):
            end = at
            break
        at = data.find(b'"usage"', at + 12, end)
    return data.rfind(b"\n\n", 0, end) + 2 if b"\n\n" in data[:end] else 0


class ChatStreamReader:
    """Implements StreamReader."""

    def __init__(self, *, wants_usage: bool, convention: ReportConvention) -> None:
        self._wants_usage = wants_usage
        self._convention = convention
        self._splitter = EventSplitter()
        # Withheld events, each with whether it is the usage event that only we asked for.
        self._withheld: list[tuple[bytes, bool]] = []
        self.usage: Usage | None = None
        self.whole = False
        self.failed = False
        self._content_events = 0
        # Events that passed without being decoded. Whether they had content is asked only of a stream that
        # is interrupted, so it is found out then, or when more than a little has gathered.
        self._undecoded: list[bytes] = []
        self._undecoded_size = 0

    @property
    def content_events(self) -> int:
        self._decode_passed()
        return self._content_events

    def _decode_passed(self) -> None:
        for events in self._undecoded:
            for event in events.split(b"\n\n"):
                self._content_events += self._read(data_of(event + b"\n\n"))[0]
        self._undecoded.clear()
        self._undecoded_size = 0

    def feed(self, data: bytes) -> bytes:
        plain = 0
        if not self._withheld and not self._splitter.has_rest and b"\r" not in data:
            plain = _plain_bytes(data)
            if plain:
                self._pass_undecoded(data[:plain])
        if plain == len(data):
            return data
        passed = [data[:plain]]
        for event in self._splitter.feed(data[plain:]):
            self._take(event, passed)
        return b"".join(passed)

    def _pass_undecoded(self, events: bytes) -> None:
        self._undecoded.append(events)
        self._undecoded_size += len(events)
        if self._undecoded_size > _UNDECODED_BYTES_MAX:
            self._decode_passed()

    def _take(self, event: bytes, passed: list[bytes]) -> None:
        data = data_of(event)
        if data == _DONE:
            self.whole = True
            self._withheld.append((event, False))
            return
        content, hidden, reported = self._read(data)
        if self.whole:
            self._withheld.append((event, False))
            return
        if content and self._withheld:
            passed += [earlier for earlier, ours in self._withheld if not ours]
            self._withheld.clear()
        if reported or self._withheld:
            self._withheld.append((event, hidden))
            if content:
                self._content_events += 1
            return
        if content:
            self._content_events += 1
        passed.append(event)

    def _read(self, data: bytes) -> tuple[bool, bool, bool]:
        """Return whether an event has content, is only there because we asked, and reports usage."""
        if not data:
            return False, False, False
        try:
            event = _event_decoder.decode(data)
        except UNREADABLE:
            return False, False, False
        if event.error != _NULL:
            self.failed = True
        content = any(
            choice.delta is not None and choice.delta.has_content() for choice in event.choices or ()
        )
        raw = event.x_groq.usage if event.usage == _NULL and event.x_groq else event.usage
        try:
            report = _report_decoder.decode(raw)
        except UNREADABLE as error:
            raise ImpossibleUsage(str(error)) from None
        if report is None:
            return content, False, False
        self.usage = usage_from_report(report, self._convention)
        return content, event.choices == [] and not self._wants_usage, True

    def end(self) -> None:
        rest = self._splitter.rest
        if rest:
            self._withheld.append((rest, False))

    def tail(self, cost: str | None) -> bytes:
        last = max((i for i, (event, _) in enumerate(self._withheld) if b'"usage"' in event), default=None)
        parts = []
        for index, (event, ours) in enumerate(self._withheld):
            if ours:
                continue
            priced = index == last and self._wants_usage and cost is not None
            parts.append(_with_cost(event, cost or "") if priced else event)
        return b"".join(parts)


def _with_cost(event: bytes, cost: str) -> bytes:
    """Return a usage event with ``usage.cost`` in it; one that cannot be spliced stays as it is."""
    try:
        fields = msgspec.json.decode(data_of(event), type=dict[str, msgspec.Raw])
        usage = msgspec.json.decode(fields["usage"], type=dict[str, msgspec.Raw])
    except (*UNREADABLE, KeyError):
        return event
    before = bytes(fields["usage"])
    usage.pop("cost", None)
    after = msgspec.json.encode({**usage, "cost": cost})
    return event.replace(before, after, 1) if before in event else event
