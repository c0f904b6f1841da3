"""Groups through the control API: made, changed, renamed, archived; every change a revision."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.api.conftest import Entitle, refusal
from tests.conftest import HASHING_KEY
from tests.fakes.clock import MovableClock
from tokenopen.core.api_key import hash_key
from tokenopen.core.caller import Caller, refuse_caller
from tokenopen.storage.schema import group_revisions
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient

NEW = {"slug": "team-a", "name": "Team A", "multiplier": "0.85", "allowed_models": ["gpt-4o*"]}


async def _revisions(client: Client, slug: str) -> list[dict[str, Any]]:
    return list((await client.get(f"/api/admin/groups/{slug}/revisions")).json()["data"])


async def _rows(storage: SqliteStorage) -> list[dict[str, Any]]:
    async with storage.read() as tx:
        rows = await tx.fetch_all(select(group_revisions).order_by(group_revisions.c.id))
    return [dict(row) for row in rows]


async def test_a_new_group_shows_all_that_was_not_said(admin_client: Client) -> None:
    group = (await admin_client.post("/api/admin/groups", json=NEW | {"reason": "for A"})).json()
    assert group["visibility"] == "entitled"
    assert group["multiplier"] == "0.85"
    assert group["display_multiplier"] == "0.85x"
    assert group["model_multipliers"] == {}
    assert group["requests_per_minute"] is None
    assert group["requests_per_day"] is None
    assert group["default_max_output_tokens"] == 16_384
    assert group["state"] == "active"
    assert group["custom_terms"] is False
    assert group["revision"]["number"] == 1
    assert group["revision"]["by"]["email"] == "admin@localhost"
    assert group["revision"]["reason"] == "for A"
    assert group["revision"]["effective_from"] == "2026-06-01T12:00:00Z"
    assert (await admin_client.get("/api/admin/groups/team-a")).json() == group


@pytest.mark.parametrize("field", NEW)
async def test_a_group_needs_slug_name_multiplier_and_models(admin_client: Client, field: str) -> None:
    body = {name: value for name, value in NEW.items() if name != field}
    error = refusal(await admin_client.post("/api/admin/groups", json=body), 400, "invalid_request")
    assert error["param"] == field
    assert error["message"] == f"{field} is required."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("slug", "Team A"),
        ("slug", "-team"),
        ("slug", ""),
        ("slug", "a" * 65),
        ("slug", "tëam"),
        ("name", "  "),
        ("name", 5),
        ("name", None),
        ("name", "a\x00b"),
        ("multiplier", 0.85),
        ("multiplier", "1e3"),
        ("multiplier", "-1"),
        ("multiplier", "0.1234567"),
        ("multiplier", "1001"),
        ("multiplier", True),
        ("multiplier", None),
        ("model_multipliers", {"gpt 4": "1"}),
        ("model_multipliers", {"gpt-4o": 0.5}),
        ("allowed_models", "gpt-4o"),
        ("allowed_models", ["gpt 4o"]),
        ("allowed_models", None),
        ("visibility", "secret"),
        ("requests_per_minute", -1),
        ("requests_per_minute", "60"),
        ("requests_per_minute", 1.5),
        ("requests_per_day", 10**9 + 1),
        ("default_max_output_tokens", 0),
        ("colour", "red"),
        ("state", "archived"),
    ],
)
async def test_a_value_that_cannot_be_is_refused_by_name(
    admin_client: Client, field: str, value: object
) -> None:
    error = refusal(
        await admin_client.post("/api/admin/groups", json=NEW | {field: value}), 400, "invalid_request"
    )
    assert error["param"].split(".")[0] == field
    assert field in error["message"]
    assert refusal(await admin_client.get("/api/admin/groups/team-a"), 404, "not_found")


async def test_a_multiplier_may_be_a_whole_json_number(admin_client: Client) -> None:
    answer = await admin_client.post("/api/admin/groups", json=NEW | {"multiplier": 2})
    assert answer.json()["multiplier"] == "2.0"


async def test_a_slug_is_taken_once_also_by_an_archived_group(admin_client: Client) -> None:
    await admin_client.post("/api/admin/groups", json=NEW)
    error = refusal(await admin_client.post("/api/admin/groups", json=NEW), 409, "conflict")
    assert error["param"] == "slug"
    await admin_client.post("/api/admin/groups/team-a/archive")
    error = refusal(await admin_client.post("/api/admin/groups", json=NEW), 409, "conflict")
    assert "archived" in error["message"]
    refusal(await admin_client.patch("/api/admin/groups/vip", json={"slug": "team-a"}), 409, "conflict")


async def test_each_change_is_a_new_revision_and_none_is_ever_touched(
    admin_client: Client, storage: SqliteStorage, clock: MovableClock
) -> None:
    before = await _rows(storage)
    clock.move(seconds=60)
    group = (
        await admin_client.patch(
            "/api/admin/groups/vip", json={"multiplier": "0.75", "name": "Very important", "reason": "spring"}
        )
    ).json()
    assert group["multiplier"] == "0.75"
    newest, first = await _revisions(admin_client, "vip")
    assert newest["number"] == 2
    assert newest["id"] == group["revision"]["id"]
    assert newest["reason"] == "spring"
    assert newest["by"]["email"] == "admin@localhost"
    assert newest["effective_from"] == newest["created_at"] == "2026-06-01T12:01:00Z"
    assert (newest["name"], newest["multiplier"]) == ("Very important", "0.75")
    assert (first["name"], first["multiplier"]) == ("VIP", "0.8")
    assert [row for row in await _rows(storage) if row["id"] in {old["id"] for old in before}] == before


async def test_a_change_that_changes_nothing_makes_no_revision(admin_client: Client) -> None:
    same = {"multiplier": "0.80", "name": "VIP", "requests_per_day": 20_000, "reason": "again"}
    group = (await admin_client.patch("/api/admin/groups/vip", json=same)).json()
    assert group["revision"]["number"] == 1
    assert len(await _revisions(admin_client, "vip")) == 1
    assert (await admin_client.patch("/api/admin/groups/vip", json={})).json() == group


async def test_absent_leaves_a_limit_and_null_lifts_it(admin_client: Client) -> None:
    group = (await admin_client.patch("/api/admin/groups/vip", json={"requests_per_minute": None})).json()
    assert group["requests_per_minute"] is None
    assert group["requests_per_day"] == 20_000
    group = (await admin_client.patch("/api/admin/groups/vip", json={"requests_per_minute": 0})).json()
    assert group["requests_per_minute"] == 0


@pytest.mark.parametrize(
    "field", ["slug", "name", "visibility", "allowed_models", "multiplier", "suitable_for"]
)
async def test_null_does_not_clear_what_a_group_has_to_have(admin_client: Client, field: str) -> None:
    error = refusal(
        await admin_client.patch("/api/admin/groups/vip", json={field: None}), 400, "invalid_request"
    )
    assert error["param"] == field


async def test_renaming_keeps_the_group_and_its_keys(admin_client: Client, user_client: Client) -> None:
    key = (await user_client.post("/api/me/keys", json={"name": "key"})).json()
    before = (await admin_client.get("/api/admin/groups/default")).json()
    renamed = (
        await admin_client.patch("/api/admin/groups/default", json={"slug": "basic", "name": "Basic"})
    ).json()
    assert renamed["id"] == before["id"]
    assert renamed["key_count"] == 1
    refusal(await admin_client.get("/api/admin/groups/default"), 404, "not_found")
    key = (await user_client.get(f"/api/me/keys/{key['id']}")).json()
    assert key["group"] == {"slug": "basic", "name": "Basic", "open": True}
    assert (await admin_client.get("/api/admin/settings")).json()["default_group"] == "basic"
    assert [revision["slug"] for revision in await _revisions(admin_client, "basic")] == ["basic", "default"]


async def test_a_scheduled_change_binds_from_its_instant_on(
    admin_client: Client, clock: MovableClock
) -> None:
    later = {"multiplier": "0.7", "effective_from": "2026-06-01T13:00:00Z"}
    group = (await admin_client.patch("/api/admin/groups/vip", json=later)).json()
    assert group["multiplier"] == "0.8"
    assert [coming["multiplier"] for coming in group["upcoming"]] == ["0.7"]
    assert group["upcoming"][0]["effective_from"] == "2026-06-01T13:00:00Z"
    clock.move(seconds=3599, milliseconds=999)
    assert (await admin_client.get("/api/admin/groups/vip")).json()["multiplier"] == "0.8"
    clock.move(milliseconds=1)
    group = (await admin_client.get("/api/admin/groups/vip")).json()
    assert group["multiplier"] == "0.7"
    assert group["upcoming"] == []


@pytest.mark.parametrize(
    "instant", ["2026-06-01T12:00:00Z", "2026-06-01T13:59:59+02:00", "2025-01-01T00:00:00Z"]
)
async def test_no_revision_binds_from_the_past(admin_client: Client, instant: str) -> None:
    body = {"multiplier": "0.7", "effective_from": instant}
    error = refusal(await admin_client.patch("/api/admin/groups/vip", json=body), 400, "invalid_request")
    assert error["param"] == "effective_from"


@pytest.mark.parametrize(
    "instant", ["tomorrow", "2026-12-01", "2026-12-01T00:00:00", 1_800_000_000, "2026-13-01T00:00:00Z"]
)
async def test_an_instant_names_its_zone(admin_client: Client, instant: object) -> None:
    body = {"multiplier": "0.7", "effective_from": instant}
    error = refusal(await admin_client.patch("/api/admin/groups/vip", json=body), 400, "invalid_request")
    assert error["param"] == "effective_from"


async def test_what_describes_a_group_is_not_scheduled(admin_client: Client) -> None:
    body = {"visibility": "public", "effective_from": "2026-12-01T00:00:00Z"}
    error = refusal(await admin_client.patch("/api/admin/groups/vip", json=body), 400, "invalid_request")
    assert "visibility" in error["message"]


async def test_a_change_at_once_is_carried_into_what_is_scheduled(
    admin_client: Client, clock: MovableClock
) -> None:
    """The scheduled revision was written to change the multiplier; the rest follows what holds by then."""
    await admin_client.patch(
        "/api/admin/groups/vip", json={"multiplier": "0.7", "effective_from": "2026-12-01T00:00:00Z"}
    )
    await admin_client.patch(
        "/api/admin/groups/vip", json={"multiplier": "0.9", "requests_per_minute": 100, "slug": "gold"}
    )
    clock.move(seconds=200 * 86_400)
    group = (await admin_client.get("/api/admin/groups/gold")).json()
    assert (group["multiplier"], group["requests_per_minute"], group["slug"]) == ("0.7", 100, "gold")


async def test_a_scheduled_change_is_replaced_by_another_for_its_instant(
    admin_client: Client, clock: MovableClock
) -> None:
    instant = "2026-06-01T13:00:00Z"
    for multiplier in ("0.7", "0.8"):
        group = (
            await admin_client.patch(
                "/api/admin/groups/vip", json={"multiplier": multiplier, "effective_from": instant}
            )
        ).json()
    assert [coming["multiplier"] for coming in group["upcoming"]] == ["0.8"]
    clock.move(seconds=7200)
    assert (await admin_client.get("/api/admin/groups/vip")).json()["multiplier"] == "0.8"


async def test_the_default_group_is_neither_archived_nor_closed(admin_client: Client) -> None:
    error = refusal(await admin_client.post("/api/admin/groups/default/archive"), 409, "conflict")
    assert "default_group" in error["message"]
    refusal(
        await admin_client.patch("/api/admin/groups/default", json={"visibility": "entitled"}),
        409,
        "conflict",
    )
    assert (await admin_client.get("/api/admin/groups/default")).json()["revision"]["number"] == 1


async def test_archiving_twice_is_archiving_once(admin_client: Client) -> None:
    first = (await admin_client.post("/api/admin/groups/vip/archive", json={"reason": "merged"})).json()
    again = (await admin_client.post("/api/admin/groups/vip/archive")).json()
    assert first["state"] == "archived"
    assert first["revision"]["reason"] == "merged"
    assert again == first


async def test_the_keys_of_an_archived_group_are_refused_from_the_next_call_on(
    admin_client: Client, user_client: Client, entitle: Entitle, storage: SqliteStorage, clock: MovableClock
) -> None:
    await entitle("vip")
    answer = await user_client.post("/api/me/keys", json={"name": "key", "group": "vip"})
    key_hash = hash_key(answer.json()["key"], HASHING_KEY)

    async def refused() -> str | None:
        caller = await storage.find_caller(key_hash, await storage.load_catalog())
        assert isinstance(caller, Caller)
        found = refuse_caller(caller, now_ms=clock.now_ms(), address="192.0.2.1")
        return None if found is None else found.code

    assert await refused() is None
    await admin_client.post("/api/admin/groups/vip/archive")
    assert await refused() == "group_not_available"


async def test_changes_made_at_once_are_made_one_after_the_other(admin_client: Client) -> None:
    """Each is made on top of the other, whichever comes first: none is lost, none is numbered twice."""
    changes = [{"requests_per_minute": 7}, {"multiplier": "0.7"}, {"name": "Seven"}, {"requests_per_day": 7}]
    answers = await asyncio.gather(
        *(admin_client.patch("/api/admin/groups/vip", json=change) for change in changes)
    )
    assert sorted(answer.json()["revision"]["number"] for answer in answers) == [2, 3, 4, 5]
    group = (await admin_client.get("/api/admin/groups/vip")).json()
    for change in changes:
        assert group | change == group


async def test_an_archived_group_is_listed_until_left_out(admin_client: Client) -> None:
    await admin_client.post("/api/admin/groups/vip/archive")
    every = (await admin_client.get("/api/admin/groups")).json()
    active = (await admin_client.get("/api/admin/groups?state=active")).json()
    assert [group["slug"] for group in every["data"]] == ["default", "enterprise", "vip"]
    assert [group["slug"] for group in active["data"]] == ["default", "enterprise"]


async def test_a_list_comes_in_pages(admin_client: Client) -> None:
    first = (await admin_client.get("/api/admin/groups?limit=2")).json()
    rest = (await admin_client.get(f"/api/admin/groups?limit=2&cursor={first['next_cursor']}")).json()
    assert [group["slug"] for group in first["data"]] == ["default", "enterprise"]
    assert [group["slug"] for group in rest["data"]] == ["vip"]
    assert rest["next_cursor"] is None


async def test_revisions_come_in_pages(admin_client: Client) -> None:
    for limit in (1, 2, 3):
        await admin_client.patch("/api/admin/groups/vip", json={"requests_per_minute": limit})
    page = (await admin_client.get("/api/admin/groups/vip/revisions?limit=3")).json()
    assert [revision["number"] for revision in page["data"]] == [4, 3, 2]
    rest = (
        await admin_client.get(f"/api/admin/groups/vip/revisions?limit=3&cursor={page['next_cursor']}")
    ).json()
    assert [revision["number"] for revision in rest["data"]] == [1]
    assert rest["next_cursor"] is None
    refusal(await admin_client.get("/api/admin/groups/vip/revisions?cursor=x"), 400, "invalid_request")


async def test_counts_leave_out_what_has_ended(
    admin_client: Client, user_client: Client, clock: MovableClock, user: Any
) -> None:
    path = f"/api/admin/users/{user.user_id}/entitlements/vip"
    await admin_client.put(path, json={"expires_at": "2026-06-02T00:00:00Z"})
    key = (await user_client.post("/api/me/keys", json={"name": "key", "group": "vip"})).json()
    group = (await admin_client.get("/api/admin/groups/vip")).json()
    assert (group["key_count"], group["entitlement_count"]) == (1, 1)
    await user_client.post(f"/api/me/keys/{key['id']}/revoke")
    clock.move(seconds=86_400)
    group = (await admin_client.get("/api/admin/groups/vip")).json()
    assert (group["key_count"], group["entitlement_count"]) == (0, 0)


async def test_what_calls_are_admitted_under_is_the_newest_revision(
    admin_client: Client, storage: SqliteStorage, clock: MovableClock
) -> None:
    """The gateway's own reading of the catalog, at once after the answer."""
    answer = (await admin_client.patch("/api/admin/groups/vip", json={"multiplier": "0.5"})).json()
    catalog = await storage.load_catalog()
    revision = catalog.groups[answer["id"]].revision_at(clock.now_ms())
    assert revision.id == answer["revision"]["id"]
    assert revision.policy.multiplier_ppm == 500_000
