"""Reading a caller's body for chat and embeddings: what is refused, what is measured, what is sent on."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.errors import InvalidRequest
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surfaces.chat import UNPRICED, ChatSurface
from tokenopen.upstream.surfaces.embeddings import EmbeddingsSurface

CHAT = ChatSurface()
OPENAI = PROVIDERS["openai"].convention
MISTRAL = PROVIDERS["mistral"].convention
MESSAGES = [{"role": "user", "content": "hällo"}]


def body_of(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": MESSAGES, **fields}, ensure_ascii=False).encode()


def refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refusal:
        CHAT.read_request(body)
    return refusal.value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b'"x"', None),
        (b"{", None),
        (b'{"model":"m"} {}', None),
        (b'{"model":NaN}', None),
        (b'\xff{"model":"m"}', None),
        (b"[" * 200_000, None),
        (b'{"a":' + b"[" * 200_000, None),
        (b'{"model":"m","model":"n","messages":[{}]}', "model"),
        (b'{"mod\\u0065l":"a","model":"m","messages":[{}]}', "model"),
        (b'{"x":1,"model":"m","messages":[{}],"x":1}', None),
        (b'{"x":1,"x":1}', None),
        (b'{"Model":"m"}', "Model"),
        (b'{"model":"m","MAX_TOKENS":1,"messages":[{}]}', "MAX_TOKENS"),
        (b'{"model":"m","messages":[{"content":"\xff"}]}', "messages"),
        (b'{"model":"m","messages":[{"content":7}]}', "messages"),
        (b'{"model":"m","messages":{}}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m"}', "messages"),
        (b'{"messages":[{}]}', "model"),
        (b'{"model":"","messages":[{}]}', "model"),
        (b'{"model":null,"messages":[{}]}', "model"),
    ],
)
def test_a_body_that_cannot_be_trusted_is_refused_naming_the_field(body: bytes, param: str | None) -> None:
    assert refused(body).facts["param"] == param


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, [], {}, 10**12])
def test_counts_are_whole_numbers_from_one_on(name: str, value: Any) -> None:
    assert refused(body_of(**{name: value})).facts["param"] == name


@pytest.mark.parametrize("name", sorted(UNPRICED))
def test_options_that_change_the_price_or_the_model_are_refused_unless_empty(name: str) -> None:
    assert refused(body_of(**{name: {"x": 1}})).facts["param"] == name
    CHAT.read_request(body_of(**{name: None}))


@pytest.mark.parametrize("value", ["priority", "flex", "scale", "fast", 7, {}])
def test_other_service_tiers_than_the_standard_one_are_refused(value: Any) -> None:
    assert refused(body_of(service_tier=value)).facts["param"] == "service_tier"


@pytest.mark.parametrize("kind", ["web_search", "code_interpreter", "file_search", "mcp", "image_generation"])
def test_tools_that_the_provider_runs_are_refused(kind: str) -> None:
    assert refused(body_of(tools=[{"type": "function"}, {"type": kind}])).facts["param"] == "tools"


def test_what_may_be_sent_is_read() -> None:
    request = CHAT.read_request(
        body_of(
            stream=True,
            stream_options={"include_usage": True},
            n=3,
            max_tokens=10,
            max_completion_tokens=20,
            tools=[{"type": "function"}, {"type": "custom"}],
            service_tier="auto",
        )
    )
    assert (request.model, request.stream, request.wants_usage) == ("m", True, True)
    assert (request.max_output_tokens, request.choices, request.prompts) == (20, 3, 1)
    assert request.text_bytes == len("hällo".encode())


def test_base64_data_is_not_counted_where_attachments_are_and_only_there() -> None:
    data = "A" * 10_000
    parts = [
        {"type": "text", "text": "data:image/png;base64," + data},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        {"type": "file", "file": {"file_data": data}},
    ]
    body = body_of(messages=[{"role": "user", "content": parts}])
    request = CHAT.read_request(body)
    assert request.attachments == 4
    # The image's, the audio's and the file's data; the text only looks like data.
    hidden = len("data:image/png;base64,") + 3 * 10_000
    assert request.input_bytes == len(body) - hidden
    assert request.text_bytes == len("data:image/png;base64,") + 10_000


def test_the_model_the_usage_option_and_the_cap_are_all_that_changes() -> None:
    body = (
        b'{ "model":"m" , "x": 1.50,\n"messages":[{"content":"\\u00fc"}],'
        b'"stream":true,"stream_options":{"a":1}}'
    )
    request = CHAT.read_request(body)
    sent = CHAT.upstream_body(request, upstream_model='up"m', cap_output_tokens=7, convention=MISTRAL)
    assert json.loads(sent) == {
        **json.loads(body),
        "model": 'up"m',
        "stream_options": {"a": 1, "include_usage": True},
        "max_tokens": 7,
    }
    # Values that do not change keep their bytes: 1.50 stays 1.50, an escape stays an escape.
    assert b"1.50" in sent
    assert b'[{"content":"\\u00fc"}]' in sent
    capped = CHAT.upstream_body(request, upstream_model="m", cap_output_tokens=7, convention=OPENAI)
    assert json.loads(capped)["max_completion_tokens"] == 7


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(string.ascii_lowercase + '_"\\ü', min_size=1, max_size=8)


@given(st.dictionaries(NAMES, JSON, max_size=6), st.booleans(), st.sampled_from([None, 0, 2]))
def test_unknown_fields_reach_the_provider_as_they_came(
    extra: dict[str, Any], escaped: bool, indent: int | None
) -> None:
    known = {"model": "m", "messages": MESSAGES}
    fields = {**{name: value for name, value in extra.items() if name not in UNPRICED}, **known}
    body = json.dumps(fields, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    try:
        request = CHAT.read_request(body)
    except InvalidRequest:
        # Only where a name means something, or where a lone surrogate is no UTF-8.
        return
    sent = CHAT.upstream_body(request, upstream_model="other", cap_output_tokens=None, convention=OPENAI)
    assert json.loads(sent) == {**fields, "model": "other"}


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    for surface in (CHAT, EmbeddingsSurface()):
        try:
            surface.read_request(body)
        except InvalidRequest:
            continue


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 30))
def test_no_damaged_body_raises_anything_but_a_refusal(piece: bytes, at: int, length: int) -> None:
    body = bytearray(
        body_of(stream=True, stream_options={"include_usage": True}, tools=[], n=2, max_tokens=3)
    )
    body[at : at + length] = piece
    try:
        CHAT.read_request(bytes(body))
    except InvalidRequest:
        return


@pytest.mark.parametrize(
    ("value", "prompts"),
    [("one", 1), (["one", "two"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
)
def test_the_inputs_of_an_embedding_are_counted(value: Any, prompts: int) -> None:
    body = json.dumps({"model": "m", "input": value}).encode()
    assert EmbeddingsSurface().read_request(body).prompts == prompts


@pytest.mark.parametrize("value", [None, "", [], 7, {}])
def test_an_embedding_without_input_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest):
        EmbeddingsSurface().read_request(json.dumps({"model": "m", "input": value}).encode())
