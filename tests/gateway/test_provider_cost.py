"""What a call costs the operator: on its record, for administrators only, and unknown rather than nothing."""

import msgspec
import pytest

from tests.fakes.scripted_upstream import Script
from tests.gateway.replies import (
    DONE,
    HELLO,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REPORTED,
    STOP,
    ask,
    ask_stream,
    report,
    stream,
    whole_json,
)
from tests.gateway.world import World, price
from tokenopen.ports.upstream import NotReached, ReplyBroken

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)
REPORT = {**REPORTED, "cost": 0.0000123}


async def cost_of(world: World) -> tuple[int | None, str | None]:
    row = await world.only_call()
    return row["cost"], row["cost_source"]


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_the_cost_that_a_provider_reports_stands_on_the_record(world: World, streamed: bool) -> None:
    await world.change_upstream({"provider": "openrouter", "cost_multiplier_ppm": 500_000})
    world.upstream.will(stream(*HELLO, STOP, report(REPORT), DONE) if streamed else whole_json(REPORT))
    await world.call(ask_stream() if streamed else ask())
    assert await cost_of(world) == (12_300, "reported")
    assert await world.charges() == [CHARGE]


async def test_else_it_is_what_the_upstream_is_said_to_take_of_the_models_price(world: World) -> None:
    await world.change_upstream({"cost_multiplier_ppm": 700_000})
    world.upstream.will(whole_json(REPORT))
    await world.call(ask())
    assert await cost_of(world) == (CHARGE * 7 // 10, "stated")


async def test_else_it_is_unknown(world: World) -> None:
    world.upstream.will(whole_json(REPORT))
    await world.call(ask())
    assert await cost_of(world) == (None, None)


async def test_a_groups_multiplier_and_missing_credit_change_the_charge_and_not_the_cost(
    world: World,
) -> None:
    await world.change_upstream({"cost_multiplier_ppm": 1_000_000})
    await world.change_group({"multiplier_ppm": 500_000})
    world.upstream.will(whole_json())
    await world.call(ask())
    assert await cost_of(world) == (CHARGE, "stated")
    assert await world.charges() == [CHARGE // 2]


async def test_the_cost_is_that_of_the_upstream_that_answered(world: World) -> None:
    await world.change_upstream({"cost_multiplier_ppm": 2_000_000})
    await world.add_upstream("two", {"priority": 1, "cost_multiplier_ppm": 250_000})
    world.upstream.will(Script(before=[NotReached("refused")]), whole_json())
    await world.call(ask())
    row = await world.only_call()
    assert row["cost"] == CHARGE // 4
    assert await world.charges() == [CHARGE]
    attempts = msgspec.json.decode(row["attempts"])
    assert [attempt["result"] for attempt in attempts] == ["NotReached", "200"]


async def test_what_a_provider_takes_for_a_call_that_failed_is_unknown(world: World) -> None:
    await world.change_upstream({"cost_multiplier_ppm": 1_000_000})
    world.upstream.will(stream(HELLO[0], ReplyBroken("reset")))
    await world.call(ask_stream())
    assert await cost_of(world) == (None, None)


async def test_a_caller_who_is_charged_for_less_costs_the_operator_all_the_same(world: World) -> None:
    await world.change_upstream({"provider": "openrouter"})
    await world.change_group({"interruption_rule": "delivered_only"})
    caller = world.caller(ask_stream())
    much = {**REPORT, "completion_tokens": 1_000}
    world.upstream.will(stream(*HELLO, STOP, report(much), caller.leave, 0.01, DONE))
    await world.ended(world.start(caller))
    row = await world.only_call()
    assert (row["cost"], row["cost_source"], row["usage_source"]) == (12_300, "reported", "estimated")
