"""What OpenAI's chat completions and completions have in common: the usage option, the reply's report, and
the least that a reply without a report has cost."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenopen.core.estimate import WRITTEN_BYTES_PER_UNIT, estimated_usage
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object
from tokenopen.upstream.request_field import read_flag
from tokenopen.upstream.surface import CallRequest, ReportConvention
from tokenopen.upstream.usage_report import UsageReport, read_report, usage_from_report

_STREAM_OPTIONS: Final = KnownNames({"include_usage"})


class _Reply(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Reported(msgspec.Struct, gc=False):
    usage: UsageReport | None = None


class _ReplyMessage(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    audio: Any = None


class _ReplyChoice(msgspec.Struct, gc=False):
    message: _ReplyMessage | None = None
    text: Any = None


class _ReplyChoices(msgspec.Struct, gc=False):
    choices: list[_ReplyChoice] | None = None


_reply_decoder: Final = msgspec.json.Decoder(_Reply)
_reported_decoder: Final = msgspec.json.Decoder(_Reported)
_choices_decoder: Final = msgspec.json.Decoder(_ReplyChoices)


def read_usage_option(fields: JsonObject) -> bool:
    """Return whether the caller asks for usage in a stream. Refuses InvalidRequest."""
    options = _stream_options(fields)
    return options is not None and read_flag(options, "include_usage", of="stream_options")


def _stream_options(fields: JsonObject) -> JsonObject | None:
    if "stream_options" not in fields or fields["stream_options"] == b"null":
        return None
    return read_object(fields["stream_options"], _STREAM_OPTIONS, of="stream_options")


def with_upstream_fields(
    request: CallRequest,
    *,
    upstream_model: str,
    cap_output_tokens: int | None,
    max_tokens_field: str,
    takes_usage_option: bool | None,
) -> bytes:
    """Return the caller's body with the upstream's model, usage asked for in streams, and the cap.

    ``takes_usage_option`` is None where the surface has no such option.
    """
    fields = request.fields
    assert isinstance(fields, JsonObject)
    changes = {}
    if upstream_model != request.model:
        changes["model"] = msgspec.json.encode(upstream_model)
    options = None if takes_usage_option is None else _stream_options(fields)
    if request.stream and takes_usage_option and not request.wants_usage:
        changes["stream_options"] = (
            b'{"include_usage":true}' if options is None else options.replaced({"include_usage": b"true"})
        )
    if cap_output_tokens is not None:
        changes[max_tokens_field] = b"%d" % cap_output_tokens
    if takes_usage_option is False and options is not None and options.keys() <= _STREAM_OPTIONS.names:
        # This provider reports usage in any case, and refuses to be asked for it.
        return fields.without("stream_options", changes)
    return fields.replaced(changes) if changes else fields.source


def find_usage(body: bytes) -> bytes:
    """Return the value of ``usage`` in a whole JSON reply; null where it has none."""
    try:
        return bytes(_reply_decoder.decode(body).usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b"null"


def read_openai_reply(body: bytes, convention: ReportConvention) -> Usage | None:
    """Return the usage that a whole JSON reply reports, None where there is none. Raises ImpossibleUsage."""
    try:
        report = _reported_decoder.decode(body).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What of it can be read all the same, or why it cannot.
        report = read_report(find_usage(body))
    return None if report is None else usage_from_report(report, convention)


def estimate_openai_reply(request: CallRequest, body: bytes) -> Usage:
    """Return the least that a reply without a report has cost; nothing where it answers nothing."""
    try:
        choices = _choices_decoder.decode(body).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        choices = None
    if not choices:
        return usage_of(source="estimated")
    written = sum(map(_written_bytes, choices))
    return estimated_usage(text_bytes=request.text_bytes, output_units=written // WRITTEN_BYTES_PER_UNIT)


def find_audio_ids(body: bytes) -> Sequence[str]:
    """Return the ids under which a whole JSON reply's sound can be referred to later."""
    if b'"audio"' not in body:
        return ()
    try:
        choices = _choices_decoder.decode(body).choices or ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    sounds = [choice.message.audio for choice in choices if choice.message is not None]
    return [sound["id"] for sound in sounds if isinstance(sound, dict) and isinstance(sound.get("id"), str)]


def _written_bytes(choice: _ReplyChoice) -> int:
    texts = [choice.text]
    if choice.message is not None:
        texts += [choice.message.content, choice.message.reasoning_content]
    return sum(utf8_length(text) for text in texts if isinstance(text, str))
