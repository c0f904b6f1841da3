"""API keys through the control API: in which group, how narrowed, and that the secret is seen once."""

import logging
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.api.conftest import Entitle, refusal
from tests.conftest import HASHING_KEY
from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor
from tokenopen.core.api_key import API_KEY_PREFIX, hash_key, is_well_formed, public_id_of
from tokenopen.core.caller import Caller, refuse_caller
from tokenopen.storage.schema import api_keys
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient


async def _create(client: Client, **body: Any) -> dict[str, Any]:
    answer = await client.post("/api/me/keys", json={"name": "key"} | body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def _caller(storage: SqliteStorage, secret: str) -> Caller:
    """What the gateway learns of a key, read anew."""
    found = await storage.find_caller(hash_key(secret, HASHING_KEY), await storage.load_catalog())
    assert isinstance(found, Caller)
    return found


async def test_without_a_group_the_default_s_terms_are_shown(user_client: Client) -> None:
    key = await _create(user_client)
    assert key["group"] == {"slug": "default", "name": "Default", "open": True}
    assert (key["display_multiplier"], key["multiplier"], key["multiplier_rule"]) == ("1.0x", "1.0", "group")
    assert "gpt-4o-mini" in key["allowed_models"]
    assert key["limits"]["requests_per_minute"] == 60
    assert key["limits"]["requests_per_day"] == 1000
    assert key["state"] == "active"
    for unnarrowed in ("models", "allowed_ips", "credit_limit", "expires_at", "last_used_at", "revoked_at"):
        assert key[unnarrowed] is None
    assert (key["spent"], key["held"]) == ("0", "0")


async def test_another_default_group_holds_for_the_next_key(
    admin_client: Client, user_client: Client
) -> None:
    await admin_client.patch("/api/admin/groups/vip", json={"visibility": "public"})
    await admin_client.patch("/api/admin/settings", json={"default_group": "vip"})
    assert (await _create(user_client))["group"]["slug"] == "vip"


async def test_the_secret_is_shown_once_and_stored_as_a_keyed_hash(
    user_client: Client, admin_client: Client, storage: SqliteStorage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = await _create(user_client)
    secret = key.pop("key")
    assert is_well_formed(secret, API_KEY_PREFIX)
    assert key["public_id"] == public_id_of(secret)
    assert key["last_four"] == secret[-4:]
    for path in (f"/api/me/keys/{key['id']}", "/api/me/keys"):
        assert secret not in (await user_client.get(path)).text
    for path in (f"/api/admin/keys/{key['id']}", "/api/admin/keys", "/api/admin/audit-log"):
        assert secret not in (await admin_client.get(path)).text
    assert (await user_client.get(f"/api/me/keys/{key['id']}")).json() == key
    async with storage.read() as tx:
        row = await tx.fetch_one(select(api_keys))
    assert row is not None
    assert row["key_hash"] == hash_key(secret, HASHING_KEY)
    assert secret not in str(dict(row))
    assert secret not in caplog.text


async def test_a_group_that_is_not_open_is_refused_naming_those_that_are(
    user_client: Client, admin_client: Client, user: Actor, entitle: Entitle
) -> None:
    await entitle("vip")
    for answer in (
        await user_client.post("/api/me/keys", json={"name": "key", "group": "enterprise"}),
        # Acting for a user, an administrator chooses out of what is open to the user.
        await admin_client.post(
            f"/api/admin/users/{user.user_id}/keys", json={"name": "key", "group": "enterprise"}
        ),
    ):
        error = refusal(answer, 403, "group_not_available")
        assert error["open_groups"] == ["default", "vip"]
        assert "Enterprise" in error["message"]
        assert "default, vip" in error["message"]
    assert (await user_client.get("/api/me/keys")).json()["data"] == []


async def test_a_group_unknown_or_archived_is_refused_likewise(
    admin_client: Client, user_client: Client, entitle: Entitle
) -> None:
    await entitle("vip")
    await admin_client.post("/api/admin/groups/vip/archive")
    for slug in ("gold", "vip"):
        answer = await user_client.post("/api/me/keys", json={"name": "key", "group": slug})
        assert refusal(answer, 403, "group_not_available")["open_groups"] == ["default"]


async def test_own_terms_are_what_a_key_shows(user_client: Client, entitle: Entitle) -> None:
    await entitle(
        "enterprise",
        multiplier="0.6",
        model_multipliers={"gpt-5*": "0.5"},
        requests_per_minute=5000,
        extra_models=["house-model"],
    )
    key = await _create(user_client, group="enterprise")
    assert key["display_multiplier"] == "From 0.5x"
    assert key["multiplier"] == "0.6"
    assert key["multiplier_rule"] == "entitlement"
    assert key["model_multipliers"] == {"gpt-5*": "0.5"}
    assert key["limits"]["requests_per_minute"] == 5000
    assert key["allowed_models"] == ["*", "house-model"]


async def test_narrowing_is_stored_as_the_gateway_reads_it(
    user_client: Client, storage: SqliteStorage
) -> None:
    key = await _create(
        user_client,
        models=["gpt-4o*", "gpt-4o*"],
        allowed_ips=["10.1.2.3/8", "::ffff:192.0.2.7", "2001:db8::1"],
        credit_limit="2.5",
        expires_at="2026-06-02T00:00:00+02:00",
    )
    assert key["models"] == ["gpt-4o*"]
    assert key["allowed_ips"] == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::1/128"]
    assert key["credit_limit"] == "2.5"
    assert key["expires_at"] == "2026-06-01T22:00:00Z"
    stored = (await _caller(storage, key["key"])).key
    assert stored.narrows_away("gpt-5")
    assert not stored.narrows_away("gpt-4o-mini")
    assert stored.allows_ip("10.255.0.1")
    assert stored.allows_ip("::ffff:192.0.2.7")
    assert not stored.allows_ip("192.0.2.8")
    assert stored.credit_limit == 2_500_000_000


BAD_FIELDS = [
    ("name", ""),
    ("name", None),
    ("models", []),
    ("models", ["gpt 4o"]),
    ("models", "gpt-4o"),
    ("allowed_ips", []),
    ("allowed_ips", ["localhost"]),
    ("allowed_ips", ["10.0.0.1/33"]),
    ("credit_limit", "-1"),
    ("credit_limit", 1.5),
    ("credit_limit", "1e3"),
    ("credit_limit", "1000000001"),
    ("expires_at", "2026-06-01T12:00:00Z"),
    ("expires_at", "never"),
    ("secret", "sk-to-mine"),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
async def test_a_key_that_cannot_be_is_refused_by_name(
    user_client: Client, field: str, value: object
) -> None:
    answer = await user_client.post("/api/me/keys", json={"name": "key"} | {field: value})
    assert refusal(answer, 400, "invalid_request")["param"].split(".")[0] == field
    key = await _create(user_client)
    answer = await user_client.patch(f"/api/me/keys/{key['id']}", json={field: value})
    assert refusal(answer, 400, "invalid_request")["param"].split(".")[0] == field


async def test_absent_leaves_and_null_clears_what_narrows(user_client: Client) -> None:
    key = await _create(
        user_client,
        models=["gpt-4o"],
        allowed_ips=["10.0.0.0/8"],
        credit_limit="1",
        expires_at="2026-12-01T00:00:00Z",
    )
    path = f"/api/me/keys/{key['id']}"
    changed = (await user_client.patch(path, json={"name": "renamed"})).json()
    assert changed["name"] == "renamed"
    assert changed["models"] == ["gpt-4o"]
    cleared = {"models": None, "allowed_ips": None, "credit_limit": None, "expires_at": None}
    changed = (await user_client.patch(path, json=cleared)).json()
    assert {name: changed[name] for name in cleared} == cleared


async def test_a_key_changes_its_group_and_keeps_its_secret(
    user_client: Client, entitle: Entitle, storage: SqliteStorage
) -> None:
    key = await _create(user_client)
    path = f"/api/me/keys/{key['id']}"
    refusal(await user_client.patch(path, json={"group": "vip"}), 403, "group_not_available")
    await entitle("vip")
    changed = (await user_client.patch(path, json={"group": "vip"})).json()
    assert changed["group"]["slug"] == "vip"
    assert changed["display_multiplier"] == "From 0.8x"
    assert (await _caller(storage, key["key"])).group.slug == "vip"


async def test_a_key_whose_group_closed_says_so_and_can_still_be_changed(
    user_client: Client, admin_client: Client, user: Actor, entitle: Entitle, storage: SqliteStorage
) -> None:
    await entitle("vip")
    key = await _create(user_client, group="vip")
    await admin_client.delete(f"/api/admin/users/{user.user_id}/entitlements/vip")
    path = f"/api/me/keys/{key['id']}"
    assert (await user_client.get(path)).json()["group"]["open"] is False
    assert (await user_client.patch(path, json={"name": "old", "group": "vip"})).json()["name"] == "old"
    assert (await user_client.patch(path, json={"group": "default"})).json()["group"]["open"] is True


@pytest.mark.parametrize(
    ("change", "code"), [({"state": "disabled"}, "api_key_revoked"), (None, "api_key_revoked")]
)
async def test_a_key_switched_off_or_revoked_is_refused_from_the_next_call_on(
    user_client: Client, storage: SqliteStorage, clock: MovableClock, change: dict[str, str] | None, code: str
) -> None:
    key = await _create(user_client)
    path = f"/api/me/keys/{key['id']}"
    if change is None:
        await user_client.post(f"{path}/revoke")
    else:
        await user_client.patch(path, json=change)
    found = refuse_caller(await _caller(storage, key["key"]), now_ms=clock.now_ms(), address="192.0.2.1")
    assert found is not None
    assert found.code == code


async def test_a_key_switched_off_may_be_switched_on_a_revoked_one_never(
    user_client: Client, clock: MovableClock
) -> None:
    key = await _create(user_client)
    path = f"/api/me/keys/{key['id']}"
    for state in ("disabled", "active"):
        assert (await user_client.patch(path, json={"state": state})).json()["state"] == state
    revoked = (await user_client.post(f"{path}/revoke")).json()
    assert revoked["state"] == "revoked"
    assert revoked["revoked_at"] == "2026-06-01T12:00:00Z"
    clock.move(seconds=9)
    assert (await user_client.post(f"{path}/revoke")).json() == revoked
    refusal(await user_client.patch(path, json={"state": "active"}), 409, "conflict")
    refusal(await user_client.patch(path, json={"state": "revoked"}), 400, "invalid_request")


async def test_a_credit_limit_is_never_below_what_is_spent_and_held(
    user_client: Client, storage: SqliteStorage
) -> None:
    key = await _create(user_client, credit_limit="10")
    async with storage.write() as tx:
        await tx.execute(api_keys.update().values(spent=2_000_000_000, held=500_000_001))
    path = f"/api/me/keys/{key['id']}"
    error = refusal(await user_client.patch(path, json={"credit_limit": "2.5"}), 409, "conflict")
    assert error["lowest"] == "2.500000001"
    assert "2.500000001" in error["message"]
    changed = (await user_client.patch(path, json={"credit_limit": "2.500000001"})).json()
    assert (changed["credit_limit"], changed["spent"], changed["held"]) == ("2.500000001", "2", "0.500000001")


async def test_a_key_is_rotated_with_an_overlap(user_client: Client, clock: MovableClock) -> None:
    key = await _create(user_client, credit_limit="5")
    path = f"/api/me/keys/{key['id']}"
    rotated = await user_client.post(f"{path}/rotate", json={"overlap_seconds": 60})
    new = rotated.json()
    assert rotated.status_code == 200
    assert new["key"] != key["key"]
    assert new["last_four"] == new["key"][-4:]
    assert new["former_secret_until"] == "2026-06-01T12:01:00Z"
    same = ("id", "name", "group", "credit_limit", "spent", "created_at")
    assert {name: new[name] for name in same} == {name: key[name] for name in same}
    shown = (await user_client.get(path)).json()
    assert "key" not in shown
    clock.move(seconds=60)
    assert (await user_client.get(path)).json()["former_secret_until"] is None
    assert (await user_client.post(f"{path}/rotate")).json()["former_secret_until"] == "2026-06-02T12:01:00Z"
    for seconds in (-1, 30 * 24 * 3600 + 1, "60"):
        answer = await user_client.post(f"{path}/rotate", json={"overlap_seconds": seconds})
        refusal(answer, 400, "invalid_request")
    await user_client.post(f"{path}/revoke")
    refusal(await user_client.post(f"{path}/rotate"), 409, "conflict")


async def test_a_rotation_is_in_the_audit_log_without_any_secret(
    user_client: Client, admin_client: Client
) -> None:
    key = await _create(user_client)
    new = (await user_client.post(f"/api/me/keys/{key['id']}/rotate")).json()
    log = (await admin_client.get("/api/admin/audit-log?limit=200")).json()["data"]
    [entry] = [entry for entry in log if entry["action"] == "api_key.rotate"]
    assert entry["subject_id"] == key["id"]
    assert (entry["before"]["last_four"], entry["after"]["last_four"]) == (key["last_four"], new["last_four"])
    assert key["key"] not in str(entry)
    assert new["key"] not in str(entry)


async def test_another_s_key_is_not_there(user_client: Client, other_client: Client) -> None:
    key = await _create(user_client)
    path = f"/api/me/keys/{key['id']}"
    for answer in (
        await other_client.get(path),
        await other_client.patch(path, json={"name": "mine"}),
        await other_client.post(f"{path}/revoke"),
        await other_client.post(f"{path}/rotate"),
    ):
        refusal(answer, 404, "not_found")
    assert (await other_client.get("/api/me/keys")).json()["data"] == []
    assert (await user_client.get(path)).json()["name"] == "key"


async def test_under_me_an_administrator_too_has_only_their_own(
    user_client: Client, admin_client: Client
) -> None:
    key = await _create(user_client)
    refusal(await admin_client.get(f"/api/me/keys/{key['id']}"), 404, "not_found")
    assert (await admin_client.get(f"/api/admin/keys/{key['id']}")).json()["user"][
        "email"
    ] == "ada@example.com"


async def test_administrators_find_keys_by_user_and_group(
    admin_client: Client, user_client: Client, other_client: Client, user: Actor, entitle: Entitle
) -> None:
    await entitle("vip")
    first, second = await _create(user_client), await _create(user_client, group="vip")
    third = await _create(other_client)

    async def ids(query: str) -> set[str]:
        answer = await admin_client.get(f"/api/admin/keys?{query}")
        return {key["id"] for key in answer.json()["data"]}

    assert await ids("") == {first["id"], second["id"], third["id"]}
    assert await ids(f"user={user.user_id}") == {first["id"], second["id"]}
    assert await ids("group=default") == {first["id"], third["id"]}
    assert await ids(f"user={user.user_id}&group=vip") == {second["id"]}
    listed = (await admin_client.get(f"/api/admin/users/{user.user_id}/keys")).json()["data"]
    assert {key["id"] for key in listed} == {first["id"], second["id"]}
    refusal(await admin_client.get("/api/admin/keys?group=gold"), 404, "not_found")
    refusal(await admin_client.get("/api/admin/keys?user=usr_x"), 404, "not_found")


async def test_keys_come_in_pages_newest_first(user_client: Client, clock: MovableClock) -> None:
    for number in range(5):
        clock.move(milliseconds=1)
        await _create(user_client, name=f"key {number}")
    page = (await user_client.get("/api/me/keys?limit=3")).json()
    rest = (await user_client.get(f"/api/me/keys?limit=3&cursor={page['next_cursor']}")).json()
    assert [key["name"] for key in page["data"] + rest["data"]] == [f"key {n}" for n in (4, 3, 2, 1, 0)]
    assert rest["next_cursor"] is None


async def test_an_administrator_creates_changes_and_revokes_for_a_user(
    admin_client: Client, user_client: Client, user: Actor
) -> None:
    answer = await admin_client.post(f"/api/admin/users/{user.user_id}/keys", json={"name": "given"})
    key = answer.json()
    assert key["user"] == {"id": user.user_id, "email": "ada@example.com"}
    assert (await user_client.get(f"/api/me/keys/{key['id']}")).json()["name"] == "given"
    path = f"/api/admin/keys/{key['id']}"
    assert (await admin_client.patch(path, json={"credit_limit": "3"})).json()["credit_limit"] == "3"
    assert (await admin_client.post(f"{path}/revoke")).json()["state"] == "revoked"
    refusal(await admin_client.post("/api/admin/users/usr_x/keys", json={"name": "given"}), 404, "not_found")
    refusal(await admin_client.get("/api/admin/keys/key_x"), 404, "not_found")
