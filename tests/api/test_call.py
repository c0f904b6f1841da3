"""Calls, receipts, usage, refusals and the audit through the control API."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from tests.api.conftest import refusal
from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.core.money import parse_amount
from tokenopen.storage import schema
from tokenopen.storage.sqlite import SqliteStorage


@pytest.fixture
async def till(storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)


async def _ids(client: httpx.AsyncClient, path: str, **wanted: Any) -> list[str]:
    answer = await client.get(path, params=wanted)
    assert answer.status_code == 200, answer.text
    return [call["id"] for call in answer.json()["data"]]


async def test_one_sees_ones_own_calls_and_administrators_everybodys(
    till: TillCalls,
    user_client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    admin_client: httpx.AsyncClient,
    other_user: Actor,
) -> None:
    call_id = await till.call()
    assert await _ids(user_client, "/api/me/calls") == [call_id]
    assert await _ids(other_client, "/api/me/calls") == []
    assert await _ids(admin_client, "/api/me/calls") == []
    assert await _ids(admin_client, "/api/admin/calls") == [call_id]
    assert await _ids(admin_client, "/api/admin/calls", user=till.user.user_id) == [call_id]
    assert await _ids(admin_client, "/api/admin/calls", user=other_user.user_id) == []
    assert (await user_client.get(f"/api/me/calls/{call_id}")).status_code == 200
    refusal(await other_client.get(f"/api/me/calls/{call_id}"), 404, "not_found")


async def test_a_call_shows_its_group_key_usage_and_charge(
    till: TillCalls, user_client: httpx.AsyncClient, admin_client: httpx.AsyncClient
) -> None:
    call_id = await till.call(input=1_234, output=56)
    call = (await user_client.get("/api/me/calls")).json()["data"][0]
    assert call["group"] == {"slug": "default", "name": "Default"}
    assert call["key"]["name"] == "Test"
    assert call["usage"] == {"input": 1_234, "output": 56}
    assert (call["multiplier"], call["multiplier_rule"]) == ("1.0", "group")
    assert (call["list_price"], call["charge"], call["absorbed"]) == ("0.0002187", "0.0002187", "0")
    assert (call["state"], call["end_reason"], call["admitted_at"]) == (
        "settled",
        "completed",
        "2026-06-01T12:00:00Z",
    )
    receipt = (await user_client.get(f"/api/me/calls/{call_id}")).json()
    assert receipt.items() >= call.items()
    assert receipt["formula"] == "(1,234 x 0.15 + 56 x 0.6) / 1,000,000 x 1.0 = 0.0002187"
    assert receipt["unit_prices"]["input"] == "0.15"
    assert receipt["group_revision"]["number"] == receipt["price_revision"]["number"] == 1
    assert "attempts" not in receipt
    assert "flag" not in receipt
    as_admin = (await admin_client.get(f"/api/admin/calls/{call_id}")).json()
    assert as_admin.items() >= receipt.items()
    assert (as_admin["attempts"], as_admin["user_email"]) == ([], "ada@example.com")


async def test_calls_are_filtered(till: TillCalls, user_client: httpx.AsyncClient) -> None:
    settled = await till.call()
    till.clock.move(seconds=60)
    voided = await till.admit(surface="embeddings")
    await till.void(voided)
    till.clock.move(seconds=60)
    other = await till.with_key()
    running = await other.admit()
    ids = {"settled": settled, "voided": voided.facts.call_id, "held": running.facts.call_id}

    async def found(**wanted: Any) -> list[str]:
        return await _ids(user_client, "/api/me/calls", **wanted)

    assert await found() == [ids["held"], ids["voided"], ids["settled"]]
    for state, call_id in ids.items():
        assert await found(state=state) == [call_id]
    assert await found(end_reason="upstream_failed") == [ids["voided"]]
    assert await found(surface="embeddings") == [ids["voided"]]
    assert await found(key=running.facts.key_id) == [ids["held"]]
    assert await found(group="default") == [ids["held"], ids["voided"], ids["settled"]]
    assert await found(group="vip") == []
    assert await found(model="gpt-4o") == []
    assert await found(**{"from": "2026-06-01T12:01:00Z"}) == [ids["held"], ids["voided"]]
    assert await found(to="2026-06-01T12:01:00Z") == [ids["settled"]]
    assert await found(**{"from": "2026-06-01T12:00:30Z", "to": "2026-06-01T12:02:00Z"}) == [ids["voided"]]
    refusal(await user_client.get("/api/me/calls", params={"group": "none"}), 404, "not_found")
    for wrong in ({"state": "done"}, {"from": "yesterday"}, {"usr": "x"}, {"limit": "201"}):
        refusal(await user_client.get("/api/me/calls", params=wrong), 400, "invalid_request")


async def test_calls_are_paged_newest_first(till: TillCalls, user_client: httpx.AsyncClient) -> None:
    made = []
    for _ in range(5):
        till.clock.move(seconds=1)
        made.append(await till.call(hold=10**6))
    listed: list[str] = []
    cursor: Mapping[str, str] = {}
    while True:
        page = (await user_client.get("/api/me/calls", params={"limit": "2", **cursor})).json()
        listed += [call["id"] for call in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert listed == made[::-1]


async def test_usage_is_summed_by_hour_day_model_key_and_group(
    till: TillCalls, user_client: httpx.AsyncClient, admin_client: httpx.AsyncClient
) -> None:
    await till.call(input=10, output=1)
    till.clock.move(seconds=11 * 3600)
    await till.call(input=20, output=2)
    till.clock.move(seconds=3600)
    other = await till.with_key()
    await other.call(input=40, output=4)

    async def labels(client: httpx.AsyncClient, path: str, **wanted: Any) -> dict[str, int]:
        answer = await client.get(path, params=wanted)
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        assert answer.json()["total"]["input_units"] == sum(row["input_units"] for row in data)
        return {row["label"]: row["input_units"] for row in data}

    me, everybody = "/api/me/usage", "/api/admin/usage"
    assert await labels(user_client, me) == {"2026-06-01": 30, "2026-06-02": 40}
    assert await labels(user_client, me, group_by="hour") == {
        "2026-06-01T12:00:00Z": 10,
        "2026-06-01T23:00:00Z": 20,
        "2026-06-02T00:00:00Z": 40,
    }
    assert await labels(user_client, me, group_by="model") == {"gpt-4o-mini": 70}
    assert await labels(user_client, me, group_by="group") == {"default": 70}
    assert sorted((await labels(user_client, me, group_by="key")).values()) == [30, 40]
    assert await labels(admin_client, me) == {}
    assert await labels(admin_client, everybody) == {"2026-06-01": 30, "2026-06-02": 40}
    assert await labels(admin_client, everybody, user=till.user.user_id, group_by="model") == {
        "gpt-4o-mini": 70
    }
    assert await labels(admin_client, everybody, user="usr_none") == {}
    window = {"from": "2026-06-01T23:00:00Z", "to": "2026-06-02T00:00:00Z"}
    assert await labels(user_client, me, **window) == {"2026-06-01": 20}
    total = (await user_client.get(me)).json()["total"]
    calls = (await user_client.get("/api/me/calls")).json()["data"]
    assert parse_amount(total["charge"]) == sum(parse_amount(call["charge"]) for call in calls)


async def test_days_are_those_of_the_platforms_zone(
    till: TillCalls, user_client: httpx.AsyncClient, admin_client: httpx.AsyncClient
) -> None:
    await till.call()
    answer = await admin_client.patch("/api/admin/settings", json={"time_zone": "Pacific/Auckland"})
    assert answer.status_code == 200, answer.text
    usage = (await user_client.get("/api/me/usage")).json()
    assert [row["label"] for row in usage["data"]] == ["2026-06-02"]
    assert usage["time_zone"] == "Pacific/Auckland"


@pytest.mark.parametrize(
    "wanted",
    [
        {"group_by": "week"},
        {"from": "2026-06-02T00:00:00Z", "to": "2026-06-01T00:00:00Z"},
        {"group_by": "hour", "from": "2025-06-01T00:00:00Z", "to": "2026-06-01T00:00:00Z"},
        {"day": "today"},
    ],
)
async def test_a_period_that_cannot_be_shown_is_refused(
    user_client: httpx.AsyncClient, wanted: Mapping[str, str]
) -> None:
    refusal(await user_client.get("/api/me/usage", params=wanted), 400, "invalid_request")


async def _refuse(storage: SqliteStorage, till: TillCalls, number: int, code: str) -> None:
    caller = await till.find_caller()
    at_ms = till.clock.now_ms()
    same = {"account_id": till.user.account_id, "key_id": caller.key.id, "group_id": caller.group.id}
    async with storage.write() as tx:
        await tx.execute(
            insert(schema.refused_calls).values(
                **same,
                id=f"call_{number}",
                model="gpt-4o",
                surface="chat",
                status=429,
                code=code,
                message="Too many.",
                refused_at_ms=at_ms,
            )
        )
        await tx.execute(
            insert(schema.refused_hours).values(**same, hour=at_ms // 3_600_000, code=code, calls=number)
        )


async def test_refused_calls_are_listed_and_counted_by_code(
    till: TillCalls,
    storage: SqliteStorage,
    user_client: httpx.AsyncClient,
    other_client: httpx.AsyncClient,
    admin_client: httpx.AsyncClient,
) -> None:
    await _refuse(storage, till, 1, "rpm_exceeded")
    await _refuse(storage, till, 2, "model_not_allowed")
    till.clock.move(seconds=3600)
    await _refuse(storage, till, 3, "rpm_exceeded")
    mine = (await user_client.get("/api/me/refused-calls")).json()["data"]
    assert [call["id"] for call in mine] == ["call_3", "call_2", "call_1"]
    assert mine[0]["group"] == {"slug": "default", "name": "Default"}
    assert (mine[0]["code"], mine[0]["message"], mine[0]["key"]["name"]) == (
        "rpm_exceeded",
        "Too many.",
        "Test",
    )
    assert (await other_client.get("/api/me/refused-calls")).json()["data"] == []
    counts = (await user_client.get("/api/me/refused-calls/counts")).json()["data"]
    assert counts == [
        {"at": None, "code": "rpm_exceeded", "calls": 4, "last_hour_at": "2026-06-01T13:00:00Z"},
        {"at": None, "code": "model_not_allowed", "calls": 2, "last_hour_at": "2026-06-01T12:00:00Z"},
    ]
    wanted = {"user": till.user.user_id, "code": "model_not_allowed"}
    as_admin = (await admin_client.get("/api/admin/refused-calls", params=wanted)).json()["data"]
    assert [call["id"] for call in as_admin] == ["call_2"]
    assert (await admin_client.get("/api/admin/refused-calls/counts")).json()["data"] == counts
    nobodys = {"user": "usr_none"}
    assert (await admin_client.get("/api/admin/refused-calls", params=nobodys)).json()["data"] == []


async def test_the_audit_says_what_was_checked_and_what_drifts(
    till: TillCalls, storage: SqliteStorage, admin_client: httpx.AsyncClient
) -> None:
    await till.call()
    report = (await admin_client.get("/api/admin/audit")).json()
    assert (report["drift_count"], report["drift"]) == (0, [])
    assert report["checked"]["calls"] == 1
    assert len(report["invariants"]) == 11
    async with storage.write() as tx:
        await tx.execute(schema.accounts.update().values(held=1).where(schema.accounts.c.balance > 0))
    report = (await admin_client.get("/api/admin/audit")).json()
    assert report["drift_count"] == 1
    assert report["drift"][0]["account_id"] == till.user.account_id
    assert [each["id"] for each in report["invariants"] if each["drift"]] == ["I2"]


async def test_a_flagged_call_is_listed_reviewed_and_adjusted_once(
    till: TillCalls, admin_client: httpx.AsyncClient, user_client: httpx.AsyncClient
) -> None:
    await till.call()
    call_id = await till.flagged()
    path = f"/api/admin/calls/{call_id}"
    assert await _ids(admin_client, "/api/admin/calls", flagged=True, reviewed=False) == [call_id]
    reviewed = (await admin_client.post(f"{path}/review", json={"note": "The provider's fault"})).json()
    assert (reviewed["flag"], reviewed["flag_detail"]) == ("impossible_usage", "-1 units of input")
    assert reviewed["reviewed_at"] == "2026-06-01T12:00:00Z"
    assert await _ids(admin_client, "/api/admin/calls", flagged=True, reviewed=False) == []
    asked = {"amount": "-0.0005", "reason": "12 tokens"}
    answers = [
        await admin_client.post(f"{path}/adjustments", json=asked, headers={"Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    entry = answers[0].json()
    assert (entry["kind"], entry["call_id"], entry["amount"]) == ("adjustment", call_id, "-0.0005")
    listed = (await admin_client.get("/api/admin/ledger", params={"call": call_id})).json()["data"]
    assert [found["id"] for found in listed] == [entry["id"]]
    mine = (await user_client.get(f"/api/me/calls/{call_id}")).json()
    assert (mine["adjusted"], mine["charge"]) == ("-0.0005", "0")
    assert not {"flag", "flag_detail", "reviewed_by", "cost", "cost_source"} & set(mine)
    refusal(await admin_client.post(f"{path}/adjustments", json={**asked, "amount": "9"}), 409, "conflict")


async def test_flagged_calls_are_administrators_business(
    till: TillCalls, user_client: httpx.AsyncClient
) -> None:
    call_id = await till.flagged()
    asked = {"amount": "-0.0001", "reason": "x"}
    for path, body in (("review", {}), ("adjustments", asked)):
        answer = await user_client.post(f"/api/admin/calls/{call_id}/{path}", json=body)
        refusal(answer, 403, "permission_denied")
