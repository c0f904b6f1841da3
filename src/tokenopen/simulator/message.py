"""POST /v1/messages: text in Anthropic's shape, as JSON or as a stream."""

from collections.abc import Iterator
from typing import Final

import msgspec

from tokenopen.simulator.directive import DEFAULT_EVENTS, Directives
from tokenopen.simulator.reply import (
    Endpoint,
    Reply,
    anthropic_error,
    check_directives,
    decode,
    new_id,
    output_words,
    reported_usage,
)
from tokenopen.simulator.words import Content, count_content, piece_of, spread, text_of


class _Message(msgspec.Struct):
    content: Content


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int
    system: Content = None
    stream: bool | None = False
    simulate: Directives | None = None


_decoder: Final = msgspec.json.Decoder(_Request)

_END_MARK: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _usage_json(input_tokens: int, output_tokens: int) -> bytes:
    return (
        b'{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
        b'"output_tokens":%d,"service_tier":"standard"}' % (input_tokens, output_tokens)
    )


def answer(body: bytes) -> Reply:
    """Return the reply to a messages request. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, anthropic_error)
    streams = bool(request.stream)
    check_directives(request.simulate, streams=streams, error_body=anthropic_error)
    words = output_words(asked=request.max_tokens, field="max_tokens", error_body=anthropic_error)
    prompt_tokens = count_content(request.system)
    prompt_tokens += sum(count_content(message.content) for message in request.messages)
    return Reply(
        model=request.model,
        stream=streams,
        prompt_tokens=prompt_tokens,
        completion_tokens=words,
        directives=request.simulate,
        body=b"" if streams else _body(request, prompt_tokens, words),
        events=list(_events(request, prompt_tokens, words)) if streams else (),
        end_mark=_END_MARK,
    )


def _message(request: _Request, *, content: bytes, stop_reason: bytes, usage: bytes | None) -> bytes:
    return (
        b'{"id":"%b","type":"message","role":"assistant","model":%b,"content":[%b],'
        b'"stop_reason":%b,"stop_sequence":null%b}'
        % (
            new_id(b"msg_"),
            msgspec.json.encode(request.model),
            content,
            stop_reason,
            b"" if usage is None else b',"usage":' + usage,
        )
    )


def _body(request: _Request, prompt_tokens: int, words: int) -> bytes:
    return _message(
        request,
        content=b'{"type":"text","text":"%b"}' % text_of(words),
        stop_reason=b'"max_tokens"',
        usage=reported_usage(_usage_json(prompt_tokens, words), request.simulate),
    )


def _events(request: _Request, prompt_tokens: int, words: int) -> Iterator[bytes]:
    directives = request.simulate
    first_usage = reported_usage(_usage_json(prompt_tokens, 1), directives)
    opening = _message(request, content=b"", stop_reason=b"null", usage=first_usage)
    yield b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % opening
    yield (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
    )
    yield b'event: ping\ndata: {"type":"ping"}\n\n'
    pieces = DEFAULT_EVENTS if directives is None or directives.events is None else directives.events
    for start, end in spread(words, pieces):
        yield (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":"%b"}}\n\n' % piece_of(start, end)
        )
    yield b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    usage = reported_usage(_usage_json(prompt_tokens, words), directives)
    yield (
        b'event: message_delta\ndata: {"type":"message_delta",'
        b'"delta":{"stop_reason":"max_tokens","stop_sequence":null}%b}\n\n'
        % (b"" if usage is None else b',"usage":' + usage)
    )


ENDPOINT: Final = Endpoint(answer, anthropic_error)
