"""Gemini's streams: ``finishReason`` marks the reply as whole, once every candidate that was seen has one.

Each event repeats the usage so far, so the last one stands. An event that says why the prompt was blocked
marks a reply as well; only the end of the bytes is the end.
"""

from typing import Any, Final

import msgspec

from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.gemini_search import queries_of, searches_of
from tokenopen.upstream.gemini_usage import read_gemini_report, usage_from_gemini_report
from tokenopen.upstream.hosted_tool import WEB_SEARCHES, with_units
from tokenopen.upstream.sse import Event
from tokenopen.upstream.surfaces.marked_stream import MarkedStreamReader, Seen

_NULL: Final = msgspec.Raw(b"null")


class _Event(msgspec.Struct, gc=False):
    candidates: Any = None
    feedback: Any = msgspec.field(name="promptFeedback", default=None)
    usage: msgspec.Raw = msgspec.field(name="usageMetadata", default=_NULL)
    error: Any = None
    model: Any = msgspec.field(name="modelVersion", default=None)


_event_decoder: Final = msgspec.json.Decoder(_Event)


class GeminiStreamReader(MarkedStreamReader):
    """Reads one stream of ``:streamGenerateContent``."""

    def __init__(self) -> None:
        super().__init__()
        self._usage: Usage | None = None
        self._seen: set[object] = set()
        self._finished: set[object] = set()
        self._queries: frozenset[tuple[str, str]] = frozenset()
        self._model: Any = None

    @property
    def usage(self) -> Usage | None:
        if self._usage is None:
            return None
        usage = with_units(self._usage, {WEB_SEARCHES: searches_of(self._queries, self._model)})
        if self._is_marked or self.whole:
            return usage
        # More may come of what has been reported so far.
        return Usage(usage.units, "estimated") if self.content_events else None

    def _see(self, event: Event) -> Seen:
        if not event.data.strip():
            return Seen()
        try:
            said = _event_decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Seen()
        if said.error is not None:
            self.failed = True
        candidates = [one for one in _items(said.candidates) if isinstance(one, dict)]
        for candidate in candidates:
            self._note_candidate(candidate)
        self._queries |= queries_of(candidates)
        self._model = said.model or self._model
        blocked = isinstance(said.feedback, dict) and bool(said.feedback.get("blockReason"))
        return Seen(
            has_content=any(map(_has_content, candidates)),
            is_mark=blocked or (bool(self._finished) and self._finished >= self._seen),
            impossible=self._note_usage(said.usage),
        )

    def _note_candidate(self, candidate: dict[str, Any]) -> None:
        index = candidate.get("index", 0)
        place: object = index if isinstance(index, int) else repr(index)
        self._seen.add(place)
        if candidate.get("finishReason"):
            self._finished.add(place)

    def _note_usage(self, raw: msgspec.Raw) -> ImpossibleUsage | None:
        """Keep what is reported; return why it cannot be true."""
        try:
            report = read_gemini_report(bytes(raw))
            usage = None if report is None else usage_from_gemini_report(report)
        except ImpossibleUsage as error:
            return error
        self._usage = usage or self._usage
        return None


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _has_content(candidate: dict[str, Any]) -> bool:
    content = candidate.get("content")
    parts = _items(content.get("parts")) if isinstance(content, dict) else []
    return any(isinstance(part, dict) and any(part.values()) for part in parts)
