"""Gemini's shape: what a request is read as, what a reply is metered as, what passes when."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenopen.core.errors import InvalidRequest, NotFound
from tokenopen.core.usage import ImpossibleUsage, usage_of
from tokenopen.upstream.dialect import ANTHROPIC, GEMINI, OPENAI, dialect_at
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import CallRequest, Surface, Target
from tokenopen.upstream.surfaces.gemini import GeminiStreamSurface, GeminiSurface
from tokenopen.upstream.surfaces.gemini_count_tokens import GeminiCountTokensSurface
from tokenopen.upstream.surfaces.gemini_embeddings import GeminiBatchEmbedSurface, GeminiEmbedSurface
from tokenopen.upstream.surfaces.gemini_stream import GeminiStreamReader
from tokenopen.upstream.surfaces.offered import SURFACES

GENERATE, STREAM = GeminiSurface(), GeminiStreamSurface()
EMBED, BATCH = GeminiEmbedSurface(), GeminiBatchEmbedSurface()
COUNT = GeminiCountTokensSurface()
CONVENTION = PROVIDERS["gemini"].convention
HELLO = [{"role": "user", "parts": [{"text": "Hello"}]}]
SSE = {"alt": "sse"}


def read(surface: Surface = GENERATE, query: dict[str, str] | None = None, **fields: Any) -> CallRequest:
    body = {"contents": HELLO} | fields if surface in (GENERATE, STREAM) else fields
    return surface.read_request(
        json.dumps(body).encode(), Target(values={"model": "gemini-x"}, query=query or {})
    )


def sent(
    request: CallRequest, surface: Surface = GENERATE, model: str = "gemini-x", cap: int | None = None
) -> Any:
    body = surface.upstream_body(request, upstream_model=model, cap_output_tokens=cap, convention=CONVENTION)
    return json.loads(body)


def units_of(**report: Any) -> dict[str, int] | None:
    usage = GENERATE.read_reply(json.dumps({"usageMetadata": report}).encode(), convention=CONVENTION)
    return None if usage is None else dict(usage)


def parts(*given: Any) -> list[dict[str, Any]]:
    return [{"parts": list(given)}]


def detail(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in counts.items()]


def test_a_request_is_read_with_the_model_of_its_path() -> None:
    request = read(
        systemInstruction={"parts": [{"text": "Be brief"}]},
        generationConfig={"maxOutputTokens": 7, "candidateCount": 2},
    )
    assert (request.model, request.stream, request.query) == ("gemini-x", False, "")
    assert (request.max_output_tokens, request.choices, request.prompts) == (7, 2, 1)
    assert (request.attachments, request.text_bytes, request.open_ended) == (0, 13, False)
    assert read().max_output_tokens is None


def test_a_stream_is_one_by_its_path_and_only_as_events() -> None:
    request = read(STREAM, SSE)
    assert (request.stream, request.query) == (True, "alt=sse")
    for query in ({}, {"alt": "json"}, {"$alt": "json;enum-encoding=int"}):
        with pytest.raises(InvalidRequest, match="alt=sse"):
            read(STREAM, query)
    with pytest.raises(InvalidRequest, match="json"):
        read(GENERATE, {"alt": "media"})
    # As Google's older SDK asks, whose reader takes names for numbers.
    for query in ({"alt": "json"}, {"$alt": "json;enum-encoding=int"}):
        assert read(GENERATE, query).query == ""
    with pytest.raises(InvalidRequest, match="fields"):
        read(GENERATE, {"fields": "candidates"})


@pytest.mark.parametrize(
    ("provider", "base_url"),
    [
        ("gemini", "https://a.test"),
        ("gemini", "https://a.test/v1beta/openai"),
        ("tokenopen", "https://a.test/v1"),
    ],
)
def test_a_call_is_sent_where_the_provider_takes_it(provider: str, base_url: str) -> None:
    """Beside the base URL of the shape that most callers speak."""
    find = PROVIDERS[provider].url_of
    assert find(GENERATE, base_url, read(), "up") == "https://a.test/v1beta/models/up:generateContent"
    url = find(STREAM, base_url, read(STREAM, SSE), "up")
    assert url == "https://a.test/v1beta/models/up:streamGenerateContent?alt=sse"


def test_either_spelling_is_read_and_both_at_once_are_refused() -> None:
    snake = read(generation_config={"max_output_tokens": 9, "candidate_count": 3})
    assert (snake.max_output_tokens, snake.choices) == (9, 3)
    with pytest.raises(InvalidRequest, match="generation_config"):
        read(generationConfig={}, generation_config={"maxOutputTokens": 9})
    with pytest.raises(InvalidRequest, match="max_output_tokens"):
        read(generationConfig={"maxOutputTokens": 1, "max_output_tokens": 9})
    for name in ("GenerationConfig", "generationconfig", "generation-config"):
        odd: dict[str, Any] = {name: {}}
        with pytest.raises(InvalidRequest):
            read(**odd)


WRONG: dict[str, list[Any]] = {
    "contents": [None, [], "", 5, [1]],
    "generationConfig": [5, "x", []],
    "maxOutputTokens": [0, -1, 1.5, "10", True, 10**9 + 1],
    "candidateCount": [0, 129, "2"],
    "responseModalities": [["VIDEO"], [5], ["text"]],
    "serviceTier": ["priority", "flex", 5],
    "tools": [
        5,
        [{"googleMaps": {}}],
        [{"functionDeclarations": []}, {"enterprise_web_search": {}}],
        [{"somethingNew": {}}],
    ],
    "model": ["models/another", "another", 5],
}
INSIDE_CONFIG = ("maxOutputTokens", "candidateCount", "responseModalities")


@pytest.mark.parametrize(("field", "wrong"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_what_cannot_be_or_is_not_priced_is_refused_by_name(field: str, wrong: Any) -> None:
    fields = {"generationConfig": {field: wrong}} if field in INSIDE_CONFIG else {field: wrong}
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    assert caught.value.facts["param"] == field


@pytest.mark.parametrize(
    "uri",
    [
        "https://generativelanguage.googleapis.com/v1beta/files/abc",
        "HTTPS://GenerativeLanguage.GoogleApis.com./v1beta/files/abc",
        "https://x@generativelanguage.googleapis.com:443/v1beta/files/abc",
        "files/abc",
        "gs://bucket/file.pdf",
        "//generativelanguage.googleapis.com/files/abc",
        "https://googleapis.com/files/abc",
        "file:///etc/passwd",
        "",
    ],
)
@pytest.mark.parametrize("spelling", [("fileData", "fileUri"), ("file_data", "file_uri")])
def test_what_is_kept_for_another_is_not_found(uri: str, spelling: tuple[str, str]) -> None:
    part = {spelling[0]: {spelling[1]: uri, "mimeType": "image/png"}}
    with pytest.raises(NotFound):
        read(contents=parts(part))
    with pytest.raises(NotFound):
        read(contents=parts({"functionResponse": {"name": "f", "parts": [part]}}))
    with pytest.raises(NotFound):
        read(systemInstruction={"parts": part})


@pytest.mark.parametrize("name", ["cachedContent", "cached_content"])
def test_a_cache_kept_by_the_provider_is_not_found(name: str) -> None:
    fields: dict[str, Any] = {name: "cachedContents/abc"}
    with pytest.raises(NotFound):
        read(**fields)


def test_attachments_are_told_from_text() -> None:
    data = base64.b64encode(b"\x89PNG" * 3000).decode()
    image = {"inlineData": {"mimeType": "image/png", "data": data}}
    request = read(contents=parts({"text": "Look"}, image))
    assert (request.attachments, request.text_bytes, request.open_ended) == (1, 4, False)
    assert request.input_bytes < 300
    # As text it would cost as much as any other text.
    text = read(contents=parts({"inline_data": {"mime_type": "text/plain", "data": data}}))
    assert text.input_bytes > len(data)
    assert read(contents=parts({"holograms": 5})).attachments == 1
    long_sound = {"inlineData": {"mimeType": "audio/mp3", "data": "A" * 4_000_000}}
    assert read(contents=parts(long_sound)).attachments == 4


def test_what_cannot_be_seen_may_fill_the_context_window() -> None:
    def open_ended(**file: str) -> bool:
        return read(contents=parts({"fileData": file})).open_ended

    assert not open_ended(fileUri="https://example.com/a.png", mimeType="image/png")
    assert open_ended(fileUri="https://youtu.be/x", mimeType="video/mp4")
    assert open_ended(fileUri="https://example.com/a.pdf")
    assert read(tools=[{"codeExecution": {}}]).open_ended
    assert read(tools={"url_context": {}}).open_ended
    assert not read(tools=[{"functionDeclarations": []}, {"google_search": None}]).open_ended


def test_output_that_is_sold_dearer_needs_a_price_of_its_own() -> None:
    assert read(generationConfig={"responseModalities": ["TEXT"]}).own_prices == ()
    config = {"response_modalities": ["TEXT", "IMAGE"], "speechConfig": {}}
    assert read(generationConfig=config).own_prices == (("audio_output",), ("image_output",))


def test_the_cap_is_sent_where_and_as_the_caller_writes() -> None:
    assert sent(read(), cap=50)["generationConfig"] == {"maxOutputTokens": 50}
    assert sent(read(generationConfig={"topK": 1}), cap=50)["generationConfig"] == {
        "topK": 1,
        "maxOutputTokens": 50,
    }
    snake = read(generation_config={"max_output_tokens": 70})
    assert sent(snake, cap=50)["generation_config"] == {"max_output_tokens": 50}
    body = b'{ "contents" : "x", "generationConfig": {"maxOutputTokens": 50 } }'
    request = GENERATE.read_request(body, Target(values={"model": "m"}))
    assert (
        GENERATE.upstream_body(request, upstream_model="m", cap_output_tokens=50, convention=CONVENTION)
        == body
    )


def test_a_model_named_in_the_body_becomes_the_upstreams() -> None:
    assert sent(read(model="models/gemini-x"), model="up")["model"] == "models/up"
    assert "model" not in sent(read(), model="up")
    one = read(EMBED, model="models/gemini-x", content={"parts": [{"text": "abc"}]})
    assert (one.prompts, one.max_output_tokens, one.text_bytes) == (1, 0, 3)
    assert sent(one, EMBED, "up")["model"] == "models/up"
    request = {"model": "models/gemini-x", "content": {"parts": [{"text": "abc"}]}, "taskType": "X"}
    batch = read(BATCH, requests=[request, request | {"model": "gemini-x"}])
    assert (batch.prompts, batch.text_bytes) == (2, 6)
    assert sent(batch, BATCH) == {"requests": [request, request | {"model": "gemini-x"}]}
    assert sent(batch, BATCH, "up") == {"requests": [request | {"model": "models/up"}] * 2}
    with pytest.raises(InvalidRequest, match="as in the path"):
        read(BATCH, requests=[request, request | {"model": "models/dearer"}])


def test_embeddings_need_their_content() -> None:
    for surface, fields in ((EMBED, {}), (BATCH, {}), (BATCH, {"requests": []}), (BATCH, {"requests": [{}]})):
        with pytest.raises(InvalidRequest):
            read(surface, **fields)


def test_an_embedding_without_a_report_is_estimated_and_an_empty_one_is_nothing() -> None:
    request = read(EMBED, content={"parts": [{"text": "x" * 60}]})
    assert dict(EMBED.estimate_reply(request, b'{"embedding":{"values":[0.1]}}')) == {"input": 10}
    assert dict(EMBED.estimate_reply(request, b'{"embeddings":[{"values":[0.1]}]}')) == {"input": 10}
    for empty in (b"{}", b"[]", b"x", b'{"embeddings":[]}'):
        assert not EMBED.estimate_reply(request, empty).units


def test_counting_tokens_is_free_and_checks_what_it_sends_on() -> None:
    nested = {"model": "models/gemini-x", "contents": HELLO, "tools": [{"functionDeclarations": []}]}
    request = read(COUNT, generateContentRequest=nested)
    assert sent(request, COUNT, "up") == {"generateContentRequest": nested | {"model": "models/up"}}
    assert read(COUNT, contents=HELLO).text_bytes == 5
    assert COUNT.is_free
    assert COUNT.read_reply(b'{"totalTokens":5}', convention=CONVENTION) == usage_of()
    for wrong in (
        {},
        {"contents": HELLO, "generateContentRequest": nested},
        {"generateContentRequest": nested | {"model": "models/other"}},
    ):
        with pytest.raises(InvalidRequest):
            read(COUNT, **wrong)
    with pytest.raises(NotFound):
        read(COUNT, generateContentRequest=nested | {"cachedContent": "cachedContents/x"})


def test_cached_units_are_inside_the_prompt_and_thoughts_and_tools_on_top() -> None:
    assert units_of(
        promptTokenCount=100,
        cachedContentTokenCount=60,
        toolUsePromptTokenCount=7,
        candidatesTokenCount=20,
        thoughtsTokenCount=5,
        totalTokenCount=132,
    ) == {"input": 47, "cached_input": 60, "output": 20, "reasoning": 5}


def test_thoughts_are_inside_the_reply_where_the_total_says_so() -> None:
    """As previews of 2.5 have reported them; the same numbers with a larger total are thoughts on top."""
    report = {"promptTokenCount": 100, "candidatesTokenCount": 50, "thoughtsTokenCount": 20}
    assert units_of(**report, totalTokenCount=150) == {"input": 100, "output": 30, "reasoning": 20}
    assert units_of(**report, totalTokenCount=170) == {"input": 100, "output": 50, "reasoning": 20}
    with_image = report | {"candidatesTokensDetails": detail(TEXT=20, IMAGE=30), "totalTokenCount": 150}
    assert units_of(**with_image) == {"input": 100, "reasoning": 20, "image_output": 30}


def test_each_modality_is_a_class_of_its_own() -> None:
    assert units_of(
        promptTokenCount=100,
        promptTokensDetails=detail(TEXT=10, AUDIO=30, IMAGE=25, VIDEO=20, DOCUMENT=15),
        cachedContentTokenCount=40,
        cacheTokensDetails=detail(AUDIO=12, VIDEO=20, TEXT=8),
        candidatesTokenCount=50,
        candidatesTokensDetails=detail(TEXT=5, AUDIO=15, IMAGE=30),
        totalTokenCount=150,
    ) == {
        "input": 2,
        "cached_input": 28,
        "cached_audio_input": 12,
        "audio_input": 18,
        "image_input": 40,
        "output": 5,
        "audio_output": 15,
        "image_output": 30,
    }


def test_cached_sound_that_is_not_told_apart_is_so_only_as_far_as_it_must_be() -> None:
    report = {"promptTokenCount": 100, "promptTokensDetails": detail(AUDIO=90), "totalTokenCount": 100}
    assert units_of(**report, cachedContentTokenCount=30) == {
        "cached_input": 10,
        "cached_audio_input": 20,
        "audio_input": 70,
    }


def test_details_may_leave_units_out() -> None:
    """As reported where code was run: 786 of 893 units of the prompt are text, the rest is not said."""
    assert units_of(promptTokenCount=893, promptTokensDetails=detail(TEXT=786), totalTokenCount=893) == {
        "input": 893
    }


@pytest.mark.parametrize("report", [{}, {"trafficType": "ON_DEMAND"}, {"candidatesTokenCount": 5}])
def test_a_report_without_its_numbers_is_none(report: dict[str, Any]) -> None:
    assert units_of(**report) is None


@pytest.mark.parametrize(
    "report",
    [
        {"promptTokenCount": 5, "totalTokenCount": 6},
        {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 6},
        {"promptTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 5},
        {"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 4, "totalTokenCount": 8},
        {
            "promptTokenCount": 5,
            "candidatesTokenCount": 3,
            "candidatesTokensDetails": detail(IMAGE=2),
            "thoughtsTokenCount": 2,
            "totalTokenCount": 8,
        },
        {"totalTokenCount": 5},
        {"promptTokenCount": -1},
        {"promptTokenCount": 1.5},
        {"promptTokenCount": "5"},
        {"promptTokenCount": 10**9 + 1},
        {"promptTokenCount": 5, "cachedContentTokenCount": 6},
        {"promptTokenCount": 5, "promptTokensDetails": detail(TEXT=6)},
        {"promptTokenCount": 5, "candidatesTokensDetails": detail(IMAGE=1)},
        {"promptTokenCount": 5, "promptTokensDetails": 5},
    ],
)
def test_what_cannot_be_true_is_impossible(report: dict[str, Any]) -> None:
    with pytest.raises(ImpossibleUsage):
        units_of(**report)


UNITS = st.none() | st.integers(-1, 30)
DETAILS = st.none() | st.dictionaries(
    st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO", "DOCUMENT"]), st.integers(0, 12)
).map(lambda counts: detail(**counts))


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "promptTokenCount": UNITS,
            "cachedContentTokenCount": UNITS,
            "toolUsePromptTokenCount": UNITS,
            "candidatesTokenCount": UNITS,
            "thoughtsTokenCount": UNITS,
            "promptTokensDetails": DETAILS,
            "cacheTokensDetails": DETAILS,
            "toolUsePromptTokensDetails": DETAILS,
            "candidatesTokensDetails": DETAILS,
        },
    ),
    st.booleans(),
)
def test_classes_sum_to_the_total_or_the_report_is_impossible(
    report: dict[str, Any], has_total: bool
) -> None:
    total = sum(
        report.get(name) or 0
        for name in (
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
        )
    )
    try:
        units = units_of(**report, **({"totalTokenCount": total} if has_total else {}))
    except ImpossibleUsage:
        return
    if units is not None:
        assert sum(units.values()) == total
        assert all(count > 0 for count in units.values())
        cached = units.get("cached_input", 0) + units.get("cached_audio_input", 0)
        assert cached == (report.get("cachedContentTokenCount") or 0)


def event(*candidates: dict[str, Any], **more: Any) -> bytes:
    return b"data: " + json.dumps({"candidates": list(candidates)} | more).encode() + b"\r\n\r\n"


def candidate(text: str = "x", index: int = 0, finish: str | None = None) -> dict[str, Any]:
    found = {"content": {"parts": [{"text": text}], "role": "model"}, "index": index}
    return found | {"finishReason": finish} if finish else found


def usage(output: int) -> dict[str, Any]:
    return {
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": output,
            "totalTokenCount": 3 + output,
        }
    }


def run(*pieces: bytes) -> tuple[GeminiStreamReader, bytes, bytes]:
    reader = GeminiStreamReader()
    passed = b"".join(map(reader.feed, pieces))
    reader.end()
    return reader, passed, reader.tail("0.5")


def test_the_last_of_the_repeated_reports_counts_even_behind_the_mark() -> None:
    first, last = event(candidate(), **usage(1)), event(candidate(finish="STOP"), **usage(4))
    trailing = event(usageMetadata={"promptTokenCount": 3, "thoughtsTokenCount": 9, "totalTokenCount": 12})
    reader, passed, tail = run(first, last, trailing)
    assert (passed, tail) == (first, last + trailing)
    assert reader.usage is not None
    assert dict(reader.usage) == {"input": 3, "reasoning": 9}
    assert reader.content_events == 1


def test_several_candidates_are_whole_when_each_has_finished() -> None:
    a, b = event(candidate(), candidate(index=1)), event(candidate(finish="STOP"))
    c, d = event(candidate(index=1)), event(candidate(index=1, finish="MAX_TOKENS"), **usage(9))
    _, passed, tail = run(a, b, c, d)
    assert (passed, tail) == (a + b + c, d)
    # The second may begin once the first is done: it waits then.
    _, passed, tail = run(b, c, d)
    assert (passed, tail) == (b"", b + c + d)


def test_a_prompt_that_is_blocked_is_a_whole_reply() -> None:
    blocked = event(promptFeedback={"blockReason": "SAFETY"}, **usage(0))
    reader, passed, tail = run(blocked)
    assert (passed, tail) == (b"", blocked)
    assert reader.usage is not None
    assert dict(reader.usage) == {"input": 3}


def test_an_error_event_fails_the_stream() -> None:
    reader, _, _ = run(event(candidate()), b'data: {"error": {"code": 503, "status": "UNAVAILABLE"}}\r\n\r\n')
    assert reader.failed


def test_impossible_usage_is_raised_and_no_byte_is_lost() -> None:
    reader = GeminiStreamReader()
    first, bad = event(candidate()), event(candidate(), usageMetadata={"promptTokenCount": -1})
    with pytest.raises(ImpossibleUsage):
        reader.feed(first + bad)
    end = event(candidate(finish="STOP"))
    assert reader.feed(end) == first + bad
    reader.end()
    assert reader.tail(None) == end


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_each_method_is_offered_under_both_versions(version: str) -> None:
    """Google's SDKs have asked for v1 since 3.0, and for v1beta before."""
    offered = {surface.path: surface.name for surface in SURFACES}
    for surface in (GENERATE, STREAM, EMBED, BATCH, COUNT):
        assert offered[f"/{version}{surface.upstream_path}"] == surface.name


def test_models_are_listed_in_the_shape_of_who_asks() -> None:
    assert dialect_at("/v1/models", [b"x-goog-api-key"]) is GEMINI
    assert dialect_at("/v1/models/m", [b"x-goog-api-client"]) is GEMINI
    assert dialect_at("/v1/models", [b"anthropic-version", b"x-api-key"]) is ANTHROPIC
    assert dialect_at("/v1/models", [b"authorization"]) is OPENAI
    assert dialect_at("/v1/chat/completions", [b"x-goog-api-key"]) is OPENAI
