"""POST /v1/completions: the older text completion, one or many prompts, as JSON or as a stream."""

import time
from collections.abc import Iterator
from typing import Final

import msgspec

from tokenopen.simulator.chat import CHOICES_MAX, DONE, StreamOptions, usage_json
from tokenopen.simulator.directive import DEFAULT_EVENTS, Directives
from tokenopen.simulator.reply import (
    Endpoint,
    Refused,
    Reply,
    check_directives,
    decode,
    new_id,
    openai_error,
    output_words,
    reported_usage,
)
from tokenopen.simulator.words import PromptInput, count_prompt_input, piece_of, spread, text_of


class _Request(msgspec.Struct):
    model: str
    prompt: PromptInput
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    simulate: Directives | None = None


_decoder: Final = msgspec.json.Decoder(_Request)


def answer(body: bytes) -> Reply:
    """Return the reply to a completion request. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, openai_error)
    streams = bool(request.stream)
    check_directives(request.simulate, streams=streams, error_body=openai_error)
    words = output_words(asked=request.max_tokens, field="max_tokens", error_body=openai_error)
    prompt_tokens, prompts = count_prompt_input(request.prompt)
    choices = prompts * (1 if request.n is None else request.n)
    if not 1 <= choices <= CHOICES_MAX:
        raise Refused(400, openai_error(400, f"'n' times the prompts is not 1 to {CHOICES_MAX}."))
    reported = reported_usage(usage_json(prompt_tokens, words * choices), request.simulate)
    head = (
        b'{"id":"%b","object":"text_completion","created":%d,"model":%b,"system_fingerprint":"fp_simulated"'
        % (
            new_id(b"cmpl-"),
            int(time.time()),
            msgspec.json.encode(request.model),
        )
    )
    return Reply(
        model=request.model,
        stream=streams,
        prompt_tokens=prompt_tokens,
        completion_tokens=words * choices,
        directives=request.simulate,
        body=b"" if streams else _body(request, head, words=words, choices=choices, usage=reported),
        events=list(_events(request, head, words=words, choices=choices, usage=reported)) if streams else (),
        end_mark=DONE,
    )


def _finish_reason(request: _Request) -> bytes:
    return b'"stop"' if request.max_tokens is None else b'"length"'


def _body(request: _Request, head: bytes, *, words: int, choices: int, usage: bytes | None) -> bytes:
    choice = b'{"text":"%b","index":%d,"logprobs":null,"finish_reason":%b}'
    text, reason = text_of(words), _finish_reason(request)
    made = b",".join(choice % (text, index, reason) for index in range(choices))
    return head + b',"choices":[%b]%b}' % (made, b"" if usage is None else b',"usage":' + usage)


def _events(
    request: _Request, head: bytes, *, words: int, choices: int, usage: bytes | None
) -> Iterator[bytes]:
    directives = request.simulate
    wants_usage = request.stream_options is not None and request.stream_options.include_usage
    usage_now = b',"usage":null' if wants_usage else b""
    if directives is not None and directives.usage_in_every_event and usage is not None:
        usage_now = b',"usage":' + usage
    choice = b'{"text":"%b","index":%d,"logprobs":null,"finish_reason":%b}'
    pieces = DEFAULT_EVENTS if directives is None or directives.events is None else directives.events
    for start, end in spread(words, pieces):
        reason = _finish_reason(request) if end == words else b"null"
        for index in range(choices):
            made = choice % (piece_of(start, end), index, reason)
            yield b"data: " + head + b',"choices":[%b]%b}\n\n' % (made, usage_now)
    if wants_usage and usage is not None:
        yield b"data: " + head + b',"choices":[],"usage":%b}\n\n' % usage


ENDPOINT: Final = Endpoint(answer, openai_error)
