"""Usage reports in the shape of Anthropic's messages, turned into disjoint classes. Pure.

input_tokens                 input that was neither read from a cache nor written to one
cache_read_input_tokens      on top of it
cache_creation_input_tokens  on top of it; ``cache_creation`` tells 5 minutes and 1 hour apart
output_tokens                all output, thinking inside
server_tool_use              its web_search_requests are charged by the search, beside their tokens
iterations                   what the call consisted of, where it consisted of several: compactions are
                             charged but in no other number, tools with a model of their own are theirs
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from tokenopen.core.usage import UNITS_MAX, ImpossibleUsage, Usage, usage_of
from tokenopen.upstream.usage_report import decode_report

_OWN_ITERATIONS: Final = ("message", "compaction")
_Units = Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)] | None


class _CacheCreation(msgspec.Struct, gc=False, frozen=True):
    ephemeral_5m_input_tokens: _Units = None
    ephemeral_1h_input_tokens: _Units = None


class _ServerToolUse(msgspec.Struct, gc=False, frozen=True):
    web_search_requests: _Units = None


class _Part(msgspec.Struct, gc=False, frozen=True):
    input_tokens: _Units = None
    output_tokens: _Units = None
    cache_read_input_tokens: _Units = None
    cache_creation_input_tokens: _Units = None
    cache_creation: _CacheCreation | None = None


class _Iteration(_Part, frozen=True):
    type: Any = None
    model: Any = None

    @property
    def is_own(self) -> bool:
        """Tell whether it is the called model's, which may be named as well, and not a tool's."""
        return self.model is None or self.type in _OWN_ITERATIONS


class MessagesReport(_Part, frozen=True):
    """A ``usage`` object, as far as it says how many units were used."""

    iterations: Sequence[_Iteration] | None = None
    server_tool_use: _ServerToolUse | None = None


_NO_CREATION: Final = _CacheCreation()
_decoder: Final[msgspec.json.Decoder[MessagesReport | None]] = msgspec.json.Decoder(MessagesReport | None)


def read_messages_report(raw: bytes) -> MessagesReport | None:
    """Return a ``usage`` value; None for null. Raises ImpossibleUsage: not whole, negative, not a report."""
    return decode_report(_decoder, raw)


def merge_reports(earlier: MessagesReport | None, later: MessagesReport) -> MessagesReport:
    """Return a stream's report so far: of each number the last, since they are never increments."""
    if earlier is None:
        return later
    numbers = {name: getattr(later, name) for name in later.__struct_fields__}
    numbers = {name: getattr(earlier, name) if number is None else number for name, number in numbers.items()}
    written = later.cache_creation_input_tokens
    if written is not None and later.cache_creation is None and earlier.cache_creation is not None:
        # Streams tell the two kinds apart in their first report only. What has come since is the cheaper.
        long = min(written, earlier.cache_creation.ephemeral_1h_input_tokens or 0)
        numbers["cache_creation"] = _CacheCreation(ephemeral_1h_input_tokens=long)
    return MessagesReport(**numbers)


def usage_from_messages_report(report: MessagesReport) -> Usage | None:
    """Return the units of a report by class, None where it does not say how many there are.

    Raises ImpossibleUsage where parts are more than their whole.
    """
    if report.input_tokens is None or report.output_tokens is None:
        return None
    parts: Sequence[_Part] = [part for part in report.iterations or () if part.is_own] or [report]
    fresh = sum(part.input_tokens or 0 for part in parts)
    output = sum(part.output_tokens or 0 for part in parts)
    if fresh < report.input_tokens or output < report.output_tokens:
        raise ImpossibleUsage(
            f"iterations of {fresh} input and {output} output units make {report.input_tokens} "
            f"and {report.output_tokens}"
        )
    searches = 0 if report.server_tool_use is None else report.server_tool_use.web_search_requests or 0
    return usage_of(
        input=fresh,
        cached_input=sum(part.cache_read_input_tokens or 0 for part in parts),
        cache_write=sum(_written(part)[0] for part in parts),
        cache_write_1h=sum(_written(part)[1] for part in parts),
        output=output,
        web_searches=searches,
    )


def _written(part: _Part) -> tuple[int, int]:
    """Return the units written to the cache for 5 minutes and for 1 hour."""
    creation = part.cache_creation or _NO_CREATION
    short, long = creation.ephemeral_5m_input_tokens or 0, creation.ephemeral_1h_input_tokens or 0
    total = short + long if part.cache_creation_input_tokens is None else part.cache_creation_input_tokens
    if total < short + long:
        raise ImpossibleUsage(f"{short} and {long} units written to the cache, {total} together")
    return total - long, long
