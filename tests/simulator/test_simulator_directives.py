"""Each directive does what it says, seen from outside the real process."""

import json
import time
from typing import Any

import pytest

from tests.simulator.raw_client import RawClient

pytestmark = pytest.mark.slow

# With four words: the role, four of content, the finish, the usage where it is asked for, [DONE].
FOUR_WORDS: dict[str, Any] = {"max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}}
DONE = b"data: [DONE]"


def data_of(event: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(event.removeprefix(b"data: "))
    return decoded


def test_a_stream_without_directives_has_every_event_in_a_chunk_of_its_own(raw: RawClient) -> None:
    reply = raw.chat(**FOUR_WORDS)
    assert (reply.status, reply.end) == (200, "whole")
    assert len(reply.chunks) == len(reply.events) == 8
    assert reply.events[-1] == DONE
    assert data_of(reply.events[-2])["choices"] == []
    assert data_of(reply.events[-2])["usage"]["total_tokens"] == 6
    assert all(data_of(event)["usage"] is None for event in reply.events[:-2])


def test_large_outputs_are_spread_over_at_most_64_events(raw: RawClient) -> None:
    reply = raw.chat(max_tokens=5000, stream=True)
    assert len(reply.events) == 1 + 64 + 1 + 1


def test_events_sets_how_many_events_carry_the_content(raw: RawClient) -> None:
    assert len(raw.chat({"events": 500}, max_tokens=500, stream=True).events) == 500 + 3
    assert len(raw.chat({"events": 2}, max_tokens=500, stream=True).events) == 2 + 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 408, 429, 500, 503])
def test_status_makes_it_an_error_in_the_providers_shape(raw: RawClient, status: int, stream: bool) -> None:
    reply = raw.chat({"status": status}, stream=stream)
    assert (reply.status, reply.end) == (status, "whole")
    assert set(json.loads(reply.body)["error"]) == {"message", "type", "param", "code"}


def test_an_error_body_is_sent_byte_for_byte_and_headers_with_it(raw: RawClient) -> None:
    directives = b'{"status":422,"error_body":{"a" : [1.0]},"headers":{"Retry-After":"7"}}'
    body = b'{"model":"m","messages":[{"content":""}],"simulate":%b}' % directives
    reply = raw.call("/v1/chat/completions", body)
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (422, b'{"a" : [1.0]}', "7")


def test_a_status_below_300_only_changes_the_status(raw: RawClient) -> None:
    reply = raw.chat({"status": 201})
    assert reply.status == 201
    assert json.loads(reply.body)["object"] == "chat.completion"


@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_reported_verbatim(raw: RawClient, stream: bool) -> None:
    body = (
        b'{"model":"m","messages":[{"content":"x"}],"stream":%b,"stream_options":{"include_usage":true},'
        % (json.dumps(stream).encode())
    )
    reply = raw.call("/v1/chat/completions", body + b'"simulate":{"usage":{"prompt_tokens": -3,"z":1e2}}}')
    assert b'"usage":{"prompt_tokens": -3,"z":1e2}' in reply.body
    assert reply.body.count(b'"prompt_tokens"') == 1


def test_a_null_usage_is_none_at_all(raw: RawClient) -> None:
    assert "usage" not in json.loads(raw.chat({"usage": None}).body)
    events = raw.chat({"usage": None}, **FOUR_WORDS).events
    assert events[-1] == DONE
    assert all(data_of(event)["choices"] for event in events[:-1])


def test_usage_in_every_event_grows_to_the_whole(raw: RawClient) -> None:
    events = raw.chat({"usage_in_every_event": True}, max_tokens=4, stream=True, n=2).events
    written = [data_of(event)["usage"]["completion_tokens"] for event in events[:-1]]
    assert written == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8]


def test_no_done_leaves_out_the_end_mark_and_ends_properly(raw: RawClient) -> None:
    reply = raw.chat({"no_done": True}, **FOUR_WORDS)
    assert reply.end == "whole"
    assert len(reply.events) == 7
    assert DONE not in reply.events


def test_an_error_event_is_the_last_one(raw: RawClient) -> None:
    reply = raw.chat({"error_event_after": 3}, **FOUR_WORDS)
    assert reply.end == "whole"
    assert len(reply.events) == 4
    assert "error" in data_of(reply.events[-1])


def test_crlf_ends_every_line(raw: RawClient) -> None:
    body = raw.chat({"crlf": True}, **FOUR_WORDS).body
    assert body.count(b"\r\n\r\n") == 8
    assert b"\n" not in body.replace(b"\r\n", b"")


@pytest.mark.parametrize("stream", [False, True])
def test_split_bytes_cuts_the_body_wherever_it_falls(raw: RawClient, stream: bool) -> None:
    reply = raw.chat({"split_bytes": 7}, max_tokens=4, stream=stream)
    assert reply.end == "whole"
    if stream:
        assert {len(chunk) for chunk in reply.chunks[:-1]} == {7}
        assert reply.events[-1] == DONE
    else:
        assert json.loads(reply.body)["usage"]["completion_tokens"] == 4


def test_body_bytes_pads_the_reply_to_exactly_that_many(raw: RawClient) -> None:
    reply = raw.chat({"body_bytes": 300_000})
    assert len(reply.body) == 300_000
    assert json.loads(reply.body)["usage"]["completion_tokens"] == 32


def test_a_body_already_longer_is_left_as_it_is(raw: RawClient) -> None:
    assert json.loads(raw.chat({"body_bytes": 10}).body)["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("simulate", "members", "wait_s"),
    [
        ({"delay_ms": 200}, {}, 0.2),
        ({"delay_ms": 200}, {"stream": True}, 0.2),
        ({"chunk_delay_ms": 20}, FOUR_WORDS, 7 * 0.02),
        ({"chunk_delay_ms": 1, "split_bytes": 50}, FOUR_WORDS, 0.03),
    ],
)
def test_a_reply_waits_at_least_as_long_as_it_should(
    raw: RawClient, simulate: object, members: dict[str, Any], wait_s: float
) -> None:
    started = time.monotonic()
    reply = raw.chat(simulate, **members)
    assert time.monotonic() - started >= wait_s
    assert reply.end == "whole"


def test_cut_after_events_closes_short_of_the_end(raw: RawClient) -> None:
    for events in (0, 3, 8):
        reply = raw.chat({"cut_after_events": events}, **FOUR_WORDS)
        assert (reply.status, len(reply.events), reply.end) == (200, events, "cut")


def test_cut_in_body_sends_less_than_its_length(raw: RawClient) -> None:
    reply = raw.chat({"cut_in_body": True})
    assert reply.end == "cut"
    assert 0 < len(reply.body) < int(reply.headers["content-length"])


@pytest.mark.parametrize("stream", [False, True])
def test_reset_gives_no_byte_of_a_reply(raw: RawClient, stream: bool) -> None:
    reply = raw.chat({"reset": True}, stream=stream)
    assert (reply.status, reply.end) == (0, "reset")


def test_reset_after_events_comes_after_them(raw: RawClient) -> None:
    reply = raw.chat({"reset_after_events": 3}, **FOUR_WORDS)
    assert (len(reply.events), reply.end) == (3, "reset")


@pytest.mark.parametrize("stream", [False, True])
def test_silent_never_answers(raw: RawClient, stream: bool) -> None:
    reply = raw.chat({"silent": True}, quiet_s=1, stream=stream)
    assert (reply.status, reply.end) == (0, "open")


def test_silent_after_events_stands_still(raw: RawClient) -> None:
    reply = raw.chat({"silent_after_events": 2}, quiet_s=1, **FOUR_WORDS)
    assert (reply.status, len(reply.events), reply.end) == (200, 2, "open")


def test_silent_in_body_stands_still_half_way(raw: RawClient) -> None:
    reply = raw.chat({"silent_in_body": True}, quiet_s=1)
    assert reply.end == "open"
    assert 0 < len(reply.body) < int(reply.headers["content-length"])


def test_garbage_is_well_framed_and_no_text(raw: RawClient) -> None:
    streamed = raw.chat({"garbage_after_events": 2}, **FOUR_WORDS)
    assert streamed.end == "whole"
    assert len(streamed.chunks) == 3
    whole = raw.chat({"garbage_after_events": 0})
    assert (whole.status, whole.end) == (200, "whole")
    for body in (streamed.body, whole.body):
        with pytest.raises(UnicodeDecodeError):
            body.decode()


def test_bad_framing_is_no_http(raw: RawClient) -> None:
    reply = raw.chat({"bad_framing_after_events": 2}, **FOUR_WORDS)
    assert (len(reply.chunks), reply.end) == (2, "broken")


@pytest.mark.parametrize(
    ("simulate", "stream"),
    [
        ({"silnt": True}, False),
        ({"events": 0}, True),
        ({"status": 99}, False),
        ({"cut_after_events": 1}, False),
        ({"cut_in_body": True}, True),
        ({"silent": True, "reset": True}, True),
        ("silent", False),
    ],
)
def test_a_directive_that_cannot_apply_is_refused(raw: RawClient, simulate: object, stream: bool) -> None:
    reply = raw.chat(simulate, stream=stream)
    assert reply.status == 400
    assert "simulate" in reply.body.decode() or "silnt" in reply.body.decode()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/responses", "/v1/messages"])
def test_directives_work_on_the_other_streams_too(raw: RawClient, path: str) -> None:
    body = {"model": "m", "max_tokens": 4, "stream": True, "simulate": {"cut_after_events": 2}}
    body |= {"messages": [{"content": "x"}], "prompt": "x", "input": "x"}
    reply = raw.call(path, body)
    assert (len(reply.events), reply.end) == (2, "cut")
    unended = raw.call(path, body | {"simulate": {"no_done": True}})
    ended = raw.call(path, body | {"simulate": {}})
    assert unended.end == ended.end == "whole"
    assert len(unended.events) == len(ended.events) - 1


def test_the_process_survives_all_that(raw: RawClient) -> None:
    assert json.loads(raw.chat().body)["choices"][0]["finish_reason"] == "stop"
