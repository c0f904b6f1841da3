"""Message streams, in Anthropic's shape: ``message_stop`` marks the reply as whole.

``message_start`` reports the input and a first few units of output, ``message_delta`` all there is.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.hosted_tool import (
    CONTAINERS,
    WEB_SEARCHES,
    is_run_result,
    is_search_result,
    with_units,
    written_files,
)
from tokenopen.upstream.messages_usage import (
    MessagesReport,
    merge_reports,
    read_messages_report,
    usage_from_messages_report,
)
from tokenopen.upstream.sse import Event
from tokenopen.upstream.surfaces.marked_stream import MarkedStreamReader, Seen

_NULL: Final = msgspec.Raw(b"null")


class _Delta(msgspec.Struct, gc=False):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    container: Any = None


class _Message(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _NULL
    container: Any = None


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    delta: _Delta | None = None
    message: _Message | None = None
    usage: msgspec.Raw = _NULL
    content_block: Any = None


_event_decoder: Final = msgspec.json.Decoder(_Event)


def container_id_of(container: Any) -> Sequence[str]:
    """Return the id of the container that a reply's code ran in: none, or one, that a later call may name."""
    found = container.get("id") if isinstance(container, dict) else None
    return (found,) if isinstance(found, str) and found else ()


class MessagesStreamReader(MarkedStreamReader):
    """Reads one stream of ``/v1/messages``."""

    def __init__(self) -> None:
        super().__init__()
        self._report: MessagesReport | None = None
        self._is_final = False
        # Reported at the end only; until then they are counted.
        self._searches = 0
        self._has_run = False
        self._containers: Sequence[str] = ()
        self._files: list[str] = []

    @property
    def created_ids(self) -> Sequence[str]:
        return [*self._containers, *self._files]

    @property
    def usage(self) -> Usage | None:
        if self._report is None:
            return None
        usage = usage_from_messages_report(self._report)
        if usage is None:
            return None
        if self._is_final:
            return with_units(usage, {CONTAINERS: len(self._containers)})
        if self.content_events == 0:
            return None
        written = max(self._report.output_tokens or 0, self.content_events)
        counted = {
            WEB_SEARCHES: max(usage.units.get(WEB_SEARCHES, 0), self._searches),
            CONTAINERS: len(self._containers) or int(self._has_run),
        }
        return with_units(Usage({**usage.units, "output": written}, "estimated"), counted)

    def _see(self, event: Event) -> Seen:
        try:
            said = _event_decoder.decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Seen()
        kind = said.type
        if kind == "content_block_delta" and said.delta is not None:
            delta = said.delta
            return Seen(has_content=bool(delta.text or delta.thinking or delta.partial_json))
        if kind == "content_block_start":
            self._searches += is_search_result(said.content_block)
            if is_run_result(said.content_block):
                self._has_run = True
                self._files += written_files(said.content_block)
        if kind == "message_stop":
            return Seen(is_mark=True, is_end=True)
        if kind == "error":
            self.failed = True
        place = said.message or said.delta
        if place is not None and place.container is not None:
            self._containers = container_id_of(place.container) or self._containers
        if kind == "message_start" and said.message is not None:
            return Seen(impossible=self._note(said.message.usage, is_final=False))
        if kind == "message_delta":
            return Seen(impossible=self._note(said.usage, is_final=True))
        return Seen()

    def _note(self, raw: msgspec.Raw, *, is_final: bool) -> ImpossibleUsage | None:
        """Keep what is reported; return why it cannot be true."""
        try:
            report = read_messages_report(bytes(raw))
            if report is not None:
                merged = merge_reports(self._report, report)
                usage_from_messages_report(merged)
                self._report, self._is_final = merged, is_final
        except ImpossibleUsage as error:
            return error
        return None
