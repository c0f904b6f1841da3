"""Chat completions: OpenAI's ``POST /v1/chat/completions``, JSON and server-sent events."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.estimate import TEXT_BYTES_PER_UNIT, estimated_usage
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.json_body import NULL, UNREADABLE, assemble, decode_field, read_fields
from tokenopen.upstream.surface import CallRequest, ReportConvention, StreamReader
from tokenopen.upstream.surfaces.chat_stream import ChatStreamReader
from tokenopen.upstream.surfaces.openai_error import openai_error
from tokenopen.upstream.usage_report import UsageReport, usage_from_report

TOKENS_MAX: Final = 10**9
CHOICES_MAX: Final = 128

# Options that change the price, or which model answers. Each is refused where it is set.
UNPRICED: Final[Mapping[str, str]] = {
    "web_search_options": "searches are billed apart",
    "models": "another model than the one named may answer",
    "route": "another model than the one named may answer",
    "provider": "the provider is chosen here",
    "plugins": "plugins are billed apart",
    "transforms": "the request would not be what was checked",
    "fallbacks": "another model than the one named may answer",
    "search_parameters": "searches are billed apart",
    "deferred": "the reply would come later, by another way",
    "background": "the reply would come later, by another way",
    "prompt_cache_retention": "longer caching is billed apart",
    "speed": "faster service is billed apart",
    "inference_geo": "the region changes the price",
    "compound_custom": "its tools are billed apart",
}
_KNOWN: Final = frozenset(
    {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}
    | {"service_tier", "tools"}
    | set(UNPRICED)
)
_STANDARD_SERVICE: Final = frozenset({b"null", b'"auto"', b'"default"'})


class _ImageUrl(msgspec.Struct):
    url: str | None = None


class _InputAudio(msgspec.Struct):
    data: str | None = None


class _File(msgspec.Struct):
    file_data: str | None = None


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    image_url: _ImageUrl | str | None = None
    input_audio: _InputAudio | None = None
    file: _File | None = None


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


class _Tool(msgspec.Struct):
    type: str


class _Reply(msgspec.Struct):
    usage: UsageReport | None = None


class _ReplyMessage(msgspec.Struct):
    content: str | None = None


class _ReplyChoice(msgspec.Struct):
    message: _ReplyMessage | None = None


class _ReplyText(msgspec.Struct):
    choices: list[_ReplyChoice] = msgspec.field(default_factory=list)


_WORDS: Final = {str: "a string", bool: "true or false", int: "a whole number"}
_value_decoders: Final[Mapping[type[Any], msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(kind | None) for kind in _WORDS
}
_messages_decoder = msgspec.json.Decoder(list[_Message])
_tools_decoder = msgspec.json.Decoder(list[_Tool] | None)
_options_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_reply_decoder = msgspec.json.Decoder(_Reply)
_text_decoder = msgspec.json.Decoder(_ReplyText)


class ChatSurface:
    """Implements Surface."""

    name = "chat"
    upstream_path = "/chat/completions"

    def read_request(self, body: bytes) -> CallRequest:
        fields = read_fields(body, _KNOWN)
        model = read_value(fields, "model", str)
        if not model:
            raise InvalidRequest("model must name a model.", param="model")
        stream = read_value(fields, "stream", bool) or False
        refuse_unpriced(fields)
        hidden, attachments, text_bytes = _measure(fields)
        return CallRequest(
            model=model,
            stream=stream,
            wants_usage=_wants_usage(fields),
            max_output_tokens=_max_output_tokens(fields),
            prompts=1,
            choices=read_count(fields, "n", CHOICES_MAX) or 1,
            input_bytes=len(body) - hidden,
            attachments=attachments,
            text_bytes=text_bytes,
            open_ended=False,
            fields=fields,
        )

    def upstream_body(
        self,
        request: CallRequest,
        *,
        upstream_model: str,
        cap_output_tokens: int | None,
        convention: ReportConvention,
    ) -> bytes:
        fields = dict(request.fields)
        fields["model"] = msgspec.json.encode(upstream_model)
        if request.stream:
            options = _options_decoder.decode(fields.get("stream_options", NULL)) or {}
            kept = {name: bytes(raw) for name, raw in options.items()}
            fields["stream_options"] = assemble(kept | {"include_usage": b"true"})
        if cap_output_tokens is not None:
            fields[convention.max_tokens_field] = b"%d" % cap_output_tokens
        return assemble(fields)

    def read_reply(self, body: bytes, *, convention: ReportConvention) -> Usage | None:
        try:
            reply = _reply_decoder.decode(body)
        except msgspec.ValidationError as error:
            raise ImpossibleUsage(str(error)) from None
        except UNREADABLE:
            return None
        return None if reply.usage is None else usage_from_report(reply.usage, convention)

    def estimate_reply(self, request: CallRequest, body: bytes) -> Usage:
        try:
            choices = _text_decoder.decode(body).choices
        except UNREADABLE:
            choices = []
        written = sum(len((choice.message.content or "").encode()) for choice in choices if choice.message)
        return estimated_usage(text_bytes=request.text_bytes, output_units=written // TEXT_BYTES_PER_UNIT)

    def estimate_stream(self, request: CallRequest, *, content_events: int) -> Usage:
        return estimated_usage(text_bytes=request.text_bytes, output_units=content_events)

    def stream_reader(self, request: CallRequest, *, convention: ReportConvention) -> StreamReader:
        return ChatStreamReader(wants_usage=request.wants_usage, convention=convention)

    def error_body(self, *, status: int, code: str, message: str, facts: Mapping[str, object]) -> bytes:
        return openai_error(code=code, message=message, facts=facts)


def read_value(fields: Mapping[str, bytes], name: str, kind: type[Any]) -> Any:
    """Return a field's value, None where it is absent or null. Refuses InvalidRequest for another type."""
    return decode_field(_value_decoders[kind], fields, name, _WORDS[kind])


def read_count(fields: Mapping[str, bytes], name: str, most: int) -> int | None:
    """Return a whole number from 1 to ``most``, None where the field is absent or null."""
    count: int | None = read_value(fields, name, int)
    if count is not None and not 1 <= count <= most:
        raise InvalidRequest(f"{name} must be between 1 and {most:,}.", param=name)
    return count


def refuse_unpriced(fields: Mapping[str, bytes]) -> None:
    """Refuse options that change the price or the model. Raises InvalidRequest."""
    for name in UNPRICED.keys() & fields.keys():
        if fields[name] not in (NULL, b"false"):
            raise InvalidRequest(f"{name} is not offered here: {UNPRICED[name]}.", param=name)
    if fields.get("service_tier", NULL) not in _STANDARD_SERVICE:
        raise InvalidRequest(
            "service_tier may only be auto or default: others have prices of their own.", param="service_tier"
        )
    for tool in decode_field(_tools_decoder, fields, "tools", "an array of objects with a type") or ():
        if tool.type not in ("function", "custom"):
            raise InvalidRequest(
                f"Tools of type {tool.type} are not offered here: they are billed apart.", param="tools"
            )


def _max_output_tokens(fields: Mapping[str, bytes]) -> int | None:
    named = [read_count(fields, name, TOKENS_MAX) for name in ("max_completion_tokens", "max_tokens")]
    return max((count for count in named if count is not None), default=None)


def _wants_usage(fields: Mapping[str, bytes]) -> bool:
    options = decode_field(_options_decoder, fields, "stream_options", "an object") or {}
    value = bytes(options.get("include_usage", NULL))
    if value not in (b"true", b"false", NULL):
        raise InvalidRequest("stream_options.include_usage must be true or false.", param="stream_options")
    return value == b"true"


def _measure(fields: Mapping[str, bytes]) -> tuple[int, int, int]:
    """Return the bytes of base64 data, the number of attachments, and the bytes of text."""
    messages = decode_field(_messages_decoder, fields, "messages", "an array of messages")
    if not messages:
        raise InvalidRequest("messages must hold at least one message.", param="messages")
    hidden = attachments = text_bytes = 0
    for message in messages:
        if isinstance(message.content, str):
            text_bytes += len(message.content.encode("utf-8", "surrogatepass"))
            continue
        for part in message.content or ():
            if part.text is not None:
                text_bytes += len(part.text.encode("utf-8", "surrogatepass"))
            if part.type not in ("text", "refusal"):
                attachments += 1
                hidden += _base64_bytes(part)
    return hidden, attachments, text_bytes


def _base64_bytes(part: _Part) -> int:
    hidden = 0
    url = part.image_url.url if isinstance(part.image_url, _ImageUrl) else part.image_url
    for data in (
        url if url and url.startswith("data:") else None,
        part.input_audio.data if part.input_audio else None,
        part.file.file_data if part.file else None,
    ):
        hidden += len(data) if data and data.isascii() else 0
    return hidden
