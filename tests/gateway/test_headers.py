"""What a reply's headers say, and the maximum that is set where credit does not cover the model's own."""

import msgspec
import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.upstream import sent_bytes
from tests.gateway.replies import INPUT_TOKENS, OUTPUT_TOKENS, ask, ask_stream, whole_json, whole_stream
from tests.gateway.world import MODEL_MAX_OUTPUT, World, credits_of, price, refusal
from tokenopen.core.estimate import HIDDEN_PROMPT_UNITS
from tokenopen.core.money import Nanocredits

DEFAULT_MAX_OUTPUT = 1_000
LIMIT_HEADERS = {
    f"x-ratelimit-{name}-{suffix}"
    for name in ("limit", "remaining", "reset")
    for suffix in ("requests", "requests-day")
}


@pytest.fixture(autouse=True)
def _provider_answers(world: World) -> None:
    world.upstream.always = whole_json()


def limit_headers(reply: AsgiCaller) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name in LIMIT_HEADERS}


def hold_of(body: dict[str, object], output: int) -> int:
    """Return what a call may cost: every byte of its body a unit, and some for hidden prompts."""
    return price(input=len(msgspec.json.encode(body)) + HIDDEN_PROMPT_UNITS, output=output)


def sent_fields(world: World) -> dict[str, object]:
    """Return the last body that went to the provider."""
    fields: dict[str, object] = msgspec.json.decode(sent_bytes(world.upstream.requests[-1]))
    return fields


@pytest.mark.parametrize("streamed", [False, True], ids=["json", "stream"])
async def test_every_reply_names_its_call_and_group(world: World, streamed: bool) -> None:
    if streamed:
        world.upstream.always = whole_stream()
    reply = await world.call(ask_stream() if streamed else ask())
    assert reply.headers["x-request-id"] == (await world.only_call())["id"]
    assert reply.headers["x-tokenopen-group"] == "team"


@pytest.mark.parametrize(
    ("per_minute", "per_day", "expected"),
    [
        (None, None, {}),
        (
            5,
            None,
            {
                "x-ratelimit-limit-requests": "5",
                "x-ratelimit-remaining-requests": "4",
                "x-ratelimit-reset-requests": "1m1s",
            },
        ),
        (
            None,
            7,
            {
                "x-ratelimit-limit-requests-day": "7",
                "x-ratelimit-remaining-requests-day": "6",
                "x-ratelimit-reset-requests-day": "12h0m0s",
            },
        ),
    ],
)
async def test_limits_are_shown_exactly_where_they_are_set(
    world: World, per_minute: int | None, per_day: int | None, expected: dict[str, str]
) -> None:
    await world.change_group({"requests_per_minute": per_minute, "requests_per_day": per_day})
    assert limit_headers(await world.call(ask())) == expected


async def test_a_limited_reply_shows_the_limits_too(world: World) -> None:
    await world.change_group({"requests_per_minute": 1, "requests_per_day": 7})
    await world.call(ask())
    reply = await world.call(ask())
    refusal(reply, 429, "rpm_exceeded")
    assert reply.headers["x-tokenopen-group"] == "team"
    assert limit_headers(reply) == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m1s",
        "x-ratelimit-limit-requests-day": "7",
        "x-ratelimit-remaining-requests-day": "6",
        "x-ratelimit-reset-requests-day": "12h0m0s",
    }


@pytest.mark.parametrize("multiplier_ppm", [1_000_000, 333_333, 1, 0])
async def test_the_charge_in_the_header_is_the_ledgers(world: World, multiplier_ppm: int) -> None:
    await world.change_group({"multiplier_ppm": multiplier_ppm})
    reply = await world.call(ask())
    charge = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS) * multiplier_ppm // 10**6
    assert reply.headers["x-tokenopen-charge"] == credits_of(charge)
    assert await world.charges() == [charge]
    await world.assert_sound()


async def test_a_stream_has_no_charge_in_its_head_which_left_before_it_was_known(world: World) -> None:
    world.upstream.always = whole_stream()
    assert "x-tokenopen-charge" not in (await world.call(ask_stream())).headers


# The maximum where the caller names none


async def test_a_call_whose_credit_covers_the_models_own_maximum_goes_out_as_it_came(world: World) -> None:
    await world.change_group({"default_max_output_tokens": DEFAULT_MAX_OUTPUT})
    await world.set_credit(hold_of(ask(), MODEL_MAX_OUTPUT))
    reply = await world.call(ask())
    assert reply.status == 200
    assert "x-tokenopen-max-output-tokens" not in reply.headers
    assert sent_fields(world) == {**ask(), "model": "gpt-4o-mini-there"}
    assert (await world.only_call())["hold"] == hold_of(ask(), MODEL_MAX_OUTPUT)


@pytest.mark.parametrize(
    ("provider", "field"), [("openai", "max_completion_tokens"), ("mistral", "max_tokens")]
)
@pytest.mark.parametrize("short", [1, 10_000])
async def test_a_call_whose_credit_does_not_cover_it_goes_out_with_the_groups_maximum(
    world: World, provider: str, field: str, short: int
) -> None:
    await world.change_upstream({"provider": provider})
    await world.change_group({"default_max_output_tokens": DEFAULT_MAX_OUTPUT})
    await world.set_credit(hold_of(ask(), MODEL_MAX_OUTPUT) - short)
    reply = await world.call(ask())
    assert reply.status == 200
    assert reply.headers["x-tokenopen-max-output-tokens"] == "1000"
    assert sent_fields(world) == {**ask(), "model": "gpt-4o-mini-there", field: DEFAULT_MAX_OUTPUT}
    assert (await world.only_call())["hold"] == hold_of(ask(), DEFAULT_MAX_OUTPUT)


async def test_the_maximum_that_is_set_is_for_each_choice(world: World) -> None:
    await world.change_group({"default_max_output_tokens": DEFAULT_MAX_OUTPUT})
    body = ask(n=3)
    await world.set_credit(hold_of(body, 3 * DEFAULT_MAX_OUTPUT))
    reply = await world.call(body)
    assert reply.headers["x-tokenopen-max-output-tokens"] == "1000"
    assert sent_fields(world)["max_completion_tokens"] == DEFAULT_MAX_OUTPUT
    assert (await world.only_call())["hold"] == hold_of(body, 3 * DEFAULT_MAX_OUTPUT)


async def test_what_a_key_may_still_spend_sets_the_maximum_too(world: World) -> None:
    await world.change_group({"default_max_output_tokens": DEFAULT_MAX_OUTPUT})
    key, _ = await world.create_key(credit_limit=hold_of(ask(), MODEL_MAX_OUTPUT) - 1)
    reply = await world.call(ask(), key=key)
    assert reply.headers["x-tokenopen-max-output-tokens"] == "1000"


@pytest.mark.parametrize("named", [500, DEFAULT_MAX_OUTPUT, 10**6])
async def test_a_maximum_that_the_caller_names_is_never_changed(world: World, named: int) -> None:
    """It is held for as far as the model can go."""
    await world.change_group({"default_max_output_tokens": DEFAULT_MAX_OUTPUT})
    body = ask(max_tokens=named)
    await world.set_credit(hold_of(body, min(named, MODEL_MAX_OUTPUT)))
    reply = await world.call(body)
    assert reply.status == 200
    assert "x-tokenopen-max-output-tokens" not in reply.headers
    assert sent_fields(world) == {**body, "model": "gpt-4o-mini-there"}


# 402


async def test_too_little_credit_is_refused_with_what_is_needed_and_what_there_is(world: World) -> None:
    await world.change_group({"default_max_output_tokens": DEFAULT_MAX_OUTPUT})
    needed = hold_of(ask(), DEFAULT_MAX_OUTPUT)
    await world.set_credit(needed - 1)
    error = refusal(await world.call(ask()), 402, "insufficient_credit")
    assert (error["needed"], error["available"]) == (credits_of(needed), credits_of(needed - 1))
    assert world.upstream.requests == []
    assert await world.rows("calls") == []
    await world.set_credit(needed)
    assert (await world.call(ask())).status == 200


@pytest.mark.parametrize("limited", ["account", "key"])
async def test_the_affordable_maximum_passes_and_one_more_does_not(world: World, limited: str) -> None:
    body = ask(max_tokens=9_000)
    room = hold_of(body, 5_432) + 599
    if limited == "account":
        await world.set_credit(room)
    else:
        await world.change_key({"credit_limit": Nanocredits(room)})
    code = "insufficient_credit" if limited == "account" else "key_credit_limit_reached"
    error = refusal(await world.call(body), 402, code)
    assert error["affordable_max_output_tokens"] == 5_432
    refusal(await world.call(ask(max_tokens=5_433)), 402, code)
    assert (await world.call(ask(max_tokens=5_432))).status == 200


async def test_the_affordable_maximum_passes_where_none_was_named(world: World) -> None:
    await world.set_credit(hold_of(ask(), 5_000))
    error = refusal(await world.call(ask()), 402, "insufficient_credit")
    affordable = error["affordable_max_output_tokens"]
    assert (await world.call(ask(max_completion_tokens=affordable))).status == 200


async def test_no_output_is_affordable_where_credit_does_not_cover_the_input(world: World) -> None:
    await world.set_credit(100)
    error = refusal(await world.call(ask()), 402, "insufficient_credit")
    assert error["affordable_max_output_tokens"] == 0


async def test_a_large_image_without_a_maximum_is_answered_on_one_credit(world: World) -> None:
    """Issue 2: base64 data is not counted byte by byte."""
    await world.set_credit(10**9)
    url = "data:image/png;base64," + "A" * 3_000_000
    body = ask()
    body["messages"] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    assert (await world.call(body)).status == 200
