"""Real traffic of a dozen providers: what each reply is metered as, and that its bytes pass untouched.

The expectations are facts in ``expected_usage_chat.csv``, derived apart from the code and checked by hand
on samples; the recordings themselves are not part of the project.
"""

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenopen.core.usage import ImpossibleUsage
from tokenopen.upstream.providers import PROVIDERS, find_provider
from tokenopen.upstream.surface import CallRequest, StreamReader
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.embeddings import EmbeddingsSurface

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings" / "providers.jsonl"
EXPECTED = Path(__file__).with_name("expected_usage_chat.csv")
CUT_EVERYWHERE_BYTES_MAX = 8 * 1024
RANDOM_CUTS = 500

needs_recordings = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"needs recordings at {RECORDINGS}")
REQUEST = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}'


def expectations() -> dict[str, tuple[str, dict[str, int]]]:
    with EXPECTED.open(newline="") as file:
        return {
            row["recording"]: (
                row["provider"],
                {name: int(units) for name, units in (part.split("=") for part in row["classes"].split())},
            )
            for row in csv.DictReader(file)
        }


def recordings() -> Iterator[tuple[dict[str, Any], str, dict[str, int]]]:
    expected = expectations()
    with RECORDINGS.open() as file:
        for line in file:
            recording = json.loads(line)
            if recording["id"] in expected:
                yield recording, *expected[recording["id"]]


def is_stream(recording: dict[str, Any]) -> bool:
    return "event-stream" in (recording["content_type"] or "")


def request(*, wants_usage: bool) -> CallRequest:
    body = REQUEST
    if wants_usage:
        body = REQUEST.replace(b"}]", b'}],"stream_options":{"include_usage":true}')
    return ChatSurface().read_request(body)


def reader(provider: str, *, wants_usage: bool = True) -> StreamReader:
    convention = find_provider(provider).convention
    return ChatSurface().stream_reader(request(wants_usage=wants_usage), convention=convention)


def read_in_pieces(found: StreamReader, body: bytes, cuts: list[int]) -> bytes:
    """Feed a stream cut at these places and return all that the caller would receive."""
    received = b""
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        received += found.feed(body[begin:end])
    found.end()
    return received + found.tail(None)


@needs_recordings
def test_the_usage_of_every_recorded_reply_is_as_expected() -> None:
    read = 0
    for recording, provider, classes in recordings():
        body = recording["body"].encode()
        if is_stream(recording):
            found = reader(provider)
            read_in_pieces(found, body, [])
            usage = found.usage
            assert found.whole
        else:
            surface = EmbeddingsSurface() if recording["path"].endswith("embeddings") else ChatSurface()
            usage = surface.read_reply(body, convention=find_provider(provider).convention)
        assert usage is not None, recording["id"]
        assert dict(usage.units) == classes, recording["id"]
        assert usage.source == "reported"
        read += 1
    assert read == len(expectations()) > 150


@needs_recordings
def test_a_stream_gives_the_same_bytes_and_usage_however_it_is_cut() -> None:
    generator = random.Random(20261123)
    for recording, provider, classes in recordings():
        if not is_stream(recording):
            continue
        body = recording["body"].encode()
        places = range(1, len(body))
        if len(body) <= CUT_EVERYWHERE_BYTES_MAX:
            cuts = [[place] for place in places] + [list(places)]
        else:
            cuts = [[generator.choice(places)] for _ in range(RANDOM_CUTS // 10)]
            cuts.append(sorted(generator.sample(places, RANDOM_CUTS)))
        for cut in cuts:
            found = reader(provider)
            assert read_in_pieces(found, body, cut) == body, recording["id"]
            assert found.usage is not None
            assert dict(found.usage.units) == classes


@needs_recordings
def test_crlf_line_ends_change_nothing() -> None:
    for recording, provider, classes in recordings():
        if is_stream(recording) and "\r" not in recording["body"]:
            body = recording["body"].replace("\n", "\r\n").encode()
            found = reader(provider)
            assert read_in_pieces(found, body, list(range(1, len(body), 7))) == body
            assert found.usage is not None
            assert dict(found.usage.units) == classes


@needs_recordings
def test_nothing_from_the_final_usage_on_passes_before_the_settlement() -> None:
    for recording, provider, _ in recordings():
        if is_stream(recording):
            found = reader(provider)
            passed = b"".join(found.feed(bytes([byte])) for byte in recording["body"].encode())
            assert b"[DONE]" not in passed
            assert found.tail(None)
            # What the caller has so far never tells that the reply is whole.
            assert recording["body"].encode().startswith(passed)


@needs_recordings
def test_only_the_usage_event_that_the_caller_did_not_ask_for_is_hidden() -> None:
    for recording, provider, _ in recordings():
        if is_stream(recording):
            body = recording["body"].encode()
            seen = read_in_pieces(reader(provider, wants_usage=False), body, [])
            missing = set(body.split(b"\n\n")) - set(seen.split(b"\n\n"))
            for event in missing:
                assert json.loads(event.removeprefix(b"data: "))["choices"] == []


@needs_recordings
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_mutated_stream_never_breaks_the_reader(data: st.DataObject) -> None:
    """Whatever a provider sends, the worst is a report that cannot be true."""
    streams = [recording["body"].encode() for recording, _, _ in recordings() if is_stream(recording)]
    body = bytearray(data.draw(st.sampled_from(sorted(streams, key=len)[:8])))
    for _ in range(data.draw(st.integers(1, 12))):
        place = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(
            st.sampled_from([b"", b"\n", b"\r", b"\n\n", b"data: ", b"[DONE]", b'"', b"{", b"-1", b"\xff"])
        )
        body[place : place + data.draw(st.integers(0, 9))] = piece
    found = reader(data.draw(st.sampled_from(sorted(PROVIDERS))))
    try:
        read_in_pieces(found, bytes(body), sorted({len(body) // 3, len(body) // 2}))
    except ImpossibleUsage:
        return
    assert found.usage is None or min(found.usage.units.values(), default=0) >= 0
