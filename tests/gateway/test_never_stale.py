"""A change binds every call that reaches the gateway after the change was answered."""

import asyncio

import pytest

from tests.fakes.scripted_upstream import Script
from tests.fakes.upstream import sent_bytes
from tests.gateway.changes import (
    CHANGES,
    CHARGED,
    LIST_PRICE,
    Change,
    Expected,
    allow_only_other_model,
    disable_key,
    disable_upstream,
    double_price,
    entitle_at_a_fifth,
    halve_multiplier,
    in_order,
    limit_to_none_a_day,
    refused,
    suspend,
)
from tests.gateway.replies import INPUT_TOKENS, ask, chat_json, whole_json
from tests.gateway.world import INPUT_PRICE, MODEL, World, refusal, until
from tokenopen.control.platform import update_platform
from tokenopen.ports.storage import Batch
from tokenopen.storage.version import bump_account_version, bump_catalog_version


@pytest.fixture(autouse=True)
def _provider_answers(world: World) -> None:
    world.upstream.always = whole_json()


@pytest.mark.parametrize(("prepare", "before", "change", "then"), CHANGES.values(), ids=CHANGES)
async def test_a_change_binds_the_very_next_call(
    world: World, prepare: Change, before: Expected, change: Change, then: Expected
) -> None:
    await prepare(world)
    before.check(await world.call(ask()))
    await change(world)
    then.check(await world.call(ask()))
    await world.assert_sound()


@pytest.mark.parametrize(
    ("change", "then"),
    [
        (halve_multiplier, Expected(charge=LIST_PRICE // 2)),
        (double_price, Expected(charge=2 * INPUT_PRICE * INPUT_TOKENS)),
        (allow_only_other_model, refused("model_not_allowed")),
        (disable_key, refused("api_key_revoked")),
        (suspend, refused("account_suspended")),
        (entitle_at_a_fifth, Expected(charge=LIST_PRICE // 5)),
        (limit_to_none_a_day, refused("tpd_exceeded")),
        (disable_upstream, refused("model_not_found")),
    ],
)
async def test_a_change_that_overtakes_a_call_on_its_way_to_the_till_binds_it(
    world: World, change: Change, then: Expected
) -> None:
    await world.call(ask())

    async def overtake(_batch: Batch) -> None:
        world.storage.undisturbed()
        await change(world)

    world.storage.before_post = overtake
    then.check(await world.call(ask()))


async def test_upstreams_as_they_are_now_get_the_next_call(world: World) -> None:
    await world.call(ask())
    await world.change_upstream(
        {
            "base_url": "https://elsewhere.example.com/api",
            "credential": "another-credential",
            "models": {MODEL: "renamed"},
        }
    )
    await world.call(ask())
    request = world.upstream.requests[-1]
    assert request.url == "https://elsewhere.example.com/api/chat/completions"
    assert (b"authorization", b"Bearer another-credential") in request.headers
    assert b'"model":"renamed"' in sent_bytes(request)


async def test_settings_as_they_are_now_are_in_the_next_refusal(world: World) -> None:
    await world.change_group({"requests_per_day": 1})
    await world.call(ask())
    refusal(await world.call(ask()), 429, "tpd_exceeded")
    async with world.storage.write() as tx:
        await update_platform(
            tx, world.administrator, {"time_zone": "Asia/Tokyo", "support_contact": "help@example.com"}
        )
    error = refusal(await world.call(ask()), 429, "tpd_exceeded")
    # Noon UTC is nine in the evening in Tokyo.
    assert "resets 2026-06-02 00:00 JST" in error["message"]
    assert "help@example.com" in error["message"]


async def test_what_a_call_was_admitted_under_stays_its_own(world: World) -> None:
    """A change while the provider works binds the next call, not this one."""
    provider = asyncio.Event()
    world.upstream.will(Script(before=[provider], body=[chat_json()]))
    running = world.start(world.caller(ask()))
    await until(lambda: bool(world.upstream.requests))
    await in_order(world, halve_multiplier, double_price, disable_key, disable_upstream)
    provider.set()
    reply = await world.ended(running)
    CHARGED.check(reply)
    row = await world.call_row(reply)
    revisions = {revision["id"]: revision for revision in await world.rows("group_revisions")}
    prices = {revision["id"]: revision for revision in await world.rows("price_revisions")}
    assert (row["multiplier_ppm"], revisions[row["group_revision_id"]]["number"]) == (1_000_000, 1)
    assert prices[row["price_revision_id"]]["number"] == 1
    await world.assert_sound()


@pytest.mark.parametrize("bump", ["catalog", "account"])
async def test_a_call_that_is_stale_three_times_is_answered_503(world: World, bump: str) -> None:
    async def change_again(batch: Batch) -> None:
        if batch.admissions:
            async with world.storage.write() as tx:
                if bump == "catalog":
                    await bump_catalog_version(tx)
                else:
                    await bump_account_version(tx, world.user.account_id)

    world.storage.before_post = change_again
    reply = await world.call(ask())
    refusal(reply, 503, "storage_unavailable")
    assert len(world.storage.batches) == 3
    assert await world.rows("calls") == []
    assert world.upstream.requests == []


async def test_a_call_that_is_stale_twice_is_admitted(world: World) -> None:
    left = [2]

    async def change_twice(_batch: Batch) -> None:
        if left[0]:
            left[0] -= 1
            async with world.storage.write() as tx:
                await bump_catalog_version(tx)

    world.storage.before_post = change_twice
    CHARGED.check(await world.call(ask()))
    assert len(await world.rows("calls")) == 1
