"""20,000 damaged streams over every surface: nothing is raised but what is told apart, no byte is lost, and
no charge is more than what was held and what is available; the rest is absorbed."""

import os
import random
import re
from collections.abc import Sequence
from typing import Final

import pytest
from tests.core.samples import account_book, key_book
from tests.upstream.recordings import PATH, load_recordings

from tokenopen.core.catalog import resolve_prices
from tokenopen.core.charge import charge_for
from tokenopen.core.ledger import reserve, settle
from tokenopen.core.money import AMOUNT_MAX, NANO_PER_CREDIT, Nanocredits
from tokenopen.core.usage import ImpossibleUsage, Usage
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.upstream.surface import CallRequest, Surface, Target
from tokenopen.upstream.surfaces.chat import ChatSurface
from tokenopen.upstream.surfaces.completions import CompletionsSurface
from tokenopen.upstream.surfaces.gemini import GeminiStreamSurface
from tokenopen.upstream.surfaces.messages import MessagesSurface
from tokenopen.upstream.surfaces.responses import ResponsesSurface

# `make trial-streams` asks for more of them, from another seed each time.
STREAMS: Final = int(os.environ.get("TOKENOPEN_TEST_STREAMS", "20000"))
SEED: Final = int(os.environ.get("TOKENOPEN_TEST_SEED", "20261124"))
STREAM_BYTES_MAX: Final = 4_096
PRICES: Final = resolve_prices(
    {
        "input": Nanocredits(3 * NANO_PER_CREDIT),
        "cached_input": Nanocredits(3 * 10**8),
        "output": Nanocredits(15 * NANO_PER_CREDIT),
    }
)
USAGE_OPTION: Final = '"stream":true,"stream_options":{"include_usage":true}}'
REPORT: Final = (
    'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
    "data: [DONE]\n\n"
)
# Surface, request, the end of recordings' paths, and a stream where there is no recording at hand.
SURFACES: Final[Sequence[tuple[Surface, str, str, str]]] = (
    (
        ChatSurface(),
        '{"model":"m","messages":[{"role":"user","content":"x"}],' + USAGE_OPTION,
        "/chat/completions",
        'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n' + REPORT,
    ),
    (
        CompletionsSurface(),
        '{"model":"m","prompt":"x",' + USAGE_OPTION,
        "/v1/completions",
        'data: {"choices":[{"text":"Hi"}]}\n\n' + REPORT,
    ),
    (
        ResponsesSurface(),
        '{"model":"m","input":"x","stream":true}',
        "/responses",
        'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n'
        'event: response.completed\ndata: {"type":"response.completed","response":{"usage":'
        '{"input_tokens":9,"output_tokens":2,"total_tokens":11}}}\n\n',
    ),
    (
        MessagesSurface(),
        '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"stream":true}',
        "/messages",
        'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":9,'
        '"output_tokens":1}}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","delta":'
        '{"text":"Hi"}}\n\nevent: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":2}}'
        '\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
    (
        GeminiStreamSurface(),
        '{"contents":"x"}',
        ":streamGenerateContent",
        'data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"usageMetadata":'
        '{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}}\r\n\r\n',
    ),
)
_NUMBER: Final = re.compile(rb"\d+")
NEW: Final = (
    b"-",
    b"9" * 12,
    b"null",
    b'"',
    b"\n\n",
    b"\r",
    b"{}",
    b"[]",
    b"[" * 3000,
    b"\xff",
    b'"usage":{"prompt_tokens":-1},',
    b'"usage":{"input_tokens":-1},',
    b'"usage":{"prompt_tokens":999999999,"completion_tokens":999999999,"total_tokens":1999999998},',
    b'data: {"usageMetadata":{"promptTokenCount":999999999,"totalTokenCount":999999999}}\n\n',
    b"data: [DONE]\n\n",
    b'data: {"error":{"message":"x"}}\n\n',
)


def streams_of(path_end: str, synthetic: str) -> Sequence[bytes]:
    """Return the streams to damage: real ones that are not large, and one that is always at hand."""
    recorded = [] if not PATH.exists() else load_recordings()
    found = [one.body for one in recorded if one.is_stream and one.path.endswith(path_end)]
    return [synthetic.encode(), *(body for body in found if len(body) <= STREAM_BYTES_MAX)]


def damaged(stream: bytes, chance: random.Random) -> list[bytes]:
    """Return the pieces of a stream in which bytes were replaced, left out, given twice, or moved."""
    for _ in range(chance.randint(1, 4)):
        numbers = [match.start() for match in _NUMBER.finditer(stream)]
        at = chance.choice([chance.randrange(len(stream) + 1), *chance.sample(numbers, min(1, len(numbers)))])
        until = min(len(stream), at + chance.choice((0, 1, 3, 40, 400)))
        taken = stream[at:until]
        new = chance.choice((taken * 2, b"", chance.randbytes(3), *NEW))
        stream = stream[:at] + new + stream[until:]
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randint(0, 4)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def meter(surface: Surface, request: CallRequest, pieces: Sequence[bytes]) -> Usage | None:
    """Return what a stream comes to; None where it could not be true. Asserts that no byte is lost."""
    reader = surface.stream_reader(request, convention=PROVIDERS["openai"].convention)
    passed = b""
    impossible = False
    for piece in pieces:
        try:
            passed += reader.feed(piece)
        except ImpossibleUsage:
            impossible = True
    at_the_break = reader.usage
    assert at_the_break is None or at_the_break.source in ("reported", "estimated")
    reader.end()
    assert passed + reader.tail(None) == b"".join(pieces)
    if impossible:
        return None
    return reader.usage or surface.estimate_stream(request, content_events=reader.content_events)


def assert_charge_is_covered(usage: Usage, chance: random.Random) -> None:
    due = charge_for(usage, PRICES, multiplier_ppm=1_000_000)
    assert 0 <= due <= AMOUNT_MAX
    hold, available = chance.randrange(10**7), chance.randrange(10**7)
    account, key = account_book(balance=hold + available), key_book(credit_limit=hold + available)
    reserve(account, key, Nanocredits(hold))
    charge = settle(account, key, hold=Nanocredits(hold), due=due)
    assert min(due, hold) <= charge <= min(due, hold + available)
    assert (account.balance, account.held, key.spent) == (hold + available - charge, 0, charge)


@pytest.mark.parametrize("place", range(len(SURFACES)), ids=lambda place: SURFACES[place][0].name)
def test_no_damage_raises_loses_a_byte_or_charges_more_than_is_there(place: int) -> None:
    surface, body, path_end, synthetic = SURFACES[place]
    request = surface.read_request(body.encode(), Target(values={"model": "m"}, query={"alt": "sse"}))
    streams = streams_of(path_end, synthetic)
    chance = random.Random(SEED + place)
    seen: dict[str, int] = {"impossible": 0, "reported": 0, "estimated": 0}
    for _ in range(STREAMS // len(SURFACES)):
        usage = meter(surface, request, damaged(chance.choice(streams), chance))
        seen["impossible" if usage is None else usage.source] += 1
        if usage is not None:
            assert_charge_is_covered(usage, chance)
    # The damage reaches all of it: reports that cannot be true, reports, and streams without one.
    assert min(seen.values()) > 20, seen
