"""Server-sent events: cut where the standard says, whatever the pieces they come in."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenopen.upstream import sse
from tokenopen.upstream.sse import EventSplitter, EventTooLarge, parse_event, single_line_events, with_data


def split(*pieces: bytes) -> tuple[list[bytes], bytes]:
    """Return the events of a stream that comes in pieces, and what is left at its end."""
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    between_events, rest = splitter.between_events, splitter.take_rest()
    assert between_events == (not rest)
    return events, rest


def standard_events(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Return name and data of each event with data, by the steps that the standard gives (9.2.6)."""
    lines = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    found, name, data = [], b"", b""
    # What follows the last line's end is not a line yet, and an event without its empty line is dropped.
    for line in lines[:-1]:
        if not line:
            if data:
                found.append((name, data[:-1]))
            name, data = b"", b""
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data += value + b"\n"
        elif field == b"event":
            name = value
    return found


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_each_kind_of_line_end_ends_an_event(end: bytes) -> None:
    first, second = b"data: 1" + end, b": comment" + end[: len(end) // 2] + b"data: 2" + end
    assert split(first + second + b"data: 3")[0] == [first, second]
    assert split(first + second + b"data: 3")[1] == b"data: 3"


def test_kinds_of_line_ends_may_be_mixed() -> None:
    stream = b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\rdata: 4\n\rdata: 5\n\n"
    events, rest = split(stream)
    assert [parse_event(event).data for event in events] == [b"1", b"2", b"3", b"4", b"5"]
    assert rest == b""


def test_a_carriage_return_at_the_end_of_a_piece_may_be_half_of_a_line_end() -> None:
    assert split(b"data: 1\r", b"\ndata: 2\r\n\r", b"\n") == ([b"data: 1\r\ndata: 2\r\n\r\n"], b"")


def test_a_stream_of_bare_carriage_returns_is_not_held_up() -> None:
    assert EventSplitter().feed(b"data: 1\r\r") == [b"data: 1\r\r"]


PIECES = st.sampled_from(
    [
        b"data: {}",
        b"data:x",
        b"data",
        b"event: error",
        b": note",
        b"id: 1",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"y",
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, Sequence[bytes]]:
    stream = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + draw(STREAMS)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return stream, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@settings(deadline=None)
@given(cut_streams())
def test_events_are_those_of_the_standard_however_the_stream_is_cut(
    cut: tuple[bytes, Sequence[bytes]],
) -> None:
    stream, pieces = cut
    events, rest = split(*pieces)
    assert (events, rest) == split(stream)
    assert (events, rest) == split(*(bytes([byte]) for byte in stream))
    assert b"".join(events) + rest == stream
    said = [parse_event(event) for event in events]
    # Only the next byte tells whether a CR at the very end is half of a line end.
    if not stream.endswith(b"\r"):
        assert [(name, data) for name, data in said if data] == [
            (name, data) for name, data in standard_events(stream) if data
        ]


@settings(deadline=None)
@given(STREAMS)
def test_the_quick_way_finds_the_same_events(stream: bytes) -> None:
    quick = single_line_events(stream)
    if all(quick):
        assert [event + b"\n\n" for event in quick] == split(stream)[0][: len(quick)]
        assert all(b"\n" not in event and b"\r" not in event for event in quick)


def test_the_quick_way_takes_what_nearly_every_provider_writes() -> None:
    assert list(single_line_events(b"data: 1\n\n")) == [b"data: 1"]
    assert list(single_line_events(b"data: 1\n\ndata: 2\n\n: note\n\n")) == [
        b"data: 1",
        b"data: 2",
        b": note",
    ]
    for stream in (b"", b"data: 1", b"data: 1\n", b"data: 1\r\n\r\n", b"event: x\ndata: 1\n\n"):
        assert not single_line_events(stream)


def test_data_lines_are_joined_and_other_fields_left_out() -> None:
    event = b'\xef\xbb\xbfevent: error\r\n: note\r\nid: 7\r\ndata: {"a":\r\ndata:1}\r\nretry: 5\r\n\r\n'
    assert parse_event(event) == (b"error", b'{"a":\n1}')
    assert parse_event(b": note\n\n") == (b"", b"")
    assert parse_event(b"data\n\n") == (b"", b"")
    assert parse_event(b"data:  two spaces\n\n") == (b"", b" two spaces")


def test_data_is_replaced_and_the_rest_of_the_event_stays() -> None:
    event = b"\xef\xbb\xbfdata:old\r\nid: 7\r\ndata: old\r\nretry: 5\r\n\r\n"
    assert with_data(event, b"new") == b"\xef\xbb\xbfdata: new\r\nid: 7\r\nretry: 5\r\n\r\n"
    assert with_data(b"data: old", b"a\nb") == b"data: a\ndata: b"
    assert with_data(b"data: old\r\n\r\n", b"a\nb") == b"data: a\r\ndata: b\r\n\r\n"


def test_an_event_larger_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_BYTES_MAX", 100)
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n\n" * 50 + b"x" * 100) == [b"data: 1\n\n"] * 50
    with pytest.raises(EventTooLarge):
        splitter.feed(b"x")


def test_the_work_does_not_grow_with_the_square_of_an_event() -> None:
    """Counted in bytes searched, so that it does not depend on the machine."""
    searched = 0

    class Counted(bytearray):
        def find(self, sub: bytes, start: int = 0) -> int:  # type: ignore[override]
            nonlocal searched
            searched += len(self) - start
            return super().find(sub, start)

    splitter = EventSplitter()
    splitter._rest = Counted()
    pieces = [random.Random(7).randbytes(100).replace(b"\n", b"x").replace(b"\r", b"x") for _ in range(1000)]
    for piece in pieces:
        splitter.feed(piece)
    assert splitter.feed(b"\n\n") == [b"".join(pieces) + b"\n\n"]
    assert 0 < searched < 2 * sum(map(len, pieces))
