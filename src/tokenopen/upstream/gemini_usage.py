"""Usage reports in Gemini's shape (``usageMetadata``), turned into disjoint classes. Pure.

promptTokenCount         all input that was sent: what was read from a cache is inside
cachedContentTokenCount  of it, what was read from a cache
toolUsePromptTokenCount  on top of it: what tools of the provider's own have added to the input
candidatesTokenCount     the replies, without what was thought
thoughtsTokenCount       on top of it; inside, where the total says so (previews of 2.5)
totalTokenCount          the sum of what is charged, or the report cannot be true

Each has details by modality, which tell sound, images and video apart from text; they may leave some out.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec

from tokenopen.core.usage import UNITS_MAX, ImpossibleUsage, Usage, usage_of
from tokenopen.upstream.usage_report import decode_report

_Units = Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)] | None


class _Detail(msgspec.Struct, gc=False, frozen=True):
    modality: str = ""
    tokenCount: _Units = None  # noqa: N815 as Gemini writes it


class GeminiReport(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    """A ``usageMetadata`` object, as far as it says how many units were used."""

    prompt_token_count: _Units = None
    cached_content_token_count: _Units = None
    tool_use_prompt_token_count: _Units = None
    candidates_token_count: _Units = None
    thoughts_token_count: _Units = None
    total_token_count: _Units = None
    prompt_tokens_details: Sequence[_Detail] | None = None
    # Embeddings have this name instead.
    prompt_token_details: Sequence[_Detail] | None = None
    cache_tokens_details: Sequence[_Detail] | None = None
    tool_use_prompt_tokens_details: Sequence[_Detail] | None = None
    candidates_tokens_details: Sequence[_Detail] | None = None


# Pages of documents are looked at as images.
_IMAGES: Final = frozenset({"IMAGE", "DOCUMENT"})
_decoder: Final[msgspec.json.Decoder[GeminiReport | None]] = msgspec.json.Decoder(GeminiReport | None)


class _Parts:
    """A number of units, and how many of them are sound, images or video."""

    def __init__(self, total: int | None, details: Iterable[_Detail] | None) -> None:
        self.total = total or 0
        self.audio = self.image = self.video = 0
        listed = 0
        for detail in details or ():
            count = detail.tokenCount or 0
            listed += count
            if detail.modality == "AUDIO":
                self.audio += count
            elif detail.modality == "VIDEO":
                self.video += count
            elif detail.modality in _IMAGES:
                self.image += count
        if listed > self.total:
            raise ImpossibleUsage(f"details of {listed} units in {self.total}")


def read_gemini_report(raw: bytes) -> GeminiReport | None:
    """Return a ``usageMetadata`` value; None for null. Raises ImpossibleUsage where it cannot be read."""
    return decode_report(_decoder, raw)


def usage_from_gemini_report(report: GeminiReport) -> Usage | None:
    """Return the units of a report by class, None where it does not say how many there are.

    Raises ImpossibleUsage where parts are more than their whole, or the total is not their sum.
    """
    if report.prompt_token_count is None and report.total_token_count is None:
        return None
    prompt = _Parts(report.prompt_token_count, report.prompt_tokens_details or report.prompt_token_details)
    cached = _Parts(report.cached_content_token_count, report.cache_tokens_details)
    added = _Parts(report.tool_use_prompt_token_count, report.tool_use_prompt_tokens_details)
    reply = _Parts(report.candidates_token_count, report.candidates_tokens_details)
    thoughts = report.thoughts_token_count or 0
    if cached.total > prompt.total:
        raise ImpossibleUsage(f"{cached.total} units cached, of {prompt.total} of input")
    spoken = reply.total - reply.audio - reply.image
    total = prompt.total + added.total + reply.total
    if thoughts <= spoken and report.total_token_count == total:
        spoken -= thoughts
    elif report.total_token_count not in (None, total + thoughts):
        raise ImpossibleUsage(
            f"a total of {report.total_token_count} units, whose parts are {total + thoughts}"
        )
    # Where nothing says what was cached, it is sound only as far as it cannot be anything else.
    cached_audio = cached.audio or max(0, cached.total - (prompt.total - prompt.audio))
    # Details may leave some units out, so what is fresh of each kind is at most what is fresh.
    fresh = prompt.total - cached.total
    audio = min(fresh, max(0, prompt.audio - cached_audio))
    image = min(fresh - audio, max(0, prompt.image - cached.image))
    video = min(fresh - audio - image, max(0, prompt.video - cached.video))
    return usage_of(
        input=fresh - audio - image - video + added.total - added.audio - added.image - added.video,
        cached_input=cached.total - cached_audio,
        cached_audio_input=cached_audio,
        audio_input=audio + added.audio,
        image_input=image + added.image,
        video_input=video + added.video,
        output=spoken,
        audio_output=reply.audio,
        image_output=reply.image,
        reasoning=thoughts,
    )
