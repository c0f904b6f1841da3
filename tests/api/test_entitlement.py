"""Entitlements through the control API: who may use a group, on which own terms, until when."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Entitle, refusal
from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor

Client = httpx.AsyncClient


async def test_without_own_terms_the_group_s_apply(entitle: Entitle) -> None:
    entitlement = await entitle("vip")
    assert entitlement["multiplier"] is None
    assert entitlement["display_multiplier"] == "From 0.8x"
    assert "requests_per_minute" not in entitlement
    assert entitlement["limits"] == {
        "requests_per_minute": 600,
        "requests_per_day": 20_000,
        "tokens_per_minute": None,
        "concurrent_calls": None,
    }
    assert entitlement["in_force"] is True
    assert entitlement["expires_at"] is None
    assert entitlement["by"]["email"] == "admin@localhost"


async def test_an_absent_limit_is_the_group_s_and_null_is_none(entitle: Entitle) -> None:
    entitlement = await entitle("vip", requests_per_minute=1000, requests_per_day=None)
    assert entitlement["requests_per_minute"] == 1000
    assert entitlement["requests_per_day"] is None
    assert entitlement["limits"]["requests_per_minute"] == 1000
    assert entitlement["limits"]["requests_per_day"] is None


async def test_put_replaces_whole_under_the_same_id(entitle: Entitle, clock: MovableClock) -> None:
    first = await entitle("enterprise", multiplier="0.6", extra_models=["o3"], requests_per_minute=5)
    clock.move(seconds=5)
    second = await entitle("enterprise", model_multipliers={"gpt-5*": "0.5"})
    assert second["id"] == first["id"]
    assert second["multiplier"] is None
    assert second["model_multipliers"] == {"gpt-5*": "0.5"}
    assert second["extra_models"] == []
    assert "requests_per_minute" not in second
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]


async def test_a_group_open_to_everyone_may_be_given_on_own_terms(
    entitle: Entitle, user_client: Client
) -> None:
    await entitle("default", multiplier="0.9")
    key = (await user_client.post("/api/me/keys", json={"name": "key"})).json()
    assert (key["multiplier"], key["multiplier_rule"]) == ("0.9", "entitlement")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("multiplier", 0.5),
        ("multiplier", "-0.5"),
        ("model_multipliers", {"a b": "1"}),
        ("requests_per_minute", -1),
        ("tokens_per_minute", "many"),
        ("concurrent_calls", 10**10),
        ("extra_models", ["a b"]),
        ("expires_at", "2026-06-01T12:00:00Z"),
        ("expires_at", "soon"),
        ("group", "vip"),
    ],
)
async def test_terms_that_cannot_be_are_refused_by_name(
    admin_client: Client, user: Actor, field: str, value: object
) -> None:
    path = f"/api/admin/users/{user.user_id}/entitlements/vip"
    error = refusal(await admin_client.put(path, json={field: value}), 400, "invalid_request")
    assert error["param"].split(".")[0] == field
    assert (await admin_client.get(f"/api/admin/users/{user.user_id}/entitlements")).json()["data"] == []


async def test_it_ends_by_itself_and_is_still_listed(
    admin_client: Client, user_client: Client, user: Actor, entitle: Entitle, clock: MovableClock
) -> None:
    await entitle("vip", expires_at="2026-06-01T13:00:00Z")
    assert [group["slug"] for group in (await user_client.get("/api/me/groups")).json()["data"]] == [
        "default",
        "vip",
    ]
    clock.move(seconds=3600)
    assert [group["slug"] for group in (await user_client.get("/api/me/groups")).json()["data"]] == [
        "default"
    ]
    listed = (await admin_client.get(f"/api/admin/users/{user.user_id}/entitlements")).json()["data"]
    assert [(entry["group"]["slug"], entry["in_force"]) for entry in listed] == [("vip", False)]


async def test_deleting_ends_it_at_once_and_only_once(
    admin_client: Client, user_client: Client, user: Actor, entitle: Entitle
) -> None:
    await entitle("vip")
    path = f"/api/admin/users/{user.user_id}/entitlements/vip"
    answer = await admin_client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    refusal(
        await user_client.post("/api/me/keys", json={"name": "key", "group": "vip"}),
        403,
        "group_not_available",
    )
    refusal(await admin_client.delete(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/api/admin/users/usr_x/entitlements/vip", "{mine}/entitlements/gold"])
async def test_user_and_group_have_to_exist(admin_client: Client, user: Actor, path: str) -> None:
    filled = path.format(mine=f"/api/admin/users/{user.user_id}")
    for answer in (await admin_client.put(filled, json={}), await admin_client.delete(filled)):
        refusal(answer, 404, "not_found")


async def test_nobody_is_let_into_an_archived_group(admin_client: Client, user: Actor) -> None:
    await admin_client.post("/api/admin/groups/vip/archive")
    refusal(
        await admin_client.put(f"/api/admin/users/{user.user_id}/entitlements/vip", json={}), 409, "conflict"
    )


async def test_one_account_s_entitlement_opens_nothing_for_another(
    entitle: Entitle, other_client: Client
) -> None:
    await entitle("vip")
    answer: Any = (await other_client.get("/api/me/groups")).json()
    assert [group["slug"] for group in answer["data"]] == ["default"]
    assert [group["slug"] for group in answer["by_request"]] == ["vip", "enterprise"]
