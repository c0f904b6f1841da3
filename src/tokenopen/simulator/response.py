"""POST /v1/responses: text in the shape of OpenAI's Responses API, as JSON or as a stream.

The last 1,000 are kept unless ``store`` is false, and can be shown, deleted and followed up.
"""

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

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
from tokenopen.simulator.words import Content, count_content, piece_of, spread, text_of

KEPT_MAX: Final = 1_000
_KEPT_PATH: Final = "/v1/responses/"


class _Item(msgspec.Struct):
    content: Content = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A response that is kept, and how many tokens a follow-up reads of it."""

    body: bytes
    tokens: int


_kept: Final[OrderedDict[str, _Kept]] = OrderedDict()


def answer_about_kept(method: str, path: str) -> tuple[int, bytes] | None:
    """Return status and body for what is asked of a kept response; None for any other path."""
    response_id, _, action = path.removeprefix(_KEPT_PATH).partition("/")
    if not path.startswith(_KEPT_PATH) or (method, action) not in _KEPT_ACTIONS:
        return None
    kept = _kept.get(response_id)
    if kept is None:
        return 404, openai_error(404, f"Response with id '{response_id}' not found.")
    if method == "DELETE":
        del _kept[response_id]
        deleted = b'{"id":%b,"object":"response","deleted":true}'
        return 200, deleted % msgspec.json.encode(response_id)
    if action == "input_items":
        return 200, b'{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'
    if action == "cancel":
        return 400, openai_error(400, "Only responses that were created in the background can be cancelled.")
    return 200, kept.body


_KEPT_ACTIONS: Final = (("GET", ""), ("DELETE", ""), ("GET", "input_items"), ("POST", "cancel"))


class _Request(msgspec.Struct):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    store: bool | None = True
    stream: bool | None = False
    simulate: Directives | None = None


_decoder: Final = msgspec.json.Decoder(_Request)


def _prompt_words(request: _Request) -> int:
    words = count_content(request.instructions)
    if isinstance(request.input, str):
        return words + count_content(request.input)
    return words + sum(count_content(item.content) for item in request.input)


def _usage_json(input_tokens: int, output_tokens: int) -> bytes:
    return (
        b'{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0},'
        b'"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}'
        % (input_tokens, output_tokens, input_tokens + output_tokens)
    )


def _input_tokens(request: _Request) -> int:
    """Return the tokens of a request and of the response before it. Raises Refused with 400."""
    if request.previous_response_id is None:
        return _prompt_words(request)
    earlier = _kept.get(request.previous_response_id)
    if earlier is None:
        raise Refused(400, openai_error(400, "Previous response not found."))
    return _prompt_words(request) + earlier.tokens


def count(body: bytes) -> Reply:
    """Return the reply to a request to count tokens. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, openai_error)
    check_directives(request.simulate, streams=False, error_body=openai_error)
    tokens = _input_tokens(request)
    return Reply(
        model=request.model,
        prompt_tokens=tokens,
        directives=request.simulate,
        body=b'{"object":"response.input_tokens","input_tokens":%d}' % tokens,
    )


def answer(body: bytes) -> Reply:
    """Return the reply to a responses request. Raises Refused with 400 where it cannot be read."""
    request = decode(_decoder, body, openai_error)
    streams = bool(request.stream)
    check_directives(request.simulate, streams=streams, error_body=openai_error)
    words = output_words(asked=request.max_output_tokens, field="max_output_tokens", error_body=openai_error)
    prompt_tokens = _input_tokens(request)
    usage = reported_usage(_usage_json(prompt_tokens, words), request.simulate)
    writer = _ResponseWriter(request, words=words, usage=usage)
    events = list(writer.events()) if streams else [b""]
    if request.store is not False:
        _kept[writer.id] = _Kept(writer.finished(), prompt_tokens + words)
        if len(_kept) > KEPT_MAX:
            _kept.popitem(last=False)
    return Reply(
        model=request.model,
        stream=streams,
        prompt_tokens=prompt_tokens,
        completion_tokens=words,
        directives=request.simulate,
        body=b"" if streams else writer.finished(),
        events=events[:-1],
        end_mark=events[-1],
    )


class _ResponseWriter:
    """Writes one response object in its states, and the events between them."""

    def __init__(self, request: _Request, *, words: int, usage: bytes | None) -> None:
        self._request = request
        self._words = words
        self._usage = usage
        self._id = new_id(b"resp_")
        self._item_id = new_id(b"msg_")
        self._created = int(time.time())
        self._status = b"completed" if request.max_output_tokens is None else b"incomplete"

    @property
    def id(self) -> str:
        """The response's own."""
        return self._id.decode()

    def finished(self) -> bytes:
        return self._response(self._status, output=self._item(self._status), usage=self._usage)

    def _response(self, status: bytes, *, output: bytes, usage: bytes | None) -> bytes:
        details = b'{"reason":"max_output_tokens"}' if status == b"incomplete" else b"null"
        return (
            b'{"id":"%b","object":"response","created_at":%d,"status":"%b","background":false,"error":null,'
            b'"incomplete_details":%b,"instructions":%b,"max_output_tokens":%b,"max_tool_calls":null,"metadata":{},'
            b'"model":%b,"output":[%b],"parallel_tool_calls":true,"previous_response_id":%b,'
            b'"reasoning":{"effort":null,"summary":null},"service_tier":"default","store":%b,"temperature":1.0,'
            b'"text":{"format":{"type":"text"},"verbosity":"medium"},"tool_choice":"auto","tools":[],"top_p":1.0,'
            b'"truncation":"disabled"%b}'
            % (
                self._id,
                self._created,
                status,
                details,
                msgspec.json.encode(self._request.instructions),
                msgspec.json.encode(self._request.max_output_tokens),
                msgspec.json.encode(self._request.model),
                output,
                msgspec.json.encode(self._request.previous_response_id),
                b"false" if self._request.store is False else b"true",
                b"" if usage is None else b',"usage":' + usage,
            )
        )

    def _item(self, status: bytes) -> bytes:
        content = b"" if status == b"in_progress" else self._part(text_of(self._words))
        return b'{"id":"%b","type":"message","status":"%b","role":"assistant","content":[%b]}' % (
            self._item_id,
            status,
            content,
        )

    def _part(self, text: bytes) -> bytes:
        return b'{"type":"output_text","annotations":[],"logprobs":[],"text":"%b"}' % text

    def events(self) -> Iterator[bytes]:
        """Yield every event of the stream; the last one is its end mark."""
        for number, (name, members) in enumerate(self._steps()):
            yield b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (
                name,
                name,
                number,
                members,
            )

    def _steps(self) -> Iterator[tuple[bytes, bytes]]:
        begun = self._response(b"in_progress", output=b"", usage=b"null")
        place = b'"item_id":"%b","output_index":0,"content_index":0' % self._item_id
        yield b"response.created", b'"response":' + begun
        yield b"response.in_progress", b'"response":' + begun
        yield b"response.output_item.added", b'"output_index":0,"item":' + self._item(b"in_progress")
        yield b"response.content_part.added", place + b',"part":' + self._part(b"")
        directives = self._request.simulate
        pieces = DEFAULT_EVENTS if directives is None or directives.events is None else directives.events
        for start, end in spread(self._words, pieces):
            delta = place + b',"delta":"%b","logprobs":[],"obfuscation":"s1m"' % piece_of(start, end)
            yield b"response.output_text.delta", delta
        text = text_of(self._words)
        yield b"response.output_text.done", place + b',"text":"%b","logprobs":[]' % text
        yield b"response.content_part.done", place + b',"part":' + self._part(text)
        yield b"response.output_item.done", b'"output_index":0,"item":' + self._item(self._status)
        yield b"response." + self._status, b'"response":' + self.finished()


ENDPOINT: Final = Endpoint(answer, openai_error)
COUNT_ENDPOINT: Final = Endpoint(count, openai_error)
