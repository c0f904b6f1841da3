"""Usage reports about images, sound and reranking, as OpenAI and others write them. Pure.

images          tokens in the shape of responses; what comes out is images unless it is told apart
transcriptions  tokens, or seconds of sound: begun ones count whole
speech          tokens, in streams alone
rerank          search units (Cohere), or tokens (Jina, Together, vLLM; SiliconFlow where Cohere has them)
"""

import math
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec

from tokenopen.core.usage import UNITS_MAX, ImpossibleUsage, Usage, usage_of
from tokenopen.upstream.surface import ReportConvention
from tokenopen.upstream.usage_report import (
    decode_report,
    input_usage_from_report,
    read_report,
    read_responses_report,
    usage_from_report,
)

_Units = Annotated[int, msgspec.Meta(ge=0, le=UNITS_MAX)] | None
_NULL: Final = msgspec.Raw(b"null")
_INSIDE: Final = ReportConvention(
    output_excludes_reasoning=False,
    total_tells_reasoning=False,
    max_tokens_field="max_tokens",
    takes_usage_option=False,
    cost_field=None,
)


class _InputDetails(msgspec.Struct, gc=False, frozen=True):
    audio_tokens: _Units = None


class _SoundReport(msgspec.Struct, gc=False, frozen=True):
    type: Literal["tokens", "duration"] | None = None
    seconds: Decimal | None = None
    # Mistral, which writes an object where it has none.
    prompt_audio_seconds: Any = None
    input_tokens: _Units = None
    output_tokens: _Units = None
    total_tokens: _Units = None
    input_token_details: _InputDetails | None = None


class _Transcript(msgspec.Struct, gc=False):
    usage: _SoundReport | None = None
    duration: Decimal | None = None


class _BilledUnits(msgspec.Struct, gc=False):
    search_units: _Units = None


class _RankingTokens(msgspec.Struct, gc=False):
    input_tokens: _Units = None
    output_tokens: _Units = None


class _Meta(msgspec.Struct, gc=False):
    billed_units: _BilledUnits | None = None
    tokens: _RankingTokens | None = None


class _Ranking(msgspec.Struct, gc=False):
    meta: _Meta | None = None
    usage: msgspec.Raw = _NULL


_transcript_decoder: Final = msgspec.json.Decoder(_Transcript)
_sound_decoder: Final[msgspec.json.Decoder[_SoundReport | None]] = msgspec.json.Decoder(_SoundReport | None)
_ranking_decoder: Final = msgspec.json.Decoder(_Ranking)


def read_image_usage(raw: bytes) -> Usage | None:
    """Return the units of an image reply's ``usage`` value, None for null. Raises ImpossibleUsage."""
    report = read_responses_report(raw)
    usage = None if report is None else usage_from_report(report, _INSIDE)
    if usage is None or "image_output" in usage.units:
        return usage
    units = dict(usage.units)
    output = units.pop("output", 0)
    return Usage(units | {"image_output": output})


def read_transcript_usage(body: bytes) -> Usage:
    """Return what a whole transcript reports. Raises ImpossibleUsage, also where it reports nothing."""
    transcript = decode_report(_transcript_decoder, body)
    usage = None if transcript.usage is None else _sound_usage(transcript.usage)
    if usage is None and transcript.duration is not None:
        usage = _seconds_usage(transcript.duration)
    if usage is None:
        raise ImpossibleUsage("the transcript tells neither tokens nor seconds")
    return usage


def read_sound_usage(raw: bytes) -> Usage | None:
    """Return the units of the ``usage`` value of a transcript's last event. Raises ImpossibleUsage."""
    report = decode_report(_sound_decoder, raw)
    return None if report is None else _sound_usage(report)


def read_speech_usage(raw: bytes) -> Usage | None:
    """Return the units of the ``usage`` value of speech's last event: text in, sound out."""
    report = decode_report(_sound_decoder, raw)
    if report is None or report.input_tokens is None or report.output_tokens is None:
        return None
    _assert_total(report, report.input_tokens + report.output_tokens)
    return usage_of(input=report.input_tokens, audio_output=report.output_tokens)


def read_ranking_usage(body: bytes) -> Usage | None:
    """Return what a reranking reports, None where it reports nothing. Raises ImpossibleUsage."""
    ranking = decode_report(_ranking_decoder, body)
    billed = None if ranking.meta is None else ranking.meta.billed_units
    if billed is not None and billed.search_units is not None:
        return usage_of(searches=billed.search_units)
    report = read_report(bytes(ranking.usage))
    usage = None if report is None else input_usage_from_report(report)
    tokens = None if ranking.meta is None else ranking.meta.tokens
    if usage is None and tokens is not None and tokens.input_tokens is not None:
        return usage_of(input=tokens.input_tokens, output=tokens.output_tokens or 0)
    return usage


def _sound_usage(report: _SoundReport) -> Usage | None:
    seconds = report.seconds
    if seconds is None and isinstance(report.prompt_audio_seconds, int):
        seconds = Decimal(report.prompt_audio_seconds)
    if seconds is not None:
        return _seconds_usage(seconds)
    if report.input_tokens is None or report.output_tokens is None:
        return None
    details = report.input_token_details
    audio = 0 if details is None else details.audio_tokens or 0
    if audio > report.input_tokens:
        raise ImpossibleUsage(f"{audio} units of sound in {report.input_tokens} of input")
    _assert_total(report, report.input_tokens + report.output_tokens)
    return usage_of(input=report.input_tokens - audio, audio_input=audio, output=report.output_tokens)


def _seconds_usage(seconds: Decimal) -> Usage:
    if not seconds.is_finite() or not 0 <= seconds <= UNITS_MAX:
        raise ImpossibleUsage(f"{seconds} seconds")
    return usage_of(seconds=math.ceil(seconds))


def _assert_total(report: _SoundReport, total: int) -> None:
    if report.total_tokens not in (None, total):
        raise ImpossibleUsage(f"a total of {report.total_tokens} units, whose parts are {total}")
