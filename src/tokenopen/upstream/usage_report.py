"""Usage reports in the shape of OpenAI's chat completions, turned into disjoint classes. Pure.

    prompt_tokens      all input: cached, written to the cache, audio, images and video inside
    completion_tokens  all output, audio and images inside; reasoning inside (OpenAI) or on top (xAI, Gemini)
    total_tokens       tells which: it is the sum of what is charged, or the report cannot be true

Reasoning that is inside stays in the class ``output``, at whose price it is charged. Its own number is not
looked at then: OpenRouter has reported 11 of 10.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec

from tokenopen.core.usage import UNITS_MAX, ImpossibleUsage, Usage
from tokenopen.upstream.cost_report import CostMembers, read_cost
from tokenopen.upstream.hosted_tool import CONTAINERS, WEB_SEARCHES
from tokenopen.upstream.surface import ReportConvention

_Units = Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)] | None
Report = TypeVar("Report")


class _PromptDetails(msgspec.Struct, gc=False, frozen=True):
    cached_tokens: _Units = None
    # OpenAI from gpt-5.6 on, OpenRouter; then LiteLLM's name, vLLM's, Qwen's and new-api's.
    cache_write_tokens: _Units = None
    cache_creation_tokens: _Units = None
    created_cache_tokens: _Units = None
    cache_creation_input_tokens: _Units = None
    cached_creation_tokens: _Units = None
    audio_tokens: _Units = None
    image_tokens: _Units = None
    video_tokens: _Units = None

    @property
    def written(self) -> int:
        """Units written to the cache: the same number under the names of different providers."""
        return (
            self.cache_write_tokens
            or self.cache_creation_tokens
            or self.created_cache_tokens
            or self.cache_creation_input_tokens
            or self.cached_creation_tokens
            or 0
        )


class _CompletionDetails(msgspec.Struct, gc=False, frozen=True):
    reasoning_tokens: _Units = None
    audio_tokens: _Units = None
    image_tokens: _Units = None


class _ServerTools(msgspec.Struct, gc=False, frozen=True):
    web_search_requests: _Units = None


class _ServerSideTools(msgspec.Struct, gc=False, frozen=True):
    web_search_calls: _Units = None
    x_search_calls: _Units = None
    code_interpreter_calls: _Units = None


class ToolMembers(CostMembers, gc=False, frozen=True):
    """What providers report of the tools that they ran: never inside the numbers of tokens."""

    # OpenRouter, under either name; xAI, which bills the calls that succeeded.
    server_tool_use: _ServerTools | None = None
    server_tool_use_details: _ServerTools | None = None
    server_side_tool_usage_details: _ServerSideTools | None = None

    def tool_units(self) -> dict[str, int]:
        """Return the units of tools by class."""
        if (
            self.server_tool_use is None
            and self.server_tool_use_details is None
            and self.server_side_tool_usage_details is None
        ):
            return {}
        ran = self.server_side_tool_usage_details or _NO_SERVER_SIDE_TOOLS
        asked = self.server_tool_use or self.server_tool_use_details or _NO_SERVER_TOOLS
        searches = (ran.web_search_calls or 0) + (ran.x_search_calls or 0)
        return {
            WEB_SEARCHES: searches or asked.web_search_requests or 0,
            CONTAINERS: ran.code_interpreter_calls or 0,
        }


class UsageReport(ToolMembers, gc=False, frozen=True):
    """A ``usage`` object, as far as it says how many units were used."""

    prompt_tokens: _Units = None
    completion_tokens: _Units = None
    total_tokens: _Units = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    # DeepSeek
    prompt_cache_hit_tokens: _Units = None
    prompt_cache_miss_tokens: _Units = None
    # Mistral; the latter only for models that listen.
    num_cached_tokens: _Units = None
    prompt_audio_seconds: Any = None
    # Moonshot
    cached_tokens: _Units = None
    # LiteLLM in front of Anthropic: its names, but inside the input as all is here.
    cache_read_input_tokens: _Units = None
    cache_creation_input_tokens: _Units = None
    # Vertex, Perplexity
    reasoning_tokens: _Units = None


_NO_SERVER_TOOLS: Final = _ServerTools()
_NO_SERVER_SIDE_TOOLS: Final = _ServerSideTools()
_NO_PROMPT_DETAILS: Final = _PromptDetails()
_NO_COMPLETION_DETAILS: Final = _CompletionDetails()
_decoder: Final[msgspec.json.Decoder[UsageReport | None]] = msgspec.json.Decoder(UsageReport | None)


def read_report(raw: bytes) -> UsageReport | None:
    """Return a ``usage`` value; None for null. Raises ImpossibleUsage: not whole, negative, not a report."""
    return decode_report(_decoder, raw)


def decode_report(decoder: msgspec.json.Decoder[Report], raw: bytes) -> Report:
    """Return a report, also one whose whole numbers are written as 12.0, or whose objects without members
    as [] (PHP). Raises ImpossibleUsage where it cannot be read."""
    try:
        try:
            return decoder.decode(raw)
        except msgspec.ValidationError:
            plain = msgspec.json.decode(raw)
            if not isinstance(plain, dict):
                raise
            return msgspec.convert(_plain(plain), decoder.type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImpossibleUsage(f"usage cannot be read: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value] or None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def usage_from_report(report: UsageReport, convention: ReportConvention) -> Usage | None:
    """Return the units of a report by class, None where it does not say how many there are.

    Raises ImpossibleUsage where parts are more than their whole, or the total is not their sum.
    """
    prompt, completion, total = report.prompt_tokens, report.completion_tokens, report.total_tokens
    if (prompt is None or completion is None) and total is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    sound = _sound_on_top(report, prompt + completion, total)
    prompt += sound
    units = _input_units(report, prompt, sound)
    details = report.completion_tokens_details or _NO_COMPLETION_DETAILS
    audio, image = details.audio_tokens or 0, details.image_tokens or 0
    if audio + image > completion:
        raise ImpossibleUsage(f"{audio} units of sound and {image} of images in {completion} of output")
    reported = details.reasoning_tokens or report.reasoning_tokens or 0
    reasoning = _reasoning_on_top(reported, prompt + completion, total, convention)
    units |= {
        "output": completion - audio - image,
        "reasoning": reasoning,
        "audio_output": audio,
        "image_output": image,
        **report.tool_units(),
    }
    return _usage(units, read_cost(report, convention.cost_field))


def _usage(units: Mapping[str, int], cost: int | None = None) -> Usage:
    return Usage({unit_class: count for unit_class, count in units.items() if count}, cost=cost)


def _sound_on_top(report: UsageReport, apart: int, total: int | None) -> int:
    """Return units of sound that come on top of the reported input, as Mistral has it.

    The total tells: Voxtral has reported 6 and 2 of 383, with 375 of sound in the details, which may leave
    them out. Only where sound is spoken of at all, lest another gap be taken for it.
    """
    if report.prompt_audio_seconds is None or total is None:
        return 0
    told = (report.prompt_tokens_details or _NO_PROMPT_DETAILS).audio_tokens or 0
    on_top = total - apart
    return on_top if on_top > 0 and told in (0, on_top) else 0


def _input_units(report: UsageReport, prompt: int, sound_on_top: int = 0) -> dict[str, int]:
    details = report.prompt_tokens_details or _NO_PROMPT_DETAILS
    hit, miss = report.prompt_cache_hit_tokens, report.prompt_cache_miss_tokens
    if hit is not None and miss is not None and hit + miss != prompt:
        raise ImpossibleUsage(f"{hit} units cached and {miss} not, of {prompt} of input")
    # The same number under the names of different providers; never a sum.
    cached = (
        details.cached_tokens
        or hit
        or report.num_cached_tokens
        or report.cached_tokens
        or report.cache_read_input_tokens
        or 0
    )
    written = details.written or report.cache_creation_input_tokens or 0
    audio = sound_on_top or details.audio_tokens or 0
    image, video = details.image_tokens or 0, details.video_tokens or 0
    if not (cached or written or audio or image or video):
        return {"input": prompt}
    if max(cached, written, audio + image + video) > prompt:
        raise ImpossibleUsage(
            f"{cached} units cached, {written} written to the cache, {audio} of sound, {image} of images and "
            f"{video} of video in {prompt} of input"
        )
    # The parts may overlap, and a unit is charged once. OpenRouter reports what Gemini writes to the cache
    # as read from it, too: it counts as written, the dearer of the two. What is cached may be sound or
    # images, and then text is cached before they are.
    if cached + written > prompt:
        cached = max(0, cached - written)
    fresh = prompt - cached - written
    audio = min(audio, fresh)
    image = min(image, fresh - audio)
    video = min(video, fresh - audio - image)
    return {
        "input": fresh - audio - image - video,
        "cached_input": cached,
        "cache_write": written,
        "audio_input": audio,
        "image_input": image,
        "video_input": video,
    }


def _reasoning_on_top(reported: int, apart: int, total: int | None, convention: ReportConvention) -> int:
    """Return the reasoning that comes on top of the reported output.

    ``apart`` is input and output as reported. The total decides where there is one: Gemini's endpoint
    leaves reasoning out of everything else, and xAI's models without reasoning have none on top.
    """
    if total is None:
        return reported if convention.output_excludes_reasoning else 0
    on_top = total - apart
    unreported = convention.total_tells_reasoning and reported == 0 and on_top > 0
    if on_top not in (0, reported) and not unreported:
        raise ImpossibleUsage(f"a total of {total} units, of which input and output are {apart}")
    return on_top


def input_usage_from_report(report: UsageReport) -> Usage | None:
    """Return the units of a report about input alone (embeddings), None where it does not say how many.

    Raises ImpossibleUsage as usage_from_report does.
    """
    prompt = report.total_tokens if report.prompt_tokens is None else report.prompt_tokens
    if prompt is None:
        return None
    if report.total_tokens is not None and report.total_tokens != prompt + (report.completion_tokens or 0):
        raise ImpossibleUsage(f"a total of {report.total_tokens} units, of which input is {prompt}")
    return _usage(_input_units(report, prompt) | {"output": report.completion_tokens or 0})


class _ResponsesReport(ToolMembers, gc=False, frozen=True):
    """OpenAI's responses name the same numbers otherwise."""

    input_tokens: _Units = None
    output_tokens: _Units = None
    total_tokens: _Units = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _CompletionDetails | None = None


_responses_decoder: Final[msgspec.json.Decoder[_ResponsesReport | None]] = msgspec.json.Decoder(
    _ResponsesReport | None
)


def read_responses_report(raw: bytes) -> UsageReport | None:
    """Return a ``usage`` value of a response; None for null. Raises ImpossibleUsage as read_report does."""
    report = decode_report(_responses_decoder, raw)
    if report is None:
        return None
    return UsageReport(
        prompt_tokens=report.input_tokens,
        completion_tokens=report.output_tokens,
        total_tokens=report.total_tokens,
        prompt_tokens_details=report.input_tokens_details,
        completion_tokens_details=report.output_tokens_details,
        cost=report.cost,
        cost_in_usd_ticks=report.cost_in_usd_ticks,
        cost_details=report.cost_details,
        is_byok=report.is_byok,
        server_tool_use=report.server_tool_use,
        server_tool_use_details=report.server_tool_use_details,
        server_side_tool_usage_details=report.server_side_tool_usage_details,
    )
