"""Messages in Anthropic's shape: what a request is read as, what a reply is metered as, what passes when."""

import base64
import json
from typing import Any

import pytest

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import CallRequest, StreamReader
from tokenopen.upstream.surfaces.messages import MessagesSurface

MESSAGES = MessagesSurface()
ANTHROPIC = PROVIDERS["anthropic"].convention
HELLO = [{"role": "user", "content": "Hello"}]
DATA = base64.b64encode(b"\x89PNG" * 3000).decode()


def read(**fields: Any) -> CallRequest:
    body = {"model": "m", "max_tokens": 100, "messages": HELLO} | fields
    return MESSAGES.read_request(json.dumps(body).encode())


def refusal_of(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return caught.value


def blocks(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def units_of(report: Any) -> dict[str, int] | None:
    usage = MESSAGES.read_reply(json.dumps({"usage": report}).encode(), convention=ANTHROPIC)
    return None if usage is None else dict(usage)


def report_of(fresh: int, output: int, **more: Any) -> dict[str, Any]:
    return {"input_tokens": fresh, "output_tokens": output, **more}


def test_a_request_is_read() -> None:
    body = b'{"model":"m","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"Hi"}]}'
    request = MESSAGES.read_request(body)
    assert (request.model, request.stream, request.wants_usage) == ("m", True, False)
    assert (request.max_output_tokens, request.choices, request.prompts) == (7, 1, 1)
    assert (request.input_bytes, request.attachments, request.text_bytes) == (len(body), 0, 2)
    assert read(max_tokens=None).max_output_tokens is None
    assert read(max_tokens=0).max_output_tokens == 0


WRONG: dict[str, list[Any]] = {
    "model": ["", None, 5],
    "messages": [None, [], {}, "Hello", [1]],
    "max_tokens": [-1, 1.5, "10", True, 10**9 + 1],
    "stream": ["true", 1],
    "system": [5, {}, True],
    "service_tier": ["priority", 5],
    "speed": ["fast"],
    "inference_geo": ["us"],
    "container": [5, "", {"id": 5}, {"skills": [{"type": "custom", "skill_id": 5}]}, {"skills": ["x"]}],
    "Max_Tokens": [5],
    "maxTokens": [5],
}


@pytest.mark.parametrize(("field", "wrong"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_what_cannot_be_is_refused_by_name(field: str, wrong: Any) -> None:
    assert refusal_of(**{field: wrong}).facts["param"] == field


@pytest.mark.parametrize(
    "kind",
    [
        "advisor_20260301",
        "of_a_kind_to_come_20270101",
        "",
    ],
)
def test_tools_that_the_provider_runs_for_a_charge_are_refused(kind: str) -> None:
    tools = [{"name": "f", "input_schema": {}}, {"type": kind, "name": "x", "input_schema": {}}]
    assert refusal_of(tools=tools).facts["param"] == "tools"


def search(**members: Any) -> dict[str, Any]:
    return {"type": "web_search_20250305", "name": "web_search", **members}


def test_web_search_is_read_with_its_bound() -> None:
    request = read(tools=[search(max_uses=3), search(max_uses=4), {"type": "custom", "name": "f"}])
    assert (request.counted_units, request.own_prices) == ({"web_searches": 7}, (("web_searches",),))
    assert request.open_ended
    assert read(tools=[{"type": "custom", "name": "f"}]).own_prices == ()


def test_web_search_without_a_bound_is_held_as_20() -> None:
    for bound in ({}, {"max_uses": None}):
        assert read(tools=[search(max_uses=1), search(**bound)]).counted_units == {"web_searches": 21}


@pytest.mark.parametrize("bound", [{"max_uses": 0}, {"max_uses": 1.5}, {"max_uses": 10_001}, {"maxUses": 5}])
def test_a_bound_that_cannot_be_is_refused(bound: dict[str, Any]) -> None:
    refusal = refusal_of(tools=[search(max_uses=1), search(**bound)])
    assert "max_uses" in refusal.message
    twice = b'{"model":"m","messages":[{}],"tools":[{"type":"web_search_1","max_uses":9,"max_uses":1}]}'
    with pytest.raises(InvalidRequest, match="given twice"):
        MESSAGES.read_request(twice)


def test_searches_are_reported_beside_the_tokens() -> None:
    used = {"web_search_requests": 3, "web_fetch_requests": 1}
    assert units_of(report_of(5, 2, server_tool_use=used)) == {"input": 5, "output": 2, "web_searches": 3}
    assert units_of(report_of(5, 2, server_tool_use=None)) == {"input": 5, "output": 2}
    with pytest.raises(ImpossibleUsage):
        units_of(report_of(5, 2, server_tool_use={"web_search_requests": -1}))


def code(date: str = "20260120") -> dict[str, Any]:
    return {"type": f"code_execution_{date}", "name": "code_execution"}


def test_code_that_the_provider_runs_is_priced_by_its_container() -> None:
    request = read(tools=[code()])
    assert (request.counted_units, request.own_prices) == ({"containers": 1}, (("containers",),))
    assert (request.open_ended, request.waived) == (True, frozenset())
    both = read(tools=[code(), search(max_uses=2)])
    assert both.counted_units == {"containers": 1, "web_searches": 2}
    assert both.own_prices == (("containers",), ("web_searches",))


@pytest.mark.parametrize("web", ["web_search", "web_fetch"])
def test_code_is_free_beside_web_tools_from_february_2026_on(web: str) -> None:
    """platform.claude.com: no charge for code execution beside web_search_20260209 or web_fetch_20260209."""
    for date in ("20260209", "20260309"):
        request = read(tools=[code(), {"type": f"{web}_{date}", "name": web}])
        assert ("containers",) not in request.own_prices
        assert request.waived == {"containers"}
    assert ("containers",) in read(tools=[code(), {"type": f"{web}_20250910", "name": web}]).own_prices
    # Such a tool runs code of its own also where nobody asks for it.
    assert read(tools=[{"type": f"{web}_20260209", "name": web}]).waived == {"containers"}


@pytest.mark.parametrize(
    "fields",
    [
        {"mcp_servers": [{"type": "url", "url": "https://example.com/mcp", "name": "x"}]},
        {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]},
        {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]},
    ],
)
def test_tools_that_cost_only_tokens_may_fill_the_context_window(fields: dict[str, Any]) -> None:
    request = read(**fields)
    assert (request.open_ended, request.own_prices, request.counted_units) == (True, (), {})


def test_the_container_and_the_files_of_a_reply_are_kept_and_referred_to() -> None:
    ran = {"type": "bash_code_execution_tool_result", "content": {"content": [{"file_id": "file_1"}]}}
    report = report_of(5, 2)
    body = json.dumps({"container": {"id": "container_1"}, "content": [ran], "usage": report}).encode()
    assert MESSAGES.created_ids(body) == ["container_1", "file_1"]
    usage = MESSAGES.read_reply(body, convention=ANTHROPIC)
    assert usage == Usage({"input": 5, "output": 2, "containers": 1})
    assert read(container="container_1").references == ["container_1"]
    skills = [{"type": "anthropic", "skill_id": "pptx"}, {"type": "custom", "skill_id": "skill_1"}]
    assert read(container={"id": "container_1", "skills": skills}).references == ["container_1", "skill_1"]
    assert read(container={"skills": skills[:1]}).references == []


def test_a_stream_tells_its_container_at_the_end_and_that_code_ran_before() -> None:
    reader = MESSAGES.stream_reader(read(stream=True), convention=ANTHROPIC)
    ran = {"type": "code_execution_tool_result", "content": {"content": [{"file_id": "file_1"}]}}
    begun = [
        {"type": "message_start", "message": {"usage": report_of(5, 1)}},
        {"type": "content_block_start", "content_block": ran},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}},
    ]
    for said in begun:
        reader.feed(b"data: " + json.dumps(said).encode() + b"\n\n")
    assert reader.usage == Usage({"input": 5, "output": 1, "containers": 1}, "estimated")
    end = {"type": "message_delta", "delta": {"container": {"id": "container_1"}}, "usage": report_of(5, 2)}
    reader.feed(b"data: " + json.dumps(end).encode() + b"\n\n")
    assert reader.usage == Usage({"input": 5, "output": 2, "containers": 1})
    assert reader.created_ids == ["container_1", "file_1"]


def test_an_iteration_that_names_the_called_model_is_its_own() -> None:
    own = {"type": "message", "model": "m", **report_of(3, 1)}
    compaction = {"type": "compaction", "model": "m", **report_of(9, 4)}
    advisor = {"type": "advisor_message", "model": "another", **report_of(50, 50)}
    report = report_of(3, 1, iterations=[compaction, own, advisor])
    assert units_of(report) == {"input": 12, "output": 5}


def test_tools_that_the_caller_runs_and_the_search_for_tools_pass() -> None:
    kinds = ["custom", "bash_20250124", "text_editor_20250728", "computer_20250124", "memory_20250818"]
    kinds.append("tool_search_tool_bm25_20251119")
    read(tools=[{"name": "f", "input_schema": {}}, {"type": None, "name": "g", "input_schema": {}}])
    read(tools=[{"type": kind, "name": "x"} for kind in kinds])


@pytest.mark.parametrize(
    ("block", "attachments", "hidden"),
    [
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}, 1, True),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}},
            1,
            True,
        ),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": DATA}},
            1,
            False,
        ),
        ({"type": "document", "source": {"type": "base64", "data": DATA}}, 1, False),
        ({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}, 1, False),
        ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, 1, False),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": DATA}},
            0,
            False,
        ),
        ({"type": "container_upload", "file_id": "file_1"}, 1, False),
        ({"type": "thinking", "thinking": DATA, "signature": DATA}, 0, False),
        ({"type": "redacted_thinking", "data": DATA}, 0, False),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {"data": DATA}}, 0, False),
        ({"type": "hologram", "source": {"type": "light", "data": DATA}}, 1, False),
        ({"type": ["text"]}, 1, False),
        ("text", 1, False),
    ],
)
def test_attachments_are_counted_and_only_their_data_is_not_input(
    block: Any, attachments: int, hidden: bool
) -> None:
    nested = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    for content in (block, nested):
        body = json.dumps({"model": "m", "messages": blocks(content)}).encode()
        request = MESSAGES.read_request(body)
        assert request.attachments == attachments
        assert len(body) - request.input_bytes == (len(DATA) if hidden else 0)


def test_text_is_counted_wherever_it_stands() -> None:
    messages = [
        {"role": "user", "content": "é"},
        *blocks({"type": "text", "text": "abc"}, {"type": "tool_result", "content": "de"}),
        *blocks(
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "f"}]}}
        ),
        *blocks({"type": "document", "source": {"type": "text", "data": "gh"}}),
    ]
    assert read(messages=messages).text_bytes == 2 + 3 + 2 + 1 + 2
    assert read(messages=messages, system="sys").text_bytes == 13
    assert read(messages=messages, system=[{"type": "text", "text": "sys"}]).text_bytes == 13


def test_what_a_compaction_stands_for_is_not_counted_as_text() -> None:
    messages = blocks({"type": "text", "text": "long ago"}, {"type": "compaction", "content": "x"})
    assert read(messages=messages + HELLO).text_bytes == 5


def test_a_call_that_may_compact_is_held_for_twice() -> None:
    edits = b'{"edits":[{"type":"compact_20260112","trigger":{"type":"input_tokens","value":50000}}]}'
    body = b'{"model":"m","messages":[{"content":"Hi"}],"context_management":%b}' % edits
    compacting = MESSAGES.read_request(body)
    assert (compacting.prompts, compacting.choices, compacting.input_bytes) == (2, 2, 2 * len(body))
    assert read(context_management={"edits": [{"type": "clear_tool_uses_20250919"}]}).choices == 1
    assert read(context_management=None).choices == 1
    assert read(context_management={"edits": "compact"}).choices == 2


def test_nothing_but_the_model_and_the_cap_changes() -> None:
    body = b'{ "model" : "m", "messages": [{"content":"Hi"}], "stream":true, "x": 1.50 }'
    request = MESSAGES.read_request(body)
    sent = MESSAGES.upstream_body(request, upstream_model="up", cap_output_tokens=9, convention=ANTHROPIC)
    assert sent == (
        b'{ "model" : "up", "messages": [{"content":"Hi"}], "stream":true, "x": 1.50 ,"max_tokens":9}'
    )


def test_cached_input_comes_on_top_and_written_units_by_how_long_they_are_kept() -> None:
    report = report_of(
        16,
        344,
        cache_read_input_tokens=13_637,
        cache_creation_input_tokens=7_049,
        cache_creation={"ephemeral_5m_input_tokens": 7_000, "ephemeral_1h_input_tokens": 49},
        output_tokens_details={"thinking_tokens": 33},
    )
    assert units_of(report) == {
        "input": 16,
        "cached_input": 13_637,
        "cache_write": 7_000,
        "cache_write_1h": 49,
        "output": 344,
    }
    assert units_of(report_of(1, 2, cache_creation_input_tokens=5)) == {
        "input": 1,
        "cache_write": 5,
        "output": 2,
    }
    one_hour = {"ephemeral_1h_input_tokens": 5}
    assert units_of(report_of(1, 2, cache_creation=one_hour)) == {
        "input": 1,
        "cache_write_1h": 5,
        "output": 2,
    }


def test_a_compaction_is_charged_though_the_total_leaves_it_out() -> None:
    compaction = report_of(100, 83, type="compaction", cache_read_input_tokens=55_096)
    report = report_of(181, 8, iterations=[compaction, report_of(181, 8, type="message")])
    assert units_of(report) == {"input": 281, "cached_input": 55_096, "output": 91}


def test_what_another_model_did_for_a_tool_is_not_charged_at_this_models_price() -> None:
    advice = report_of(2_518, 22, type="advisor_message", model="claude-opus-4-8")
    report = report_of(2_390, 121, iterations=[report_of(1_128, 110), advice, report_of(1_262, 11)])
    assert units_of(report) == {"input": 2_390, "output": 121}


@pytest.mark.parametrize(
    "report",
    [
        report_of(-1, 5),
        report_of(5, -1),
        report_of(1.5, 5),  # type: ignore[arg-type]
        report_of(5, True, cache_read_input_tokens="7"),
        report_of(5, 5, cache_read_input_tokens=-7),
        report_of(10**9 + 1, 5),
        report_of(5, 5, cache_creation_input_tokens=1, cache_creation={"ephemeral_5m_input_tokens": 2}),
        report_of(100, 5, iterations=[report_of(99, 5)]),
        report_of(100, 5, iterations=[report_of(100, 4)]),
        [],
        "none",
    ],
)
def test_what_cannot_be_true_is_impossible(report: Any) -> None:
    with pytest.raises(ImpossibleUsage):
        units_of(report)


@pytest.mark.parametrize("report", [None, {}, {"input_tokens": 5}, {"output_tokens": 5}])
def test_a_report_without_its_numbers_is_none(report: Any) -> None:
    assert units_of(report) is None


def test_a_reply_without_a_report_is_estimated_by_what_it_holds() -> None:
    request = read(messages=[{"role": "user", "content": "x" * 60}])
    reply = {"content": [{"type": "thinking", "thinking": "y" * 14}, {"type": "text", "text": "z" * 7}, 5]}
    estimate = MESSAGES.estimate_reply(request, json.dumps(reply).encode())
    assert (dict(estimate), estimate.source) == ({"input": 10, "output": 3}, "estimated")
    for nothing in (b"<html>", b"[]", b'{"type":"error","error":{}}', b'{"content":[]}'):
        assert dict(MESSAGES.estimate_reply(request, nothing)) == {}
    assert dict(MESSAGES.estimate_stream(request, content_events=4)) == {"input": 10, "output": 4}


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def text(words: str = "Hi", **delta: Any) -> bytes:
    delta = delta or {"type": "text_delta", "text": words}
    return event("content_block_delta", index=0, delta=delta)


START = event(
    "message_start", message={"role": "assistant", "usage": report_of(10, 1, cache_read_input_tokens=5)}
)
OPENING = (
    START + event("content_block_start", index=0, content_block={"type": "text", "text": ""}) + event("ping")
)
FINAL = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7})
STOP = event("message_stop")


def run(reader: StreamReader, *pieces: bytes) -> tuple[bytes, bytes]:
    passed = b"".join(reader.feed(piece) for piece in pieces)
    reader.end()
    return passed, reader.tail("0.5")


def stream() -> StreamReader:
    return MESSAGES.stream_reader(read(stream=True), convention=ANTHROPIC)


def test_a_stream_passes_up_to_its_stop() -> None:
    reader = stream()
    head = OPENING + text() + text(" you") + FINAL
    assert run(reader, head + STOP) == (head, STOP)
    assert reader.usage == Usage({"input": 10, "cached_input": 5, "output": 7})
    assert (reader.whole, reader.failed, reader.content_events) == (True, False, 2)


def test_the_same_bytes_are_given_back_not_a_copy() -> None:
    reader = stream()
    for piece in (OPENING, text()):
        assert reader.feed(piece) is piece


def test_of_each_number_the_last_report_stands() -> None:
    """Server tools and compactions change the input after the first report; nothing is ever a sum."""
    reader = stream()
    kept = {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6}
    start = report_of(10, 1, cache_creation_input_tokens=10, cache_creation=kept, cache_read_input_tokens=50)
    later = report_of(20, 3, cache_read_input_tokens=0, cache_creation_input_tokens=8)
    last = report_of(30, 9, cache_read_input_tokens=None, cache_creation_input_tokens=8)
    run(
        reader,
        event("message_start", message={"usage": start}),
        event("message_delta", usage=later),
        event("message_delta", usage=last),
        STOP,
    )
    assert reader.usage == Usage({"input": 30, "cache_write": 2, "cache_write_1h": 6, "output": 9})


def test_units_kept_for_an_hour_are_never_more_than_were_written() -> None:
    reader = stream()
    kept = {"ephemeral_1h_input_tokens": 6}
    start = report_of(10, 1, cache_creation_input_tokens=6, cache_creation=kept)
    last = report_of(10, 9, cache_creation_input_tokens=2)
    run(reader, event("message_start", message={"usage": start}), event("message_delta", usage=last), STOP)
    assert reader.usage == Usage({"input": 10, "cache_write_1h": 2, "output": 9})


def test_an_interrupted_stream_is_estimated_from_the_input_it_reported() -> None:
    reader = stream()
    reader.feed(OPENING)
    assert reader.usage is None
    reader.feed(text() + text() + text())
    assert reader.usage == Usage({"input": 10, "cached_input": 5, "output": 3}, "estimated")


@pytest.mark.parametrize(
    ("delta", "content"),
    [
        ({"type": "thinking_delta", "thinking": "hm"}, 1),
        ({"type": "input_json_delta", "partial_json": "{"}, 1),
        ({"type": "text_delta", "text": ""}, 0),
        ({"type": "signature_delta", "signature": "abc"}, 0),
    ],
)
def test_whatever_a_model_writes_is_content(delta: dict[str, Any], content: int) -> None:
    reader = stream()
    reader.feed(OPENING + text(**delta))
    assert reader.content_events == content


@pytest.mark.parametrize(
    "failure",
    [event("error", error={"type": "overloaded_error"}), b'event: error\ndata: {"message":"x"}\n\n'],
)
def test_an_error_event_passes_and_is_noticed(failure: bytes) -> None:
    reader = stream()
    assert run(reader, OPENING + failure) == (OPENING + failure, b"")
    assert reader.failed


def test_impossible_usage_is_raised_and_no_byte_is_lost() -> None:
    for bad in (
        event("message_start", message={"usage": report_of(-1, 1)}),
        event("message_delta", usage=[]),
    ):
        reader = stream()
        with pytest.raises(ImpossibleUsage):
            reader.feed(START + bad + text())
        assert run(reader, text() + STOP) == (START + bad + text() + text(), STOP)


def test_malformed_events_pass_as_they_are() -> None:
    reader = stream()
    garbage = b"data: {not json\n\n" + b"event: x\n\n" + b": note\n\n" + b'data: {"type":5,"delta":7}\n\n'
    assert run(reader, OPENING + garbage + FINAL + STOP) == (OPENING + garbage + FINAL, STOP)
    assert reader.usage == Usage({"input": 10, "cached_input": 5, "output": 7})


def test_a_stream_cut_anywhere_gives_the_same_bytes_and_usage() -> None:
    whole = OPENING + text() + FINAL + STOP + b": late\n\n"
    for end in (b"\n", b"\r\n", b"\r"):
        stream_bytes = whole.replace(b"\n", end)

        def outcome(*pieces: bytes) -> tuple[object, ...]:
            reader = stream()
            return *run(reader, *pieces), reader.usage, reader.whole, reader.content_events

        expected = outcome(stream_bytes)
        assert expected[2] == Usage({"input": 10, "cached_input": 5, "output": 7})
        for cut in range(len(stream_bytes)):
            assert outcome(stream_bytes[:cut], stream_bytes[cut:]) == expected
