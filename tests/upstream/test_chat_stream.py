"""Chat streams: what passes at once, what waits for the settlement, and what is read on the way."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenopen.core.usage import ImpossibleUsage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.sse import EventTooLarge
from tokenopen.upstream.surfaces import chat_stream
from tokenopen.upstream.surfaces.chat_stream import ChatStreamReader

DONE = b"data: [DONE]\n\n"
COMMENT = b": keepalive\n\n"


def reader(*, wants_usage: bool = False, provider: str = "openai") -> ChatStreamReader:
    return ChatStreamReader(wants_usage=wants_usage, convention=PROVIDERS[provider].convention)


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c1", **fields}, separators=(",", ":")).encode() + b"\n\n"


def delta(text: str | None = "Hi", **fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}], **fields)


ROLE = event(
    choices=[{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}], usage=None
)
STOP = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None)
REPORT = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
UNITS = {"input": 10, "output": 2}


def usage(choices: Any = (), **report: Any) -> bytes:
    return event(choices=list(choices), usage=REPORT | report)


IMPOSSIBLE = usage(prompt_tokens=-1)


def run(read: ChatStreamReader, *pieces: bytes, cost: str | None = None) -> tuple[bytes, bytes]:
    """Return what passed and what was withheld."""
    passed = b"".join(read.feed(piece) for piece in pieces)
    read.end()
    return passed, read.tail(cost)


def test_openais_stream_passes_up_to_its_usage() -> None:
    read = reader()
    head = ROLE + delta() + delta(" you") + STOP
    assert run(read, head + usage() + DONE) == (head, DONE)
    assert read.usage is not None
    assert dict(read.usage) == UNITS
    assert (read.whole, read.failed, read.content_events) == (True, False, 2)


def test_the_same_bytes_are_given_back_not_a_copy() -> None:
    read = reader()
    for piece in (delta(), ROLE + delta() * 5):
        assert read.feed(piece) is piece


def test_usage_is_shown_to_callers_who_asked_with_the_charge_in_it() -> None:
    read = reader(wants_usage=True)
    assert run(read, delta() + usage() + DONE, cost="0.000123") == (delta(), usage(cost="0.000123") + DONE)


def test_the_charge_takes_the_place_of_what_the_provider_says_its_cost_was() -> None:
    read = reader(wants_usage=True)
    assert run(read, usage(cost=0.5, is_byok=False) + DONE, cost="1.5")[1] == (
        usage(cost="1.5", is_byok=False) + DONE
    )


def test_without_a_charge_the_usage_stays_as_it_came() -> None:
    assert run(reader(wants_usage=True), usage() + DONE)[1] == usage() + DONE


def test_only_a_usage_event_without_choices_is_hidden() -> None:
    with_choices = usage([{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}])
    assert run(reader(), with_choices + DONE, cost="1")[1] == with_choices + DONE
    failed = event(choices=[], usage=REPORT, error={"message": "no"})
    assert run(reader(), failed + DONE)[1] == failed + DONE


def test_an_event_without_choices_and_usage_passes() -> None:
    """As Azure's first, with what its filters found in the prompt."""
    filtered = event(choices=[], prompt_filter_results=[{}], usage=None)
    assert run(reader(), filtered + delta() + DONE) == (filtered + delta(), DONE)


def test_running_usage_is_passed_on_one_event_late_and_the_last_one_stands() -> None:
    read = reader()
    first, second = delta(usage=REPORT), delta(usage=REPORT | {"completion_tokens": 3, "total_tokens": 13})
    assert read.feed(first) == b""
    assert read.content_events == 0
    assert read.feed(second) == first
    assert read.content_events == 1
    assert run(read, STOP, DONE) == (b"", second + STOP + DONE)
    assert read.usage is not None
    assert dict(read.usage) == {"input": 10, "output": 3}


def test_hidden_running_usage_stays_hidden_when_content_follows() -> None:
    read = reader()
    assert run(read, usage(), COMMENT, delta(), usage(), DONE) == (COMMENT + delta(), DONE)


def test_what_follows_the_final_usage_waits_with_it() -> None:
    read = reader()
    last = usage([{"index": 0, "delta": {"content": "Hi"}}])
    assert run(read, last, COMMENT, STOP) == (b"", last + COMMENT + STOP)
    assert read.whole


def test_nothing_that_follows_the_end_mark_passes() -> None:
    read = reader()
    assert run(read, delta(), DONE + delta(), delta() + usage()) == (
        delta(),
        DONE + delta() + delta() + usage(),
    )
    assert (read.whole, read.content_events, read.usage) == (True, 1, None)


@pytest.mark.parametrize("mark", [b"data:[DONE]\r\n\r\n", b": x\ndata: [DONE] \n\n", b"data: [DONE]\r\r"])
def test_the_end_mark_is_known_however_it_is_written(mark: bytes) -> None:
    read = reader()
    assert read.feed(delta() + mark) == delta()
    assert read.whole


def test_an_end_mark_whose_event_does_not_end_is_withheld() -> None:
    read = reader()
    assert run(read, delta(), b"data: [DONE]") == (delta(), b"data: [DONE]")


def test_a_stream_without_marks_is_whole_at_its_proper_end() -> None:
    read = reader()
    assert read.feed(delta() + STOP) == delta() + STOP
    assert not read.whole
    read.end()
    assert (read.whole, read.usage, read.tail("1")) == (True, None, b"")


def test_a_usage_whose_event_does_not_end_counts() -> None:
    read = reader(wants_usage=True)
    assert run(read, delta(), usage().rstrip(), cost="1") == (delta(), usage(cost="1").rstrip())
    assert read.usage is not None


def test_an_unfinished_event_goes_with_the_tail() -> None:
    read = reader()
    assert run(read, delta() + b'data: {"choices') == (delta(), b'data: {"choices')


def test_groqs_report_is_read() -> None:
    read = reader(provider="groq")
    first = event(choices=[{"index": 0, "delta": {"role": "assistant"}}], x_groq={"id": "req_1"})
    last = event(choices=[{"index": 0, "delta": {}}], x_groq={"id": "req_1", "usage": REPORT})
    assert run(read, first + delta() + last + DONE) == (first + delta(), last + DONE)
    assert read.usage is not None
    assert dict(read.usage) == UNITS


def in_choice(**fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": fields}])


def test_moonshots_report_is_read_inside_the_last_choice() -> None:
    """It has been seen there alone, and before one at the usual place, which then counts."""
    last = in_choice(**REPORT, cached_tokens=7)
    for end in (last, last.replace(b'"usage":', b'"usage" :')):
        read = reader(wants_usage=True)
        assert run(read, delta() * 4 + end + DONE) == (delta() * 4, end + DONE)
        assert read.usage is not None
        assert dict(read.usage) == {"input": 3, "cached_input": 7, "output": 2}
    read = reader()
    assert run(read, delta() + last + usage() + DONE) == (delta(), last + DONE)
    assert read.usage is not None
    assert dict(read.usage) == UNITS
    with pytest.raises(ImpossibleUsage):
        run(reader(), delta() + in_choice(prompt_tokens=-1))
    # What is no report at all is none.
    read = reader()
    run(read, delta() + in_choice() + DONE)
    assert read.usage is None


def test_the_providers_way_of_counting_is_used() -> None:
    read = reader(provider="gemini")
    run(read, delta(usage=REPORT | {"total_tokens": 20}))
    assert read.usage is not None
    assert dict(read.usage) == UNITS | {"reasoning": 8}


@pytest.mark.parametrize(
    "failure",
    [
        event(error={"message": "overloaded", "code": 502}, choices=[]),
        event(error="overloaded"),
        b'event: error\ndata: {"message":"overloaded"}\n\n',
        b'event: error\r\ndata: {"error":{"message":"overloaded"}}\r\n\r\n',
    ],
)
def test_an_error_event_passes_and_is_noticed(failure: bytes) -> None:
    read = reader()
    assert run(read, delta() + failure) == (delta() + failure, b"")
    assert (read.failed, read.content_events) == (True, 1)


@pytest.mark.parametrize(
    "field",
    [
        "content",
        "reasoning_content",
        "reasoning",
        "refusal",
        "tool_calls",
        "function_call",
        "audio",
        "images",
    ],
)
def test_whatever_a_model_writes_is_content(field: str) -> None:
    read = reader()
    for value in ("x", [{"index": 0}], {"data": "x"}):
        read.feed(event(choices=[{"index": 0, "delta": {"role": "assistant", field: value}}]))
    nothing: Any
    for nothing in ("", None, [], {}):
        read.feed(event(choices=[{"index": 0, "delta": {"role": "assistant", field: nothing}}]))
    assert read.content_events == 3


def test_events_without_content_do_not_count() -> None:
    read = reader()
    run(read, ROLE + STOP + COMMENT + event(choices=[]) + event() + event(choices=None) + b"data: {}\n\n")
    assert read.content_events == 0


def test_an_event_with_several_choices_counts_once() -> None:
    read = reader()
    read.feed(event(choices=[{"delta": {}}, {"delta": {"content": "a"}}, {"delta": {"content": "b"}}]))
    assert read.content_events == 1


@pytest.mark.parametrize(
    "malformed",
    [
        b"data: {not json}\n\n",
        b"data: [1,2]\n\n",
        b'data: {"choices":"x"}\n\n',
        b'data: {"choices":[{"delta":5}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"choices":' + b"[" * 5000 + b"]" * 5000 + b"}\n\n",
        b"data\n\n",
        b"\n\n",
        b"nonsense\n\n",
    ],
)
def test_an_event_that_cannot_be_read_passes_as_it_is(malformed: bytes) -> None:
    read = reader()
    stream = delta() + malformed + delta()
    assert run(read, stream + usage() + DONE) == (stream, DONE)
    assert read.usage is not None
    assert read.content_events == 2


def test_usage_is_read_though_something_else_in_its_event_is_odd() -> None:
    read = reader()
    odd = event(choices="none", usage=REPORT)
    assert run(read, odd + DONE) == (b"", odd + DONE)
    assert read.usage is not None


def test_a_report_without_numbers_is_none() -> None:
    read = reader()
    stream = delta(usage={}) + delta(usage={"queue_time": 0.1})
    assert run(read, stream) == (stream, b"")
    assert read.usage is None


@pytest.mark.parametrize(
    "bad", [IMPOSSIBLE, event(usage="x"), event(usage={"prompt_tokens": 1.5}), event(usage=[1])]
)
def test_impossible_usage_is_raised_and_no_byte_is_lost(bad: bytes) -> None:
    read = reader(wants_usage=True)
    with pytest.raises(ImpossibleUsage):
        read.feed(delta() + bad + STOP)
    assert run(read, STOP + DONE) == (delta(), bad + STOP + STOP + DONE)


def test_impossible_usage_is_hidden_from_callers_who_did_not_ask_as_any_other_is() -> None:
    for bad in (IMPOSSIBLE, event(choices=[], usage={"prompt_tokens": 1.5})):
        read = reader()
        with pytest.raises(ImpossibleUsage):
            read.feed(delta() + bad + DONE)
        assert run(read) == (b"", delta() + DONE)


def test_content_after_impossible_usage_is_not_held_up() -> None:
    read = reader()
    bad = delta(usage={"prompt_tokens": -1})
    with pytest.raises(ImpossibleUsage):
        read.feed(delta() + bad)
    assert read.feed(delta()) == delta() + bad + delta()


def test_impossible_usage_in_an_event_that_does_not_end_is_left_out() -> None:
    read = reader(wants_usage=True)
    assert run(read, delta() + IMPOSSIBLE.rstrip()) == (delta(), IMPOSSIBLE.rstrip())
    assert read.usage is None


def test_what_is_withheld_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_stream, "EVENT_BYTES_MAX", 1000)
    read = reader(wants_usage=True)
    held = usage() * (999 // len(usage()))
    assert read.feed(held) == b""
    with pytest.raises(EventTooLarge):
        read.feed(usage())


STREAMS = {
    "openai": ROLE + delta() + delta("日本") + STOP + usage() + DONE,
    "comments": COMMENT + ROLE + COMMENT + delta() + STOP + COMMENT + usage() + COMMENT + DONE,
    "running": usage() + delta(usage=REPORT) * 3 + STOP + usage() + DONE,
    "groq": delta(x_groq={"id": "r"}) + event(choices=[{"delta": {}}], x_groq={"usage": REPORT}) + DONE,
    "moonshot": ROLE + delta() * 3 + in_choice(**REPORT) + DONE,
    "crlf": (ROLE + delta() + usage() + DONE).replace(b"\n", b"\r\n"),
    "cr": (ROLE + delta() + usage() + DONE).replace(b"\n", b"\r"),
    "lines": b'event: x\nid: 1\ndata: {"choices":[],\ndata: "usage":'
    + json.dumps(REPORT).encode()
    + b"}\n\n",
    "unmarked": ROLE + delta() + STOP,
    "failed": delta() + event(error={"message": "x"}) + delta(),
    "unended": delta() + usage().rstrip(),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_stream_cut_anywhere_gives_the_same_bytes_and_usage(name: str, wants_usage: bool) -> None:
    stream = STREAMS[name]

    def outcome(*pieces: bytes) -> tuple[object, ...]:
        read = reader(wants_usage=wants_usage)
        passed, tail = run(read, *pieces, cost="0.5")
        return passed, tail, read.usage, read.whole, read.failed, read.content_events

    expected = outcome(stream)
    for cut in range(len(stream) + 1):
        assert outcome(stream[:cut], stream[cut:]) == expected
    assert outcome(*(bytes([byte]) for byte in stream)) == expected


@st.composite
def damaged_streams(draw: st.DrawFn) -> list[bytes]:
    """Return the pieces of a stream in which bytes were replaced, left out or given twice."""
    stream = draw(st.sampled_from(sorted(STREAMS.values())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(stream)))
        until = draw(st.integers(at, min(len(stream), at + draw(st.sampled_from([3, 200])))))
        taken = stream[at:until]
        new = draw(
            st.binary(max_size=3)
            | st.sampled_from(
                [taken * 2, b"-", b"9" * 12, b"null", b'"', b"\n\n", b"\r", IMPOSSIBLE, DONE, b"{}"]
            )
        )
        stream = stream[:at] + new + stream[until:]
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@settings(deadline=None)
@given(damaged_streams())
def test_no_damage_to_a_stream_raises_anything_else_or_loses_a_byte(pieces: list[bytes]) -> None:
    read = reader(wants_usage=True)
    passed = b""
    for piece in pieces:
        try:
            passed += read.feed(piece)
        except ImpossibleUsage:
            continue
    read.end()
    assert passed + read.tail(None) == b"".join(pieces)
    assert read.content_events <= b"".join(pieces).count(b"data")
