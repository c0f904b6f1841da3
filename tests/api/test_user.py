"""Users through the control API: created, suspended, made administrators."""

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from tests.api.conftest import refusal
from tests.conftest import HASHING_KEY, make_management_key, make_user
from tokenopen.control.actor import Actor
from tokenopen.core.api_key import hash_key
from tokenopen.storage.schema import accounts, users
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient
PASSWORD = "correct horse battery"


async def test_a_new_user_has_an_empty_account_of_their_own(admin_client: Client) -> None:
    answer = await admin_client.post("/api/admin/users", json={"email": "Eve@Example.com", "name": "Eve"})
    assert answer.status_code == 201
    created = answer.json()
    assert created["email"] == "eve@example.com"
    assert (created["role"], created["state"], created["has_password"]) == ("user", "active", False)
    assert (created["balance"], created["held"], created["available"]) == ("0", "0", "0")
    assert created["account_id"].startswith("acc_")
    assert (await admin_client.get(f"/api/admin/users/{created['id']}")).json() == created


async def test_balance_held_and_available_are_the_account_s(
    user_client: Client, user: Actor, storage: SqliteStorage
) -> None:
    async with storage.write() as tx:
        await tx.execute(
            accounts.update()
            .where(accounts.c.id == user.account_id)
            .values(balance=12_500_000_000, held=500_000_001)
        )
    me = (await user_client.get("/api/me")).json()
    assert (me["balance"], me["held"], me["available"]) == ("12.5", "0.500000001", "11.999999999")
    assert me["email"] == user.email


async def test_a_password_is_kept_as_its_argon2_hash_only(
    admin_client: Client, storage: SqliteStorage
) -> None:
    answer = await admin_client.post(
        "/api/admin/users", json={"email": "eve@example.com", "name": "Eve", "password": PASSWORD}
    )
    assert PASSWORD not in answer.text
    assert answer.json()["has_password"] is True
    async with storage.read() as tx:
        row = await tx.fetch_one(select(users).where(users.c.email == "eve@example.com"))
    assert row is not None
    assert row["password_hash"].startswith("$argon2id$")
    assert PasswordHasher().verify(row["password_hash"], PASSWORD)
    assert row["password_hash"] not in (await admin_client.get("/api/admin/audit-log")).text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "eve"),
        ("email", "eve@exa mple.com"),
        ("email", "@example.com"),
        ("email", None),
        ("name", ""),
        ("password", "short"),
        ("password", "x" * 201),
        ("role", "root"),
        ("balance", "100"),
    ],
)
async def test_a_user_that_cannot_be_is_refused_by_name(
    admin_client: Client, field: str, value: object
) -> None:
    body = {"email": "eve@example.com", "name": "Eve"} | {field: value}
    error = refusal(await admin_client.post("/api/admin/users", json=body), 400, "invalid_request")
    assert error["param"] == field
    # What was sent may be a secret.
    assert "x" * 201 not in str(error)


async def test_a_mail_address_is_one_user_s_however_it_is_written(admin_client: Client, user: Actor) -> None:
    body = {"email": user.email.upper(), "name": "Other"}
    error = refusal(await admin_client.post("/api/admin/users", json=body), 409, "conflict")
    assert error["param"] == "email"


async def test_users_are_found_by_mail_role_and_state(
    admin_client: Client, user: Actor, other_user: Actor
) -> None:
    await admin_client.patch(f"/api/admin/users/{other_user.user_id}", json={"state": "suspended"})

    async def emails(query: str) -> set[str]:
        return {
            entry["email"] for entry in (await admin_client.get(f"/api/admin/users?{query}")).json()["data"]
        }

    assert await emails("email=ADA@example.com") == {"ada@example.com"}
    assert await emails("role=administrator") == {"admin@localhost"}
    assert await emails("search=MIN@loc") == {"admin@localhost"}
    assert await emails("search=nobody") == set()
    assert await emails("state=suspended") == {"bob@example.com"}
    assert await emails("") == {"admin@localhost", "ada@example.com", "bob@example.com"}
    refusal(await admin_client.get("/api/admin/users?state=gone"), 400, "invalid_request")


async def test_a_suspended_user_is_refused_on_both_sides_and_comes_back(
    admin_client: Client, user_client: Client, user: Actor, storage: SqliteStorage
) -> None:
    secret = (await user_client.post("/api/me/keys", json={"name": "key"})).json()["key"]
    path = f"/api/admin/users/{user.user_id}"

    async def account_state() -> str:
        caller = await storage.find_caller(hash_key(secret, HASHING_KEY), await storage.load_catalog())
        assert caller is not None
        return caller.account_state  # type: ignore[union-attr]

    assert (await admin_client.patch(path, json={"state": "suspended"})).json()["state"] == "suspended"
    refusal(await user_client.get("/api/me"), 403, "account_suspended")
    assert await account_state() == "suspended"
    await admin_client.patch(path, json={"state": "active"})
    assert (await user_client.get("/api/me")).status_code == 200
    assert await account_state() == "active"


async def test_a_role_counts_from_the_very_next_request(
    admin_client: Client, user_client: Client, user: Actor
) -> None:
    path = f"/api/admin/users/{user.user_id}"
    await admin_client.patch(path, json={"role": "administrator"})
    assert (await user_client.get("/api/admin/users")).status_code == 200
    await admin_client.patch(path, json={"role": "user"})
    refusal(await user_client.get("/api/admin/users"), 403, "permission_denied")


@pytest.mark.parametrize("change", [{"role": "user"}, {"state": "suspended"}])
async def test_the_last_active_administrator_stays(
    admin_client: Client, administrator: Actor, storage: SqliteStorage, change: dict[str, str]
) -> None:
    path = f"/api/admin/users/{administrator.user_id}"
    refusal(await admin_client.patch(path, json=change), 409, "conflict")
    suspended = await make_user(storage, administrator, "second@example.com", role="administrator")
    await admin_client.patch(f"/api/admin/users/{suspended.user_id}", json={"state": "suspended"})
    refusal(await admin_client.patch(path, json=change), 409, "conflict")
    await admin_client.patch(f"/api/admin/users/{suspended.user_id}", json={"state": "active"})
    assert (await admin_client.patch(path, json=change)).status_code == 200


@pytest.mark.parametrize(
    "change", [{"name": None}, {"role": None}, {"state": None}, {"state": "gone"}, {"email": "x@y"}]
)
async def test_a_change_that_cannot_be_is_refused(
    admin_client: Client, user: Actor, change: dict[str, object]
) -> None:
    error = refusal(
        await admin_client.patch(f"/api/admin/users/{user.user_id}", json=change), 400, "invalid_request"
    )
    assert error["param"] in change


async def test_nobody_is_not_found(admin_client: Client) -> None:
    refusal(await admin_client.get("/api/admin/users/usr_nobody"), 404, "not_found")
    refusal(await admin_client.patch("/api/admin/users/usr_nobody", json={"name": "N"}), 404, "not_found")


async def test_a_second_key_of_the_same_user_sees_the_same(
    user_client: Client, user: Actor, storage: SqliteStorage
) -> None:
    key = await make_management_key(storage, user)
    headers = {"Authorization": f"Bearer {key}"}
    assert (await user_client.get("/api/me", headers=headers)).json()["id"] == user.user_id
