"""A key that is rotated: two secrets of one key for a while, then only the new one."""

from tests.conftest import HASHING_KEY
from tests.gateway.replies import ask, whole_json
from tests.gateway.world import World, refusal
from tokenopen.control.api_key import rotate_api_key


async def rotate(world: World, *, overlap_seconds: int) -> str:
    """Return the key's new secret."""
    async with world.storage.write() as tx:
        secret, _ = await rotate_api_key(
            tx,
            world.user,
            world.key_id,
            account_id=world.user.account_id,
            overlap_seconds=overlap_seconds,
            hashing_key=HASHING_KEY,
        )
    return secret


async def test_both_secrets_are_one_key_until_the_overlap_ends(world: World) -> None:
    await world.change_group({"requests_per_minute": 3})
    world.upstream.always = whole_json()
    assert (await world.call(ask())).status == 200
    new = await rotate(world, overlap_seconds=10)
    assert (await world.call(ask())).status == 200
    assert (await world.call(ask(), key=new)).status == 200
    refusal(await world.call(ask(), key=new), 429, "rpm_exceeded")
    assert {row["key_id"] for row in await world.rows("calls")} == {world.key_id}
    world.clock.move(milliseconds=9_999)
    refusal(await world.call(ask()), 429, "rpm_exceeded")
    world.clock.move(milliseconds=1)
    error = refusal(await world.call(ask()), 401, "api_key_expired")
    assert "new secret" in error["message"]
    world.clock.move(seconds=61)
    assert (await world.call(ask(), key=new)).status == 200
    await world.assert_sound()


async def test_without_an_overlap_the_old_secret_ends_with_the_very_next_call(world: World) -> None:
    world.upstream.always = whole_json()
    await world.call(ask())
    new = await rotate(world, overlap_seconds=0)
    refusal(await world.call(ask()), 401, "api_key_expired")
    assert (await world.call(ask(), key=new)).status == 200


async def test_rotating_again_ends_the_secret_before_the_last_one(world: World) -> None:
    world.upstream.always = whole_json()
    second = await rotate(world, overlap_seconds=1_000)
    await world.call(ask(), key=second)
    await world.call(ask())
    third = await rotate(world, overlap_seconds=1_000)
    refusal(await world.call(ask()), 401, "invalid_api_key")
    assert (await world.call(ask(), key=second)).status == 200
    assert (await world.call(ask(), key=third)).status == 200


async def test_a_key_that_is_switched_off_takes_both_of_its_secrets_with_it(world: World) -> None:
    world.upstream.always = whole_json()
    new = await rotate(world, overlap_seconds=1_000)
    await world.change_key({"state": "disabled"})
    for secret in (world.key, new):
        refusal(await world.call(ask(), key=secret), 401, "api_key_revoked")
