"""Routing: affinity, health with a cool-down and one probe, and what a record says of each attempt."""

import asyncio
from collections import Counter

import msgspec
import pytest

from tests.fakes.scripted_upstream import Script
from tests.gateway.replies import HELLO, ask, ask_stream, chat_json, provider_error, stream, whole_json
from tests.gateway.world import MODEL, OTHER_MODEL, World, refusal, until
from tokenopen.gateway.health import COOL_DOWN_MS, COOL_DOWN_MS_MAX
from tokenopen.ports.upstream import FirstByteTimeout, NotReached, ReplyBroken


@pytest.fixture
async def two(world: World) -> World:
    """A world with a second upstream of the same priority."""
    await world.add_upstream("two")
    return world


def hosts(world: World) -> list[str]:
    """Return where the requests went, in their order."""
    return [request.url.split("/")[2].split(".")[0] for request in world.upstream.requests]


async def hosts_of(world: World, text: str, times: int) -> Counter[str]:
    """Make a call several times and return where it went."""
    before = len(world.upstream.requests)
    for _ in range(times):
        await world.call(ask(text=text))
    return Counter(hosts(world)[before:])


async def test_calls_that_begin_alike_go_to_the_same_upstream_while_it_is_healthy(two: World) -> None:
    two.upstream.always = whole_json()
    went = [await hosts_of(two, f"text {number}", 3) for number in range(12)]
    assert all(len(each) == 1 for each in went)
    assert {next(iter(each)) for each in went} == {"one", "two"}


async def test_while_its_upstream_is_in_trouble_a_call_goes_elsewhere_and_returns_by_one_probe(
    two: World,
) -> None:
    two.upstream.always = whole_json()
    (home,) = await hosts_of(two, "text", 1)
    two.upstream.will(provider_error(500))
    reply = await two.call(ask(text="text"))
    assert reply.status == 200
    assert hosts(two)[-2:] == [home, "two" if home == "one" else "one"]
    assert home not in await hosts_of(two, "text", 3)

    two.clock.move(milliseconds=COOL_DOWN_MS)
    gate = asyncio.Event()
    two.upstream.will(Script(before=[gate], body=[chat_json()]))
    probe = two.start(two.caller(ask(text="text")))
    await until(lambda: hosts(two)[-1] == home)
    # While the probe is under way nobody else is sent there.
    for _ in range(3):
        await two.caller(ask(text="text")).call(two.api)
        assert hosts(two)[-1] != home
    gate.set()
    assert (await two.ended(probe)).status == 200
    assert set(await hosts_of(two, "text", 3)) == {home}


async def test_a_probe_that_fails_doubles_the_cool_down_up_to_a_minute(two: World) -> None:
    two.upstream.always = whole_json()
    (home,) = await hosts_of(two, "text", 1)
    wait_ms = COOL_DOWN_MS
    two.upstream.will(provider_error(500))
    await two.call(ask(text="text"))
    for _ in range(5):
        two.clock.move(milliseconds=wait_ms - 1)
        assert home not in await hosts_of(two, "text", 1)
        two.clock.move(milliseconds=1)
        two.upstream.will(provider_error(503))
        assert (await hosts_of(two, "text", 1))[home] == 1
        wait_ms = min(2 * wait_ms, COOL_DOWN_MS_MAX)


async def test_a_probe_whose_caller_leaves_decides_nothing_and_the_next_call_probes(two: World) -> None:
    two.upstream.always = whole_json()
    (home,) = await hosts_of(two, "text", 1)
    two.upstream.will(provider_error(500))
    await two.call(ask(text="text"))
    two.clock.move(milliseconds=COOL_DOWN_MS)
    two.upstream.will(Script(before=[asyncio.Event()]))
    caller = two.caller(ask(text="text"))
    probe = two.start(caller)
    await until(lambda: hosts(two)[-1] == home)
    caller.leave()
    await two.ended(probe)
    assert set(await hosts_of(two, "text", 1)) == {home}


async def test_an_upstream_that_says_when_to_come_back_is_left_alone_until_then(two: World) -> None:
    two.upstream.always = whole_json()
    (home,) = await hosts_of(two, "text", 1)
    two.upstream.will(provider_error(429, headers=((b"retry-after", b"30"),)))
    await two.call(ask(text="text"))
    two.clock.move(seconds=29)
    assert home not in await hosts_of(two, "text", 1)
    two.clock.move(seconds=1)
    assert set(await hosts_of(two, "text", 1)) == {home}


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_a_reply_that_breaks_off_is_trouble_too(two: World, streamed: bool) -> None:
    two.upstream.always = whole_json()
    (home,) = await hosts_of(two, "text", 1)
    broken = ReplyBroken("reset")
    two.upstream.will(stream(*HELLO, broken) if streamed else Script(body=[chat_json()[:9], broken]))
    await two.call(ask_stream(text="text") if streamed else ask(text="text"))
    assert hosts(two)[-1] == home
    assert home not in await hosts_of(two, "text", 2)


async def test_where_every_upstream_is_in_trouble_they_are_tried_all_the_same(two: World) -> None:
    two.upstream.will(provider_error(500), provider_error(500))
    refusal(await two.call(ask()), 502, "upstream_error")
    two.upstream.always = whole_json()
    assert (await two.call(ask())).status == 200


async def test_a_failed_attempt_costs_nothing_and_stands_on_the_calls_record(two: World) -> None:
    two.upstream.will(Script(before=[NotReached("refused")]), whole_json())
    reply = await two.call(ask())
    row = await two.call_row(reply)
    attempts = msgspec.json.decode(row["attempts"])
    assert [attempt["result"] for attempt in attempts] == ["NotReached", "200"]
    assert attempts[-1]["upstream_id"] == row["upstream_id"]
    assert all(attempt["duration_ms"] >= 0 for attempt in attempts)
    assert len(await two.charges()) == 1


async def test_the_only_attempt_of_a_call_that_failed_says_how(world: World) -> None:
    world.upstream.will(Script(before=[FirstByteTimeout("too long")]))
    refusal(await world.call(ask()), 504, "upstream_timeout")
    (attempt,) = msgspec.json.decode((await world.only_call())["attempts"])
    assert (attempt["upstream_id"], attempt["result"]) == (world.upstream_id, "FirstByteTimeout")


async def test_after_a_first_byte_timeout_no_other_upstream_is_tried(two: World) -> None:
    two.upstream.will(Script(before=[FirstByteTimeout("too long")]))
    two.upstream.always = whole_json()
    refusal(await two.call(ask()), 504, "upstream_timeout")
    assert len(two.upstream.requests) == 1


async def went_first(world: World, model: str, text: str) -> str:
    """Make a call and return where it was sent first."""
    before = len(world.upstream.requests)
    await world.call(ask(text=text, model=model))
    return hosts(world)[before]


@pytest.mark.parametrize("status", [403, 404, 409, 429])
async def test_what_an_upstream_says_of_one_model_is_no_trouble_of_its_others(
    two: World, status: int
) -> None:
    await two.change_group({"allowed_models": (MODEL, OTHER_MODEL)})
    two.upstream.always = whole_json()
    home = await went_first(two, MODEL, "text")
    assert await went_first(two, OTHER_MODEL, "text") == home
    two.upstream.will(provider_error(status))
    assert (await two.call(ask(text="text"))).status == 200
    assert await went_first(two, MODEL, "text") != home
    assert await went_first(two, OTHER_MODEL, "text") == home
    # Nor does a success of another tell anything of that one.
    assert await went_first(two, MODEL, "text") != home
    two.clock.move(milliseconds=COOL_DOWN_MS)
    assert await went_first(two, MODEL, "text") == home


@pytest.mark.parametrize("failure", [provider_error(401), provider_error(402), provider_error(500)])
async def test_trouble_of_an_upstream_is_that_of_all_its_models(two: World, failure: Script) -> None:
    await two.change_group({"allowed_models": (MODEL, OTHER_MODEL)})
    two.upstream.always = whole_json()
    home = await went_first(two, MODEL, "text")
    two.upstream.will(failure)
    await two.call(ask(text="text"))
    assert await went_first(two, OTHER_MODEL, "text") != home
