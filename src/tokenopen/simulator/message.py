"""POST /v1/messages: text and tool calls in Anthropic's shape, as JSON or as a stream; counting tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

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
from tokenopen.simulator.tool import called_tool
from tokenopen.simulator.words import Content, count_content, piece_of, spread, text_of


class _Message(msgspec.Struct):
    content: Content


class _Counted(msgspec.Struct):
    model: str
    messages: list[_Message]
    system: Content = None
    simulate: Directives | None = None


class _Request(_Counted, kw_only=True):
    max_tokens: int
    stream: bool | None = False
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None


_decoder: Final = msgspec.json.Decoder(_Request)
_counted_decoder: Final = msgspec.json.Decoder(_Counted)

_END_MARK: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _usage_json(input_tokens: int, output_tokens: int) -> bytes:
    return (
        b'{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
        b'"output_tokens":%d,"service_tier":"standard"}' % (input_tokens, output_tokens)
    )


def _count(request: _Counted) -> int:
    return count_content(request.system) + sum(count_content(message.content) for message in request.messages)


def count(body: bytes) -> Reply:
    """Return the reply to a request to count tokens. Raises Refused with 400 where it cannot be read."""
    request = decode(_counted_decoder, body, anthropic_error)
    check_directives(request.simulate, streams=False, error_body=anthropic_error)
    tokens = _count(request)
    return Reply(
        model=request.model,
        prompt_tokens=tokens,
        directives=request.simulate,
        body=b'{"input_tokens":%d}' % tokens,
    )


@dataclass(frozen=True, slots=True)
class _Block:
    """The one block that a reply holds: ``whole``, or ``opening`` and the ``deltas`` that follow it."""

    whole: bytes
    opening: bytes
    deltas: list[bytes]
    stop_reason: bytes


def _block_of(request: _Request, words: int) -> _Block:
    pieces = spread(words, _pieces(request))
    call = called_tool(request.tools or [], request.tool_choice)
    if call is None:
        return _Block(
            whole=b'{"type":"text","text":"%b"}' % text_of(words),
            opening=b'{"type":"text","text":""}',
            deltas=[b'{"type":"text_delta","text":"%b"}' % piece_of(start, end) for start, end in pieces],
            stop_reason=b'"max_tokens"',
        )
    head = b'{"type":"tool_use","id":"%b","name":%b,"input":' % (call.id, call.name)
    shares = [call.share(start, end, of=words) for start, end in pieces]
    return _Block(
        whole=head + call.arguments.encode() + b"}",
        opening=head + b"{}}",
        deltas=[b'{"type":"input_json_delta","partial_json":%b}' % share for share in shares],
        stop_reason=b'"tool_use"',
    )


def _pieces(request: _Request) -> int:
    directives = request.simulate
    return DEFAULT_EVENTS if directives is None or directives.events is None else directives.events


def answer(body: bytes) -> Reply:
    """Return the reply to a messages request. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, anthropic_error)
    streams = bool(request.stream)
    check_directives(request.simulate, streams=streams, error_body=anthropic_error)
    words = output_words(asked=request.max_tokens, field="max_tokens", error_body=anthropic_error)
    prompt_tokens, block = _count(request), _block_of(request, words)
    return Reply(
        model=request.model,
        stream=streams,
        prompt_tokens=prompt_tokens,
        completion_tokens=words,
        directives=request.simulate,
        body=b"" if streams else _body(request, block, prompt_tokens, words),
        events=list(_events(request, block, prompt_tokens, words)) if streams else (),
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


def _body(request: _Request, block: _Block, prompt_tokens: int, words: int) -> bytes:
    return _message(
        request,
        content=block.whole,
        stop_reason=block.stop_reason,
        usage=reported_usage(_usage_json(prompt_tokens, words), request.simulate),
    )


def _events(request: _Request, block: _Block, prompt_tokens: int, words: int) -> Iterator[bytes]:
    directives = request.simulate
    first_usage = reported_usage(_usage_json(prompt_tokens, 1), directives)
    opening = _message(request, content=b"", stop_reason=b"null", usage=first_usage)
    yield b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % opening
    yield (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":%b}\n\n' % block.opening
    )
    yield b'event: ping\ndata: {"type":"ping"}\n\n'
    for delta in block.deltas:
        yield (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":%b}\n\n'
            % delta
        )
    yield b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    usage = reported_usage(_usage_json(prompt_tokens, words), directives)
    yield (
        b'event: message_delta\ndata: {"type":"message_delta",'
        b'"delta":{"stop_reason":%b,"stop_sequence":null}%b}\n\n'
        % (block.stop_reason, b"" if usage is None else b',"usage":' + usage)
    )


ENDPOINT: Final = Endpoint(answer, anthropic_error)
COUNT_ENDPOINT: Final = Endpoint(count, anthropic_error)
