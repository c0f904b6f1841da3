"""Management keys through the control API: shown once, revoked for good, as mighty as their user."""

import httpx
from sqlalchemy import select

from tests.api.conftest import refusal
from tests.conftest import HASHING_KEY
from tokenopen.control.actor import Actor
from tokenopen.core.api_key import MANAGEMENT_KEY_PREFIX, hash_key, is_well_formed
from tokenopen.storage.schema import management_keys
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_the_secret_is_shown_once_and_stored_as_a_keyed_hash(
    user_client: Client, admin_client: Client, storage: SqliteStorage
) -> None:
    answer = await user_client.post("/api/me/management-keys", json={"name": "ci"})
    assert answer.status_code == 201
    created = answer.json()
    secret = created.pop("key")
    assert is_well_formed(secret, MANAGEMENT_KEY_PREFIX)
    assert created["last_four"] == secret[-4:]
    listed = await user_client.get("/api/me/management-keys")
    assert created in listed.json()["data"]
    assert secret not in listed.text
    assert secret not in (await admin_client.get("/api/admin/audit-log")).text
    async with storage.read() as tx:
        row = await tx.fetch_one(select(management_keys).where(management_keys.c.id == created["id"]))
    assert row is not None
    assert row["key_hash"] == hash_key(secret, HASHING_KEY)
    assert secret not in str(dict(row))


async def test_it_carries_its_user_s_role(
    user_client: Client, admin_client: Client, anonymous_client: Client, user: Actor
) -> None:
    answer = await admin_client.post(
        f"/api/admin/users/{user.user_id}/management-keys", json={"name": "given"}
    )
    headers = _bearer(answer.json()["key"])
    assert (await anonymous_client.get("/api/me", headers=headers)).json()["email"] == "ada@example.com"
    refusal(await anonymous_client.get("/api/admin/users", headers=headers), 403, "permission_denied")
    names = {key["name"] for key in (await user_client.get("/api/me/management-keys")).json()["data"]}
    assert names == {"Test", "given"}


async def test_a_revoked_one_is_refused_and_says_so(user_client: Client, anonymous_client: Client) -> None:
    created = (await user_client.post("/api/me/management-keys", json={"name": "ci"})).json()
    path = f"/api/me/management-keys/{created['id']}/revoke"
    revoked = (await user_client.post(path)).json()
    assert (revoked["state"], revoked["revoked_at"]) == ("revoked", "2026-06-01T12:00:00Z")
    error = refusal(
        await anonymous_client.get("/api/me", headers=_bearer(created["key"])), 401, "api_key_revoked"
    )
    assert "ci" in error["message"]
    assert (await user_client.post(path)).json() == revoked


async def test_another_s_is_not_there(
    user_client: Client, other_client: Client, admin_client: Client, user: Actor, other_user: Actor
) -> None:
    created = (await user_client.post("/api/me/management-keys", json={"name": "ci"})).json()
    refusal(await other_client.post(f"/api/me/management-keys/{created['id']}/revoke"), 404, "not_found")
    path = "/api/admin/users/{}/management-keys/{}/revoke"
    refusal(await admin_client.post(path.format(other_user.user_id, created["id"])), 404, "not_found")
    assert (await admin_client.post(path.format(user.user_id, created["id"]))).json()["state"] == "revoked"


async def test_users_that_do_not_exist_have_none(admin_client: Client) -> None:
    for answer in (
        await admin_client.get("/api/admin/users/usr_x/management-keys"),
        await admin_client.post("/api/admin/users/usr_x/management-keys", json={"name": "ci"}),
        await admin_client.post("/api/admin/users/usr_x/management-keys/mgk_x/revoke"),
    ):
        refusal(answer, 404, "not_found")


async def test_the_environment_s_name_is_not_given_to_another(admin_client: Client) -> None:
    answer = await admin_client.post("/api/me/management-keys", json={"name": "TOKENOPEN_ADMIN_KEY"})
    assert refusal(answer, 400, "invalid_request")["param"] == "name"
