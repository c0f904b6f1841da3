"""Speech: OpenAI's ``POST /v1/audio/speech``: text in, sound out, as bytes or as server-sent events.

Bytes of sound report nothing, so they are charged by what is known exactly before: the characters of
``input`` (Unicode code points). Events (``stream_format: sse``) report tokens.
"""

from typing import Final

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.content import utf8_length
from tokenopen.upstream.json_body import KnownNames, read_object
from tokenopen.upstream.media_usage import read_speech_usage
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, Target
from tokenopen.upstream.surfaces.media_surface import MediaSurface, read_text

_KNOWN: Final = KnownNames({"model", "input", "stream_format"} | OPTION_NAMES)


class SpeechSurface(MediaSurface):
    """Implements Surface."""

    name = "speech"
    path = "/v1/audio/speech"
    upstream_path = "/audio/speech"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        refuse_options(fields)
        text = read_text(fields, "input")
        if not text:
            raise InvalidRequest("input must not be empty.", param="input")
        form = read_text(fields, "stream_format", default="audio")
        if form not in ("audio", "sse"):
            raise InvalidRequest("stream_format may be audio or sse.", param="stream_format")
        return CallRequest(
            model=model,
            stream=form == "sse",
            wants_usage=False,
            max_output_tokens=TOKENS_MAX,
            prompts=1,
            choices=1,
            input_bytes=len(body),
            attachments=0,
            text_bytes=utf8_length(text),
            open_ended=False,
            fields=fields,
            counted_units={"characters": len(text)},
            own_prices=[("audio_output",) if form == "sse" else ("characters",)],
        )

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        return Usage(request.counted_units) if body else usage_of(source="estimated")

    def read_event_usage(self, raw: bytes) -> Usage | None:
        return read_speech_usage(raw)
