"""Gemini's API: text and function calls, as JSON or as a stream; embeddings; counting tokens."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from tokenopen.simulator.directive import DEFAULT_EVENTS, Directives
from tokenopen.simulator.reply import (
    Endpoint,
    Reply,
    check_directives,
    decode,
    gemini_error,
    new_id,
    output_words,
    reported_usage,
)
from tokenopen.simulator.tool import ToolCall, called_function
from tokenopen.simulator.words import count_words, piece_of, spread, text_of

_PATH: Final = re.compile(r"/v1beta/models/(?P<model>.+):(?P<method>[A-Za-z]+)")
_DIMENSIONS: Final = 768


class _Content(msgspec.Struct):
    parts: list[dict[str, Any]] = []


class _Config(msgspec.Struct, rename="camel"):
    max_output_tokens: int | None = None


class _CallingConfig(msgspec.Struct, rename="camel"):
    mode: str = "AUTO"
    allowed_function_names: list[str] | None = None


class _ToolConfig(msgspec.Struct, rename="camel"):
    function_calling_config: _CallingConfig | None = None


class _Request(msgspec.Struct, rename="camel"):
    contents: list[_Content] = []
    system_instruction: _Content | None = None
    generation_config: _Config | None = None
    tools: list[dict[str, Any]] | None = None
    tool_config: _ToolConfig | None = None
    simulate: Directives | None = None


class _EmbedRequest(msgspec.Struct):
    content: _Content
    simulate: Directives | None = None


class _BatchRequest(msgspec.Struct):
    requests: list[_EmbedRequest]
    simulate: Directives | None = None


_decoder: Final = msgspec.json.Decoder(_Request)
_embed_decoder: Final = msgspec.json.Decoder(_EmbedRequest)
_batch_decoder: Final = msgspec.json.Decoder(_BatchRequest)


def endpoint_at(path: str) -> Endpoint | None:
    """Return what takes calls at a path, None where nothing of Gemini's does."""
    match = _PATH.fullmatch(path)
    answer = None if match is None else _ANSWERS.get(match["method"])
    return (
        None if match is None or answer is None else Endpoint(partial(answer, match["model"]), gemini_error)
    )


def _count(*contents: _Content | None) -> int:
    texts = [part.get("text") for content in contents if content is not None for part in content.parts]
    return sum(count_words(text) for text in texts if isinstance(text, str))


def _generate(model: str, body: bytes, *, streams: bool) -> Reply:
    """Return the reply to a request for content. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, gemini_error)
    check_directives(request.simulate, streams=streams, error_body=gemini_error)
    config = request.generation_config or _Config()
    words = output_words(asked=config.max_output_tokens, field="maxOutputTokens", error_body=gemini_error)
    prompt_tokens = _count(request.system_instruction, *request.contents)
    events = list(_events(model, request, prompt_tokens, words, streams=streams))
    return Reply(
        model=model,
        stream=streams,
        prompt_tokens=prompt_tokens,
        completion_tokens=words,
        directives=request.simulate,
        body=b"" if streams else events[-1],
        events=[b"data: %b\r\n\r\n" % event for event in events[:-1]] if streams else (),
        end_mark=b"data: %b\r\n\r\n" % events[-1],
    )


def _events(
    model: str, request: _Request, prompt_tokens: int, words: int, *, streams: bool
) -> Iterator[bytes]:
    """Return the replies of a stream; the last one alone is a whole reply where nothing is streamed."""
    reply_id = new_id(b"")
    call = _call_of(request)
    events = DEFAULT_EVENTS if request.simulate is None else request.simulate.events or DEFAULT_EVENTS
    pieces = spread(words, events if streams and call is None else 1)
    for start, end in pieces:
        part = b'{"text":"%b"}' % (piece_of(start, end) if streams else text_of(words))
        if call is not None:
            part = b'{"functionCall":{"name":%b,"args":%b}}' % (call.name, call.arguments.encode())
        usage = reported_usage(_usage_json(prompt_tokens, end), request.simulate)
        yield b'{"candidates":[{"content":{"parts":[%b],"role":"model"}%b,"index":0}]%b,%b}' % (
            part,
            b',"finishReason":"STOP"' if end == words else b"",
            b"" if usage is None else b',"usageMetadata":' + usage,
            b'"modelVersion":%b,"responseId":"%b"' % (msgspec.json.encode(model), reply_id),
        )


def _call_of(request: _Request) -> ToolCall | None:
    config = request.tool_config and request.tool_config.function_calling_config
    if not config or config.mode != "ANY":
        return None
    declared = [one for tool in request.tools or [] for one in tool.get("functionDeclarations", [])]
    return called_function(declared, config.allowed_function_names)


def _usage_json(prompt_tokens: int, words: int) -> bytes:
    return (
        b'{"promptTokenCount":%d,"candidatesTokenCount":%d,"totalTokenCount":%d,'
        b'"promptTokensDetails":[{"modality":"TEXT","tokenCount":%d}]}'
        % (prompt_tokens, words, prompt_tokens + words, prompt_tokens)
    )


def _vector(tokens: int) -> bytes:
    values = [((place * 7919 + tokens * 104_729) % 2001 - 1000) / 1000 for place in range(_DIMENSIONS)]
    return b'{"values":%b}' % msgspec.json.encode(values)


def _embedded(model: str, tokens: int, directives: Directives | None, member: bytes) -> Reply:
    check_directives(directives, streams=False, error_body=gemini_error)
    usage = reported_usage(b'{"promptTokenCount":%d}' % tokens, directives)
    return Reply(
        model=model,
        prompt_tokens=tokens,
        directives=directives,
        body=b"{%b%b}" % (member, b"" if usage is None else b',"usageMetadata":' + usage),
    )


def _embed(model: str, body: bytes) -> Reply:
    request = decode(_embed_decoder, body, gemini_error)
    tokens = _count(request.content)
    return _embedded(model, tokens, request.simulate, b'"embedding":' + _vector(tokens))


def _batch_embed(model: str, body: bytes) -> Reply:
    request = decode(_batch_decoder, body, gemini_error)
    counts = [_count(one.content) for one in request.requests]
    vectors = b",".join(map(_vector, counts))
    return _embedded(model, sum(counts), request.simulate, b'"embeddings":[%b]' % vectors)


def _count_tokens(model: str, body: bytes) -> Reply:
    request = decode(_decoder, body, gemini_error)
    tokens = _count(request.system_instruction, *request.contents)
    return Reply(
        model=model,
        prompt_tokens=tokens,
        directives=request.simulate,
        body=b'{"totalTokens":%d}' % tokens,
    )


_ANSWERS: Final[Mapping[str, Callable[[str, bytes], Reply]]] = {
    "generateContent": partial(_generate, streams=False),
    "streamGenerateContent": partial(_generate, streams=True),
    "embedContent": _embed,
    "batchEmbedContents": _batch_embed,
    "countTokens": _count_tokens,
}
