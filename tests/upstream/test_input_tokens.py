"""Counting a response's input: checked as the response itself, and free."""

import json
from typing import Any

import pytest

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import usage_of
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surfaces.input_tokens import InputTokensSurface

COUNT = InputTokensSurface()
OPENAI = PROVIDERS["openai"].convention
ASKED: Any = {"model": "m", "input": [{"role": "user", "content": "Hi."}]}


def encoded(**more: Any) -> bytes:
    return json.dumps(ASKED | more).encode()


def test_only_the_model_is_changed_on_the_way() -> None:
    request = COUNT.read_request(encoded(tools=[{"type": "web_search"}], previous_response_id="resp_1"))
    assert (request.max_output_tokens, request.counted_units, request.own_prices) == (0, {}, ())
    assert request.references == ["resp_1"]
    sent = COUNT.upstream_body(request, upstream_model="up", cap_output_tokens=None, convention=OPENAI)
    assert json.loads(sent) == json.loads(encoded(previous_response_id="resp_1")) | {
        "model": "up",
        "tools": [{"type": "web_search"}],
    }


@pytest.mark.parametrize("more", [{"prompt": {"id": "p"}}, {"tools": [{"type": "hologram"}]}])
def test_what_a_response_is_refused_for_is_not_counted(more: Any) -> None:
    with pytest.raises(InvalidRequest):
        COUNT.read_request(encoded(**more))


def test_no_reply_of_it_costs_anything() -> None:
    assert COUNT.is_free
    for body in (b'{"object":"response.input_tokens","input_tokens":12}', b'{"usage":{"input_tokens":9}}'):
        assert COUNT.read_reply(body, convention=OPENAI) == usage_of()
