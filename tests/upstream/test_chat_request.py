"""Chat and embeddings requests: what is read of them, what is refused, and what is sent on."""

import base64
import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenopen.core.errors import InvalidRequest, RequestTooLarge
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.refused_option import REFUSED_OPTIONS
from tokenopen.upstream.surface import CallRequest, Surface
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.embeddings import EmbeddingsSurface

CHAT = ChatSurface()
EMBEDDINGS = EmbeddingsSurface()
HELLO = [{"role": "user", "content": "Hello"}]


def chat(**fields: Any) -> CallRequest:
    return CHAT.read_request(json.dumps({"model": "m", "messages": HELLO} | fields).encode())


def embeddings(**fields: Any) -> CallRequest:
    return EMBEDDINGS.read_request(json.dumps({"model": "m", "input": "Hello"} | fields).encode())


def sent(request: CallRequest, *, to: str = "openai", model: str = "m", cap: int | None = None) -> bytes:
    surface: Surface = EMBEDDINGS if "input" in request.fields else CHAT
    return surface.upstream_body(
        request, upstream_model=model, cap_output_tokens=cap, convention=PROVIDERS[to].convention
    )


def refusal_of(surface: Surface, fields: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        surface.read_request(json.dumps(fields).encode())
    return caught.value


def test_a_chat_request_is_read() -> None:
    body = (
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true,"n":3,"max_tokens":7}'
    )
    request = CHAT.read_request(body)
    assert (request.model, request.stream, request.wants_usage) == ("gpt-4o", True, False)
    assert (request.max_output_tokens, request.choices, request.prompts) == (7, 3, 1)
    assert (request.input_bytes, request.attachments, request.text_bytes) == (len(body), 0, 2)
    assert request.open_ended is False


def test_absent_and_null_mean_the_same() -> None:
    plain = chat()
    nulls = chat(
        stream=None,
        stream_options=None,
        n=None,
        max_tokens=None,
        max_completion_tokens=None,
        tools=None,
        service_tier=None,
        **dict.fromkeys(REFUSED_OPTIONS),
    )
    for request in (plain, nulls):
        assert (request.stream, request.wants_usage, request.max_output_tokens) == (False, False, None)
        assert request.choices == 1


@pytest.mark.parametrize("model", ["", None, 5, ["m"], True, "m" * 257])
def test_a_model_must_be_named(model: Any) -> None:
    for surface, rest in ((CHAT, {"messages": HELLO}), (EMBEDDINGS, {"input": "Hello"})):
        assert refusal_of(surface, {"model": model, **rest}).facts["param"] == "model"
        assert refusal_of(surface, rest).facts["param"] == "model"


@pytest.mark.parametrize("messages", [None, [], {}, "Hello", 5, [1], ["Hello"], [None], [HELLO]])
def test_messages_must_be_a_filled_array_of_objects(messages: Any) -> None:
    assert refusal_of(CHAT, {"model": "m", "messages": messages}).facts["param"] == "messages"
    assert refusal_of(CHAT, {"model": "m"}).facts["param"] == "messages"


WRONG: dict[str, list[Any]] = {
    "stream": ["true", 1, 0, [], {}],
    "stream_options": ["include_usage", 1, [], True, {"include_usage": "true"}, {"include_usage": 1}],
    "max_tokens": [0, -1, True, 1.5, 10.0, "10", [], 10**9 + 1, 10**30],
    "max_completion_tokens": [0, -1, False, 1e3, "10", {}, 10**9 + 1],
    "n": [0, -1, 129, True, 1.0, "1"],
    "tools": ["function", {}, 5, [5], [["type"]]],
    "service_tier": ["priority", "flex", "scale", "fast", "", 5, {}],
}


@pytest.mark.parametrize(("field", "wrong"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_a_field_of_a_wrong_type_or_out_of_bounds_is_refused_by_name(field: str, wrong: Any) -> None:
    refusal = refusal_of(CHAT, {"model": "m", "messages": HELLO, field: wrong})
    assert refusal.facts["param"] == field
    assert field in refusal.message


def test_of_two_maxima_the_larger_counts() -> None:
    assert chat(max_tokens=10, max_completion_tokens=20).max_output_tokens == 20
    assert chat(max_tokens=30, max_completion_tokens=20).max_output_tokens == 30
    assert chat(max_tokens=30, max_completion_tokens=None).max_output_tokens == 30
    assert chat(max_completion_tokens=10**9).max_output_tokens == 10**9


@pytest.mark.parametrize("option", sorted(REFUSED_OPTIONS))
def test_an_option_that_the_price_does_not_cover_is_refused_where_it_asks_for_something(option: str) -> None:
    for surface, rest in ((CHAT, {"messages": HELLO}), (EMBEDDINGS, {"input": "Hello"})):
        if surface is CHAT and option == "web_search_options":
            # May have a price there.
            continue
        for value in (True, {}, {"a": 1}, ["a"], "a", 1):
            refusal = refusal_of(surface, {"model": "m", **rest, option: value})
            assert refusal.facts["param"] == option
            assert REFUSED_OPTIONS[option] in refusal.message
    nothing: Any
    for nothing in (None, False, []):
        chat(**{option: nothing})


def test_the_options_that_are_refused_are_those_that_somebody_thought_about() -> None:
    """Taking one from the table lets callers have what they do not pay for."""
    assert sorted(REFUSED_OPTIONS) == [
        "api_base",
        "api_key",
        "background",
        "base_url",
        "cached_content",
        "compound_custom",
        "content_policy_fallbacks",
        "context_window_fallbacks",
        "data_sources",
        "deferred",
        "enable_search",
        "extra_body",
        "fallbacks",
        "inference_geo",
        "mcp_servers",
        "models",
        "plugins",
        "preset",
        "provider",
        "providerOptions",
        "route",
        "search_parameters",
        "speed",
        "transforms",
        "user_config",
        "web_search",
        "web_search_options",
    ]


@pytest.mark.parametrize("service", ["auto", "default", "standard", "on_demand"])
def test_the_service_that_list_prices_are_for_may_be_named(service: str) -> None:
    chat(service_tier=service)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "openrouter:advisor", "parameters": {}},
        {"type": "browser_search"},
        {"type": "code_interpreter"},
        {"type": "builtin_function", "function": {"name": "$web_search"}},
        {"type": None, "google_search": {}},
        {"type": ["function"]},
        {"google_search": {}},
        {},
    ],
)
def test_tools_that_the_provider_runs_are_refused(tool: dict[str, Any]) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, tool]
    refusal = refusal_of(CHAT, {"model": "m", "messages": HELLO, "tools": tools})
    assert refusal.facts["param"] == "tools"
    assert "hosted tools are billed apart" in refusal.message


def test_searches_that_openrouter_reports_need_their_price() -> None:
    def of(*parameters: Any) -> CallRequest:
        return chat(tools=[{"type": "openrouter:web_search", "parameters": given} for given in parameters])

    assert of({"max_uses": 3}, {"max_uses": 4}).counted_units == {"web_searches": 7}
    assert of({}, None).counted_units == {"web_searches": 40}
    assert (of({}).own_prices, of({}).open_ended) == ((("web_searches",),), True)
    wrong: Any
    for wrong in ([], 5, {"max_uses": 0}, {"maxUses": 1}):
        with pytest.raises(InvalidRequest):
            of(wrong)


def test_a_search_in_each_call_needs_a_price_per_call() -> None:
    request = chat(web_search_options={})
    assert (request.own_prices, request.open_ended) == ((("per_call",),), True)
    assert chat(web_search_options=None).own_prices == ()


def test_tools_that_the_caller_runs_pass() -> None:
    chat(
        tools=[{"type": "function", "function": {}}, {"type": "custom"}, {"function": {"name": "mistral's"}}]
    )


@pytest.mark.parametrize(
    "tool",
    [
        b'{"type":"web_search","type":"function"}',
        b'{"type":"function","Type":"web_search"}',
        b'{"type":"function","typ\\u0065":"web_search"}',
    ],
)
def test_a_tool_cannot_be_of_two_types(tool: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CHAT.read_request(b'{"model":"m","messages":[{"content":"x"}],"tools":[%b]}' % tool)
    assert caught.value.facts["param"] == "tools"


def test_another_spelling_of_the_usage_option_is_refused() -> None:
    fields = {"model": "m", "messages": HELLO, "stream_options": {"Include_Usage": False}}
    assert refusal_of(CHAT, fields).facts["param"] == "stream_options"


@pytest.mark.parametrize("name", ["Model", "Stream", "maxTokens", "Max_Completion_Tokens", "Plugins", "N"])
def test_another_spelling_of_a_field_that_is_checked_is_refused(name: str) -> None:
    assert "Write " in refusal_of(CHAT, {"model": "m", "messages": HELLO, name: 1}).message


DATA = base64.b64encode(b"\x89PNG" * 3000).decode()


def part(kind: str, value: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": kind, kind: value}]}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("image_url", {"url": f"data:image/png;base64,{DATA}", "detail": "low"}),
        ("image_url", f"data:image/png;base64,{DATA}"),
        ("image_url", {"url": f"data:IMAGE/PNG;charset=x;BASE64,{DATA}"}),
        ("video_url", {"url": f"data:video/mp4;base64,{DATA}"}),
        ("input_audio", {"data": DATA, "format": "wav"}),
        ("file", {"file_data": f"data:application/pdf;base64,{DATA}", "filename": "a.pdf"}),
        ("file", {"file_data": DATA, "filename": "a.pdf"}),
    ],
)
def test_base64_data_of_an_attachment_is_not_input_text(kind: str, value: Any) -> None:
    body = json.dumps({"model": "m", "messages": part(kind, value)}).encode()
    request = CHAT.read_request(body)
    assert request.input_bytes == len(body) - len(DATA)
    assert (request.attachments, request.text_bytes) == (1, 2)


@pytest.mark.parametrize(
    ("kind", "value", "attachments"),
    [
        ("image_url", {"url": "https://example.com/a.png"}, 1),
        ("image_url", {"url": DATA}, 1),
        ("image_url", {"url": f"data:text/plain;base64,{DATA}"}, 1),
        ("image_url", {"url": f"data:image/svg,{DATA}"}, 1),
        ("image_url", {"url": f"data:image/png;name={'x' * 300};base64,{DATA}"}, 1),
        ("image_url", {"data": DATA}, 1),
        ("image_url", None, 1),
        ("input_audio", DATA, 1),
        ("input_audio", {"data": "日本" * 1000}, 1),
        ("file", {"file_id": "file-1"}, 1),
        ("file", {"file_data": f"data:text/csv;base64,{DATA}"}, 1),
        ("file", {"file_data": "not base64: " + DATA}, 1),
        ("text", f"data:image/png;base64,{DATA}", 0),
        ("refusal", f"data:image/png;base64,{DATA}", 0),
        ("hologram", {"url": f"data:image/png;base64,{DATA}"}, 1),
    ],
)
def test_text_cannot_hide_as_base64(kind: str, value: Any, attachments: int) -> None:
    body = json.dumps({"model": "m", "messages": part(kind, value)}).encode()
    request = CHAT.read_request(body)
    assert request.input_bytes == len(body)
    assert request.attachments == attachments


def test_data_in_a_part_of_another_type_counts_as_input() -> None:
    url = {"url": f"data:image/png;base64,{DATA}"}
    messages = [{"content": [{"type": "text", "text": "Hi", "image_url": url}]}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    assert CHAT.read_request(body).input_bytes == len(body)


def test_text_is_counted_in_utf8_whatever_its_escapes() -> None:
    messages: list[Any] = [
        {"role": "system", "content": "é\n"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "日本"}, "und", {"type": "refusal", "refusal": "no"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": "{}"}}]},
        {"role": "assistant", "audio": {"id": "audio_1"}},
        {"role": "tool", "content": "42"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [5, None, {}, {"type": []}, {"type": {}}, {"type": 5}]},
    ]
    for ascii_only in (True, False):
        body = json.dumps({"model": "m", "messages": messages}, ensure_ascii=ascii_only).encode()
        request = CHAT.read_request(body)
        assert request.text_bytes == 3 + 6 + 3 + 2
        # The earlier sound, and six parts of no kind that is known.
        assert request.attachments == 7


def test_nesting_too_deep_to_read_is_refused() -> None:
    for deep in (b"[" * 50_000 + b"]" * 50_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000):
        with pytest.raises(InvalidRequest, match="nested too deeply"):
            CHAT.read_request(b'{"model":"m","messages":[{"content":%b}]}' % deep)


def test_a_body_without_a_change_is_sent_as_it_came() -> None:
    body = b' {"messages":[{"content":"Hi"}], "simulate" : {"x":[1, 2]},\n"model" :"m" } '
    request = CHAT.read_request(body)
    assert sent(request) is request.fields.source  # type: ignore[attr-defined]
    assert sent(request) == body


def test_the_model_alone_is_replaced() -> None:
    body = b' {"messages":[{"content":"model"}], "x":"\\u00e9",\n"model" : "m" ,"logprobs":true} '
    assert sent(CHAT.read_request(body), model='a/"b"') == body.replace(b'"m"', b'"a/\\"b\\""')


def test_streams_ask_for_usage_where_the_provider_takes_the_option() -> None:
    def options(**fields: Any) -> Any:
        return json.loads(sent(chat(**fields)))["stream_options"]

    assert options(stream=True) == {"include_usage": True}
    assert options(stream=True, stream_options=None) == {"include_usage": True}
    assert options(stream=True, stream_options={}) == {"include_usage": True}
    assert options(stream=True, stream_options={"include_usage": None}) == {"include_usage": True}
    assert options(stream=True, stream_options={"include_obfuscation": False, "include_usage": False}) == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    asked = chat(stream=True, stream_options={"include_usage": True})
    assert asked.wants_usage
    assert sent(asked) == asked.fields.source  # type: ignore[attr-defined]
    assert "stream_options" not in json.loads(sent(chat()))
    assert "stream_options" not in json.loads(sent(chat(stream=True), to="mistral"))


def test_a_provider_that_refuses_the_usage_option_is_not_sent_it() -> None:
    options = b'"stream_options": {"include_usage":true}'
    body = b'{"model":"m", "a\\u0022b" : 1.50,%b,"messages":[{}],"stream":true}' % options
    expected = b'{"model":"up","a\\"b":1.50,"messages":[{}],"stream":true}'
    assert sent(CHAT.read_request(body), model="up", to="mistral") == expected
    other = chat(stream=True, stream_options={"include_obfuscation": False})
    assert json.loads(sent(other, to="mistral"))["stream_options"] == {"include_obfuscation": False}


def test_usage_is_only_wanted_of_a_stream() -> None:
    assert not chat(stream_options={"include_usage": True}).wants_usage
    assert not chat(stream=True, stream_options={"include_usage": False}).wants_usage


def test_the_cap_goes_into_the_field_that_the_provider_takes() -> None:
    assert json.loads(sent(chat(), cap=50))["max_completion_tokens"] == 50
    assert json.loads(sent(chat(max_tokens=None), cap=50, to="groq"))["max_tokens"] == 50
    assert "max_completion_tokens" not in json.loads(sent(chat(), cap=50, to="groq"))


def test_every_change_at_once_leaves_all_other_bytes_alone() -> None:
    messages = b'"messages": [{"content":"Hi"}]'
    body = b'{ "model": "m", "stream" : true, %b, "max_completion_tokens": null, "k": 1.50}' % messages
    assert sent(CHAT.read_request(body), model="up", cap=9) == (
        b'{ "model": "up", "stream" : true, %b, "max_completion_tokens": 9, "k": 1.50,'
        b'"stream_options":{"include_usage":true}}' % messages
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(string.ascii_lowercase + '_"\\ü', min_size=1, max_size=8).map("x{}".format)


@settings(deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=6), st.booleans(), st.sampled_from([None, 0, 2]))
def test_unknown_fields_reach_the_provider_as_they_came(
    extra: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    fields = {**extra, "model": "m", "messages": HELLO}
    body = json.dumps(fields, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    try:
        request = CHAT.read_request(body)
    except InvalidRequest as refusal:
        # What the standard library lets through: lone surrogates.
        assert "not valid" in refusal.message  # noqa: PT017
        return
    assert json.loads(sent(request, model="other")) == {**fields, "model": "other"}


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 30))
def test_no_damage_to_a_request_raises_anything_but_a_refusal(piece: bytes, at: int, length: int) -> None:
    fields = {"model": "m", "messages": HELLO, "input": ["x"], "stream": True, "tools": [], "max_tokens": 3}
    body = bytearray(json.dumps(fields | {"stream_options": {"include_usage": True}}).encode())
    body[at : at + length] = piece
    for surface in (CHAT, EMBEDDINGS):
        try:
            surface.read_request(bytes(body))
        except InvalidRequest as refusal:
            assert refusal.message  # noqa: PT017


@pytest.mark.parametrize(
    ("given_input", "prompts", "text_bytes"),
    [
        ("Héllo", 1, 6),
        (["Hello", "you"], 2, 8),
        ([1, 2, 3], 1, 18),
        ([[1, 2], [3]], 2, 18),
        (["Hello", [1, 2]], 2, 17),
    ],
)
def test_an_embeddings_request_is_read(given_input: Any, prompts: int, text_bytes: int) -> None:
    """A token counts as 6 bytes, which the estimate takes for one unit."""
    request = embeddings(input=given_input)
    assert (request.prompts, request.choices, request.max_output_tokens) == (prompts, 1, 0)
    assert (request.text_bytes, request.attachments, request.stream) == (text_bytes, 0, False)
    assert request.input_bytes == len(json.dumps({"model": "m", "input": given_input}))


@pytest.mark.parametrize("wrong", ["", [], None, {}, 5, [None], [{"text": "x"}], [1.5], [[1, "x"]], [[[1]]]])
def test_input_must_be_text_or_tokens(wrong: Any) -> None:
    assert refusal_of(EMBEDDINGS, {"model": "m", "input": wrong}).facts["param"] == "input"


def test_an_embeddings_body_may_not_be_as_large_as_others() -> None:
    body = json.dumps({"model": "m", "input": "x" * 8 * 1024 * 1024}).encode()
    with pytest.raises(RequestTooLarge):
        EMBEDDINGS.read_request(body)


def test_an_embeddings_body_is_sent_with_the_upstreams_model() -> None:
    body = b'{"input" : ["a"],"model":"m","dimensions":5}'
    assert sent(EMBEDDINGS.read_request(body), model="up") == b'{"input" : ["a"],"model":"up","dimensions":5}'
