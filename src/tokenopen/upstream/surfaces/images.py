"""Images: OpenAI's ``POST /v1/images/generations`` (JSON) and ``/v1/images/edits`` (a form).

Charged by the tokens that the reply reports (gpt-image), else by its images at the price of one (dall-e). The
price of an image is that of the usual size and quality, so others need a price in tokens.
"""

from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage, usage_of
from tokenopen.upstream.json_body import JsonObject, KnownNames, read_object
from tokenopen.upstream.media_usage import read_image_usage
from tokenopen.upstream.refused_option import OPTION_NAMES, refuse_options
from tokenopen.upstream.request_field import TOKENS_MAX, read_count, read_flag, read_model
from tokenopen.upstream.surface import NO_TARGET, CallRequest, ReportConvention, Target
from tokenopen.upstream.surfaces.media_surface import FormSurface, MediaSurface, read_text, text_bytes_of

IMAGES_MAX: Final = 10
_KNOWN: Final = KnownNames({"model", "prompt", "n", "size", "quality", "stream"} | OPTION_NAMES)
_KNOWN_EDIT: Final = KnownNames(_KNOWN.names | {"image", "image[]", "mask"})
_USUAL: Final = {"size": frozenset({"auto", "1024x1024"}), "quality": frozenset({"auto", "standard"})}


class _Reply(msgspec.Struct, gc=False):
    data: list[Any] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_reply_decoder: Final = msgspec.json.Decoder(_Reply)


class ImagesSurface(MediaSurface):
    """Implements Surface."""

    name = "images"
    path = "/v1/images/generations"
    upstream_path = "/images/generations"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN)
        images = read_count(fields, "n", most=IMAGES_MAX) or 1
        stream = read_flag(fields, "stream")
        return _call(fields, images=images, stream=stream, input_bytes=len(body), attachments=0)

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        try:
            reply = _reply_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        usage = read_image_usage(bytes(reply.usage))
        return usage_of(images=len(reply.data)) if usage is None and reply.data else usage

    def read_event_usage(self, raw: bytes) -> Usage | None:
        return read_image_usage(raw)


class ImageEditsSurface(FormSurface, ImagesSurface):
    """Implements Surface."""

    name = "image_edits"
    path = "/v1/images/edits"
    upstream_path = "/images/edits"

    def read_request(self, body: bytes, target: Target = NO_TARGET) -> CallRequest:
        fields = read_object(body, _KNOWN_EDIT)
        count = read_text(fields, "n", default="1")
        if not count.isascii() or not count.isdigit() or not 1 <= int(count) <= IMAGES_MAX:
            raise InvalidRequest(f"n must be a whole number from 1 to {IMAGES_MAX}.", param="n")
        stream = read_text(fields, "stream", default="false")
        if stream not in ("true", "false"):
            raise InvalidRequest("stream must be true or false.", param="stream")
        request = _call(
            fields,
            images=int(count),
            stream=stream == "true",
            input_bytes=len(body),
            attachments=body.count(b'{"part":'),
            form=target.form,
        )
        if not request.attachments:
            raise InvalidRequest("image must be a file.", param="image")
        return request


def _call(
    fields: JsonObject, *, images: int, stream: bool, input_bytes: int, attachments: int, form: Any = None
) -> CallRequest:
    model = read_model(fields)
    refuse_options(fields)
    if stream and images > 1:
        raise InvalidRequest("A stream gives one image: leave out n.", param="n")
    usual = all(read_text(fields, name, default="auto") in values for name, values in _USUAL.items())
    return CallRequest(
        model=model,
        stream=stream,
        wants_usage=False,
        max_output_tokens=TOKENS_MAX,
        prompts=1,
        choices=images,
        input_bytes=input_bytes,
        attachments=attachments,
        text_bytes=text_bytes_of(fields, "prompt"),
        open_ended=False,
        fields=fields,
        counted_units={"images": images},
        own_prices=[("images", "image_output") if usual else ("image_output",)],
        form=form,
    )
