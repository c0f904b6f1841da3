"""Limits: exactly as many calls as they allow, and a Retry-After that is right to the second."""

import asyncio

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import Script
from tests.gateway.replies import INPUT_TOKENS, OUTPUT_TOKENS, ask, chat_json, provider_error, whole_json
from tests.gateway.world import World, refusal, until
from tokenopen.control.platform import update_platform
from tokenopen.core.group import Limits

NOON_TO_MIDNIGHT_S = 12 * 3_600


@pytest.fixture(autouse=True)
def _provider_answers(world: World) -> None:
    world.upstream.always = whole_json()


async def assert_passes_exactly_after(world: World, refused: AsgiCaller) -> int:
    """Assert that one call passes after Retry-After and none a second earlier; return Retry-After."""
    retry_after_s = int(refused.headers["retry-after"])
    world.clock.move(seconds=retry_after_s - 1)
    again = await world.call(ask())
    assert again.status == 429
    assert again.headers["retry-after"] == "1"
    world.clock.move(seconds=1)
    assert (await world.call(ask())).status == 200
    return retry_after_s


@pytest.mark.parametrize("waits_ms", [(0, 0), (10_500, 3_250), (30_000, 29_999), (1, 59_000)])
async def test_retry_after_of_rpm_is_exact(world: World, waits_ms: tuple[int, int]) -> None:
    await world.change_group({"requests_per_minute": 2})
    await world.call(ask())
    world.clock.move(milliseconds=waits_ms[0])
    await world.call(ask())
    world.clock.move(milliseconds=waits_ms[1])
    reply = await world.call(ask())
    error = refusal(reply, 429, "rpm_exceeded")
    assert (error["group"], error["limit"], error["used"]) == ("Team", 2, 2)
    assert error["message"].startswith("Group Team allows 2 requests per minute; 2 used. Try again in ")
    assert "x-should-retry" not in reply.headers
    await assert_passes_exactly_after(world, reply)
    await world.assert_sound()


async def test_retry_after_of_tpd_is_the_end_of_the_day(world: World) -> None:
    await world.change_group({"requests_per_day": 2})
    for _ in range(2):
        assert (await world.call(ask())).status == 200
    reply = await world.call(ask())
    error = refusal(reply, 429, "tpd_exceeded")
    assert error["message"].startswith(
        "Daily request total (TPD) of group Team: 2 of 2 requests used; resets 2026-06-02 00:00 UTC."
    )
    assert reply.headers["x-should-retry"] == "false"
    assert await assert_passes_exactly_after(world, reply) == NOON_TO_MIDNIGHT_S
    await world.assert_sound()


async def test_the_day_ends_at_midnight_of_the_platforms_zone(world: World) -> None:
    async with world.storage.write() as tx:
        await update_platform(tx, world.administrator, {"time_zone": "Asia/Tokyo"})
    await world.change_group({"requests_per_day": 1})
    await world.call(ask())
    reply = await world.call(ask())
    refusal(reply, 429, "tpd_exceeded")
    assert await assert_passes_exactly_after(world, reply) == 3 * 3_600


async def test_retry_after_is_when_every_limit_lets_a_call_pass(world: World) -> None:
    """The day's end frees TPD, but the minute is still full then."""
    await world.change_group({"requests_per_minute": 2, "requests_per_day": 2})
    world.clock.move(seconds=NOON_TO_MIDNIGHT_S - 10)
    for _ in range(2):
        await world.call(ask())
    reply = await world.call(ask())
    assert reply.status == 429
    assert await assert_passes_exactly_after(world, reply) == 61


async def test_of_many_calls_at_once_exactly_the_limit_is_admitted(world: World) -> None:
    await world.change_group({"requests_per_minute": 60})
    replies = await asyncio.gather(*(world.caller(ask()).call(world.api) for _ in range(200)))
    assert {reply.status for reply in replies} == {200, 429}
    assert sum(reply.status == 200 for reply in replies) == 60
    assert len(world.upstream.requests) == 60
    await world.settled()
    await world.assert_sound()


async def test_of_many_calls_at_once_as_many_are_admitted_as_credit_covers(world: World) -> None:
    body = ask(max_tokens=100)
    await world.call(body)
    hold = (await world.only_call())["hold"]
    await world.set_credit(37 * hold)
    provider = asyncio.Event()
    world.upstream.always = Script(before=[provider], body=[chat_json()])
    running = [world.start(world.caller(body)) for _ in range(100)]
    await until(lambda: len(world.upstream.requests) == 38 and world.api.running == 37)
    account = await world.account()
    assert (account["balance"], account["held"]) == (37 * hold, 37 * hold)
    provider.set()
    replies = [await world.ended(call) for call in running]
    assert sum(reply.status == 200 for reply in replies) == 37
    assert sum(reply.status == 402 for reply in replies) == 63
    await world.assert_sound()


async def test_calls_that_fail_count_and_refused_ones_do_not(world: World) -> None:
    await world.change_group({"requests_per_minute": 3, "requests_per_day": 3})
    world.upstream.will(provider_error(500), provider_error(400))
    for status in (502, 400):
        assert (await world.call(ask())).status == status
    for _ in range(5):
        assert (await world.call(ask("no-such-model"))).status == 404
    reply = await world.call(ask())
    assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    assert reply.headers["x-ratelimit-remaining-requests-day"] == "0"
    assert (await world.call(ask())).status == 429


async def test_calls_count_where_no_limit_is_set_and_a_change_keeps_the_counters(world: World) -> None:
    for _ in range(3):
        await world.call(ask())
    await world.change_group({"requests_per_minute": 4})
    assert (await world.call(ask())).headers["x-ratelimit-remaining-requests"] == "0"
    error = refusal(await world.call(ask()), 429, "rpm_exceeded")
    assert error["used"] == 4


async def test_two_groups_of_one_account_never_share_a_counter(world: World) -> None:
    await world.change_group({"requests_per_minute": 1})
    await world.create_group("other", limits=Limits(requests_per_minute=1, requests_per_day=None))
    other, _ = await world.create_key("other")
    assert (await world.call(ask())).status == 200
    assert (await world.call(ask(), key=other)).status == 200
    assert (await world.call(ask())).status == 429
    assert (await world.call(ask(), key=other)).status == 429


async def test_two_keys_of_one_account_share_the_groups_counter(world: World) -> None:
    await world.change_group({"requests_per_minute": 1})
    second, _ = await world.create_key()
    assert (await world.call(ask())).status == 200
    refusal(await world.call(ask(), key=second), 429, "rpm_exceeded")


async def test_an_entitlements_own_limits_stand_before_the_groups(world: World) -> None:
    await world.change_group({"requests_per_minute": 1})
    await world.entitle("team", own_limits={"requests_per_minute": 3})
    reply = await world.call(ask())
    assert reply.headers["x-ratelimit-limit-requests"] == "3"
    await world.entitle("team", own_limits={"requests_per_minute": None})
    assert "x-ratelimit-limit-requests" not in (await world.call(ask())).headers


async def test_tokens_a_minute_are_shown_and_bind_once_they_are_used(world: World) -> None:
    await world.change_group({"tokens_per_minute": 200})
    world.upstream.always = whole_json()
    first = await world.call(ask())
    assert first.headers["x-ratelimit-limit-tokens"] == "200"
    assert first.headers["x-ratelimit-remaining-tokens"] == "200"
    second = await world.call(ask())
    used = INPUT_TOKENS + OUTPUT_TOKENS
    assert second.headers["x-ratelimit-remaining-tokens"] == str(200 - used)
    assert second.headers["x-ratelimit-reset-tokens"] == "1m1s"
    refused = await world.call(ask())
    error = refusal(refused, 429, "tpm_exceeded")
    assert (error["limit"], error["used"]) == (200, 2 * used)
    assert refused.headers["retry-after"] == "61"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    limits = (await world.look_up("/v1/key")).json()["limits"]["tokens_per_minute"]
    assert (limits["limit"], limits["used"], limits["remaining"]) == (200, 2 * used, 0)
    world.clock.move(seconds=61)
    assert (await world.call(ask())).status == 200
    await world.assert_sound()


async def test_calls_beyond_those_that_may_run_at_the_same_time_are_refused(world: World) -> None:
    await world.change_group({"concurrent_calls": 2})
    gate = asyncio.Event()
    world.upstream.always = Script(before=[gate], body=[chat_json()])
    running = [world.start(world.caller(ask())) for _ in range(2)]
    await until(lambda: len(world.upstream.requests) == 2)
    limits = (await world.look_up("/v1/key")).json()["limits"]["concurrent_calls"]
    assert limits == {"limit": 2, "used": 2, "remaining": 0, "resets_at": None}
    third = await world.caller(ask()).call(world.api)
    error = refusal(third, 429, "concurrency_exceeded")
    assert (error["limit"], error["used"]) == (2, 2)
    assert third.headers["retry-after"] == "1"
    gate.set()
    await asyncio.gather(*running)
    await world.settled()
    assert (await world.call(ask())).status == 200
    await world.assert_sound()
