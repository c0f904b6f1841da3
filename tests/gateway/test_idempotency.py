"""A call with an Idempotency-Key that is sent again: one call to the provider, one charge, the same reply."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import Script
from tests.gateway.replies import (
    DONE,
    HELLO,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    STOP,
    ask,
    ask_stream,
    chat_json,
    delta,
    provider_error,
    report,
    stream,
    whole_json,
    whole_stream,
)
from tests.gateway.world import CHAT, EMBEDDING_MODEL, EMBEDDINGS, World, bearer, price, refusal, until
from tokenopen.core import group, kept_reply
from tokenopen.gateway import pipeline
from tokenopen.gateway import reply as gateway_reply
from tokenopen.jobs.kept_replies import drop_old_replies
from tokenopen.ports.storage import Batch, OutcomeUnknown
from tokenopen.ports.upstream import ReplyBroken

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)
DAY_MS = 24 * 60 * 60 * 1000


def keyed(
    world: World, body: Any, key: str = "order-7", *, of: str | None = None, path: str = CHAT
) -> AsgiCaller:
    """Return a caller of a call with an Idempotency-Key."""
    return AsgiCaller(
        path=path,
        headers=[bearer(of or world.key), (b"idempotency-key", key.encode())],
        body=[msgspec.json.encode(body)],
    )


async def send(world: World, body: Any, key: str = "order-7", **more: Any) -> AsgiCaller:
    """Make a call with an Idempotency-Key and wait for all that follows from it."""
    return await world.ended(world.start(keyed(world, body, key, **more)))


async def assert_made_once(world: World, first: AsgiCaller, again: AsgiCaller) -> None:
    """Assert that the second reply is the first one's, and that there was one call and one charge."""
    assert (again.status, again.body, again.whole) == (first.status, first.body, True)
    of_its_moment = ("x-ratelimit-", "x-tokenopen-upstream-ms")
    told = {name: value for name, value in first.headers.items() if not name.startswith(of_its_moment)}
    marks = {"x-tokenopen-replayed": "true", "content-length": str(len(again.body))}
    assert again.headers == told | marks
    assert "x-tokenopen-replayed" not in first.headers
    assert len(world.upstream.requests) == 1
    assert await world.charges() == [CHARGE]
    assert len(await world.rows("calls")) == 1
    await world.assert_sound()


async def test_a_json_call_sent_again_is_answered_again_and_charged_once(world: World) -> None:
    await world.change_group({"requests_per_minute": 1, "requests_per_day": 1})
    world.upstream.will(whole_json())
    first = await send(world, ask())
    await world.set_credit(0)
    again = await send(world, ask())
    await assert_made_once(world, first, again)
    assert again.headers["x-tokenopen-charge"] == first.headers["x-tokenopen-charge"]


@pytest.mark.parametrize("usage", [False, True], ids=["usage not asked for", "usage asked for"])
async def test_a_stream_sent_again_is_answered_again_and_charged_once(world: World, usage: bool) -> None:
    world.upstream.will(whole_stream())
    first = await send(world, ask_stream(usage=usage))
    again = await send(world, ask_stream(usage=usage))
    assert (b'"cost"' in again.body) == usage
    await assert_made_once(world, first, again)


async def test_a_stream_that_ends_without_its_last_line_end_is_kept_whole(world: World) -> None:
    world.upstream.will(stream(*HELLO, STOP, report(), DONE[:-1]))
    first = await send(world, ask_stream())
    assert first.body.endswith(DONE[:-1])
    await assert_made_once(world, first, await send(world, ask_stream()))


async def test_a_charge_that_credit_did_not_cover_is_shown_the_same_again(world: World) -> None:
    await world.set_credit(4_000 * 150)
    world.upstream.will(stream(*HELLO, STOP, report({"prompt_tokens": 10_000, "completion_tokens": 1}), DONE))
    first = await send(world, ask_stream(usage=True, max_tokens=1))
    again = await send(world, ask_stream(usage=True, max_tokens=1))
    assert b'"cost":"0.0006"' in first.body
    assert again.body == first.body
    assert await world.charges() == [4_000 * 150]


@pytest.mark.parametrize(
    ("body", "path"),
    [(ask(text="another"), CHAT), ({"model": EMBEDDING_MODEL, "input": "x"}, EMBEDDINGS)],
    ids=["another body", "another API"],
)
async def test_another_call_under_the_key_is_refused(world: World, body: Any, path: str) -> None:
    world.upstream.will(whole_json())
    first = await send(world, ask())
    again = await send(world, body, path=path)
    assert refusal(again, 409, "idempotency_conflict")["call_id"] == first.headers["x-request-id"]
    assert again.headers["x-should-retry"] == "false"
    assert len(world.upstream.requests) == 1
    assert await world.charges() == [CHARGE]


async def test_two_api_keys_of_an_account_never_share_an_idempotency_key(world: World) -> None:
    other, _ = await world.create_key()
    world.upstream.always = whole_json()
    await send(world, ask())
    reply = await send(world, ask(), of=other)
    assert "x-tokenopen-replayed" not in reply.headers
    assert await world.charges() == [CHARGE, CHARGE]


async def test_a_call_sent_again_while_the_first_runs_waits_for_its_reply(world: World) -> None:
    gate = asyncio.Event()
    world.upstream.will(Script(before=[gate], body=[chat_json()]))
    running = world.start(keyed(world, ask()))
    await until(lambda: bool(world.upstream.requests))
    waiting = [world.start(keyed(world, ask())) for _ in range(5)]
    await asyncio.sleep(0.03)
    gate.set()
    first = await running
    for again in await asyncio.gather(*waiting):
        await world.settled()
        await assert_made_once(world, first, again)


async def test_who_waits_for_too_long_is_told_when_to_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "WAIT_FOR_FIRST_S", (0.001,))
    gate = asyncio.Event()
    world.upstream.will(Script(before=[gate], body=[chat_json()]))
    running = world.start(keyed(world, ask()))
    await until(lambda: bool(world.upstream.requests))
    again = await keyed(world, ask()).call(world.api)
    refusal(again, 409, "call_still_running")
    assert (again.headers["retry-after"], again.headers["x-should-retry"]) == ("5", "true")
    gate.set()
    await world.ended(running)
    assert await world.charges() == [CHARGE]


async def test_who_leaves_while_waiting_leaves_no_trace(world: World) -> None:
    gate = asyncio.Event()
    world.upstream.will(Script(before=[gate], body=[chat_json()]))
    running = world.start(keyed(world, ask()))
    await until(lambda: bool(world.upstream.requests))
    leaver = keyed(world, ask())
    left = world.start(leaver)
    await asyncio.sleep(0.02)
    leaver.leave()
    await left
    assert leaver.status is None
    gate.set()
    await world.ended(running)
    assert len(await world.rows("calls")) == 1
    await world.assert_sound()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(provider_error(500), id="provider failed"),
        pytest.param(provider_error(400), id="provider refused"),
        pytest.param(Script(body=[chat_json()[:9], ReplyBroken("reset")]), id="broke off"),
        pytest.param(Script(body=[b"{}"]), id="nothing delivered"),
    ],
)
async def test_a_call_that_cost_nothing_does_not_use_up_its_key(world: World, script: Script) -> None:
    world.upstream.will(script, whole_json())
    await send(world, ask())
    assert await world.charges() == []
    again = await send(world, ask())
    assert (again.status, again.body) == (200, chat_json())
    assert "x-tokenopen-replayed" not in again.headers
    assert await world.charges() == [CHARGE]


async def test_a_refused_call_does_not_use_up_its_key(world: World) -> None:
    await world.set_credit(0)
    refusal(await send(world, ask()), 402, "insufficient_credit")
    await world.set_credit(10**9)
    world.upstream.will(whole_json())
    assert (await send(world, ask())).status == 200


async def test_who_lost_the_connection_gets_the_whole_stream_by_sending_it_again(world: World) -> None:
    caller = keyed(world, ask_stream())
    world.upstream.will(stream(*HELLO[:2], caller.leave, 0.01, *HELLO[2:], STOP, report(), DONE))
    first = await world.ended(world.start(caller))
    assert not first.whole
    again = await send(world, ask_stream())
    assert again.whole
    assert again.body == b"".join([*HELLO, STOP, DONE])
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    assert len(world.upstream.requests) == 1
    assert await world.charges() == [CHARGE]


async def test_a_stream_that_never_came_whole_is_not_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group.GroupPolicy, "read_on_s", 0.01)
    caller = keyed(world, ask_stream())
    world.upstream.will(stream(*HELLO[:3], caller.leave, asyncio.Event()), whole_stream())
    first = await world.ended(world.start(caller))
    again = await send(world, ask_stream())
    assert refusal(again, 409, "reply_not_kept")["call_id"] == first.headers["x-request-id"]
    assert again.headers["x-should-retry"] == "false"
    assert len(world.upstream.requests) == 1
    assert len(await world.charges()) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_a_reply_too_large_to_be_kept_is_not_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setattr(kept_reply, "KEPT_BYTES_MAX", 500)
    large = [delta("x" * 100)] * 9
    world.upstream.will(stream(*large, STOP, report(), DONE) if streamed else whole_json(text="y" * 600))
    body = ask_stream() if streamed else ask()
    assert (await send(world, body)).whole
    refusal(await send(world, body), 409, "reply_not_kept")
    assert await world.charges() == [CHARGE]
    (row,) = await world.rows("kept_replies")
    assert row["body"] is None


async def test_a_reply_larger_than_is_collected_is_not_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_reply, "COLLECTED_BYTES_MAX", 10)
    world.upstream.will(whole_json(text="y" * 600))
    assert (await send(world, ask())).whole
    refusal(await send(world, ask()), 409, "reply_not_kept")


async def test_after_a_day_the_key_is_new_again(world: World) -> None:
    world.upstream.always = whole_json()
    await send(world, ask())
    world.clock.move(milliseconds=DAY_MS - 1)
    assert "x-tokenopen-replayed" in (await send(world, ask())).headers
    world.clock.move(milliseconds=1)
    assert "x-tokenopen-replayed" not in (await send(world, ask(text="another"))).headers
    assert len(await world.charges()) == 2


async def test_old_replies_are_dropped_and_younger_ones_are_not(world: World) -> None:
    world.upstream.always = whole_json()
    await send(world, ask(), "old")
    world.clock.move(milliseconds=DAY_MS)
    await send(world, ask(), "young")
    world.clock.move(milliseconds=1)
    await drop_old_replies(world.storage)
    (row,) = await world.rows("kept_replies")
    assert row["idempotency_key"] == "young"
    assert "x-tokenopen-replayed" in (await send(world, ask(), "young")).headers


async def test_a_call_that_was_answered_503_and_given_back_can_be_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settlement turns out to have committed after all."""
    monkeypatch.setattr(gateway_reply, "SETTLE_TIMEOUT_S", 0.05)
    gate = asyncio.Event()

    async def lose_the_answer(batch: Batch) -> None:
        if batch.resolutions:
            await gate.wait()
            raise OutcomeUnknown("connection lost")

    world.storage.after_post = lose_the_answer
    world.upstream.always = whole_json()
    running = world.start(keyed(world, ask()))
    await until(lambda: any(batch.resolutions for batch in world.storage.batches))
    refusal(await running, 503, "storage_unavailable")
    world.storage.undisturbed()
    gate.set()
    await world.settled()
    assert await world.charges() == [CHARGE, -CHARGE]
    again = await send(world, ask())
    assert (again.status, again.body) == (200, chat_json())
    assert "x-tokenopen-replayed" not in again.headers
    assert await world.charges() == [CHARGE, -CHARGE, CHARGE]
    await world.assert_sound()


@pytest.mark.parametrize("key", ["", "x" * 256, "a b\x7f"])
async def test_what_cannot_be_a_key_is_refused(world: World, key: str) -> None:
    error = refusal(await send(world, ask(), key), 400, "invalid_request")
    assert error["param"] == "Idempotency-Key"
    assert await world.rows("calls") == []


async def test_a_revoked_api_key_gets_no_reply_again(world: World) -> None:
    world.upstream.will(whole_json())
    await send(world, ask())
    await world.change_key({"state": "disabled"})
    refusal(await send(world, ask()), 401, "api_key_revoked")


async def test_a_call_without_the_header_reads_and_writes_nothing_of_this(world: World) -> None:
    world.upstream.always = whole_json()
    await world.call(ask())
    before = world.storage.accesses
    await world.call(ask())
    assert world.storage.accesses - before == 2
    assert await world.rows("kept_replies") == []
