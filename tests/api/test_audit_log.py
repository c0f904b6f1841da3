"""The audit log through the control API: who changed what, before and after, and never a secret."""

from typing import Any

import httpx

from tests.api.conftest import Entitle, refusal
from tokenopen.control.actor import Actor

Client = httpx.AsyncClient


async def _log(client: Client, query: str = "") -> list[dict[str, Any]]:
    return list((await client.get(f"/api/admin/audit-log?{query}")).json()["data"])


async def test_a_change_stands_there_with_its_actor_before_and_after(
    admin_client: Client, administrator: Actor
) -> None:
    group = (await admin_client.patch("/api/admin/groups/vip", json={"multiplier": "0.75"})).json()
    entry = (await _log(admin_client, "action=group.update"))[0]
    assert entry["actor"] == {"id": administrator.user_id, "email": "admin@localhost"}
    assert entry["at"] == "2026-06-01T12:00:00Z"
    assert (entry["subject_kind"], entry["subject_id"]) == ("group", group["id"])
    assert (entry["before"]["multiplier"], entry["after"]["multiplier"]) == ("0.8", "0.75")
    assert entry["before"] | {"multiplier": "0.75"} == entry["after"]


async def test_what_is_refused_or_changes_nothing_is_not_there(admin_client: Client) -> None:
    before = await _log(admin_client)
    await admin_client.patch("/api/admin/groups/vip", json={"multiplier": "0.8"})
    await admin_client.post("/api/admin/groups/default/archive")
    await admin_client.patch("/api/admin/settings", json={"name": "TokenOpen"})
    assert await _log(admin_client) == before


async def test_every_kind_of_change_is_there(
    admin_client: Client, user_client: Client, user: Actor, entitle: Entitle
) -> None:
    new_group = {"slug": "new", "name": "New", "multiplier": "1", "allowed_models": []}
    await admin_client.post("/api/admin/groups", json=new_group)
    await admin_client.patch("/api/admin/groups/new", json={"slug": "newer"})
    await admin_client.post("/api/admin/groups/newer/archive")
    await entitle("vip")
    await admin_client.delete(f"/api/admin/users/{user.user_id}/entitlements/vip")
    key = (await user_client.post("/api/me/keys", json={"name": "key"})).json()
    await user_client.patch(f"/api/me/keys/{key['id']}", json={"credit_limit": "5"})
    await user_client.post(f"/api/me/keys/{key['id']}/revoke")
    management = (await user_client.post("/api/me/management-keys", json={"name": "key"})).json()
    await user_client.post(f"/api/me/management-keys/{management['id']}/revoke")
    for decision in ("approved", "declined", "cancelled"):
        group = "enterprise" if decision == "approved" else "vip"
        request = (
            await user_client.post("/api/me/upgrade-requests", json={"group": group, "reason": "more"})
        ).json()
        client, side = (user_client, "me") if decision == "cancelled" else (admin_client, "admin")
        await client.patch(f"/api/{side}/upgrade-requests/{request['id']}", json={"state": decision})
    await admin_client.patch("/api/admin/settings", json={"name": "House"})
    await admin_client.patch(f"/api/admin/users/{user.user_id}", json={"state": "suspended"})

    log = await _log(admin_client, "limit=200")

    assert {entry["action"] for entry in log} == {
        "api_key.create",
        "api_key.revoke",
        "api_key.update",
        "entitlement.delete",
        "entitlement.put",
        "group.archive",
        "group.create",
        "group.update",
        "management_key.create",
        "management_key.revoke",
        "platform.create",
        "platform.update",
        "upgrade_request.approve",
        "upgrade_request.cancel",
        "upgrade_request.create",
        "upgrade_request.decline",
        "user.create",
        "user.update",
    }
    text = str(log)
    for secret in (key["key"], management["key"]):
        assert secret not in text
    mine = [entry["action"] for entry in log if entry["actor"]["id"] == user.user_id]
    assert "api_key.create" in mine
    assert "group.update" not in mine


async def test_it_is_filtered_by_subject_and_actor_and_comes_in_pages(
    admin_client: Client, user_client: Client, user: Actor
) -> None:
    key = (await user_client.post("/api/me/keys", json={"name": "key"})).json()
    assert [entry["action"] for entry in await _log(admin_client, f"subject={key['id']}")] == [
        "api_key.create"
    ]
    by_user = await _log(admin_client, f"actor={user.user_id}&subject_kind=api_key")
    assert [entry["subject_id"] for entry in by_user] == [key["id"]]
    assert await _log(admin_client, "subject=key_x") == []
    every = await _log(admin_client)
    first = (await admin_client.get("/api/admin/audit-log?limit=3")).json()
    rest = (await admin_client.get(f"/api/admin/audit-log?cursor={first['next_cursor']}")).json()
    assert first["data"] + rest["data"] == every
    refusal(await admin_client.get("/api/admin/audit-log?who=me"), 400, "invalid_request")
