"""Upgrade requests through the control API: asked by users, decided once by administrators."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Entitle, refusal
from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor

Client = httpx.AsyncClient


async def _ask(client: Client, group: str = "vip") -> dict[str, Any]:
    answer = await client.post("/api/me/upgrade-requests", json={"group": group, "reason": "more calls"})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def _decide(client: Client, request: dict[str, Any], **body: Any) -> httpx.Response:
    return await client.patch(f"/api/admin/upgrade-requests/{request['id']}", json=body)


async def _open_groups(client: Client) -> list[str]:
    return [group["slug"] for group in (await client.get("/api/me/groups")).json()["data"]]


async def test_a_request_waits_for_an_answer(user_client: Client, admin_client: Client, user: Actor) -> None:
    request = await _ask(user_client)
    assert request["state"] == "pending"
    assert request["group"] == {"slug": "vip", "name": "VIP"}
    assert request["user"] == {"id": user.user_id, "email": user.email}
    assert (request["answer"], request["decided_by"], request["decided_at"]) == (None, None, None)
    assert (await user_client.get("/api/me/upgrade-requests")).json()["data"] == [request]
    assert (await admin_client.get("/api/admin/upgrade-requests?state=pending")).json()["data"] == [request]
    assert await _open_groups(user_client) == ["default"]


async def test_approval_opens_the_group_on_the_terms_given(
    user_client: Client, admin_client: Client, administrator: Actor, clock: MovableClock
) -> None:
    request = await _ask(user_client, "enterprise")
    clock.move(seconds=60)
    answer = await _decide(
        admin_client,
        request,
        state="approved",
        answer="Welcome",
        terms={"multiplier": "0.6", "requests_per_day": None, "expires_at": "2026-12-01T00:00:00Z"},
    )
    approved = answer.json()
    assert (approved["state"], approved["answer"]) == ("approved", "Welcome")
    assert approved["decided_by"] == administrator.user_id
    assert approved["decided_at"] == "2026-06-01T12:01:00Z"
    groups = {group["slug"]: group for group in (await user_client.get("/api/me/groups")).json()["data"]}
    assert groups["enterprise"]["display_multiplier"] == "0.6x"
    assert groups["enterprise"]["expires_at"] == "2026-12-01T00:00:00Z"


async def test_approval_without_terms_gives_the_group_s_own(
    user_client: Client, admin_client: Client
) -> None:
    await _decide(admin_client, await _ask(user_client), state="approved")
    assert await _open_groups(user_client) == ["default", "vip"]
    vip = (await user_client.get("/api/me/groups")).json()["data"][1]
    assert vip["own_terms"] is False


async def test_terms_that_were_given_meanwhile_stay_unless_others_are_named(
    user_client: Client, admin_client: Client, entitle: Entitle
) -> None:
    request = await _ask(user_client)
    await entitle("vip", multiplier="0.5")
    await _decide(admin_client, request, state="approved")
    vip = (await user_client.get("/api/me/groups")).json()["data"][1]
    assert vip["multiplier"] == "0.5"


async def test_an_ended_access_is_renewed_on_fresh_terms(
    user_client: Client, admin_client: Client, entitle: Entitle, clock: MovableClock
) -> None:
    await entitle("vip", multiplier="0.5", expires_at="2026-06-01T13:00:00Z")
    clock.move(seconds=3600)
    await _decide(admin_client, await _ask(user_client), state="approved")
    vip = (await user_client.get("/api/me/groups")).json()["data"][1]
    assert (vip["multiplier"], vip["expires_at"]) == ("0.8", None)


@pytest.mark.parametrize("chosen", [True, False])
async def test_keys_move_along_where_wanted(user_client: Client, admin_client: Client, chosen: bool) -> None:
    keys = [
        (await user_client.post("/api/me/keys", json={"name": name})).json()["id"]
        for name in ("first", "second", "gone")
    ]
    await user_client.post(f"/api/me/keys/{keys[2]}/revoke")
    request = await _ask(user_client)
    answer = await _decide(admin_client, request, state="approved", move_keys=keys[:1] if chosen else True)
    assert answer.status_code == 200
    groups = [(await user_client.get(f"/api/me/keys/{key}")).json()["group"]["slug"] for key in keys]
    assert groups == (["vip", "default", "default"] if chosen else ["vip", "vip", "default"])


async def test_an_approval_that_fails_changes_nothing(
    user_client: Client, other_client: Client, admin_client: Client, user: Actor
) -> None:
    mine = (await user_client.post("/api/me/keys", json={"name": "mine"})).json()["id"]
    theirs = (await other_client.post("/api/me/keys", json={"name": "theirs"})).json()["id"]
    request = await _ask(user_client)
    for body in ({"move_keys": [mine, theirs]}, {"terms": {"expires_at": "2026-01-01T00:00:00Z"}}):
        answer = await _decide(admin_client, request, state="approved", **body)
        assert answer.status_code in (400, 404)
    assert await _open_groups(user_client) == ["default"]
    assert (await user_client.get(f"/api/me/keys/{mine}")).json()["group"]["slug"] == "default"
    assert (await other_client.get(f"/api/me/keys/{theirs}")).json()["group"]["slug"] == "default"
    assert (await user_client.get("/api/me/upgrade-requests")).json()["data"] == [request]
    listed = (await admin_client.get(f"/api/admin/users/{user.user_id}/entitlements")).json()
    assert listed["data"] == []


async def test_a_declined_request_opens_nothing(user_client: Client, admin_client: Client) -> None:
    request = await _ask(user_client)
    declined = (await _decide(admin_client, request, state="declined", answer="Not yet")).json()
    assert (declined["state"], declined["answer"]) == ("declined", "Not yet")
    assert await _open_groups(user_client) == ["default"]
    # One may ask again.
    assert (await _ask(user_client))["id"] != request["id"]


@pytest.mark.parametrize("first", ["approved", "declined", "cancelled"])
async def test_what_is_decided_is_not_decided_again(
    user_client: Client, admin_client: Client, first: str
) -> None:
    request = await _ask(user_client)
    mine = f"/api/me/upgrade-requests/{request['id']}"
    if first == "cancelled":
        assert (await user_client.patch(mine, json={"state": "cancelled"})).json()["state"] == "cancelled"
    else:
        await _decide(admin_client, request, state=first)
    for state in ("approved", "declined"):
        error = refusal(await _decide(admin_client, request, state=state), 409, "conflict")
        assert error["state"] == first
    refusal(await user_client.patch(mine, json={"state": "cancelled"}), 409, "conflict")


async def test_a_user_only_takes_back_what_is_theirs(user_client: Client, other_client: Client) -> None:
    request = await _ask(user_client)
    path = f"/api/me/upgrade-requests/{request['id']}"
    refusal(await other_client.patch(path, json={"state": "cancelled"}), 404, "not_found")
    for state in ("approved", "declined", "pending"):
        refusal(await user_client.patch(path, json={"state": state}), 400, "invalid_request")
    assert (await other_client.get("/api/me/upgrade-requests")).json()["data"] == []


async def test_one_asks_once_and_only_for_what_is_not_open(
    user_client: Client, admin_client: Client, entitle: Entitle
) -> None:
    async def ask(group: str) -> httpx.Response:
        return await user_client.post("/api/me/upgrade-requests", json={"group": group, "reason": "more"})

    request = await _ask(user_client)
    assert refusal(await ask("vip"), 409, "conflict")["request"] == request["id"]
    assert "open to you" in refusal(await ask("default"), 409, "conflict")["message"]
    await entitle("enterprise")
    refusal(await ask("enterprise"), 409, "conflict")
    refusal(await ask("gold"), 404, "not_found")
    await user_client.patch(f"/api/me/upgrade-requests/{request['id']}", json={"state": "cancelled"})
    await admin_client.post("/api/admin/groups/vip/archive")
    refusal(await ask("vip"), 409, "conflict")


async def test_nobody_is_let_into_a_group_that_was_archived_meanwhile(
    user_client: Client, admin_client: Client
) -> None:
    request = await _ask(user_client)
    await admin_client.post("/api/admin/groups/vip/archive")
    refusal(await _decide(admin_client, request, state="approved"), 409, "conflict")
    assert (await _decide(admin_client, request, state="declined")).json()["state"] == "declined"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"state": "cancelled"},
        {"state": "approved", "terms": {"multiplier": 0.5}},
        {"state": "approved", "move_keys": "all"},
        {"state": "declined", "move_keys": True},
        {"state": "declined", "terms": {}},
    ],
)
async def test_a_decision_that_cannot_be_is_refused(
    user_client: Client, admin_client: Client, body: dict[str, Any]
) -> None:
    request = await _ask(user_client)
    refusal(await _decide(admin_client, request, **body), 400, "invalid_request")


async def test_a_reason_is_needed_and_the_request_has_to_exist(
    user_client: Client, admin_client: Client
) -> None:
    answer = await user_client.post("/api/me/upgrade-requests", json={"group": "vip", "reason": " "})
    assert refusal(answer, 400, "invalid_request")["param"] == "reason"
    refusal(await _decide(admin_client, {"id": "upg_x"}, state="approved"), 404, "not_found")
