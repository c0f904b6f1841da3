"""Images, sound, moderation and reranking: each endpoint gives the least that its shape has.

Images report tokens where the model's name begins with ``gpt-image``, as OpenAI's do. A form's parts are not
looked at but for the fields that decide over the reply.
"""

import re
from base64 import b64encode
from typing import Any, Final

import msgspec

from tokenopen.simulator.directive import Directives
from tokenopen.simulator.reply import Endpoint, Refused, Reply, check_directives, decode, openai_error
from tokenopen.simulator.words import count_words

SECONDS_PER_TRANSCRIPT: Final = 8
TOKENS_PER_IMAGE: Final = 1_056
_REPORTS_TOKENS: Final = "gpt-image"
_PICTURE: Final = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24))
_SOUND: Final = b"ID3" + bytes(range(256)) * 16
_FIELD: Final = re.compile(rb'name="(model|n|response_format)"\r\n\r\n([^\r\n]*)\r\n')


class _ImagesRequest(msgspec.Struct):
    model: str
    prompt: str
    n: int = 1
    simulate: Directives | None = None


class _SpeechRequest(msgspec.Struct):
    model: str
    input: str
    simulate: Directives | None = None


class _ModerationRequest(msgspec.Struct):
    model: str
    input: str | list[Any]
    simulate: Directives | None = None


class _RerankRequest(msgspec.Struct):
    model: str
    query: str
    documents: list[Any]
    simulate: Directives | None = None


_images_decoder: Final = msgspec.json.Decoder(_ImagesRequest)
_speech_decoder: Final = msgspec.json.Decoder(_SpeechRequest)
_moderation_decoder: Final = msgspec.json.Decoder(_ModerationRequest)
_rerank_decoder: Final = msgspec.json.Decoder(_RerankRequest)


def _reply(model: str, body: bytes, *, tokens: int = 0, directives: Directives | None = None) -> Reply:
    check_directives(directives, streams=False, error_body=openai_error)
    return Reply(
        model=model,
        prompt_tokens=tokens,
        directives=directives,
        body=body,
    )


def _images_body(model: str, count: int, tokens: int) -> bytes:
    data = b",".join([b'{"b64_json":"%b"}' % _PICTURE] * count)
    usage = b""
    if model.startswith(_REPORTS_TOKENS):
        output = TOKENS_PER_IMAGE * count
        usage = (
            b',"usage":{"input_tokens":%d,"output_tokens":%d,"total_tokens":%d,'
            b'"input_tokens_details":{"text_tokens":%d,"image_tokens":0}}'
            % (tokens, output, tokens + output, tokens)
        )
    return b'{"created":1,"data":[%b]%b}' % (data, usage)


def images(body: bytes) -> Reply:
    """Return pictures that are the same each time."""
    request = decode(_images_decoder, body, openai_error)
    tokens = count_words(request.prompt)
    return _reply(
        request.model,
        _images_body(request.model, request.n, tokens),
        tokens=tokens,
        directives=request.simulate,
    )


def _form_fields(body: bytes) -> dict[str, str]:
    fields = {name.decode(): value.decode() for name, value in _FIELD.findall(body)}
    if "model" not in fields:
        raise Refused(400, openai_error(400, "you must provide a model parameter"))
    return fields


def image_edits(body: bytes) -> Reply:
    """Return pictures that have nothing of the form's."""
    fields = _form_fields(body)
    return _reply(fields["model"], _images_body(fields["model"], int(fields.get("n", "1")), 0))


def speech(body: bytes) -> Reply:
    """Return bytes that no player takes for sound."""
    request = decode(_speech_decoder, body, openai_error)
    reply = _reply(request.model, _SOUND, tokens=count_words(request.input), directives=request.simulate)
    reply.content_type = b"audio/mpeg"
    return reply


def transcribe(body: bytes) -> Reply:
    """Return a transcript that says how long it took to speak."""
    fields = _form_fields(body)
    return _reply(
        fields["model"],
        b'{"text":"alpha bravo","duration":%d.0,"usage":{"type":"duration","seconds":%d}}'
        % (SECONDS_PER_TRANSCRIPT, SECONDS_PER_TRANSCRIPT),
    )


def moderate(body: bytes) -> Reply:
    """Return that nothing is wrong."""
    request = decode(_moderation_decoder, body, openai_error)
    count = 1 if isinstance(request.input, str) else len(request.input)
    result = b'{"flagged":false,"categories":{},"category_scores":{}}'
    results = b",".join([result] * count)
    model = msgspec.json.encode(request.model)
    return _reply(
        request.model,
        b'{"id":"modr-1","model":%b,"results":[%b]}' % (model, results),
        directives=request.simulate,
    )


def rerank(body: bytes) -> Reply:
    """Return the documents in the order in which they came, for one search unit."""
    request = decode(_rerank_decoder, body, openai_error)
    results = b",".join(
        b'{"index":%d,"relevance_score":%.3f}' % (place, 1 / (place + 1))
        for place in range(len(request.documents))
    )
    return _reply(
        request.model,
        b'{"results":[%b],"meta":{"billed_units":{"search_units":1}}}' % results,
        directives=request.simulate,
    )


ENDPOINTS: Final = {
    "/v1/images/generations": Endpoint(images, openai_error),
    "/v1/images/edits": Endpoint(image_edits, openai_error),
    "/v1/audio/speech": Endpoint(speech, openai_error),
    "/v1/audio/transcriptions": Endpoint(transcribe, openai_error),
    "/v1/audio/translations": Endpoint(transcribe, openai_error),
    "/v1/moderations": Endpoint(moderate, openai_error),
    "/v1/rerank": Endpoint(rerank, openai_error),
}
