"""Response streams, in the shape of OpenAI's responses: the event with the whole response marks it.

That is ``response.completed``, ``response.incomplete`` or ``response.failed``. It is the last event, but
for OpenRouter's, which sends ``[DONE]`` after it; so only the end of the bytes is the end.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.estimate import estimated_usage
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.hosted_tool import beside_report, container_ids, count_items, item_of, with_units
from tokenopen.upstream.sse import Event
from tokenopen.upstream.surface import ReportConvention
from tokenopen.upstream.surfaces.marked_stream import MarkedStreamReader, Seen
from tokenopen.upstream.usage_report import read_responses_report, usage_from_report

_NULL: Final = msgspec.Raw(b"null")
_DONE: Final = b"[DONE]"
# What a model has thought, told in fewer words or more: its units are not those of the output.
_SUMMARY: Final = "response.reasoning_summary_text.delta"
_MARKS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Response(msgspec.Struct, gc=False):
    id: Any = None
    output: Any = None
    usage: msgspec.Raw = _NULL


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    item: Any = None
    delta: Any = None
    response: _Response | None = None


_event_decoder: Final = msgspec.json.Decoder(_Event)
_response_decoder: Final = msgspec.json.Decoder(_Response)


def find_response_ids(body: bytes) -> Sequence[str]:
    """Return the ids in a whole JSON reply under which it and its items can be referred to later."""
    try:
        return _ids_of(_response_decoder.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()


def _ids_of(response: _Response) -> list[str]:
    items = response.output if isinstance(response.output, list) else ()
    ids = [response.id, *(item.get("id") for item in items if isinstance(item, dict)), *container_ids(items)]
    return [found for found in ids if isinstance(found, str) and found]


class ResponsesStreamReader(MarkedStreamReader):
    """Reads one stream of ``/v1/responses``."""

    def __init__(self, *, convention: ReportConvention, text_bytes: int) -> None:
        super().__init__()
        self._convention = convention
        self._text_bytes = text_bytes
        self._usage: Usage | None = None
        # Items of the output, as they were told one by one; and units of tools, as its end tells them.
        self._items: list[Any] = []
        self._told: Mapping[str, int] = {}
        # As in a set, in the order in which they came.
        self._ids: dict[str, None] = {}

    @property
    def created_ids(self) -> Sequence[str]:
        return list(self._ids)

    @property
    def usage(self) -> Usage | None:
        counted = count_items(self._items)
        # The whole output says it again, and some leave it out there.
        counted = {name: max(units, self._told.get(name, 0)) for name, units in counted.items()}
        if self._usage is not None:
            return with_units(self._usage, beside_report(counted, self._usage))
        if not any(counted.values()) or self.content_events == 0:
            return None
        least = estimated_usage(text_bytes=self._text_bytes, output_units=self.content_events)
        return with_units(least, counted)

    def _see(self, event: Event) -> Seen:
        if event.data.strip() == _DONE:
            return Seen(is_mark=True, is_end=True)
        try:
            said = _event_decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Seen()
        if said.type.endswith(".delta"):
            return Seen(has_content=bool(said.delta) and said.type != _SUMMARY)
        if said.response is not None:
            self._ids.update(dict.fromkeys(_ids_of(said.response)))
        if isinstance(said.item, dict):
            named = [said.item.get("id"), *container_ids([said.item])]
            self._ids.update(dict.fromkeys(one for one in named if isinstance(one, str) and one))
        if said.type == "response.output_item.done" and (item := item_of(said.item)) is not None:
            self._items.append(item)
        if said.type in ("error", "response.failed"):
            self.failed = True
        if said.type not in _MARKS:
            return Seen()
        return Seen(is_mark=True, impossible=self._note(said.response))

    def _note(self, response: _Response | None) -> ImpossibleUsage | None:
        """Keep what is reported; return why it cannot be true."""
        try:
            if response is not None:
                self._told = count_items(response.output)
            report = None if response is None else read_responses_report(bytes(response.usage))
            self._usage = None if report is None else usage_from_report(report, self._convention)
        except ImpossibleUsage as error:
            return error
        return None
