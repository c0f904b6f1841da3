"""What changes by itself at an instant changes for calls at exactly that instant, cached callers or not."""

import pytest

from tests.gateway.changes import CHARGED, LIST_PRICE, Expected, refused
from tests.gateway.replies import INPUT_TOKENS, ask, whole_json
from tests.gateway.world import GROUP, INPUT_PRICE, MODEL, OTHER_MODEL, World, refusal
from tokenopen.core.group_history import GroupChanges
from tokenopen.core.money import Nanocredits

HOUR_S = 3_600


@pytest.fixture(autouse=True)
def _provider_answers(world: World) -> None:
    world.upstream.always = whole_json()


@pytest.fixture
def instant_ms(world: World) -> int:
    """An instant an hour from now."""
    return world.clock.now_ms() + HOUR_S * 1000


async def assert_turns(world: World, before: Expected, then: Expected, *, key: str | None = None) -> None:
    """Assert what a call comes to in the last millisecond before the hour is over, and at its end."""
    before.check(await world.call(ask(), key=key))
    world.clock.move(milliseconds=HOUR_S * 1000 - 1)
    before.check(await world.call(ask(), key=key))
    world.clock.move(milliseconds=1)
    then.check(await world.call(ask(), key=key))
    await world.assert_sound()


@pytest.mark.parametrize(
    ("changes", "then"),
    [
        ({"multiplier_ppm": 800_000}, Expected(charge=LIST_PRICE * 8 // 10)),
        ({"allowed_models": (OTHER_MODEL,)}, refused("model_not_allowed")),
        ({"requests_per_day": 1}, refused("tpd_exceeded")),
    ],
)
async def test_a_scheduled_revision_of_the_group_binds_from_its_instant_on(
    world: World, instant_ms: int, changes: GroupChanges, then: Expected
) -> None:
    await world.change_group(changes, at_ms=instant_ms)
    await assert_turns(world, CHARGED, then)


async def test_a_scheduled_revision_allows_a_model_from_its_instant_on(world: World, instant_ms: int) -> None:
    await world.change_group({"allowed_models": (OTHER_MODEL,)})
    await world.change_group({"allowed_models": (MODEL,)}, at_ms=instant_ms)
    await assert_turns(world, refused("model_not_allowed"), CHARGED)


async def test_a_key_ends_at_its_instant(world: World, instant_ms: int) -> None:
    key, _ = await world.create_key(expires_at_ms=instant_ms)
    await assert_turns(world, CHARGED, refused("api_key_expired"), key=key)


async def test_access_to_a_group_ends_at_its_instant(world: World, instant_ms: int) -> None:
    await world.entitle(GROUP, expires_at_ms=instant_ms)
    await world.change_group({"visibility": "entitled"})
    await assert_turns(world, CHARGED, refused("group_not_available"))


async def test_own_terms_end_at_their_instant(world: World, instant_ms: int) -> None:
    await world.entitle(GROUP, multiplier_ppm=500_000, expires_at_ms=instant_ms)
    await assert_turns(world, Expected(charge=LIST_PRICE // 2), CHARGED)


async def test_a_scheduled_price_is_charged_from_its_instant_on(world: World, instant_ms: int) -> None:
    await world.put_model(
        {"prices": {"input": Nanocredits(3 * INPUT_PRICE * 10**6), "output": Nanocredits(0)}},
        at_ms=instant_ms,
    )
    await assert_turns(world, CHARGED, Expected(charge=3 * INPUT_PRICE * INPUT_TOKENS))


async def test_a_model_is_offered_from_the_instant_of_its_first_price_on(
    world: World, instant_ms: int
) -> None:
    await world.change_upstream({"models": {"later": "later-there"}})
    await world.change_group({"allowed_models": ("*",)})
    await world.put_model(
        {
            "context_window": 1_000,
            "max_output_tokens": 100,
            "prices": {"input": Nanocredits(10**6), "output": Nanocredits(0)},
        },
        name="later",
        at_ms=instant_ms,
    )
    refusal(await world.call(ask("later")), 404, "model_not_found")
    world.clock.move(milliseconds=HOUR_S * 1000 - 1)
    refusal(await world.call(ask("later")), 404, "model_not_found")
    world.clock.move(milliseconds=1)
    Expected(charge=INPUT_TOKENS).check(await world.call(ask("later")))


async def test_two_instants_that_follow_each_other_both_bind(world: World, instant_ms: int) -> None:
    """The earliest one ends what is cached, and the next one ends what is cached then."""
    await world.change_group({"multiplier_ppm": 500_000}, at_ms=instant_ms)
    await world.put_model(
        {"prices": {"input": Nanocredits(0), "output": Nanocredits(0)}}, at_ms=instant_ms + 1
    )
    await assert_turns(world, CHARGED, Expected(charge=LIST_PRICE // 2))
    world.clock.move(milliseconds=1)
    Expected(charge=0).check(await world.call(ask()))


async def test_a_refusal_names_the_groups_that_have_the_model_now(world: World, instant_ms: int) -> None:
    await world.create_group("rising")
    await world.change_group({"allowed_models": (OTHER_MODEL,)}, slug="rising", at_ms=instant_ms)
    error = refusal(await world.call(ask(OTHER_MODEL)), 403, "model_not_allowed")
    assert error["groups_with_model"] == []
    world.clock.move(seconds=HOUR_S)
    error = refusal(await world.call(ask(OTHER_MODEL)), 403, "model_not_allowed")
    assert error["groups_with_model"] == ["rising"]
