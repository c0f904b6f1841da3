"""Refusals: the right code, in the right order, with the facts; nothing is held and no provider is asked."""

import pytest

from tests.fakes.asgi_caller import AsgiCaller
from tests.gateway.replies import ask, whole_json
from tests.gateway.world import (
    CHAT,
    EMBEDDING_MODEL,
    EMBEDDINGS,
    MODEL,
    OTHER_MODEL,
    World,
    bearer,
    refusal,
)
from tokenopen.control.group import archive_group
from tokenopen.control.user import update_user
from tokenopen.core.api_key import API_KEY_PREFIX, MANAGEMENT_KEY_PREFIX, generate_key
from tokenopen.core.money import ZERO

KEY_OF_NOBODY = generate_key(API_KEY_PREFIX, lambda alphabet: alphabet[7])
MANAGEMENT_KEY = generate_key(MANAGEMENT_KEY_PREFIX, lambda alphabet: alphabet[7])


async def assert_untouched(world: World) -> None:
    """Assert that a refused call left no trace in the books and reached no provider."""
    assert world.upstream.requests == []
    assert await world.rows("calls") == []
    assert await world.rows("rate_windows") == []
    assert (await world.account())["held"] == 0


# The key, before any I/O


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic dXNlcjpwYXNz",
        b"Bearer junk",
        b"Bearer " + b"sk-to-" + b"A" * 50,
        b"Bearer " + KEY_OF_NOBODY[:-1].encode(),
        b"Bearer " + KEY_OF_NOBODY.encode() + b"0",
        b"Bearer " + KEY_OF_NOBODY.replace("7", "8", 1).encode(),
        b"Bearer sk-to-\xff\xfe",
        b"Bearer sk-proj-" + b"a" * 48,
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", CHAT), ("POST", EMBEDDINGS), ("GET", "/v1/models"), ("GET", "/v1/key")]
)
async def test_a_junk_key_is_refused_without_any_access_to_the_database(
    world: World, method: str, path: str, authorization: bytes | None
) -> None:
    accesses = world.storage.accesses
    headers = [] if authorization is None else [(b"authorization", authorization)]
    # Its body never comes, so it is not read either.
    caller = AsgiCaller(path=path, method=method, headers=headers, body=[], ended=False)
    reply = await caller.call(world.api)
    error = refusal(reply, 401, "invalid_api_key")
    assert error["type"] == "authentication_error"
    assert "x-request-id" in reply.headers
    assert world.storage.accesses == accesses


@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/v1/models")])
async def test_a_management_key_is_told_which_key_is_needed(world: World, method: str, path: str) -> None:
    accesses = world.storage.accesses
    caller = AsgiCaller(path=path, method=method, headers=[bearer(MANAGEMENT_KEY)], body=[], ended=False)
    error = refusal(await caller.call(world.api), 401, "invalid_api_key")
    assert "management key" in error["message"]
    assert "sk-to-" in error["message"]
    assert world.storage.accesses == accesses


async def test_a_well_formed_key_of_nobody_is_refused(world: World) -> None:
    error = refusal(await world.call(ask(), key=KEY_OF_NOBODY), 401, "invalid_api_key")
    assert KEY_OF_NOBODY not in error["message"]
    await assert_untouched(world)


# The key, the account, the group: before the body is looked at, each before those below


async def test_every_reason_is_told_before_those_that_follow_it(world: World) -> None:
    """One caller with everything against it; each reason is taken away in turn."""
    expires_ms = world.clock.now_ms() + 1_000
    await world.create_group("closing")
    await world.change_key(
        {
            "group": "closing",
            "expires_at_ms": expires_ms,
            "allowed_ips": ("198.51.100.1",),
            "state": "disabled",
        }
    )
    async with world.storage.write() as tx:
        await update_user(tx, world.administrator, world.user.user_id, {"state": "suspended"})
        await archive_group(tx, world.administrator, "closing")
    world.clock.move(seconds=1)
    broken = b'{"model": 1'
    refusal(await world.call(broken), 401, "api_key_revoked")
    await world.change_key({"state": "active"})
    refusal(await world.call(broken), 401, "api_key_expired")
    await world.change_key({"expires_at_ms": None})
    refusal(await world.call(broken), 403, "account_suspended")
    async with world.storage.write() as tx:
        await update_user(tx, world.administrator, world.user.user_id, {"state": "active"})
    refusal(await world.call(broken), 403, "group_not_available")
    await world.change_key({"group": "team"})
    refusal(await world.call(broken), 403, "ip_not_allowed")
    await world.change_key({"allowed_ips": None})
    refusal(await world.call(broken), 400, "invalid_request")
    refusal(await world.call(ask("no-such-model")), 404, "model_not_found")
    refusal(await world.call(ask(OTHER_MODEL)), 403, "model_not_allowed")
    await world.set_credit(1)
    await world.change_group({"requests_per_minute": 0})
    refusal(await world.call(ask()), 429, "rpm_exceeded")
    await world.change_group({"requests_per_minute": None})
    refusal(await world.call(ask()), 402, "insufficient_credit")
    await assert_untouched(world)


@pytest.mark.parametrize(
    ("address", "passes"),
    [
        ("198.51.100.7", True),
        ("198.51.101.7", False),
        ("::ffff:198.51.100.7", True),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("", False),
    ],
)
async def test_a_key_that_is_bound_to_addresses_works_from_those_only(
    world: World, address: str, passes: bool
) -> None:
    world.upstream.will(whole_json())
    key, _ = await world.create_key(allowed_ips=("198.51.100.0/24", "2001:db8::/32"))
    reply = await world.call(ask(), key=key, address=address)
    if passes:
        assert reply.status == 200
    else:
        refusal(reply, 403, "ip_not_allowed")
        await assert_untouched(world)


# The model


async def test_a_model_that_the_group_lacks_is_refused_naming_the_groups_that_have_it(world: World) -> None:
    await world.create_group("open-with-it", allowed_models=("gpt-*",))
    await world.create_group("mine-with-it", entitled=True, allowed_models=("*",))
    await world.create_group("not-mine", entitled=True, allowed_models=("*",))
    await world.create_group("open-without-it")
    await world.entitle("mine-with-it")
    error = refusal(await world.call(ask(OTHER_MODEL)), 403, "model_not_allowed")
    assert error["group"] == "Team"
    assert error["groups_with_model"] == ["mine-with-it", "open-with-it"]
    assert "open-with-it" in error["message"]
    assert "not-mine" not in error["message"]
    await assert_untouched(world)


async def test_a_model_that_the_key_leaves_out_is_refused_though_the_group_has_it(world: World) -> None:
    key, _ = await world.create_key(models=(EMBEDDING_MODEL,))
    refusal(await world.call(ask(), key=key), 403, "model_not_allowed")
    await assert_untouched(world)


async def test_a_key_can_only_narrow_its_group(world: World) -> None:
    key, _ = await world.create_key(models=("*",))
    refusal(await world.call(ask(OTHER_MODEL), key=key), 403, "model_not_allowed")
    await assert_untouched(world)


@pytest.mark.parametrize("lacks", ["price", "upstream", "context_window", "max_output_tokens"])
async def test_a_model_that_lacks_something_is_not_offered(world: World, lacks: str) -> None:
    await world.change_group({"allowed_models": ("*",)})
    name = "new-model"
    if lacks != "upstream":
        await world.change_upstream({"models": {name: "there", MODEL: "mini-there"}})
    await world.put_model(
        {
            "context_window": None if lacks == "context_window" else 1_000,
            "max_output_tokens": None if lacks == "max_output_tokens" else 100,
        },
        name=name,
    )
    if lacks != "price":
        await world.put_model({"prices": {"input": ZERO, "output": ZERO}}, name=name)
    refusal(await world.call(ask(name)), 404, "model_not_found")
    models = (await world.look_up("/v1/models")).json()["data"]
    assert name not in [model["id"] for model in models]
    await assert_untouched(world)


async def test_a_price_of_zero_is_a_price(world: World) -> None:
    await world.put_model({"prices": {"input": ZERO, "output": ZERO}})
    await world.set_credit(1)
    world.upstream.will(whole_json())
    reply = await world.call(ask())
    assert (reply.status, reply.headers["x-tokenopen-charge"]) == (200, "0")
    assert await world.charges() == [0]
    await world.assert_sound()


# Paths


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", CHAT), ("DELETE", "/v1/models"), ("POST", "/v1/nothing"), ("GET", "/v1/"), ("PUT", EMBEDDINGS)],
)
async def test_a_path_that_is_not_offered_is_a_404(world: World, method: str, path: str) -> None:
    caller = AsgiCaller(path=path, method=method, headers=[bearer(world.key)])
    refusal(await caller.call(world.api), 404, "not_found")
