"""What administrators and users can change, and what the very next call then comes to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.fakes.asgi_caller import AsgiCaller
from tests.gateway.replies import INPUT_TOKENS, OUTPUT_TOKENS
from tests.gateway.world import (
    EMBEDDING_MODEL,
    GROUP,
    INPUT_PRICE,
    MODEL,
    OTHER_MODEL,
    World,
    credits_of,
    price,
)
from tokenopen.control.api_key import revoke_api_key
from tokenopen.control.entitlement import delete_entitlement
from tokenopen.control.group import archive_group
from tokenopen.control.model import archive_model, unarchive_model
from tokenopen.control.user import update_user
from tokenopen.core.money import Nanocredits

Change = Callable[[World], Awaitable[None]]

LIST_PRICE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one call comes to: a charge, or a refusal's code."""

    charge: int | None = None
    code: str | None = None

    def check(self, reply: AsgiCaller) -> None:
        if self.code is None:
            assert reply.status == 200, reply.body
            assert reply.headers["x-tokenopen-charge"] == credits_of(self.charge or 0)
        else:
            assert reply.status != 200
            assert reply.json()["error"]["code"] == self.code


CHARGED = Expected(charge=LIST_PRICE)


def refused(code: str) -> Expected:
    return Expected(code=code)


async def allow_both(world: World) -> None:
    await world.change_group({"allowed_models": (MODEL, OTHER_MODEL)})


async def allow_only_other_model(world: World) -> None:
    await world.change_group({"allowed_models": (OTHER_MODEL,)})


async def halve_multiplier(world: World) -> None:
    await world.change_group({"multiplier_ppm": 500_000})


async def set_model_multiplier(world: World) -> None:
    await world.change_group({"model_multipliers": {"gpt-4*": 250_000}})


async def limit_to_one_a_minute(world: World) -> None:
    await world.change_group({"requests_per_minute": 1})


async def limit_to_none_a_day(world: World) -> None:
    await world.change_group({"requests_per_day": 0})


async def lift_limits(world: World) -> None:
    await world.change_group({"requests_per_minute": None, "requests_per_day": None})


async def make_by_request(world: World) -> None:
    await world.change_group({"visibility": "entitled"})


async def make_public(world: World) -> None:
    await world.change_group({"visibility": "public"})


async def take_group_away(world: World) -> None:
    async with world.storage.write() as tx:
        await archive_group(tx, world.administrator, GROUP)


async def entitle(world: World) -> None:
    await world.entitle(GROUP)


async def entitle_at_a_fifth(world: World) -> None:
    await world.entitle(GROUP, multiplier_ppm=200_000)


async def entitle_to_the_model(world: World) -> None:
    await world.entitle(GROUP, extra_models=(MODEL,))


async def end_entitlement(world: World) -> None:
    async with world.storage.write() as tx:
        await delete_entitlement(tx, world.administrator, world.user.user_id, GROUP)


async def double_price(world: World) -> None:
    await world.put_model(
        {"prices": {"input": Nanocredits(2 * INPUT_PRICE * 10**6), "output": Nanocredits(0)}}
    )


async def take_model_away(world: World) -> None:
    async with world.storage.write() as tx:
        await archive_model(tx, world.administrator, MODEL)


async def put_model_back(world: World) -> None:
    async with world.storage.write() as tx:
        await unarchive_model(tx, world.administrator, MODEL)


async def forget_output_maximum(world: World) -> None:
    await world.put_model({"max_output_tokens": None})


async def fill_in_output_maximum(world: World) -> None:
    await world.put_model({"max_output_tokens": 16_384})


async def disable_upstream(world: World) -> None:
    await world.change_upstream({"enabled": False})


async def enable_upstream(world: World) -> None:
    await world.change_upstream({"enabled": True})


async def take_model_off_upstream(world: World) -> None:
    await world.change_upstream({"models": {OTHER_MODEL: "there"}})


async def disable_key(world: World) -> None:
    await world.change_key({"state": "disabled"})


async def enable_key(world: World) -> None:
    await world.change_key({"state": "active"})


async def revoke_key(world: World) -> None:
    async with world.storage.write() as tx:
        await revoke_api_key(tx, world.user, world.key_id, account_id=world.user.account_id)


async def narrow_key_away(world: World) -> None:
    await world.change_key({"models": (EMBEDDING_MODEL,)})


async def widen_key(world: World) -> None:
    await world.change_key({"models": None})


async def bind_key_to_another_address(world: World) -> None:
    await world.change_key({"allowed_ips": ("198.51.100.0/24",)})


async def bind_key_to_this_address(world: World) -> None:
    await world.change_key({"allowed_ips": ("203.0.113.7",)})


async def limit_key_to_what_it_spent(world: World) -> None:
    (row,) = [row for row in await world.rows("api_keys") if row["id"] == world.key_id]
    await world.change_key({"credit_limit": row["spent"]})


async def lift_key_credit_limit(world: World) -> None:
    await world.change_key({"credit_limit": None})


async def move_key_to_cheap_group(world: World) -> None:
    await world.create_group("cheap", multiplier_ppm=100_000)
    await world.change_key({"group": "cheap"})


async def suspend(world: World) -> None:
    async with world.storage.write() as tx:
        await update_user(tx, world.administrator, world.user.user_id, {"state": "suspended"})


async def reactivate(world: World) -> None:
    async with world.storage.write() as tx:
        await update_user(tx, world.administrator, world.user.user_id, {"state": "active"})


async def take_credit(world: World) -> None:
    await world.set_credit(1)


async def give_credit(world: World) -> None:
    await world.set_credit(10**9)


async def in_order(world: World, *changes: Change) -> None:
    for change in changes:
        await change(world)


def after(*changes: Change) -> Change:
    """Return the changes, one after the other, as one."""

    async def change_all(world: World) -> None:
        await in_order(world, *changes)

    return change_all


NOTHING = after()
MOVED = LIST_PRICE // 10
# Prepared so, the first call comes to this; changed so, the very next one to that.
CHANGES = {
    "group_gains_the_model": (allow_only_other_model, refused("model_not_allowed"), allow_both, CHARGED),
    "group_loses_the_model": (NOTHING, CHARGED, allow_only_other_model, refused("model_not_allowed")),
    "group_multiplier": (NOTHING, CHARGED, halve_multiplier, Expected(charge=LIST_PRICE // 2)),
    "group_model_multiplier": (NOTHING, CHARGED, set_model_multiplier, Expected(charge=LIST_PRICE // 4)),
    "group_gets_an_rpm": (NOTHING, CHARGED, limit_to_one_a_minute, refused("rpm_exceeded")),
    "group_gets_a_tpd": (NOTHING, CHARGED, limit_to_none_a_day, refused("tpd_exceeded")),
    "group_loses_its_limit": (limit_to_none_a_day, refused("tpd_exceeded"), lift_limits, CHARGED),
    "group_is_archived": (NOTHING, CHARGED, take_group_away, refused("group_not_available")),
    "group_is_by_request": (NOTHING, CHARGED, make_by_request, refused("group_not_available")),
    "group_is_public": (make_by_request, refused("group_not_available"), make_public, CHARGED),
    "entitlement_begins": (make_by_request, refused("group_not_available"), entitle, CHARGED),
    "entitlement_ends": (
        after(make_by_request, entitle),
        CHARGED,
        end_entitlement,
        refused("group_not_available"),
    ),
    "entitlement_terms": (entitle, CHARGED, entitle_at_a_fifth, Expected(charge=LIST_PRICE // 5)),
    "entitlement_models": (
        allow_only_other_model,
        refused("model_not_allowed"),
        entitle_to_the_model,
        CHARGED,
    ),
    "price": (NOTHING, CHARGED, double_price, Expected(charge=2 * INPUT_PRICE * INPUT_TOKENS)),
    "model_is_archived": (NOTHING, CHARGED, take_model_away, refused("model_not_found")),
    "model_is_back": (take_model_away, refused("model_not_found"), put_model_back, CHARGED),
    "model_is_incomplete": (NOTHING, CHARGED, forget_output_maximum, refused("model_not_found")),
    "model_is_complete": (
        forget_output_maximum,
        refused("model_not_found"),
        fill_in_output_maximum,
        CHARGED,
    ),
    "upstream_is_off": (NOTHING, CHARGED, disable_upstream, refused("model_not_found")),
    "upstream_is_on": (disable_upstream, refused("model_not_found"), enable_upstream, CHARGED),
    "upstream_loses_the_model": (NOTHING, CHARGED, take_model_off_upstream, refused("model_not_found")),
    "key_is_off": (NOTHING, CHARGED, disable_key, refused("api_key_revoked")),
    "key_is_on": (disable_key, refused("api_key_revoked"), enable_key, CHARGED),
    "key_is_revoked": (NOTHING, CHARGED, revoke_key, refused("api_key_revoked")),
    "key_is_narrowed": (NOTHING, CHARGED, narrow_key_away, refused("model_not_allowed")),
    "key_is_widened": (narrow_key_away, refused("model_not_allowed"), widen_key, CHARGED),
    "key_is_bound": (NOTHING, CHARGED, bind_key_to_another_address, refused("ip_not_allowed")),
    "key_is_bound_here": (
        bind_key_to_another_address,
        refused("ip_not_allowed"),
        bind_key_to_this_address,
        CHARGED,
    ),
    "key_reaches_its_credit_limit": (
        NOTHING,
        CHARGED,
        limit_key_to_what_it_spent,
        refused("key_credit_limit_reached"),
    ),
    "key_loses_its_credit_limit": (
        limit_key_to_what_it_spent,
        refused("key_credit_limit_reached"),
        lift_key_credit_limit,
        CHARGED,
    ),
    "key_changes_its_group": (NOTHING, CHARGED, move_key_to_cheap_group, Expected(charge=MOVED)),
    "account_is_suspended": (NOTHING, CHARGED, suspend, refused("account_suspended")),
    "account_is_active": (suspend, refused("account_suspended"), reactivate, CHARGED),
    "credit_is_gone": (NOTHING, CHARGED, take_credit, refused("insufficient_credit")),
    "credit_is_there": (take_credit, refused("insufficient_credit"), give_credit, CHARGED),
}
