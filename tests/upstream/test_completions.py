"""Completions: what a request is read as, and how its stream is read."""

import json
from typing import Any

import pytest

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import CallRequest
from tokenopen.upstream.surfaces.completions import CompletionsSurface

COMPLETIONS = CompletionsSurface()
OPENAI = PROVIDERS["openai"].convention


def read(**fields: Any) -> CallRequest:
    return COMPLETIONS.read_request(json.dumps({"model": "m", "prompt": "Hello"} | fields).encode())


@pytest.mark.parametrize(
    ("prompt", "prompts", "text_bytes"),
    [("Héllo", 1, 6), (["a", "bc"], 2, 3), ([1, 2], 1, 12), ([[1], [2]], 2, 12), (None, 1, 0), ("", 1, 0)],
)
def test_prompts_are_counted(prompt: Any, prompts: int, text_bytes: int) -> None:
    request = read(prompt=prompt)
    assert (request.prompts, request.choices, request.text_bytes) == (prompts, prompts, text_bytes)


def test_each_prompt_has_as_many_choices_as_are_written() -> None:
    assert read(n=3).choices == 3
    assert read(n=3, best_of=5, prompt=["a", "b"]).choices == 10
    assert read(best_of=None).choices == 1


def test_a_maximum_of_zero_asks_for_the_prompts_probabilities() -> None:
    assert read(max_tokens=0, echo=True).max_output_tokens == 0
    assert read(max_tokens=16).max_output_tokens == 16
    assert read().max_output_tokens is None


WRONG: dict[str, list[Any]] = {
    "model": ["", None],
    "prompt": [5, {}, [], [None]],
    "max_tokens": [-1, "5", 1.5],
    "n": [0, 129],
    "best_of": [0, 129, "2"],
    "stream_options": [5],
    "service_tier": ["priority"],
    "plugins": [[{"id": "web"}]],
    "Best_Of": [5],
}


@pytest.mark.parametrize(("field", "wrong"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_what_cannot_be_is_refused_by_name(field: str, wrong: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**{field: wrong})
    assert caught.value.facts["param"] == field


def test_the_cap_goes_into_the_only_field_that_there_is() -> None:
    body = b'{"model":"m","prompt":"Hi","stream":true}'
    request = COMPLETIONS.read_request(body)
    sent = COMPLETIONS.upstream_body(request, upstream_model="up", cap_output_tokens=9, convention=OPENAI)
    assert json.loads(sent) == json.loads(body) | {
        "model": "up",
        "max_tokens": 9,
        "stream_options": {"include_usage": True},
    }


def test_a_reply_is_metered_or_estimated() -> None:
    report = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    reply = {"choices": [{"text": "y" * 14}, {"text": "z" * 7}]}
    whole = json.dumps(reply | {"usage": report}).encode()
    assert COMPLETIONS.read_reply(whole, convention=OPENAI) == Usage({"input": 3, "output": 4})
    request = read(prompt="x" * 60)
    assert COMPLETIONS.read_reply(json.dumps(reply).encode(), convention=OPENAI) is None
    estimate = COMPLETIONS.estimate_reply(request, json.dumps(reply).encode())
    assert estimate == Usage({"input": 10, "output": 3}, "estimated")
    assert dict(COMPLETIONS.estimate_stream(request, content_events=2)) == {"input": 10, "output": 2}


def test_a_stream_is_read_as_a_chat_stream_is() -> None:
    def event(**fields: Any) -> bytes:
        return b"data: " + json.dumps(fields).encode() + b"\n\n"

    text = event(choices=[{"index": 0, "text": "Hi", "finish_reason": None}], usage=None)
    empty = event(choices=[{"index": 0, "text": "", "finish_reason": "stop"}], usage=None)
    usage = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
    done = b"data: [DONE]\n\n"
    reader = COMPLETIONS.stream_reader(read(stream=True), convention=OPENAI)
    assert reader.feed(text + text + empty + usage + done) == text + text + empty
    assert reader.tail("0.5") == done
    assert (reader.usage, reader.content_events) == (Usage({"input": 3, "output": 4}), 2)
