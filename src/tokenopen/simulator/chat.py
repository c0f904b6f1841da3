"""POST /v1/chat/completions: text, tool calls and log probabilities, as JSON or as a stream."""

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tokenopen.simulator.directive import DEFAULT_EVENTS, Directives
from tokenopen.simulator.logprob import logprobs_of
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
from tokenopen.simulator.tool import ToolCall, tool_call_for
from tokenopen.simulator.words import Content, count_content, piece_of, spread, text_of

CHOICES_MAX: Final = 128
DONE: Final = b"data: [DONE]\n\n"


class _Message(msgspec.Struct):
    content: Content = None


class StreamOptions(msgspec.Struct):
    """Of these only ``include_usage`` changes anything here."""

    include_usage: bool = False


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    simulate: Directives | None = None


_decoder: Final = msgspec.json.Decoder(_Request)


def usage_json(prompt_tokens: int, completion_tokens: int) -> bytes:
    """Return a usage object as OpenAI's chat and completions report it."""
    return (
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
        b'"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
        b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
        % (prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)
    )


def answer(body: bytes) -> Reply:
    """Return the reply to a chat completion request. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, openai_error)
    streams = bool(request.stream)
    check_directives(request.simulate, streams=streams, error_body=openai_error)
    choices = 1 if request.n is None else request.n
    if not 1 <= choices <= CHOICES_MAX or not request.messages:
        raise Refused(400, openai_error(400, f"'messages' is empty or 'n' is not 1 to {CHOICES_MAX}."))
    asked = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    words = output_words(asked=asked, field="max_completion_tokens", error_body=openai_error)
    prompt_tokens = sum(count_content(message.content) for message in request.messages)
    writer = _ChatWriter(request, words=words, cut_short=asked is not None, choices=choices)
    reported = reported_usage(usage_json(prompt_tokens, words * choices), request.simulate)
    return Reply(
        model=request.model,
        stream=streams,
        prompt_tokens=prompt_tokens,
        completion_tokens=words * choices,
        directives=request.simulate,
        body=b"" if streams else writer.body(reported),
        events=list(writer.events(prompt_tokens, reported)) if streams else (),
        end_mark=DONE,
    )


class _ChatWriter:
    """Writes one reply's JSON; ids, time and model are the same in all its events."""

    def __init__(self, request: _Request, *, words: int, cut_short: bool, choices: int) -> None:
        self._words = words
        self._choices = choices
        self._directives = request.simulate
        self._wants_usage = request.stream_options is not None and request.stream_options.include_usage
        self._top_logprobs = (request.top_logprobs or 0) if request.logprobs else None
        self._id = new_id(b"chatcmpl-")
        self._created = int(time.time())
        self._model = msgspec.json.encode(request.model)
        self._tool_call: ToolCall | None = None
        if request.tools and request.tool_choice is not None:
            self._tool_call = tool_call_for(request.tools, request.tool_choice)
        self._finish_reason = b"length" if cut_short else b"stop"
        if self._tool_call is not None:
            # OpenAI says "stop" where the caller named the function, "tool_calls" where the model chose it.
            self._finish_reason = b"tool_calls" if request.tool_choice == "required" else b"stop"

    def body(self, usage: bytes | None) -> bytes:
        choices = b",".join(self._choice(index) for index in range(self._choices))
        return (
            b'{"id":"%b","object":"chat.completion","created":%d,"model":%b,"choices":[%b]%b,'
            b'"service_tier":"default","system_fingerprint":"fp_simulated"}'
            % (
                self._id,
                self._created,
                self._model,
                choices,
                b"" if usage is None else b',"usage":' + usage,
            )
        )

    def _choice(self, index: int) -> bytes:
        logprobs = b"null"
        if self._tool_call is not None:
            message = b'"content":null,"tool_calls":[%b]' % self._tool_call.whole()
        else:
            message = b'"content":"%b"' % text_of(self._words)
            if self._top_logprobs is not None:
                logprobs = logprobs_of(0, self._words, top=self._top_logprobs)
        return (
            b'{"index":%d,"message":{"role":"assistant",%b,"refusal":null,"annotations":[]},'
            b'"logprobs":%b,"finish_reason":"%b"}' % (index, message, logprobs, self._finish_reason)
        )

    def events(self, prompt_tokens: int, usage: bytes | None) -> Iterator[bytes]:
        """Yield every event of the stream but its end mark."""
        head = (
            b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,'
            b'"service_tier":"default","system_fingerprint":"fp_simulated","choices":['
            % (self._id, self._created, self._model)
        )
        every = self._directives is not None and self._directives.usage_in_every_event
        # OpenAI writes a null usage into all events but the last of callers who asked for usage.
        none_yet = b',"usage":null' if self._wants_usage else b""
        tail = b'%b,"obfuscation":"s1mUl4t3"}\n\n'
        plain_tail = tail % none_yet
        for choice, words_so_far in self._stream_choices():
            if every and usage is not None:
                so_far = reported_usage(usage_json(prompt_tokens, words_so_far), self._directives)
                yield head + choice + b"]" + tail % (b',"usage":%b' % (so_far or b"null"))
            else:
                yield head + choice + b"]" + plain_tail
        if self._wants_usage and usage is not None:
            yield head + b"]" + tail % (b',"usage":' + usage)

    def _stream_choices(self) -> Iterator[tuple[bytes, int]]:
        """Yield the choice object of each event and how many words were written up to and with it."""
        choice = b'{"index":%d,"delta":{%b},"logprobs":%b,"finish_reason":%b}'
        every_choice = range(self._choices)
        tool_call = self._tool_call
        opening = b'"role":"assistant","content":"","refusal":null'
        if tool_call is not None:
            opening = (
                b'"role":"assistant","content":null,"tool_calls":[%b],"refusal":null' % tool_call.opening()
            )
        for index in every_choice:
            yield choice % (index, opening, b"null", b"null"), 0
        pieces = DEFAULT_EVENTS
        if self._directives is not None and self._directives.events is not None:
            pieces = self._directives.events
        for start, end in spread(self._words, pieces):
            logprobs = b"null"
            if tool_call is not None:
                delta = b'"tool_calls":[%b]' % tool_call.piece(start, end, of=self._words)
            else:
                delta = b'"content":"%b"' % piece_of(start, end)
                if self._top_logprobs is not None:
                    logprobs = logprobs_of(start, end, top=self._top_logprobs)
            for index in every_choice:
                # Earlier choices are a piece further on than later ones.
                written = start * self._choices + (end - start) * (index + 1)
                yield choice % (index, delta, logprobs, b"null"), written
        for index in every_choice:
            finish = b'"%b"' % self._finish_reason
            yield choice % (index, b"", b"null", finish), self._words * self._choices


ENDPOINT: Final = Endpoint(answer, openai_error)
