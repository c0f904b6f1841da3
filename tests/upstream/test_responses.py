"""Responses: what a request is read as, what a reply is metered as, what passes when."""

import base64
import json
from typing import Any

import pytest

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import CallRequest, StreamReader
from tokenopen.upstream.surfaces.responses import ResponsesSurface

RESPONSES = ResponsesSurface()
OPENAI = PROVIDERS["openai"].convention
DATA = base64.b64encode(b"\x89PNG" * 3000).decode()


def read(**fields: Any) -> CallRequest:
    return RESPONSES.read_request(json.dumps({"model": "m", "input": "Hello"} | fields).encode())


def refusal_of(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return caught.value


def report_of(fresh: int, output: int, **more: Any) -> dict[str, Any]:
    return {"input_tokens": fresh, "output_tokens": output, "total_tokens": fresh + output} | more


def units_of(report: Any, provider: str = "openai") -> dict[str, int] | None:
    body = json.dumps({"usage": report}).encode()
    usage = RESPONSES.read_reply(body, convention=PROVIDERS[provider].convention)
    return None if usage is None else dict(usage)


def test_a_request_is_read() -> None:
    body = b'{"model":"m","max_output_tokens":7,"stream":true,"instructions":"Be","input":"Hi"}'
    request = RESPONSES.read_request(body)
    assert (request.model, request.stream, request.wants_usage) == ("m", True, False)
    assert (request.max_output_tokens, request.choices, request.prompts) == (7, 1, 1)
    assert (request.input_bytes, request.attachments, request.text_bytes) == (len(body), 0, 4)
    assert request.open_ended is False


WRONG: dict[str, list[Any]] = {
    "model": ["", None, 5],
    "input": [5, {}, [5], ["Hello"], True],
    "instructions": [5, {}],
    "max_output_tokens": [0, -1, 1.5, "10", 10**9 + 1],
    "stream": ["true", 1],
    "background": [True],
    "prompt": [{"id": "pmpt_1"}],
    "service_tier": ["flex", "priority"],
    "Max_Output_Tokens": [5],
    "previousResponseId": ["resp_1"],
}


@pytest.mark.parametrize(("field", "wrong"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_what_cannot_be_is_refused_by_name(field: str, wrong: Any) -> None:
    assert refusal_of(**{field: wrong}).facts["param"] == field


NOT_KNOWN = ["web_search_of_a_kind_to_come", "hologram"]
HOSTED = ["file_search", "code_interpreter", "image_generation", "mcp", "shell", *NOT_KNOWN]


@pytest.mark.parametrize("kind", NOT_KNOWN)
def test_tools_of_kinds_to_come_are_refused(kind: str) -> None:
    assert refusal_of(tools=[{"type": "function"}, {"type": kind}]).facts["param"] == "tools"


@pytest.mark.parametrize("kind", HOSTED)
def test_tools_that_the_provider_runs_are_refused_inside_others(kind: str) -> None:
    tool = {"type": kind}
    assert refusal_of(tools=[{"type": "namespace", "tools": [tool]}]).facts["param"] == "tools"
    for item in ("additional_tools", "tool_search_output", "of_a_kind_that_is_not_known"):
        assert refusal_of(input=[{"type": item, "tools": [tool]}]).facts["param"] == "input"


def test_what_a_server_has_listed_may_be_sent_again_and_names_no_tool_of_the_providers() -> None:
    """Callers whose replies are not stored send every item along; what an MCP server lists has no type."""
    listed = {"name": "ask", "input_schema": {"type": "object"}, "annotations": None}
    item = {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "docs", "tools": [listed]}
    request = read(input=[item, {"type": "mcp_call", "id": "mcp_1", "arguments": "{}", "output": "yes"}])
    assert (request.item_ids, request.attachments) == (["mcpl_1", "mcp_1"], 0)
    for tool in ({"type": "web_search"}, {"type": "function"}, {"name": "ask"}, {"tools": [listed]}):
        assert refusal_of(input=[item | {"tools": [listed, tool]}]).facts["param"] == "input"
    assert refusal_of(input=[item | {"type": "additional_tools"}]).facts["param"] == "input"


SEARCHES = ["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]


@pytest.mark.parametrize("kind", SEARCHES)
def test_web_search_is_read_with_its_bound(kind: str) -> None:
    request = read(tools=[{"type": kind}, {"type": "function"}], max_tool_calls=3)
    assert (request.counted_units, request.own_prices) == ({"web_searches": 3}, (("web_searches",),))
    assert request.open_ended
    # The bound alone asks for nothing.
    assert read(max_tool_calls=3).counted_units == {}
    for bound in ({"max_tool_calls": 0}, {"maxToolCalls": 1}):
        assert "max_tool_calls" in refusal_of(tools=[{"type": kind}], **bound).message
    for unbound in ({}, {"max_tool_calls": None}):
        assert read(tools=[{"type": kind}], **unbound).counted_units == {"web_searches": 20}


@pytest.mark.parametrize("kind", SEARCHES)
def test_web_search_is_refused_where_it_stands_elsewhere(kind: str) -> None:
    tool = {"type": kind}
    nested = [{"type": "namespace", "tools": [tool]}]
    assert refusal_of(tools=nested, max_tool_calls=1).facts["param"] == "tools"
    item = {"type": "additional_tools", "tools": [tool]}
    assert refusal_of(input=[item], max_tool_calls=1).facts["param"] == "input"


def test_a_summary_of_thoughts_is_not_what_the_estimate_counts() -> None:
    """Its units are not charged: real summaries have come in more events than there were units of output."""
    reader = RESPONSES.stream_reader(read(stream=True), convention=OPENAI)
    for kind in ("reasoning_summary_text", "reasoning_text", "output_text", "function_call_arguments"):
        said = {"type": f"response.{kind}.delta", "delta": "x"}
        assert reader.feed(b"data: %b\n\n" % json.dumps(said).encode())
    assert reader.content_events == 3


def test_searches_of_a_stream_count_also_where_the_end_leaves_the_output_out() -> None:
    reader = RESPONSES.stream_reader(read(stream=True), convention=OPENAI)
    item = {"type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    done = {"type": "response.output_item.done", "item": item}
    end = {"type": "response.completed", "response": {"output": [], "usage": report_of(5, 2)}}
    for said in (done, done, end):
        reader.feed(b"data: " + json.dumps(said).encode() + b"\n\n")
    assert reader.usage == Usage({"input": 5, "output": 2, "web_searches": 2})


@pytest.mark.parametrize(
    ("tool", "unit_class", "units"),
    [
        ({"type": "code_interpreter", "container": {"type": "auto"}}, "containers", 1),
        ({"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "1g"}}, "containers", 1),
        ({"type": "shell", "environment": {"type": "container_auto"}}, "containers", 1),
        ({"type": "image_generation"}, "images", 4),
        ({"type": "x_search"}, "web_searches", 20),
    ],
)
def test_a_hosted_tool_needs_the_price_of_its_units(tool: Any, unit_class: str, units: int) -> None:
    request = read(tools=[tool])
    assert (request.counted_units, request.own_prices) == ({unit_class: units}, ((unit_class,),))
    assert request.open_ended
    assert read(tools=[tool], max_tool_calls=7).counted_units == {unit_class: 7}


def test_servers_that_the_request_names_cost_tokens_only() -> None:
    tool = {"type": "mcp", "server_label": "x", "server_url": "https://example.com/mcp"}
    request = read(tools=[tool])
    assert (request.open_ended, request.own_prices, request.counted_units) == (True, (), {})


@pytest.mark.parametrize("environment", [{}, {"environment": None}, {"environment": {"type": "local"}}])
def test_a_shell_of_the_callers_own_costs_nothing(environment: dict[str, Any]) -> None:
    request = read(tools=[{"type": "shell", **environment}])
    assert (request.open_ended, request.own_prices) == (False, ())


@pytest.mark.parametrize(
    ("tool", "ids"),
    [
        ({"type": "code_interpreter", "container": "cntr_1"}, ["cntr_1"]),
        (
            {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f_1", "f_2"]}},
            ["f_1", "f_2"],
        ),
        (
            {"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}},
            ["cntr_1"],
        ),
        (
            {
                "type": "shell",
                "environment": {
                    "type": "container_auto",
                    "file_ids": ["f_1"],
                    "skills": [{"type": "skill_reference", "skill_id": "s_1"}, {"type": "inline"}],
                },
            },
            ["f_1", "s_1"],
        ),
        ({"type": "file_search", "vector_store_ids": ["vs_1"]}, ["vs_1"]),
    ],
)
def test_what_a_tool_reads_at_the_provider_is_referred_to(tool: Any, ids: list[str]) -> None:
    assert read(tools=[tool]).references == ids


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "64g"}},
        {"type": "code_interpreter", "container": 5},
        {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [5]}},
        {"type": "shell", "environment": {"type": "container_auto", "skills": ["x"]}},
        {"type": "file_search"},
        {"type": "file_search", "vector_store_ids": []},
    ],
)
def test_a_tool_that_cannot_be_told_is_refused(tool: Any) -> None:
    assert refusal_of(tools=[tool]).facts["param"] == "tools"


RAN = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"}
SHELL = {"type": "shell_call", "id": "sh_1", "environment": {"container_id": "cntr_2"}}
IMAGE = {"type": "image_generation_call", "id": "ig_1", "status": "generating", "result": "iVBORw0KGgo="}


@pytest.mark.parametrize(
    ("items", "units"),
    [
        ([RAN, RAN], {"containers": 1}),
        ([RAN, SHELL], {"containers": 2}),
        ([RAN, {"type": "code_interpreter_call"}, {"type": "code_interpreter_call"}], {"containers": 3}),
        ([{"type": "shell_call", "environment": {"type": "local"}}, {"type": "shell_call"}], {}),
        ([IMAGE, IMAGE | {"status": "failed"}, {"type": "image_generation_call"}], {"images": 1}),
        ([{"type": "mcp_call"}, {"type": "mcp_list_tools"}, {"type": "function_call"}, 5, None], {}),
    ],
)
def test_items_tell_the_units_of_tools_whole_and_streamed(items: list[Any], units: dict[str, int]) -> None:
    expected = Usage({"input": 5, "output": 2} | units)
    response = {"output": items, "usage": report_of(5, 2)}
    assert RESPONSES.read_reply(json.dumps(response).encode(), convention=OPENAI) == expected
    for end in (response, response | {"output": []}):
        reader = RESPONSES.stream_reader(read(stream=True), convention=OPENAI)
        done = [{"type": "response.output_item.done", "item": item} for item in items]
        for said in (*done, {"type": "response.completed", "response": end}):
            reader.feed(b"data: " + json.dumps(said).encode() + b"\n\n")
        assert reader.usage == expected
        assert ("cntr_1" in reader.created_ids) == (RAN in items)


def test_what_a_report_counts_is_what_is_billed() -> None:
    """xAI lists calls that failed as well; docs.x.ai: server_side_tool_usage holds those that succeeded."""
    used = {"web_search_calls": 1, "x_search_calls": 3, "code_interpreter_calls": 2, "mcp_calls": 5}
    report = report_of(5, 2) | {"server_side_tool_usage_details": used}
    items = [{"type": "web_search_call", "status": "completed"}] * 9
    usage = RESPONSES.read_reply(json.dumps({"output": items, "usage": report}).encode(), convention=OPENAI)
    assert usage == Usage({"input": 5, "output": 2, "web_searches": 4, "containers": 2})


def test_tools_that_the_caller_runs_and_the_search_for_tools_pass() -> None:
    kinds = ["function", "custom", "local_shell", "apply_patch", "computer", "tool_search"]
    read(tools=[{"type": kind} for kind in kinds])
    read(tools=[{"type": "namespace", "tools": [{"type": "function"}]}])
    read(input=[{"type": "additional_tools", "tools": [{"type": "function"}]}])


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
    ],
)
def test_input_that_the_provider_keeps_leaves_the_end_open(fields: dict[str, Any]) -> None:
    assert read(**fields).open_ended
    assert not read(previous_response_id=None, conversation=None).open_ended


def test_a_call_that_may_compact_is_held_for_twice() -> None:
    body = b'{"model":"m","input":"Hi","context_management":[{"type":"compaction"}]}'
    request = RESPONSES.read_request(body)
    assert (request.prompts, request.choices, request.input_bytes) == (2, 2, 2 * len(body))
    assert read(context_management=None).choices == 1


@pytest.mark.parametrize(
    ("part", "attachments", "hidden"),
    [
        ({"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}, 1, True),
        ({"type": "input_image", "image_url": "https://example.com/a.png"}, 1, False),
        ({"type": "input_image", "file_id": "file-1"}, 1, False),
        ({"type": "input_file", "file_data": f"data:application/pdf;base64,{DATA}"}, 1, True),
        ({"type": "input_file", "file_data": f"data:text/plain;base64,{DATA}"}, 1, False),
        ({"type": "input_file", "file_url": "https://example.com/a.pdf"}, 1, False),
        ({"type": "input_text", "text": f"data:image/png;base64,{DATA}"}, 0, False),
        ({"type": "hologram", "data": DATA}, 1, False),
        ({"type": ["input_text"]}, 1, False),
        (5, 1, False),
    ],
)
def test_attachments_are_counted_and_only_their_data_is_not_input(
    part: Any, attachments: int, hidden: bool
) -> None:
    items = [
        {"role": "user", "content": [part]},
        {"type": "message", "role": "user", "content": [part]},
        {"type": "function_call_output", "call_id": "c", "output": [part]},
    ]
    for item in items:
        body = json.dumps({"model": "m", "input": [item]}).encode()
        request = RESPONSES.read_request(body)
        assert request.attachments == attachments
        assert len(body) - request.input_bytes == (len(DATA) if hidden else 0)


def test_items_of_a_kind_that_is_not_known_count_as_attachments() -> None:
    screenshot = {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{DATA}"}
    request = read(
        input=[
            {"type": "hologram"},
            {"type": 5},
            {"type": "image_generation_call", "result": DATA},
            {"type": "computer_call_output", "output": screenshot},
            {"type": "reasoning", "encrypted_content": DATA},
            {"type": "function_call", "arguments": "{}"},
        ]
    )
    assert request.attachments == 4


def test_text_is_counted_wherever_it_stands() -> None:
    items = [
        {"role": "user", "content": "é"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "abc"}]},
        {"type": "function_call_output", "output": "de"},
        {"type": "message", "content": [{"type": "input_text", "text": "f"}]},
    ]
    assert read(input=items, instructions="sys").text_bytes == 2 + 3 + 2 + 1 + 3
    assert read(input=[*items, {"type": "compaction"}, *items[:1]]).text_bytes == 2


def test_nothing_but_the_model_and_the_cap_changes() -> None:
    body = b'{ "model" : "m", "input": "Hi", "stream":true, "x": 1.50 }'
    request = RESPONSES.read_request(body)
    sent = RESPONSES.upstream_body(request, upstream_model="up", cap_output_tokens=9, convention=OPENAI)
    assert sent == b'{ "model" : "up", "input": "Hi", "stream":true, "x": 1.50 ,"max_output_tokens":9}'


def test_parts_of_the_input_and_reasoning_are_inside_their_totals() -> None:
    details = {"cached_tokens": 384, "cache_write_tokens": 10}
    report = report_of(444, 14, input_tokens_details=details, output_tokens_details={"reasoning_tokens": 9})
    expected = {"input": 50, "cached_input": 384, "cache_write": 10, "output": 14}
    assert units_of(report) == expected
    assert units_of(report, "xai") == expected


@pytest.mark.parametrize(
    "report",
    [
        report_of(-1, 5),
        report_of(5, 5, total_tokens=11),
        report_of(5, 5, input_tokens_details={"cached_tokens": 6}),
        report_of(5, 5, output_tokens=1.5),
        [],
        "none",
    ],
)
def test_what_cannot_be_true_is_impossible(report: Any) -> None:
    with pytest.raises(ImpossibleUsage):
        units_of(report)


@pytest.mark.parametrize("report", [None, {}, {"input_tokens": 5}])
def test_a_report_without_its_numbers_is_none(report: Any) -> None:
    assert units_of(report) is None


def test_a_reply_without_a_report_is_estimated_by_what_it_holds() -> None:
    request = read(input="x" * 60)
    message = {"type": "message", "content": [{"type": "output_text", "text": "y" * 14}, 5]}
    reply = {"output": [{"type": "reasoning", "content": None}, message]}
    estimate = RESPONSES.estimate_reply(request, json.dumps(reply).encode())
    assert (dict(estimate), estimate.source) == ({"input": 10, "output": 2}, "estimated")
    for nothing in (
        b"<html>",
        b"[]",
        b'{"error":{}}',
        b'{"output":[]}',
        b'{"status":"queued","output":null}',
    ):
        assert dict(RESPONSES.estimate_reply(request, nothing)) == {}
    assert dict(RESPONSES.estimate_stream(request, content_events=4)) == {"input": 10, "output": 4}


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


def text(words: str = "Hi") -> bytes:
    return event("response.output_text.delta", delta=words)


OPENING = event("response.created", response={"usage": None}) + event("response.in_progress", response={})
COMPLETED = event("response.completed", response={"status": "completed", "usage": report_of(10, 7)})
DONE = b"data: [DONE]\n\n"


def run(reader: StreamReader, *pieces: bytes) -> tuple[bytes, bytes]:
    passed = b"".join(reader.feed(piece) for piece in pieces)
    reader.end()
    return passed, reader.tail("0.5")


def stream() -> StreamReader:
    return RESPONSES.stream_reader(read(stream=True), convention=OPENAI)


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_a_stream_passes_up_to_the_event_with_the_whole_response(kind: str) -> None:
    reader = stream()
    mark = event(kind, response={"usage": report_of(10, 7)})
    assert run(reader, OPENING + text() + text(" you") + mark) == (OPENING + text() + text(" you"), mark)
    assert reader.usage == Usage({"input": 10, "output": 7})
    assert (reader.whole, reader.failed, reader.content_events) == (True, kind == "response.failed", 2)


def test_the_end_mark_that_openrouter_adds_is_waited_for() -> None:
    reader = stream()
    assert (reader.feed(text() + COMPLETED), reader.whole) == (text(), False)
    assert (reader.feed(DONE), reader.whole) == (b"", True)
    assert reader.tail("0.5") == COMPLETED + DONE


def test_a_response_without_a_report_has_no_usage() -> None:
    for response in ({"usage": None}, {}, None):
        reader = stream()
        mark = event("response.failed", response=response)
        assert run(reader, text() + mark) == (text(), mark)
        assert reader.usage is None


@pytest.mark.parametrize(
    "kind",
    ["response.reasoning_text.delta", "response.function_call_arguments.delta", "response.refusal.delta"],
)
def test_whatever_a_model_writes_is_content(kind: str) -> None:
    reader = stream()
    reader.feed(
        event(kind, delta="x") + event(kind, delta="") + event(kind) + event("response.output_text.done")
    )
    assert reader.content_events == 1


@pytest.mark.parametrize(
    "failure", [event("error", message="x"), b'data: {"type":"error"}\n\n', b"event: error\ndata: x\n\n"]
)
def test_an_error_event_passes_and_is_noticed(failure: bytes) -> None:
    reader = stream()
    assert run(reader, text() + failure) == (text() + failure, b"")
    assert reader.failed


def test_impossible_usage_is_raised_and_no_byte_is_lost() -> None:
    reader = stream()
    bad = event("response.completed", response={"usage": report_of(-1, 7)})
    with pytest.raises(ImpossibleUsage):
        reader.feed(text() + bad)
    assert run(reader, DONE) == (text(), bad + DONE)
    assert reader.usage is None


def test_malformed_events_pass_as_they_are() -> None:
    reader = stream()
    garbage = b"data: {not json\n\n" + b": note\n\n" + b'data: {"type":5}\n\n' + b"data: [1]\n\n"
    assert run(reader, garbage + COMPLETED) == (garbage, COMPLETED)


def test_a_stream_cut_anywhere_gives_the_same_bytes_and_usage() -> None:
    whole = OPENING + text() + COMPLETED + DONE
    for end in (b"\n", b"\r\n", b"\r"):
        stream_bytes = whole.replace(b"\n", end)

        def outcome(*pieces: bytes) -> tuple[object, ...]:
            reader = stream()
            return *run(reader, *pieces), reader.usage, reader.whole, reader.content_events

        expected = outcome(stream_bytes)
        assert expected[2] == Usage({"input": 10, "output": 7})
        for cut in range(len(stream_bytes)):
            assert outcome(stream_bytes[:cut], stream_bytes[cut:]) == expected
