"""What a provider reports is what is charged, as far as it can be true and credit covers it."""

import pytest

from tests.fakes.scripted_upstream import Step
from tests.gateway.replies import (
    DONE,
    HELLO,
    IMPOSSIBLE,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REPORTED,
    STOP,
    ask,
    ask_stream,
    chat_json,
    report,
    stream,
    whole_json,
)
from tests.gateway.world import CONTEXT_WINDOW, World, credits_of, price
from tokenopen.control.receipt import get_receipt

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)
NOT_TRUE = [
    pytest.param(IMPOSSIBLE, id="more cached than input"),
    pytest.param({**REPORTED, "completion_tokens": -1}, id="negative"),
    pytest.param({**REPORTED, "prompt_tokens": 1.5}, id="not whole"),
    pytest.param({**REPORTED, "prompt_tokens": "many"}, id="no number"),
    pytest.param({**REPORTED, "completion_tokens": 10**12}, id="beyond any call"),
]


@pytest.mark.parametrize("usage", NOT_TRUE)
async def test_a_json_reply_whose_usage_cannot_be_true_passes_free_and_flagged(
    world: World, usage: dict[str, object]
) -> None:
    world.upstream.will(whole_json(usage))
    reply = await world.call(ask())
    assert (reply.status, reply.body) == (200, chat_json(usage))
    assert reply.headers["x-tokenopen-charge"] == "0"
    row = await world.call_row(reply)
    assert (row["state"], row["flag"]) == ("voided", "impossible_usage")
    assert await world.charges() == []
    await world.assert_sound()


@pytest.mark.parametrize("usage", NOT_TRUE)
async def test_a_stream_whose_usage_cannot_be_true_passes_free_and_flagged(
    world: World, usage: dict[str, object]
) -> None:
    world.upstream.will(stream(*HELLO, STOP, report(usage), DONE))
    reply = await world.call(ask_stream())
    assert reply.whole
    assert reply.body == b"".join([*HELLO, STOP, DONE])
    row = await world.call_row(reply)
    assert (row["state"], row["flag"]) == ("voided", "impossible_usage")
    assert await world.charges() == []
    await world.assert_sound()


@pytest.mark.parametrize("asked", [False, True], ids=["usage not asked for", "usage asked for"])
async def test_nothing_of_a_stream_is_lost_with_usage_that_cannot_be_true(world: World, asked: bool) -> None:
    events = [*HELLO, STOP, report(IMPOSSIBLE), DONE]
    world.upstream.will(stream(b"".join(events)))
    reply = await world.call(ask_stream(usage=asked))
    assert reply.whole
    assert reply.body.startswith(b"".join([*HELLO, STOP]))
    assert (b'"usage"' in reply.body) == asked
    assert reply.body.endswith(DONE)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([*HELLO, STOP, report(), DONE], id="event by event"),
        pytest.param([b"".join([*HELLO, STOP, report(), DONE])], id="at once"),
        pytest.param([bytes([byte]) for byte in b"".join([*HELLO, STOP, report(), DONE])], id="byte by byte"),
    ],
)
async def test_how_a_stream_is_cut_changes_neither_its_bytes_nor_its_charge(
    world: World, pieces: list[Step]
) -> None:
    world.upstream.will(stream(*pieces))
    reply = await world.call(ask_stream())
    assert reply.body == b"".join([*HELLO, STOP, DONE])
    assert await world.charges() == [CHARGE]


async def test_usage_beyond_the_context_window_is_charged_and_flagged(world: World) -> None:
    world.upstream.will(whole_json({"prompt_tokens": CONTEXT_WINDOW, "completion_tokens": 1}))
    reply = await world.call(ask())
    assert (await world.call_row(reply))["flag"] == "beyond_context_window"
    assert await world.charges() == [price(input=CONTEXT_WINDOW, output=1)]
    await world.assert_sound()


async def test_usage_beyond_the_hold_is_charged_as_far_as_credit_goes(world: World) -> None:
    credit = 4_000 * 150
    await world.set_credit(credit)
    world.upstream.will(whole_json({"prompt_tokens": 10_000, "completion_tokens": 1}))
    reply = await world.call(ask(max_tokens=1))
    assert reply.status == 200
    assert reply.headers["x-tokenopen-charge"] == credits_of(credit)
    row = await world.call_row(reply)
    assert row["charge"] == credit
    assert row["charge"] + row["absorbed"] == price(input=10_000, output=1)
    account = await world.account()
    assert (account["balance"], account["held"]) == (0, 0)
    await world.assert_sound()


async def test_a_receipt_says_all_that_the_charge_is_made_of(world: World) -> None:
    await world.change_group({"multiplier_ppm": 333_333})
    world.upstream.will(whole_json())
    reply = await world.call(ask())
    async with world.storage.read() as tx:
        receipt = await get_receipt(tx, world.user.account_id, reply.headers["x-request-id"])
    assert receipt.call.usage is not None
    assert dict(receipt.call.usage.units) == {"input": INPUT_TOKENS, "output": OUTPUT_TOKENS}
    assert receipt.call.charge == CHARGE * 333_333 // 10**6
    assert (receipt.call.multiplier_ppm, receipt.call.multiplier_rule) == (333_333, "group")
    assert receipt.formula is not None
    await world.assert_sound()
