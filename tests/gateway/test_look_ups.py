"""What a key may ask about itself, read from the database and never from a stale cache."""

import asyncio
from typing import Any

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.fakes.scripted_upstream import Script
from tests.gateway.changes import Change, disable_key, halve_multiplier, suspend, take_group_away
from tests.gateway.replies import INPUT_TOKENS, OUTPUT_TOKENS, ask, chat_json, provider_error, whole_json
from tests.gateway.world import (
    CREDIT,
    EMBEDDING_MODEL,
    MODEL,
    OTHER_MODEL,
    World,
    bearer,
    credits_of,
    price,
    refusal,
    until,
)
from tokenopen.core.money import Nanocredits
from tokenopen.ports.storage import StorageAway

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)
PATHS = ["/v1/models", "/v1/key", "/v1/credits", "/v1/receipts/call_0", f"/v1/models/{MODEL}"]


async def fetch(world: World, path: str) -> Any:
    reply = await world.look_up(path)
    assert reply.status == 200, reply.body
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"].startswith("call_")
    return reply.json()


# Models


async def test_models_are_those_that_the_key_may_call_with_what_they_cost_it(world: World) -> None:
    await world.change_group({"multiplier_ppm": 800_000, "model_multipliers": {"text-*": 900_000}})
    found = await fetch(world, "/v1/models")
    assert found["object"] == "list"
    chat, embedding = found["data"]
    assert (chat["id"], embedding["id"]) == (MODEL, EMBEDDING_MODEL)
    assert (chat["multiplier"], embedding["multiplier"]) == ("0.8", "0.9")
    assert chat["credit_consumption_rates"]["input"] == "0.12"
    assert chat["credit_consumption_rates"]["output"] == "0.48"
    assert embedding["credit_consumption_rates"]["input"] == "0.018"
    assert await fetch(world, f"/v1/models/{MODEL}") == chat


async def test_models_of_a_narrowed_key_are_fewer(world: World) -> None:
    await world.change_key({"models": (EMBEDDING_MODEL, OTHER_MODEL)})
    assert [model["id"] for model in (await fetch(world, "/v1/models"))["data"]] == [EMBEDDING_MODEL]
    refusal(await world.look_up(f"/v1/models/{MODEL}"), 403, "model_not_allowed")


async def test_a_model_that_is_not_offered_is_not_found(world: World) -> None:
    refusal(await world.look_up("/v1/models/gpt-0"), 404, "model_not_found")


# The key


async def test_a_key_sees_its_group_and_what_is_left_of_its_limits(world: World) -> None:
    await world.change_group({"requests_per_minute": 5, "requests_per_day": 10, "multiplier_ppm": 800_000})
    world.upstream.always = whole_json()
    await world.call(ask())
    world.clock.move(seconds=30)
    await world.call(ask())
    found = await fetch(world, "/v1/key")
    assert found["name"] == "Test"
    assert found["group"] == {"slug": "team", "name": "Team"}
    assert (found["multiplier"], found["multiplier_rule"]) == ("0.8", "group")
    assert found["allowed_models"] == [MODEL, EMBEDDING_MODEL]
    assert found["expires_at"] is None
    minute, today = found["limits"]["requests_per_minute"], found["limits"]["requests_per_day"]
    assert (minute["limit"], minute["used"], minute["remaining"]) == (5, 2, 3)
    assert minute["resets_at"] == "2026-06-01T12:01:31Z"
    assert (today["limit"], today["used"], today["remaining"]) == (10, 2, 8)
    assert today["resets_at"] == "2026-06-02T00:00:00Z"
    world.clock.move(seconds=31)
    assert (await fetch(world, "/v1/key"))["limits"]["requests_per_minute"]["used"] == 1


async def test_a_key_without_limits_sees_that_too(world: World) -> None:
    limits = (await fetch(world, "/v1/key"))["limits"]
    assert limits["requests_per_minute"]["limit"] is None
    assert limits["requests_per_day"]["limit"] is None


async def test_a_key_sees_its_own_terms(world: World) -> None:
    await world.entitle("team", multiplier_ppm=700_000, own_limits={"requests_per_minute": 9})
    found = await fetch(world, "/v1/key")
    assert (found["multiplier"], found["multiplier_rule"]) == ("0.7", "entitlement")
    assert found["limits"]["requests_per_minute"]["limit"] == 9


# Credits


async def test_credits_are_balance_held_and_available(world: World) -> None:
    provider = asyncio.Event()
    world.upstream.will(Script(before=[provider], body=[chat_json()]))
    running = world.start(world.caller(ask(max_tokens=10)))
    await until(lambda: bool(world.upstream.requests))
    hold = (await world.only_call())["hold"]
    assert await fetch(world, "/v1/credits") == {
        "balance": credits_of(CREDIT),
        "held": credits_of(hold),
        "available": credits_of(CREDIT - hold),
    }
    provider.set()
    await world.ended(running)
    left = credits_of(CREDIT - CHARGE)
    assert await fetch(world, "/v1/credits") == {"balance": left, "held": "0", "available": left}


# Receipts


async def test_a_receipt_is_enough_to_recompute_the_charge(world: World) -> None:
    await world.change_group({"multiplier_ppm": 800_000})
    world.upstream.will(whole_json())
    reply = await world.call(ask())
    receipt = await fetch(world, f"/v1/receipts/{reply.headers['x-request-id']}")
    assert receipt["usage"] == {"input": INPUT_TOKENS, "output": OUTPUT_TOKENS}
    assert receipt["usage_source"] == "reported"
    assert (receipt["unit_prices"]["input"], receipt["unit_prices"]["output"]) == ("0.15", "0.6")
    assert (receipt["multiplier"], receipt["multiplier_rule"]) == ("0.8", "group")
    assert receipt["charge"] == credits_of(CHARGE * 8 // 10)
    assert (receipt["group_revision"]["number"], receipt["price_revision"]["number"]) == (2, 1)
    assert receipt["group"]["slug"] == "team"
    assert (receipt["state"], receipt["end_reason"]) == ("settled", "completed")


async def test_a_receipt_of_a_call_that_cost_nothing_says_so(world: World) -> None:
    world.upstream.will(provider_error(500))
    reply = await world.call(ask())
    receipt = await fetch(world, f"/v1/receipts/{reply.headers['x-request-id']}")
    assert (receipt["state"], receipt["end_reason"], receipt["charge"]) == ("voided", "upstream_failed", "0")
    assert receipt["usage"] is None


async def test_a_receipt_of_another_account_is_not_found(world: World) -> None:
    other = await world.create_key_of_another()
    world.upstream.will(whole_json())
    reply = await world.call(ask())
    path = f"/v1/receipts/{reply.headers['x-request-id']}"
    theirs = refusal(await world.look_up(path, key=other), 404, "not_found")
    unknown = refusal(await world.look_up("/v1/receipts/call_unknown", key=other), 404, "not_found")
    assert set(theirs) == set(unknown)
    second, _ = await world.create_key()
    assert (await world.look_up(path, key=second)).status == 200


async def test_a_receipt_shows_callers_nothing_of_the_operators_upstreams(world: World) -> None:
    await world.add_upstream("two", {"priority": 1})
    world.upstream.will(provider_error(429), whole_json())
    reply = await world.call(ask())
    receipt = await world.look_up(f"/v1/receipts/{reply.headers['x-request-id']}")
    assert world.upstream_id.encode() not in receipt.body
    assert b"upstream" not in receipt.body


# All of them


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (disable_key, 401, "api_key_revoked"),
        (suspend, 403, "account_suspended"),
        (take_group_away, 403, "group_not_available"),
    ],
)
async def test_who_may_not_call_may_not_ask_either_from_the_very_next_time_on(
    world: World, path: str, change: Change, status: int, code: str
) -> None:
    await world.look_up("/v1/key")
    await change(world)
    refusal(await world.look_up(path), status, code)


async def test_a_change_is_seen_at_once(world: World) -> None:
    assert (await fetch(world, "/v1/key"))["multiplier"] == "1.0"
    await halve_multiplier(world)
    assert (await fetch(world, "/v1/key"))["multiplier"] == "0.5"
    await world.put_model({"prices": {"input": Nanocredits(10**9), "output": Nanocredits(0)}})
    assert (await fetch(world, f"/v1/models/{MODEL}"))["credit_consumption_rates"]["input"] == "0.5"


async def test_what_changes_by_itself_is_seen_at_its_instant(world: World) -> None:
    instant_ms = world.clock.now_ms() + 1_000
    await world.change_group({"multiplier_ppm": 500_000}, at_ms=instant_ms)
    assert (await fetch(world, "/v1/key"))["multiplier"] == "1.0"
    world.clock.move(milliseconds=999)
    assert (await fetch(world, "/v1/key"))["multiplier"] == "1.0"
    world.clock.move(milliseconds=1)
    assert (await fetch(world, "/v1/key"))["multiplier"] == "0.5"


@pytest.mark.parametrize("path", ["/v1/key/more", "/v1/credits/more", "/v1/keys", "/v1/ledger"])
async def test_what_is_not_offered_is_a_404(world: World, path: str) -> None:
    refusal(await world.look_up(path), 404, "not_found")


async def test_a_head_has_no_body(world: World) -> None:
    caller = AsgiCaller(path="/v1/key", method="HEAD", headers=[bearer(world.key)])
    reply = await caller.call(world.api)
    assert (reply.status, reply.body) == (200, b"")


async def test_an_address_that_the_key_is_not_bound_to_may_not_ask(world: World) -> None:
    await world.change_key({"allowed_ips": ("198.51.100.1",)})
    refusal(await world.look_up("/v1/credits"), 403, "ip_not_allowed")
    assert (await world.look_up("/v1/credits", address="198.51.100.1")).status == 200


async def test_a_database_that_is_away_is_a_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_account_id: str | None) -> None:
        raise StorageAway("disk on fire")

    monkeypatch.setattr(world.storage, "find_versions", away)
    reply = await world.look_up("/v1/key")
    refusal(reply, 503, "storage_unavailable")
    assert b"disk on fire" not in reply.body
    refusal(await world.call(ask()), 503, "storage_unavailable")
