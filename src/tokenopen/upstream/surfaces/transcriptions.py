"""Transcriptions and translations: OpenAI's ``POST /v1/audio/transcriptions`` and ``/translations``, forms.

Charged by what the reply reports, tokens or seconds. Formats that report neither are refused.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object
from tokenopen.upstream.media_usage import read_sound_usage, read_transcript_usage
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, Target
from tokenopen.upstream.surfaces.media_surface import FormSurface, read_text, text_bytes_of

_KNOWN: Final = KnownNames({"model", "file", "prompt", "stream", "response_format"} | OPTION_NAMES)
# Speech is intelligible down to about 8 kbit/s; a file holds no more seconds than that.
_BYTES_PER_SECOND: Final = 1_000


class _File(msgspec.Struct, gc=False):
    bytes: int


_file_decoder: Final = msgspec.json.Decoder(_File)


def transcript_format(fields: Mapping[str, bytes]) -> str:
    """Return the format that a transcript is asked for in. Refuses InvalidRequest where it is no text."""
    assert isinstance(fields, JsonObject)
    return read_text(fields, "response_format", default="json")


class TranscriptionsSurface(FormSurface):
    """Implements Surface."""

    name = "transcriptions"
    path = "/v1/audio/transcriptions"
    upstream_path = "/audio/transcriptions"
    formats: tuple[str, ...] = ("json", "verbose_json", "diarized_json")

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        model = read_model(fields)
        refuse_options(fields)
        try:
            size = _file_decoder.decode(fields.view("file")).bytes if "file" in fields else 0
        except msgspec.DecodeError:
            size = 0
        if not size:
            raise InvalidRequest("file must be a file that is not empty.", param="file")
        if transcript_format(fields) not in self.formats:
            raise InvalidRequest(
                f"response_format may be {' or '.join(self.formats)} here: others report no usage.",
                param="response_format",
            )
        stream = read_text(fields, "stream", default="false")
        if stream not in ("true", "false"):
            raise InvalidRequest("stream must be true or false.", param="stream")
        return CallRequest(
            model=model,
            stream=stream == "true",
            wants_usage=False,
            max_output_tokens=TOKENS_MAX,
            prompts=1,
            choices=1,
            input_bytes=len(body),
            attachments=1,
            text_bytes=text_bytes_of(fields, "prompt"),
            open_ended=True,
            fields=fields,
            counted_units={"seconds": size // _BYTES_PER_SECOND + 1},
            own_prices=[("seconds", "audio_input")],
            form=target.form,
        )

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        return read_transcript_usage(body)

    def read_event_usage(self, raw: bytes) -> Usage | None:
        return read_sound_usage(raw)


class TranslationsSurface(TranscriptionsSurface):
    """Implements Surface. Of a translation only the verbose form tells how long it was."""

    name = "translations"
    path = "/v1/audio/translations"
    upstream_path = "/audio/translations"
    formats = ("verbose_json",)
