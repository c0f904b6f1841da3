"""What providers reply, in OpenAI's shape, and what callers ask."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tests.fakes.scripted_upstream import EVENT_STREAM, Headers, Script, Step

Json = Any

DONE: Final = b"data: [DONE]\n\n"
# What the provider reports in these replies, and what that costs at 0.15 and 0.60 credits per million.
INPUT_TOKENS: Final = 100
OUTPUT_TOKENS: Final = 7
REPORTED: Final = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
# A report that cannot be true: more cached than there was.
IMPOSSIBLE: Final = {**REPORTED, "prompt_tokens_details": {"cached_tokens": 101}}


def event(value: Json) -> bytes:
    """Return a server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def delta(text: str) -> bytes:
    """Return an event with content."""
    return event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})


ROLE: Final = event({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
STOP: Final = event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
HELLO: Final = [ROLE, delta("Hel"), delta("lo"), delta("!")]
HELLO_EVENTS: Final = 3


def report(usage: Mapping[str, Json] = REPORTED) -> bytes:
    """Return the event that providers end a stream with when they are asked for usage."""
    return event({"id": "c", "choices": [], "usage": usage})


def stream(*body: Step) -> Script:
    """Return a streamed reply."""
    return Script(headers=EVENT_STREAM, body=body)


def whole_stream() -> Script:
    """Return a stream as it should be, each event in a piece of its own."""
    return stream(*HELLO, STOP, report(), DONE)


def chat_json(usage: Mapping[str, Json] | None = REPORTED, *, text: str = "Hello!") -> bytes:
    """Return the body of a reply that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return msgspec.json.encode({"id": "c", "choices": [choice]} | ({} if usage is None else {"usage": usage}))


def whole_json(usage: Mapping[str, Json] | None = REPORTED, *, text: str = "Hello!") -> Script:
    """Return a reply that is not streamed, as it should be."""
    return Script(body=[chat_json(usage, text=text)])


def provider_error(status: int, *, headers: Headers = ((b"content-type", b"application/json"),)) -> Script:
    """Return a refusal in the provider's own words."""
    return Script(status=status, headers=headers, body=[PROVIDERS_WORDS])


PROVIDERS_WORDS: Final = b'{"error": {"message": "organisation org-secret said no", "code": "theirs"}}'


def ask(model: str = "gpt-4o-mini", *, text: str = "x" * 600, **fields: Json) -> dict[str, Json]:
    """Return the body of a chat call whose message text is 600 bytes: 100 units at 6 bytes each."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def ask_stream(*, usage: bool = False, **fields: Json) -> dict[str, Json]:
    """Return the body of a streamed chat call."""
    if usage:
        fields["stream_options"] = {"include_usage": True}
    return ask(stream=True, **fields)
