"""Surface: an API shape that callers speak, and everything about it that a call needs to know.

Everything here is pure: bytes in, facts and bytes out. The gateway asks in this order: ``read_request``
once, ``upstream_body`` for each attempt, then either ``read_reply`` for a whole JSON reply or a
``StreamReader`` fed with the reply's bytes. Refusals are raised as ``core.errors.InvalidRequest``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from tokenopen.core.frozen import Frozen
from tokenopen.core.usage import Usage
from tokenopen.upstream.cost_report import CostField
from tokenopen.upstream.dialect import Dialect
from tokenopen.upstream.form import Form


class Target(Frozen, frozen=True, kw_only=True):
    """What a request says beside its body.

    ``values`` are what stands in the places of the surface's path, ``query`` is the decoded query without
    the API key, of a name given twice the first value, ``query_pairs`` all of it. ``headers`` are those that
    the dialect lets a surface read, lower case. ``form`` is the body of a surface that takes one as parts.
    """

    values: Mapping[str, str] = msgspec.field(default_factory=dict)
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    query_pairs: Sequence[tuple[str, str]] = ()
    form: Form | None = None
    headers: Mapping[bytes, bytes] = msgspec.field(default_factory=dict)


NO_TARGET: Final = Target()


class CallRequest(Frozen, frozen=True, kw_only=True):
    """What a request's body says, as far as admission and forwarding need it.

    ``fields`` is the decoded top level, name -> raw JSON value, and is what is sent on.
    ``max_output_tokens`` is the caller's own maximum for one choice, None where it names none.
    ``prompts`` is how many inputs there are, each of which may fill a context window; ``choices`` is how
    many outputs of the maximum's size may come: ``n`` times the number of prompts.
    ``input_bytes`` counts the body outside base64 data; ``attachments`` images, files, audio and URLs.
    ``text_bytes`` counts the text of the messages alone, for an estimate that must be a lower bound.
    ``open_ended`` is set where history or tools kept by the provider can add input that is not seen here.
    ``headers`` go to the provider along with ours, and ``query`` behind the path, as it is written there;
    ``path_values`` stand in the places of the surface's ``upstream_path``, beside the model's.
    ``references`` are ids of what a provider keeps from earlier replies: only the account that made them may
    name them, and the call goes to the upstream that holds them. ``model`` is empty where only they say it.
    ``item_ids`` are ids that only a provider that keeps replies would look up; for others they are names.
    ``priced_above_units`` is set where the caller asks for more input than is usual (a beta of 1M units):
    the model has to be offered with a context window above it.
    ``counted_units`` are the most units of counted classes that the call can use, held where they are
    priced. ``own_prices`` are what the model's price has to name: of each, one of the classes listed.
    ``waived`` are counted classes whose units the provider gives for nothing in this call.
    """

    model: str
    stream: bool
    wants_usage: bool
    max_output_tokens: int | None
    prompts: int
    choices: int
    input_bytes: int
    attachments: int
    text_bytes: int
    open_ended: bool
    fields: Mapping[str, bytes]
    content_type: bytes = b"application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()
    query: str = ""
    path_values: Mapping[str, str] = msgspec.field(default_factory=dict)
    references: Sequence[str] = ()
    item_ids: Sequence[str] = ()
    priced_above_units: int | None = None
    counted_units: Mapping[str, int] = msgspec.field(default_factory=dict)
    own_prices: Sequence[Sequence[str]] = ()
    waived: frozenset[str] = frozenset()
    form: Form | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConvention:
    """How a provider's numbers relate to each other; providers disagree, so nothing here has a default.

    ``output_excludes_reasoning``: reasoning units come on top of the reported output (xAI, Gemini's
    OpenAI shape), not inside it (OpenAI). ``total_tells_reasoning``: what the total has more than input and
    output is reasoning, though nothing else says so. ``max_tokens_field`` is the field that caps the output.
    ``takes_usage_option``: streams report usage when ``stream_options.include_usage`` asks for it; where
    not, they do so unasked and the option is refused (Mistral). ``cost_field`` is where a report says what
    the provider takes for the call; None where it does not.
    """

    output_excludes_reasoning: bool
    total_tells_reasoning: bool
    max_tokens_field: str
    takes_usage_option: bool
    cost_field: CostField | None


class StreamReader(Protocol):
    """Reads a streamed reply as it passes; how the bytes are cut makes no difference.

    Withholds the mark of a whole reply and all that follows it, until the gateway has settled the call.
    """

    @property
    def usage(self) -> Usage | None:
        """The usage reported last; never a sum of reports. Marked as estimated where the provider has told
        a part of it so far, and the rest is what ``feed`` has let pass."""

    whole: bool
    """The reply's own end mark has been read (chat: ``[DONE]``)."""
    failed: bool
    """The provider sent an error event."""

    @property
    def content_events(self) -> int:
        """Events with content among the bytes that ``feed`` has let pass."""

    @property
    def created_ids(self) -> Sequence[str]:
        """As Surface's, of what has been read so far."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the reply; return those that may go to the caller now (often ``data``).

        Raises core.usage.ImpossibleUsage for a report that cannot be true.
        """

    def end(self) -> None:
        """The reply's bytes have ended. Where no end mark exists, this is what makes it whole."""

    def tail(self, cost: str | None) -> bytes:
        """Return what was withheld, to be sent once the call is settled.

        ``cost`` is the charge in credits; it is added as ``usage.cost`` for callers who asked for usage.
        The usage event that was only asked for by us is left out.
        """


class Surface(Protocol):
    """One API shape."""

    name: str
    """As stored on calls: ``chat``, ``embeddings``."""
    dialect: Dialect
    """Where the caller's key stands, and how it is refused."""
    method: str
    """``POST``, and for what the provider keeps also ``GET`` and ``DELETE``."""
    path: str
    """Where callers find it. ``{model}`` stands for a model's name, other names in braces for one segment."""
    upstream_path: str
    """Where the provider takes it, appended to the upstream's base URL, with places as in ``path``. A
    provider that takes it elsewhere says so in its row."""
    is_free: bool
    """It costs nothing at any provider (counting tokens): such calls count against limits and are free."""

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        """Decode and check a caller's request. Raises core.errors.InvalidRequest naming the field."""

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        """Return the body to send: the caller's bytes but for model, usage option and cap."""

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        """Return the usage a whole JSON reply reports, None where it reports none. Raises ImpossibleUsage."""

    def created_ids(self, body: bytes) -> Sequence[str]:
        """Return the ids in a whole JSON reply of what the provider keeps, and a later call may refer to."""

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        """Return a lower bound for a whole JSON reply that reported no usage."""

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        """Return a lower bound for a stream that ended without reporting usage."""

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        """Return a reader for one streamed reply."""
