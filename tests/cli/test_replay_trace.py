"""Replay: every row is sent once, as it should be, and the sums are those of the replies."""

import asyncio
import io
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.cli.demo_trace import demo_trace_text
from tests.fakes.upstream import FakeReply, sent_bytes
from tokenopen.cli.replay_summary import RowResult, Summary, percentile, print_summary
from tokenopen.cli.replay_trace import (
    DEMO_TRACE,
    InvalidTrace,
    ReplayOptions,
    TraceRow,
    deal,
    read_trace,
    request_body,
    run_replay,
)
from tokenopen.core.money import parse_amount
from tokenopen.ports.upstream import NotReached, ReplyBroken, UpstreamReply, UpstreamRequest
from tokenopen.simulator import chat

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
AZURE_TRACE = Path(__file__).parents[3] / "shared" / "traces" / "azure-llm-2023-code.csv"
JSON_HEADERS = ((b"content-type", b"application/json"),)
SSE_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"),)


class AnsweringUpstream:
    """The Upstream port, answered by a function of the decoded request body."""

    def __init__(self, answer: Callable[[dict[str, Any]], FakeReply | Exception]) -> None:
        self.requests: list[UpstreamRequest] = []
        self.sent_at_s: list[float] = []
        self.running = 0
        self.running_max = 0
        self.two_run = asyncio.Event()
        self.delay_s = 0.0
        self._answer = answer

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.requests.append(request)
        self.sent_at_s.append(time.perf_counter())
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        if self.running == 2:
            self.two_run.set()
        try:
            await asyncio.sleep(self.delay_s)
        finally:
            self.running -= 1
        answer = self._answer(json.loads(sent_bytes(request)))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass


def answered(body: dict[str, Any], *, charge: str = "0.000001") -> FakeReply:
    """What the gateway answers: the simulator's reply with the charge where it belongs."""
    reply = chat.answer(json.dumps(body).encode())
    if not reply.stream:
        headers = (
            *JSON_HEADERS,
            (b"x-tokenopen-charge", charge.encode()),
            (b"x-tokenopen-upstream-ms", b"0"),
        )
        return FakeReply(200, reply.body, (*headers, (b"x-request-id", b"call_7")))
    *events, usage = reply.events
    usage = re.sub(rb'("usage":\{.*\})(,"obf)', rb"\1\2", usage).replace(
        b'"usage":{', b'"usage":{"cost":"%b",' % charge.encode()
    )
    return FakeReply(200, b"".join([*events, usage, reply.end_mark]), SSE_HEADERS)


def trace_of(path: Path, *rows: tuple[float, int, int]) -> Path:
    lines = [f"2026-01-05 09:00:{second:09.6f},{context},{output}\n" for second, context, output in rows]
    path.write_text(HEADER + "".join(lines))
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return trace_of(tmp_path / "trace.csv", *[(index / 100, 10 + index, 1 + index) for index in range(12)])


def options_of(trace_path: Path, **changed: Any) -> ReplayOptions:
    usual: dict[str, Any] = {
        "base_url": "http://gateway:8000/v1",
        "keys": ["sk-a"],
        "models": ["gpt-4o-mini"],
        "speed": None,
    }
    return ReplayOptions(trace_path=trace_path, **(usual | changed))


def test_the_demo_trace_is_what_its_generator_makes() -> None:
    assert DEMO_TRACE.read_text() == demo_trace_text()
    assert len(read_trace(DEMO_TRACE)) == 300


def test_a_trace_is_read_as_azure_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_bytes(
        b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        b"2023-11-16 18:17:03.9799600,4808,10\r\n"
        b"2023-11-16 18:17:04.0319600,3180,8"
    )
    first, second = read_trace(path)
    assert (first.context_tokens, first.generated_tokens, first.offset_ms) == (4808, 10, 0)
    assert (second.index, second.context_tokens, round(second.offset_ms)) == (1, 3180, 52)


def test_the_whole_azure_trace_is_read() -> None:
    if not AZURE_TRACE.exists():
        pytest.skip(f"{AZURE_TRACE} is not here")
    rows = read_trace(AZURE_TRACE)
    assert len(rows) == 8819
    assert sum(row.context_tokens for row in rows) == 18_059_974
    assert min(row.generated_tokens for row in rows) == 6


def test_rows_are_sent_by_time_and_keep_their_number(tmp_path: Path) -> None:
    rows = read_trace(trace_of(tmp_path / "t.csv", (3, 1, 1), (1, 2, 2), (2, 3, 3)))
    assert [(row.index, row.offset_ms) for row in rows] == [(1, 0), (2, 1000), (0, 2000)]
    assert len(read_trace(tmp_path / "t.csv", rows_max=2)) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("TIMESTAMP,ContextTokens\n", "no column GeneratedTokens"),
        ("", "no column TIMESTAMP"),
        (HEADER + "2026-01-05 09:00:00,1,1\nyesterday,1,1\n", "row 2"),
        (HEADER + "2026-01-05 09:00:00,1\n", "row 1"),
        (HEADER + "2026-01-05 09:00:00,1.5,1\n", "row 1"),
        (HEADER + "2026-01-05 09:00:00,-1,1\n", "negative"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(InvalidTrace, match=problem):
        read_trace(path)


@pytest.mark.parametrize(
    "changed",
    [{"keys": []}, {"models": []}, {"speed": 0}, {"concurrency": 0}, {"stream_percent": 101}],
)
def test_options_that_cannot_be_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        options_of(DEMO_TRACE, **changed)


def rows_of(count: int) -> list[TraceRow]:
    return [
        TraceRow(index=index, offset_ms=index, context_tokens=1, generated_tokens=1) for index in range(count)
    ]


def test_rows_are_dealt_over_the_keys_in_turn_and_a_key_named_twice_gets_twice_as_many() -> None:
    dealt = deal(rows_of(8), options_of(DEMO_TRACE, keys=["a", "b", "b", "c"]))
    assert [call.key_index for call in dealt] == [0, 1, 1, 2, 0, 1, 1, 2]


def test_every_key_gets_every_model_as_json_and_as_stream() -> None:
    dealt = deal(rows_of(12), options_of(DEMO_TRACE, keys=["a", "b"], models=["x", "y", "z"]))
    combinations = {(call.key_index, call.model, call.stream) for call in dealt}
    assert len(combinations) == 12


@given(st.integers(0, 100), st.integers(1, 300))
def test_the_share_of_streams_is_as_asked_at_every_length(percent: int, count: int) -> None:
    dealt = deal(rows_of(count), options_of(DEMO_TRACE, stream_percent=percent))
    assert sum(call.stream for call in dealt) == count * percent // 100


@pytest.mark.parametrize(("context", "generated", "output"), [(0, 5, 5), (7, 1, 1), (5000, 0, 1)])
def test_a_row_becomes_as_many_words_as_it_had_tokens(context: int, generated: int, output: int) -> None:
    row = TraceRow(index=0, offset_ms=0, context_tokens=context, generated_tokens=generated)
    for percent in (0, 100):
        (call,) = deal([row], options_of(DEMO_TRACE, stream_percent=percent))
        reply = chat.answer(request_body(call))
        assert (reply.prompt_tokens, reply.completion_tokens) == (context, output)
        assert reply.stream is bool(percent)


async def test_every_row_is_sent_once_and_its_facts_are_told(trace: Path) -> None:
    upstream = AnsweringUpstream(answered)
    results: list[RowResult] = []
    options = options_of(trace, keys=["sk-a", "sk-b", "sk-b"], concurrency=3)
    summary = await run_replay(options, upstream, on_row=results.append)
    assert sorted(result.row for result in results) == list(range(12))
    assert {request.url for request in upstream.requests} == {"http://gateway:8000/v1/chat/completions"}
    keys = Counter(dict(request.headers)[b"authorization"] for request in upstream.requests)
    assert keys == {b"Bearer sk-a": 4, b"Bearer sk-b": 8}
    assert [tally.calls for tally in summary.by_key] == [4, 8]
    by_row = {result.row: result for result in results}
    assert all(by_row[row].prompt_tokens == 10 + row for row in range(12))
    assert all(by_row[row].completion_tokens == 1 + row for row in range(12))
    assert {result.call_id for result in results if not result.stream} == {"call_7"}
    assert (summary.total.prompt_tokens, summary.total.completion_tokens) == (186, 78)


@pytest.mark.parametrize("stream_percent", [0, 50, 100])
async def test_charges_of_json_and_streams_add_up_exactly(trace: Path, stream_percent: int) -> None:
    upstream = AnsweringUpstream(lambda body: answered(body, charge="0.000000007"))
    summary = await run_replay(options_of(trace, stream_percent=stream_percent), upstream)
    assert summary.total.charge == 12 * parse_amount("0.000000007")
    assert (summary.total.answered, summary.total.answered_without_charge) == (12, 0)


async def test_a_cost_written_as_a_number_stays_exact(tmp_path: Path) -> None:
    def number(body: dict[str, Any]) -> FakeReply:
        usage = b'{"prompt_tokens":1,"completion_tokens":1,"cost":0.123456789}'
        return FakeReply(
            200, b'data: {"choices":[],"usage":%b}\r\n\r\ndata: [DONE]\r\n\r\n' % usage, SSE_HEADERS
        )

    trace = trace_of(tmp_path / "t.csv", (0, 1, 1))
    summary = await run_replay(options_of(trace, stream_percent=100), AnsweringUpstream(number))
    assert summary.total.charge == 123_456_789


async def test_an_answer_that_names_no_charge_is_counted_as_such(trace: Path) -> None:
    def uncharged(body: dict[str, Any]) -> FakeReply:
        reply = chat.answer(json.dumps(body).encode())
        if reply.stream:
            return FakeReply(200, b"".join([*reply.events, reply.end_mark]), SSE_HEADERS)
        return FakeReply(200, reply.body)

    summary = await run_replay(options_of(trace), AnsweringUpstream(uncharged))
    assert (summary.total.answered, summary.total.answered_without_charge, summary.total.charge) == (
        12,
        12,
        0,
    )


@pytest.mark.parametrize(
    ("answer", "code", "failure"),
    [
        (FakeReply(429, b'{"error":{"code":"rpm_exceeded","message":"x"}}'), "rpm_exceeded", None),
        (
            FakeReply(400, b'{"error":{"code":null,"type":"invalid_request_error"}}'),
            "invalid_request_error",
            None,
        ),
        (FakeReply(502, b"<html>"), "http_502", None),
        (
            FakeReply(200, b'data: {"error":{"code":"upstream_error"}}\n\n', SSE_HEADERS),
            "upstream_error",
            None,
        ),
        (FakeReply(200, b'data: {"choices":[{}]}\n\n', SSE_HEADERS), None, "StreamCutShort"),
        (FakeReply(200, b"data: {nonsense\n\n", SSE_HEADERS), None, "UnreadableReply"),
        (FakeReply(200, b"<html>"), None, "UnreadableReply"),
        (NotReached("no"), None, "NotReached"),
        (ReplyBroken("no"), None, "ReplyBroken"),
    ],
)
async def test_what_is_not_answered_is_counted_by_its_reason(
    tmp_path: Path, answer: FakeReply | Exception, code: str | None, failure: str | None
) -> None:
    results: list[RowResult] = []
    trace = trace_of(tmp_path / "t.csv", (0, 1, 1))
    summary = await run_replay(options_of(trace), AnsweringUpstream(lambda _: answer), on_row=results.append)
    assert [(result.code, result.failure) for result in results] == [(code, failure)]
    assert summary.total.answered == 0
    assert summary.total.refused == ({code: 1} if code else {})
    assert summary.total.failed == ({failure: 1} if failure else {})
    assert summary.latencies_ms == []


async def test_no_row_is_sent_before_its_time(tmp_path: Path) -> None:
    trace = trace_of(tmp_path / "t.csv", *[(index * 0.4, 1, 1) for index in range(4)])
    upstream = AnsweringUpstream(answered)
    started_s = time.perf_counter()
    await run_replay(options_of(trace, speed=10.0), upstream)
    assert all(at_s - started_s >= index * 0.04 for index, at_s in enumerate(upstream.sent_at_s))


@pytest.mark.parametrize("speed", [None, 1000.0])
async def test_no_more_calls_run_at_once_than_allowed(trace: Path, speed: float | None) -> None:
    upstream = AnsweringUpstream(answered)
    upstream.delay_s = 0.005
    summary = await run_replay(options_of(trace, concurrency=3, speed=speed), upstream)
    assert upstream.running_max == 3
    assert summary.total.answered == 12


async def test_ctrl_c_sends_no_more_and_lets_running_calls_end(trace: Path) -> None:
    upstream = AnsweringUpstream(answered)
    upstream.delay_s = 0.01

    seen: list[int] = []

    def interrupt_at_the_fourth(result: RowResult) -> None:
        seen.append(result.row)
        if len(seen) == 4:
            signal.raise_signal(signal.SIGINT)

    options = options_of(trace, concurrency=2)
    summary = await run_replay(options, upstream, on_row=interrupt_at_the_fourth)
    assert 4 <= summary.total.answered == len(upstream.requests) < 12
    assert summary.unsent == 12 - summary.total.calls


async def test_ctrl_c_ends_the_wait_for_the_next_row(tmp_path: Path) -> None:
    trace = trace_of(tmp_path / "t.csv", (0, 1, 1), (59, 1, 1))

    def interrupt(result: RowResult) -> None:
        signal.raise_signal(signal.SIGINT)

    summary = await run_replay(options_of(trace, speed=1.0), AnsweringUpstream(answered), on_row=interrupt)
    assert (summary.total.answered, summary.unsent) == (1, 1)


async def test_a_second_ctrl_c_cuts_running_calls(trace: Path) -> None:
    upstream = AnsweringUpstream(answered)
    upstream.delay_s = 3600

    async def interrupt_twice() -> None:
        await upstream.two_run.wait()
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(interrupt_twice())
        summary = await run_replay(options_of(trace, concurrency=2), upstream)
    assert summary.total.failed == {"Interrupted": 2}
    assert summary.unsent == 10


async def test_a_failing_observer_ends_the_replay_with_its_error(trace: Path) -> None:
    def fail(result: RowResult) -> None:
        raise KeyError(result.row)

    upstream = AnsweringUpstream(answered)
    with pytest.raises(KeyError):
        await run_replay(options_of(trace, concurrency=2), upstream, on_row=fail)
    assert len(upstream.requests) <= 3


async def test_the_printed_summary_names_keys_codes_and_times(trace: Path) -> None:
    def refuse_long(body: dict[str, Any]) -> FakeReply:
        if body["max_tokens"] > 10:
            return FakeReply(402, b'{"error":{"code":"insufficient_credit"}}')
        return answered(body, charge="0.5")

    console = Console(record=True, width=120, file=io.StringIO())
    summary = await run_replay(
        options_of(trace, keys=["a", "b"]), AnsweringUpstream(refuse_long), console=console
    )
    print_summary(summary, console, key_names=["Default", "VIP"])
    text = console.export_text()
    rows = [line.split() for line in text.splitlines()]
    assert ["VIP", "6", "5", "1", "0", "75", "30", "2.5"] in rows
    assert ["all", "12", "10", "2", "0", "145", "55", "5"] in rows
    assert "refused: insufficient_credit 2" in text
    assert "added latency (JSON): p50" in text


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([], 50) is None
    assert percentile([3.0], 99) == 3
    assert [percentile([float(value) for value in range(1, 101)], percent) for percent in (1, 50, 99)] == [
        1,
        50,
        99,
    ]


def test_no_number_is_cut_on_a_narrow_terminal() -> None:
    summary = Summary(rows=9_999_999, keys=2)
    for tally in (summary.total, *summary.by_key):
        tally.calls = tally.answered = 999_999
        tally.prompt_tokens = tally.completion_tokens = 888_888_888
        tally.charge = parse_amount("1234.123456789")
    console = Console(record=True, width=80, file=io.StringIO())
    print_summary(summary, console, key_names=["sk-to-...abcd of a very long name", "VIP"])
    text = console.export_text()
    assert text.count("888,888,888") == 6
    assert text.count("1234.123456789") == 3


def test_a_summary_of_nothing_prints() -> None:
    console = Console(record=True, width=120, file=io.StringIO())
    print_summary(Summary(rows=0, keys=1), console, key_names=["only"])
    assert "0 of 0 rows" in console.export_text()
