"""A call's body: what cannot be read is refused, charged nothing, and no provider sees it."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.upstream import sent_bytes
from tests.gateway.replies import ask, ask_stream, whole_json
from tests.gateway.world import CHAT, EMBEDDING_MODEL, EMBEDDINGS, World, bearer, refusal
from tokenopen.api import request_body

MEBIBYTE = 1024 * 1024
BODY = msgspec.json.encode(ask())
MESSAGES = [{"role": "user", "content": "hi"}]


async def assert_untouched(world: World) -> None:
    assert world.upstream.requests == []
    assert await world.rows("calls") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        BODY[:-1],
        BODY + b"x",
        BODY + BODY,
        b"\xff\xfe" + BODY,
        b'{"model": "gpt-4o-mini", "messages": [NaN]}',
        b"[" * 100_000,
        b'{"model": ' + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:12]),
)
async def test_what_is_not_a_json_object_is_refused(world: World, body: bytes) -> None:
    refusal(await world.call(body), 400, "invalid_request")
    await assert_untouched(world)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model": "gpt-4o-mini", "messages": [], "model": "gpt-5"}', "model"),
        (BODY[:-1] + b', "messages": []}', "messages"),
        (BODY[:-1] + b', "m\\u006fdel": "gpt-5"}', "model"),
        (BODY[:-1] + b', "Model": "gpt-5"}', "Model"),
        (BODY[:-1] + b', "STREAM": true}', "STREAM"),
        (BODY[:-1] + b', "x": 1, "x": 1}', None),
    ],
)
async def test_a_name_given_twice_or_in_another_spelling_is_refused(
    world: World, body: bytes, param: str | None
) -> None:
    """Parsers disagree on which one counts: what is checked must be what is sent."""
    error = refusal(await world.call(body), 400, "invalid_request")
    assert error["param"] == param
    await assert_untouched(world)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 4}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "9"}, "max_completion_tokens"),
        ({"n": -1}, "n"),
        ({"n": 10**9}, "n"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"search_parameters": {}}, "search_parameters"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": 3}, "tools"),
        ({"stream_options": 1}, "stream_options"),
    ],
)
async def test_a_field_that_cannot_be_is_named(world: World, fields: dict[str, Any], param: str) -> None:
    error = refusal(await world.call({**ask(), **fields}), 400, "invalid_request")
    assert error["param"] == param
    await assert_untouched(world)


@pytest.mark.parametrize("value", [None, 3, "", [], {"text": "hi"}])
async def test_embeddings_without_input_are_refused(world: World, value: Any) -> None:
    reply = await world.call({"model": EMBEDDING_MODEL, "input": value}, path=EMBEDDINGS)
    assert refusal(reply, 400, "invalid_request")["param"] == "input"
    await assert_untouched(world)


async def test_what_is_not_known_here_survives_byte_for_byte(world: World) -> None:
    body = (
        b'{ "model" : "gpt-4o-mini", "x_unknown": {"b": 1.50, "a": [1e3, "\\u00e9"]},\n'
        b'"messages": [{"role": "user", "content": "hi", "x": null}], "seed": 12345678901234567890 }'
    )
    world.upstream.will(whole_json())
    assert (await world.call(body)).status == 200
    sent = sent_bytes(world.upstream.requests[0])
    assert b'{"b": 1.50, "a": [1e3, "\\u00e9"]}' in sent
    assert b'[{"role": "user", "content": "hi", "x": null}]' in sent
    assert b"12345678901234567890" in sent
    assert b'"gpt-4o-mini-there"' in sent


async def test_a_stream_asks_the_provider_for_usage_and_keeps_the_callers_options(world: World) -> None:
    await world.call(ask_stream(stream_options={"include_obfuscation": False, "include_usage": False}))
    sent = msgspec.json.decode(sent_bytes(world.upstream.requests[0]))
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


# Size, form and time


def posting(world: World, *headers: tuple[bytes, bytes], body: list[bytes], ended: bool = True) -> AsgiCaller:
    return AsgiCaller(path=CHAT, headers=[bearer(world.key), *headers], body=body, ended=ended)


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(world: World) -> None:
    length = b"%d" % (50 * MEBIBYTE)
    caller = posting(world, (b"content-length", length), body=[], ended=False)
    error = refusal(await caller.call(world.api), 413, "request_too_large")
    assert error["limit_bytes"] == 32 * MEBIBYTE
    await assert_untouched(world)


async def test_a_body_that_turns_out_too_large_is_refused_while_it_comes(world: World) -> None:
    caller = posting(world, body=[b" " * MEBIBYTE] * 50, ended=False)
    refusal(await caller.call(world.api), 413, "request_too_large")
    await assert_untouched(world)


async def test_a_body_as_large_as_allowed_passes(world: World) -> None:
    padding = b" " * (request_body.BODY_BYTES_MAX - len(BODY))
    world.upstream.will(whole_json())
    caller = posting(world, body=[BODY, padding])
    assert (await caller.call(world.api)).status == 200
    await world.settled()


async def test_one_byte_more_than_allowed_is_refused(world: World) -> None:
    padding = b" " * (request_body.BODY_BYTES_MAX - len(BODY) + 1)
    refusal(await posting(world, body=[BODY, padding]).call(world.api), 413, "request_too_large")


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"deflate, gzip"])
async def test_a_compressed_body_is_refused(world: World, encoding: bytes) -> None:
    caller = posting(world, (b"content-encoding", encoding), body=[b"\x1f\x8b\x08"])
    refusal(await caller.call(world.api), 400, "invalid_request")
    await assert_untouched(world)


@pytest.mark.parametrize("body", [[], [BODY[:10]]], ids=["nothing", "a part"])
async def test_a_body_that_never_comes_whole_is_refused_after_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch, body: list[bytes]
) -> None:
    monkeypatch.setattr(request_body, "BODY_TIMEOUT_S", 0.05)
    caller = posting(world, body=body, ended=False)
    refusal(await caller.call(world.api), 400, "invalid_request")
    await assert_untouched(world)


async def test_a_body_may_come_in_pieces(world: World) -> None:
    world.upstream.will(whole_json())
    caller = posting(world, body=[bytes([byte]) for byte in BODY])
    assert (await caller.call(world.api)).status == 200
    await world.settled()


async def test_refused_bodies_cost_no_task(world: World) -> None:
    before = len(asyncio.all_tasks())
    for _ in range(5):
        await world.call(b"{")
    assert len(asyncio.all_tasks()) == before
