"""Messages and responses against real traffic: what each reply is metered as, and that its bytes pass.

The expectations were derived apart from the code, with the standard library's JSON; the rows with cached or
written units and those of several iterations were checked by hand.
"""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.upstream.recordings import Recording, recordings_at

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.usage import Usage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import StreamReader, Surface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.surfaces.responses import ResponsesSurface

EVERY_BYTE_UP_TO = 8192
SURFACES: Mapping[str, Surface] = {"messages": MessagesSurface(), "responses": ResponsesSurface()}
MARKS = {"messages": [b'"message_stop"'], "responses": [b'"response.completed"', b"[DONE]"]}
REQUESTS = {
    "messages": b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}',
    "responses": b'{"model":"m","input":"x","stream":true}',
}
# What requests ask for that is not offered, with how many do.
REFUSED = {
    "messages": {"tools": 3},
    "responses": {"background": 3, "service_tier": 1, "provider": 1},
}

each_surface = pytest.mark.parametrize("name", list(SURFACES))


def expected_rows(name: str) -> Mapping[str, tuple[str, Mapping[str, int]]]:
    """Return provider and units by class for each recording in a surface's table."""
    with Path(__file__).with_name(f"expected_usage_{name}.csv").open(newline="") as table:
        return {
            row["recording"]: (
                row["provider"],
                {unit: int(count) for unit, count in (part.split("=") for part in row["classes"].split())},
            )
            for row in csv.DictReader(table)
        }


def reported(name: str) -> Sequence[tuple[Recording, str, Mapping[str, int]]]:
    expected = expected_rows(name)
    return [
        (recording, *expected[recording.id])
        for recording in recordings_at(f"/{name}")
        if recording.id in expected
    ]


def streams(name: str) -> Sequence[tuple[Recording, str, Mapping[str, int]]]:
    return [row for row in reported(name) if row[0].is_stream]


def reader_of(name: str, provider: str) -> StreamReader:
    surface = SURFACES[name]
    return surface.stream_reader(
        surface.read_request(REQUESTS[name]), convention=PROVIDERS[provider].convention
    )


def read_stream(name: str, provider: str, pieces: Sequence[bytes]) -> tuple[bytes, bytes, Usage | None, int]:
    reader = reader_of(name, provider)
    passed = b"".join(reader.feed(piece) for piece in pieces)
    reader.end()
    assert reader.whole
    return passed, reader.tail("0.5"), reader.usage, reader.content_events


@each_surface
def test_every_recording_with_a_usage_is_in_the_table(name: str) -> None:
    with_usage = {
        recording.id
        for recording in recordings_at(f"/{name}")
        if b'"usage": {' in recording.body or b'"usage":{' in recording.body
    }
    assert with_usage == set(expected_rows(name))
    assert len(with_usage) == {"messages": 138, "responses": 125}[name]


@each_surface
def test_the_usage_of_every_reply_is_that_of_the_table(name: str) -> None:
    for recording, provider, units in reported(name):
        if recording.is_stream:
            usage = read_stream(name, provider, [recording.body])[2]
        else:
            usage = SURFACES[name].read_reply(recording.body, convention=PROVIDERS[provider].convention)
        assert usage is not None, recording.id
        assert (dict(usage), usage.source) == (units, "reported"), recording.id


@each_surface
def test_a_stream_passes_unchanged_and_its_mark_waits(name: str) -> None:
    for recording, provider, _ in streams(name):
        passed, tail, _, content_events = read_stream(name, provider, [recording.body])
        assert passed + tail == recording.body
        assert tail
        assert content_events > 0
        assert not any(mark in passed for mark in MARKS[name])


@each_surface
def test_a_stream_cut_anywhere_gives_the_same_bytes_and_usage(name: str) -> None:
    chance = random.Random(20261123)
    for recording, provider, _ in streams(name):
        stream = recording.body
        expected = read_stream(name, provider, [stream])
        if len(stream) <= EVERY_BYTE_UP_TO:
            cuts: list[Sequence[int]] = [[place] for place in range(len(stream))]
            cuts.append(range(1, len(stream)))
        else:
            places = [chance.randrange(len(stream)) for _ in range(500)]
            cuts = [[place] for place in places[:25]]
            cuts.append(sorted(places))
        for cut in cuts:
            pieces = [stream[a:b] for a, b in zip([0, *cut], [*cut, len(stream)], strict=True)]
            assert read_stream(name, provider, pieces) == expected, recording.id


@each_surface
def test_real_requests_are_read_and_sent_on_but_for_those_that_ask_for_what_is_not_offered(name: str) -> None:
    surface = SURFACES[name]
    refused: dict[str, int] = {}
    for recording in recordings_at(f"/{name}"):
        try:
            request = surface.read_request(json.dumps(recording.request).encode())
        except InvalidRequest as refusal:
            param = str(refusal.facts["param"])
            refused[param] = refused.get(param, 0) + 1
            continue
        assert request.stream == recording.request.get("stream", False)
        assert 0 < request.text_bytes <= request.input_bytes
        body = surface.upstream_body(
            request, upstream_model="up", cap_output_tokens=None, convention=PROVIDERS["openai"].convention
        )
        assert json.loads(body) == recording.request | {"model": "up"}
    assert refused == REFUSED[name]


@each_surface
def test_the_estimate_of_a_reply_lies_below_what_its_provider_reports(name: str) -> None:
    surface = SURFACES[name]
    for recording, _, units in reported(name):
        # One recording reports nothing but zeros.
        if recording.is_stream or not units:
            continue
        try:
            request = surface.read_request(json.dumps(recording.request).encode())
        except InvalidRequest:
            continue
        estimate: Any = surface.estimate_reply(request, recording.body)
        assert estimate.source == "estimated"
        assert estimate.output_units <= Usage(units).output_units, recording.id
        assert estimate.input_units <= Usage(units).input_units, recording.id
