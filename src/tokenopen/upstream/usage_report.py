"""Usage reports in OpenAI's shape, turned into disjoint classes. Pure.

Prompt tokens are reported with their cached, audio and image parts inside; completion tokens with audio
inside. Whether reasoning is inside too is where providers differ (surface.ReportConvention).
"""

import msgspec

from tokenopen.core.usage import ImpossibleUsage, Usage, usage_of
from tokenopen.upstream.surface import ReportConvention


class PromptDetails(msgspec.Struct):
    """Parts of the prompt tokens. Names beyond OpenAI's are OpenRouter's."""

    cached_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    """Parts of the completion tokens."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class UsageReport(msgspec.Struct):
    """A ``usage`` object. ``prompt_cache_hit_tokens`` is DeepSeek's, ``num_cached_tokens`` Mistral's."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    num_cached_tokens: int | None = None


def usage_from_report(report: UsageReport, convention: ReportConvention) -> Usage:
    """Return the report's units by disjoint class.

    Raises ImpossibleUsage where parts exceed their whole, or do not sum to the total that is reported.
    """
    prompt = report.prompt_tokens_details or PromptDetails()
    completion = report.completion_tokens_details or CompletionDetails()
    cached = prompt.cached_tokens or report.prompt_cache_hit_tokens or report.num_cached_tokens or 0
    written, audio, image = (
        prompt.cache_write_tokens or 0,
        prompt.audio_tokens or 0,
        prompt.image_tokens or 0,
    )
    audio_output, image_output = completion.audio_tokens or 0, completion.image_tokens or 0
    total_output = report.completion_tokens or 0
    reasoning = _reasoning_apart(report, completion) if convention.output_excludes_reasoning else 0
    if report.total_tokens and report.total_tokens != report.prompt_tokens + total_output + reasoning:
        raise ImpossibleUsage(f"input and output do not sum to the total of {report.total_tokens}")
    # What is written to a cache and read from it by the same call is reported as both (OpenRouter, for
    # Gemini's explicit caches). It went in once, and counts as written, the dearer of the two.
    if cached + written > report.prompt_tokens:
        cached -= min(cached, written)
    # What was cached may be the audio or the images themselves; the cheaper class must not be taken twice.
    plain = report.prompt_tokens - cached - written - audio - image
    if plain < 0 <= plain + min(cached, audio + image):
        cached += plain
        plain = 0
    if (
        min(cached, written, audio, image, audio_output, image_output, total_output, reasoning) < 0
        or plain < 0
    ):
        raise ImpossibleUsage(f"the parts of the input do not fit {report.prompt_tokens}")
    if total_output < audio_output + image_output:
        raise ImpossibleUsage(f"the parts of the output do not fit {total_output}")
    return usage_of(
        input=plain,
        cached_input=cached,
        cache_write=written,
        audio_input=audio,
        image_input=image,
        output=total_output - audio_output - image_output,
        reasoning=reasoning,
        audio_output=audio_output,
        image_output=image_output,
    )


def _reasoning_apart(report: UsageReport, completion: CompletionDetails) -> int:
    """Return the units on top of the output; Gemini tells them only by a total that exceeds the rest."""
    if report.total_tokens:
        return report.total_tokens - report.prompt_tokens - (report.completion_tokens or 0)
    return completion.reasoning_tokens or 0
