"""Message streams, in Anthropic's shape: ``message_stop`` marks the reply as whole.

``message_start`` reports the input and a first few units of output, ``message_delta`` all there is.
"""

from typing import Any, Final

import msgspec

from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.messages_usage import (
    MessagesReport,
    merge_reports,
    read_messages_report,
    usage_from_messages_report,
)
from tokenopen.upstream.sse import Event
from tokenopen.upstream.surfaces.marked_stream import MarkedStreamReader, Seen
from tokenopen.upstream.web_search import WEB_SEARCHES, is_result, with_searches

_NULL: Final = msgspec.Raw(b"null")


class _Delta(msgspec.Struct, gc=False):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None


class _Message(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _NULL


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    delta: _Delta | None = None
    message: _Message | None = None
    usage: msgspec.Raw = _NULL
    content_block: Any = None


_event_decoder: Final = msgspec.json.Decoder(_Event)


class MessagesStreamReader(MarkedStreamReader):
    """Reads one stream of ``/v1/messages``."""

    def __init__(self) -> None:
        super().__init__()
        self._report: MessagesReport | None = None
        self._is_final = False
        # Reported at the end only; until then they are counted.
        self._searches = 0

    @property
    def usage(self) -> Usage | None:
        if self._report is None:
            return None
        usage = usage_from_messages_report(self._report)
        if usage is None or self._is_final:
            return usage
        if self.content_events == 0:
            return None
        written = max(self._report.output_tokens or 0, self.content_events)
        searches = max(usage.units.get(WEB_SEARCHES, 0), self._searches)
        return with_searches(Usage({**usage.units, "output": written}, "estimated"), searches)

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
            self._searches += is_result(said.content_block)
        if kind == "message_stop":
            return Seen(is_mark=True, is_end=True)
        if kind == "error":
            self.failed = True
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
