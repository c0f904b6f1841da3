"""Gemini against real traffic: what each reply is metered as, and that its bytes pass.

The expectations were derived apart from the code, with the standard library's JSON; the rows with cached
units, with tools' input and with other modalities than text were checked by hand.
"""

import csv
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from tests.upstream.recordings import Recording, load_recordings

from tokenopen.core.errors import InvalidRequest, NotFound
from tokenopen.core.usage import Usage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import Surface, Target
from tokenopen.upstream.surfaces.gemini import GeminiStreamSurface, GeminiSurface
from tokenopen.upstream.surfaces.gemini_embeddings import GeminiBatchEmbedSurface, GeminiEmbedSurface

EVERY_BYTE_UP_TO = 8192
SURFACES: Mapping[str, Surface] = {
    "generateContent": GeminiSurface(),
    "streamGenerateContent": GeminiStreamSurface(),
    "embedContent": GeminiEmbedSurface(),
    "batchEmbedContents": GeminiBatchEmbedSurface(),
}
CONVENTION = PROVIDERS["gemini"].convention
# What requests ask for that is kept at Google: a cache, stores of files (4), files, customers' storage.
REFUSED = {"kept": 21}


@cache
def recordings() -> Sequence[tuple[Recording, str, str]]:
    """Return each recording with its model and method."""
    found = []
    for recording in load_recordings():
        model, _, method = recording.path.rpartition("/")[2].partition(":")
        if method in SURFACES:
            found.append((recording, model, method))
    return found


@cache
def expected() -> Mapping[str, Mapping[str, int]]:
    with Path(__file__).with_name("expected_usage_gemini.csv").open(newline="") as table:
        return {
            row["recording"]: {
                unit: int(count) for unit, count in (part.split("=") for part in row["classes"].split())
            }
            for row in csv.DictReader(table)
        }


def target_of(model: str, method: str) -> Target:
    return Target(values={"model": model}, query={"alt": "sse"} if method.startswith("stream") else {})


def read_stream(pieces: Sequence[bytes]) -> tuple[bytes, bytes, Usage | None, int]:
    surface = SURFACES["streamGenerateContent"]
    request = surface.read_request(b'{"contents":"x"}', target_of("m", "streamGenerateContent"))
    reader = surface.stream_reader(request, convention=CONVENTION)
    passed = b"".join(reader.feed(piece) for piece in pieces)
    reader.end()
    assert reader.whole
    assert not reader.failed
    return passed, reader.tail("0.5"), reader.usage, reader.content_events


def streams() -> Sequence[Recording]:
    return [recording for recording, _, _ in recordings() if recording.is_stream]


def test_every_recording_that_reports_units_is_in_the_table() -> None:
    with_units = {recording.id for recording, _, _ in recordings() if b'"promptTokenCount"' in recording.body}
    assert with_units == set(expected())
    assert len(with_units) == 205


def test_the_usage_of_every_reply_is_that_of_the_table() -> None:
    for recording, _, method in recordings():
        if recording.is_stream:
            usage = read_stream([recording.body])[2]
        else:
            usage = SURFACES[method].read_reply(recording.body, convention=CONVENTION)
        units = expected().get(recording.id)
        if units is None:
            assert usage is None, recording.id
            continue
        assert usage is not None, recording.id
        assert (dict(usage), usage.source) == (units, "reported"), recording.id


def test_a_stream_passes_unchanged_and_its_mark_waits() -> None:
    assert len(streams()) == 7
    for recording in streams():
        passed, tail, _, content_events = read_stream([recording.body])
        assert passed + tail == recording.body
        assert b'"finishReason"' in tail
        assert b'"finishReason"' not in passed
        assert content_events == passed.count(b"data: ")


def test_a_stream_cut_anywhere_gives_the_same_bytes_and_usage() -> None:
    chance = random.Random(20261124)
    for recording in streams():
        stream = recording.body
        whole = read_stream([stream])
        if len(stream) <= EVERY_BYTE_UP_TO:
            cuts: list[Sequence[int]] = [[place] for place in range(len(stream))]
            cuts.append(range(1, len(stream)))
        else:
            places = [chance.randrange(len(stream)) for _ in range(500)]
            cuts = [*([place] for place in places), sorted(places)]
        for cut in cuts:
            pieces = [stream[a:b] for a, b in zip([0, *cut], [*cut, len(stream)], strict=True)]
            assert read_stream(pieces) == whole, recording.id


def test_what_a_stream_has_reported_before_its_end_is_an_estimate() -> None:
    for recording in streams():
        surface = SURFACES["streamGenerateContent"]
        request = surface.read_request(b'{"contents":"x"}', target_of("m", "streamGenerateContent"))
        reader = surface.stream_reader(request, convention=CONVENTION)
        end = recording.body.index(b"\r\n\r\n") + 4
        passed = reader.feed(recording.body[:end])
        usage = reader.usage
        if not passed:
            continue
        assert usage is not None
        assert usage.source == "estimated"
        assert 0 < usage.output_units <= Usage(expected()[recording.id]).output_units


def test_real_requests_are_read_and_sent_on_but_for_those_that_ask_for_what_is_not_offered() -> None:
    refused: Counter[str] = Counter()
    for recording, model, method in recordings():
        surface = SURFACES[method]
        body = json.dumps(recording.request).encode()
        try:
            request = surface.read_request(body, target_of(model, method))
        except InvalidRequest as refusal:
            refused[str(refusal.facts["param"])] += 1
            continue
        except NotFound:
            refused["kept"] += 1
            continue
        assert request.model == model
        assert request.stream == recording.is_stream
        assert request.text_bytes <= request.input_bytes
        sent = surface.upstream_body(
            request, upstream_model=model, cap_output_tokens=None, convention=CONVENTION
        )
        assert sent == body
        renamed = surface.upstream_body(
            request, upstream_model="up", cap_output_tokens=None, convention=CONVENTION
        )
        assert json.loads(renamed.replace(b'"models/up"', f'"models/{model}"'.encode())) == recording.request
    assert dict(refused) == REFUSED


def test_the_estimate_of_a_reply_lies_below_what_its_provider_reports() -> None:
    for recording, model, method in recordings():
        if recording.is_stream or recording.id not in expected():
            continue
        surface = SURFACES[method]
        try:
            body = json.dumps(recording.request).encode()
            request = surface.read_request(body, target_of(model, method))
        except (InvalidRequest, NotFound):
            continue
        estimate = surface.estimate_reply(request, recording.body)
        reported = Usage(expected()[recording.id])
        assert estimate.source == "estimated"
        assert estimate.output_units <= reported.output_units, recording.id
        assert estimate.input_units <= reported.input_units, recording.id
