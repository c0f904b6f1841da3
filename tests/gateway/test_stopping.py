"""A process that is told to stop admits nothing; what runs may end, what remains is cut and costs nothing.

Beside it, a database that stays away: admissions do not wait for it.
"""

import asyncio

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.gateway.replies import (
    DONE,
    HELLO,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    STOP,
    ask,
    ask_stream,
    report,
    stream,
    whole_json,
)
from tests.gateway.world import World, price, refusal, until
from tokenopen.api.application import Application
from tokenopen.api.connection import Message
from tokenopen.gateway import till
from tokenopen.ports.storage import Batch, StorageAway

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)


async def test_once_it_stops_calls_are_refused_and_a_running_stream_ends_whole(world: World) -> None:
    provider = asyncio.Event()
    world.upstream.will(stream(*HELLO, provider, STOP, report(), DONE))
    running = world.start(world.caller(ask_stream()))
    await until(lambda: bool(world.upstream.requests))
    world.api.stop_admitting(cut_after_s=30)
    refused = await world.caller(ask()).call(world.api)
    assert int(refused.headers["retry-after"]) > 0
    refusal(refused, 503, "server_stopping")
    refusal(await world.look_up("/v1/models"), 503, "server_stopping")
    provider.set()
    assert (await world.ended(running)).whole
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_a_call_whose_body_was_still_coming_is_refused_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = world.caller(ask())
    receive = caller.receive

    async def receive_late() -> Message:
        world.api.stop_admitting(cut_after_s=30)
        return await receive()

    with monkeypatch.context() as late:
        late.setattr(caller, "receive", receive_late)
        refusal(await caller.call(world.api), 503, "server_stopping")
    assert not world.upstream.requests


async def test_what_runs_longer_than_it_may_is_cut_and_costs_nothing(world: World) -> None:
    world.upstream.will(stream(*HELLO, asyncio.Event()))
    running = world.start(world.caller(ask_stream()))
    await until(lambda: bool(world.upstream.requests))
    await asyncio.sleep(0.05)
    world.api.stop_admitting(cut_after_s=0.05)
    await world.api.drain()
    assert not (await world.ended(running)).whole
    assert (await world.only_call())["state"] == "voided"
    assert await world.charges() == []
    await world.assert_sound()


async def test_a_process_that_hands_over_closes_each_connection_with_its_next_answer(world: World) -> None:
    async def never(*_: object) -> None:
        raise AssertionError

    async def ready() -> bool:
        return True

    application = Application(gateway_api=world.api, control_app=never, web_app=never, is_ready=ready)
    world.upstream.always = whole_json()

    async def call() -> AsgiCaller:
        caller = world.caller(ask())
        request = asyncio.create_task(application(caller.scope, caller.receive, caller.send))
        await until(lambda: caller.whole)
        await request
        return caller

    assert "connection" not in (await call()).headers
    application.close_connections()
    last = await call()
    assert (last.status, last.headers["connection"]) == (200, "close")


async def test_while_the_database_is_away_calls_are_refused_at_once_and_admitted_once_it_is_back(
    world: World,
) -> None:
    async def away(_batch: Batch) -> None:
        raise StorageAway("gone")

    world.upstream.always = whole_json()
    world.storage.before_post = away
    for _ in range(2):
        refusal(await world.caller(ask()).call(world.api), 503, "storage_unavailable")
    posted = len(world.storage.batches)
    refused = await asyncio.gather(*(world.caller(ask()).call(world.api) for _ in range(50)))
    assert {caller.status for caller in refused} == {503}
    # Nobody asked the database on their behalf.
    assert not any(batch.admissions for batch in world.storage.batches[posted:])
    world.storage.undisturbed()
    posted = len(world.storage.batches)
    # It is asked again and again by itself, and found.
    await until(lambda: len(world.storage.batches) > posted and not world.storage.posting)
    assert (await world.caller(ask()).call(world.api)).status == 200
    await world.settled()
    assert await world.charges() == [CHARGE]
    await world.assert_sound()


async def test_a_silent_database_keeps_no_caller_waiting_and_what_it_admitted_after_all_is_voided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(till, "ADMISSION_PATIENCE_S", 0.1)
    silence = asyncio.Event()

    async def wait(_batch: Batch) -> None:
        await silence.wait()

    world.storage.before_post = wait
    try:
        first, second = world.start(world.caller(ask())), world.start(world.caller(ask()))
        refusal(await first, 503, "storage_unavailable")
        refusal(await second, 503, "storage_unavailable")
        refusal(await world.caller(ask()).call(world.api), 503, "storage_unavailable")
    finally:
        silence.set()
    await world.settled()
    assert {row["state"] for row in await world.rows("calls")} == {"voided"}
    assert not world.upstream.requests
    await world.assert_sound()
