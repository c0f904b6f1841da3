"""A change binds the very next call because it raises a version; a route that forgets to fails here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import pytest

from tests.api.route_table import ROUTES, Route
from tests.fakes.clock import MovableClock
from tests.sessions import PASSWORD, give_session
from tests.till_calls import start_calls
from tokenopen.control.actor import Actor
from tokenopen.storage.sqlite import SqliteStorage

Version = Literal["catalog", "account"]
Send = Callable[..., Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a change is made in. ``user`` is the one whose account's version is looked at."""

    storage: SqliteStorage
    clock: MovableClock
    admin: httpx.AsyncClient
    mine: httpx.AsyncClient
    administrator: Actor
    user: Actor

    async def send(self, method: Send, path: str, body: Mapping[str, Any]) -> Any:
        """Prepare something and return it."""
        answer = await method(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()


Prepare = Callable[[World], Awaitable[Mapping[str, str]]]


async def _user(world: World) -> Mapping[str, str]:
    return {"user_id": world.user.user_id}


async def _entitled(world: World) -> Mapping[str, str]:
    path = f"/api/admin/users/{world.user.user_id}/entitlements/vip"
    assert (await world.admin.put(path, json={})).status_code == 200
    return {"user_id": world.user.user_id, "slug": "vip"}


async def _key(world: World) -> Mapping[str, str]:
    key = await world.send(world.mine.post, "/api/me/keys", {"name": "key"})
    return {"key_id": key["id"]}


async def _key_to_move(world: World) -> Mapping[str, str]:
    await _entitled(world)
    return await _key(world)


async def _management_key(world: World) -> Mapping[str, str]:
    key = await world.send(world.mine.post, "/api/me/management-keys", {"name": "key"})
    return {"key_id": key["id"], "user_id": world.user.user_id}


async def _session(world: World) -> Mapping[str, str]:
    await give_session(world.storage, world.user.user_id)
    sessions = (await world.mine.get("/api/me/sessions")).json()["data"]
    return {"session_id": sessions[0]["id"], "user_id": world.user.user_id}


async def _request(world: World) -> Mapping[str, str]:
    request = await world.send(
        world.mine.post, "/api/me/upgrade-requests", {"group": "vip", "reason": "more"}
    )
    return {"request_id": request["id"]}


async def _vip(world: World) -> Mapping[str, str]:
    return {"slug": "vip", "user_id": world.user.user_id}


async def _model(world: World) -> Mapping[str, str]:
    await world.send(world.admin.put, "/api/admin/models/house-model", MODEL)
    return {"name": "house-model"}


async def _archived_model(world: World) -> Mapping[str, str]:
    names = await _model(world)
    assert (await world.admin.post("/api/admin/models/house-model/archive")).is_success
    return names


async def _upstream(world: World) -> Mapping[str, str]:
    upstream = await world.send(world.admin.post, "/api/admin/upstreams", NEW_UPSTREAM)
    return {"upstream_id": upstream["id"]}


async def _settled_call(world: World) -> Mapping[str, str]:
    calls = await start_calls(world.storage, world.clock, world.administrator, world.user)
    return {"call_id": await calls.call()}


async def _flagged_call(world: World) -> Mapping[str, str]:
    calls = await start_calls(world.storage, world.clock, world.administrator, world.user)
    return {"call_id": await calls.flagged()}


async def _nothing(world: World) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a route is used, and which version it has to raise; None: calls do not depend on it."""

    raises: Version | None
    prepare: Prepare = _nothing
    body: Mapping[str, Any] | None = field(default=None)


MODEL = {"prices": {"input": "1", "output": "2"}, "context_window": 1000, "max_output_tokens": 100}
CREDIT = {"amount": "1", "reason": "paid"}
NEW_UPSTREAM = {"name": "new", "provider": "openai", "credential": "secret-credential"}
NEW_GROUP = {"slug": "new", "name": "New", "multiplier": "1", "allowed_models": ["gpt-4o"]}

CHANGES: Mapping[Route, Change] = {
    ("POST", "/api/admin/groups"): Change(raises="catalog", body=NEW_GROUP),
    ("PATCH", "/api/admin/groups/{slug}"): Change(raises="catalog", prepare=_vip, body={"multiplier": "0.5"}),
    ("POST", "/api/admin/groups/{slug}/archive"): Change(raises="catalog", prepare=_vip),
    ("PATCH", "/api/admin/settings"): Change(raises="catalog", body={"time_zone": "Europe/Berlin"}),
    ("PUT", "/api/admin/models/{name}"): Change(
        raises="catalog", prepare=_model, body={"prices": {"input": "2", "output": "2"}}
    ),
    ("POST", "/api/admin/models/{name}/archive"): Change(raises="catalog", prepare=_model),
    ("POST", "/api/admin/models/{name}/unarchive"): Change(raises="catalog", prepare=_archived_model),
    ("POST", "/api/admin/models/import"): Change(raises="catalog", body={"makers": ["deepseek"]}),
    ("POST", "/api/admin/upstreams"): Change(raises="catalog", body=NEW_UPSTREAM),
    ("PATCH", "/api/admin/upstreams/{upstream_id}"): Change(
        raises="catalog", prepare=_upstream, body={"enabled": False}
    ),
    ("POST", "/api/admin/upstreams/{upstream_id}/test"): Change(raises=None, prepare=_upstream),
    # Credit is never cached: the till reads it under its lock.
    ("POST", "/api/admin/users/{user_id}/credits"): Change(raises=None, prepare=_user, body=CREDIT),
    ("POST", "/api/admin/users/{user_id}/adjustments"): Change(raises=None, prepare=_user, body=CREDIT),
    ("POST", "/api/admin/calls/{call_id}/refunds"): Change(
        raises=None, prepare=_settled_call, body={"reason": "sorry"}
    ),
    ("POST", "/api/admin/calls/{call_id}/adjustments"): Change(
        raises=None, prepare=_flagged_call, body={"amount": "-0.0001", "reason": "not free"}
    ),
    ("POST", "/api/admin/calls/{call_id}/review"): Change(raises=None, prepare=_flagged_call, body={}),
    # Nobody calls with what a new user, management key, session, password or open request is.
    ("POST", "/api/admin/users"): Change(raises=None, body={"email": "new@example.com", "name": "New"}),
    ("POST", "/api/me/management-keys"): Change(raises=None, body={"name": "key"}),
    ("POST", "/api/me/management-keys/{key_id}/revoke"): Change(raises=None, prepare=_management_key),
    ("POST", "/api/admin/users/{user_id}/management-keys"): Change(
        raises=None, prepare=_user, body={"name": "key"}
    ),
    ("POST", "/api/admin/users/{user_id}/management-keys/{key_id}/revoke"): Change(
        raises=None, prepare=_management_key
    ),
    ("POST", "/api/me/sessions/{session_id}/revoke"): Change(raises=None, prepare=_session),
    ("POST", "/api/admin/users/{user_id}/sessions/{session_id}/revoke"): Change(
        raises=None, prepare=_session
    ),
    ("POST", "/api/admin/users/{user_id}/password"): Change(
        raises=None, prepare=_user, body={"password": PASSWORD}
    ),
    ("POST", "/api/admin/users/{user_id}/password-links"): Change(raises=None, prepare=_user),
    ("POST", "/api/admin/administrator-links"): Change(raises=None),
    ("POST", "/api/me/upgrade-requests"): Change(raises=None, body={"group": "vip", "reason": "more"}),
    ("PATCH", "/api/me/upgrade-requests/{request_id}"): Change(
        raises=None, prepare=_request, body={"state": "cancelled"}
    ),
    ("PATCH", "/api/admin/upgrade-requests/{request_id}"): Change(
        raises="account", prepare=_request, body={"state": "approved"}
    ),
    ("PATCH", "/api/admin/users/{user_id}"): Change(
        raises="account", prepare=_user, body={"state": "suspended"}
    ),
    ("PUT", "/api/admin/users/{user_id}/entitlements/{slug}"): Change(
        raises="account", prepare=_vip, body={"multiplier": "0.7"}
    ),
    ("DELETE", "/api/admin/users/{user_id}/entitlements/{slug}"): Change(raises="account", prepare=_entitled),
    ("POST", "/api/me/keys"): Change(raises="account", body={"name": "key"}),
    ("PATCH", "/api/me/keys/{key_id}"): Change(raises="account", prepare=_key, body={"state": "disabled"}),
    ("POST", "/api/me/keys/move"): Change(
        raises="account", prepare=_key_to_move, body={"group": "vip", "keys": None}
    ),
    ("POST", "/api/me/keys/{key_id}/rotate"): Change(raises="account", prepare=_key),
    ("POST", "/api/me/keys/{key_id}/revoke"): Change(raises="account", prepare=_key),
    ("POST", "/api/admin/users/{user_id}/keys"): Change(
        raises="account", prepare=_user, body={"name": "key"}
    ),
    ("PATCH", "/api/admin/keys/{key_id}"): Change(
        raises="account", prepare=_key, body={"models": ["gpt-4o"]}
    ),
    ("POST", "/api/admin/keys/{key_id}/rotate"): Change(raises="account", prepare=_key),
    ("POST", "/api/admin/keys/{key_id}/revoke"): Change(raises="account", prepare=_key),
}


@pytest.fixture
def world(
    storage: SqliteStorage,
    clock: MovableClock,
    admin_client: httpx.AsyncClient,
    user_client: httpx.AsyncClient,
    administrator: Actor,
    user: Actor,
) -> World:
    """A database that has been set up, and two people."""
    return World(
        storage=storage,
        clock=clock,
        admin=admin_client,
        mine=user_client,
        administrator=administrator,
        user=user,
    )


def test_every_route_that_changes_something_is_in_the_table() -> None:
    assert sorted(route for route in ROUTES if route[0] != "GET") == sorted(CHANGES)


@pytest.mark.parametrize("route", CHANGES, ids=" ".join)
async def test_a_change_raises_the_version_that_calls_compare(world: World, route: Route) -> None:
    change = CHANGES[route]
    method, path = route
    filled = path.format_map(await change.prepare(world))
    client = world.admin if path.startswith("/api/admin/") else world.mine
    before = await world.storage.find_versions(world.user.account_id)

    answer = await client.request(method, filled, json=change.body)

    assert answer.is_success, answer.text
    after = await world.storage.find_versions(world.user.account_id)
    raised = {
        name
        for name, was, is_now in (
            ("catalog", before.catalog, after.catalog),
            ("account", before.account, after.account),
        )
        if was != is_now
    }
    assert raised == ({change.raises} if change.raises else set())


@pytest.mark.parametrize(
    "route",
    [route for route, change in CHANGES.items() if change.raises and route[0] in ("PATCH", "PUT")],
    ids=" ".join,
)
async def test_the_same_change_again_changes_nothing(world: World, route: Route) -> None:
    """A version that is raised for nothing makes every worker read everything anew."""
    change = CHANGES[route]
    method, path = route
    filled = path.format_map(await change.prepare(world))
    client = world.admin if path.startswith("/api/admin/") else world.mine
    first = await client.request(method, filled, json=change.body)
    assert first.is_success, first.text
    before = await world.storage.find_versions(world.user.account_id)

    again = await client.request(method, filled, json=change.body)

    assert await world.storage.find_versions(world.user.account_id) == before
    assert again.status_code == 409 or again.json() == first.json()
