"""Directives: what the top-level object ``simulate`` of a request may ask the simulator to do.

An unknown name, or one that cannot apply to the kind of reply, is a 400: a test that misspells its fault
must not pass because nothing went wrong. Events are counted as they go out, whatever they carry: in a
chat stream the first is the role, ``[DONE]`` the last.
"""

from typing import Annotated, Final

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Status = Annotated[int, msgspec.Meta(ge=200, le=599)]

ABSENT: Final = msgspec.Raw(b"")
NULL: Final = b"null"

DEFAULT_EVENTS: Final = 64
"""Content events per choice; fewer where there are fewer words."""


class Directives(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How this one call is to go wrong, or look. Times are milliseconds."""

    # What is said.
    status: _Status | None = None
    """Reply with this status; 300 and above make it an error reply, also to a streamed call."""
    error_body: msgspec.Raw = ABSENT
    """Any JSON, sent as it stands instead of the error that fits the status."""
    headers: dict[str, str] | None = None
    """Further reply headers."""
    usage: msgspec.Raw = ABSENT
    """Reported as it stands; null reports none at all."""
    usage_in_every_event: bool = False
    """Each event carries the usage up to it, as some providers do."""
    events: _Positive | None = None
    """Spread the content over that many events instead of at most 64."""
    no_done: bool = False
    """Leave out the mark of a whole reply (``[DONE]``, ``message_stop``, ``response.completed``)."""
    error_event_after: _Count | None = None
    """After that many events send an error event, then end properly."""

    # How it is said.
    delay_ms: _Count = 0
    """Wait before the head."""
    chunk_delay_ms: _Count = 0
    """Wait before each event but the first, or before each piece with ``split_bytes``."""
    crlf: bool = False
    """End the lines of events with CR LF."""
    split_bytes: _Positive | None = None
    """Send the body in pieces of that many bytes, wherever they fall."""
    body_bytes: _Positive | None = None
    """Pad a JSON reply to that many bytes, by a member ``padding``."""

    # How it ends before its time; at most one of these.
    reset: bool = False
    """No reply; the connection is reset (RST)."""
    silent: bool = False
    """No reply, ever; the connection stays open until the client leaves."""
    cut_in_body: bool = False
    """Close half way through a JSON body, short of its content-length."""
    silent_in_body: bool = False
    """Stand still half way through a JSON body."""
    cut_after_events: _Count | None = None
    """Close, short of the end of the chunked body."""
    reset_after_events: _Count | None = None
    """Reset the connection, a moment after the last of them."""
    silent_after_events: _Count | None = None
    """Stand still with the connection open."""
    garbage_after_events: _Count | None = None
    """Go on with bytes that are neither events nor UTF-8, well framed, and end; a JSON reply is all such."""
    bad_framing_after_events: _Count | None = None
    """Go on with bytes that are no HTTP chunk, and close."""

    def mistake(self, *, streams: bool) -> str | None:
        """Return what is wrong with this set of directives for such a reply, None where nothing is."""
        endings = [name for name in _ENDINGS if getattr(self, name) not in (None, False)]
        if len(endings) > 1:
            return f"simulate: {' and '.join(endings)} cannot both end the reply"
        foreign = _JSON_ONLY if streams else _STREAM_ONLY
        for name in foreign:
            if getattr(self, name) not in (None, False):
                kind = "a JSON reply" if streams else "a stream"
                return f"simulate.{name} needs {kind}"
        return None

    @property
    def is_error(self) -> bool:
        """Whether the reply is an error with a body of its own."""
        return self.status is not None and self.status >= 300


_ENDINGS: Final = (
    "reset",
    "silent",
    "cut_in_body",
    "silent_in_body",
    "cut_after_events",
    "reset_after_events",
    "silent_after_events",
    "garbage_after_events",
    "bad_framing_after_events",
    "error_event_after",
)
_JSON_ONLY: Final = ("cut_in_body", "silent_in_body", "body_bytes")
_STREAM_ONLY: Final = (
    "usage_in_every_event",
    "events",
    "no_done",
    "error_event_after",
    "crlf",
    "cut_after_events",
    "reset_after_events",
    "silent_after_events",
    "bad_framing_after_events",
)
