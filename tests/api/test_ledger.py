"""Credit, adjustments and refunds through the control API."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.conftest import refusal
from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.storage.sqlite import SqliteStorage


@pytest.fixture
async def till(storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user, credit="1")


def _credits(user: Actor) -> str:
    return f"/api/admin/users/{user.user_id}/credits"


async def test_a_top_up_answers_the_entry(
    admin_client: httpx.AsyncClient, user: Actor, administrator: Actor
) -> None:
    answer = await admin_client.post(_credits(user), json={"amount": "10.5", "reason": "Invoice 7"})
    assert answer.status_code == 201, answer.text
    entry = answer.json()
    assert entry == {
        "id": entry["id"],
        "user_id": user.user_id,
        "account_id": user.account_id,
        "number": 1,
        "kind": "top_up",
        "amount": "10.5",
        "balance_after": "10.5",
        "call_id": None,
        "reason": "Invoice 7",
        "actor_id": administrator.user_id,
        "created_at": "2026-06-01T12:00:00Z",
    }
    shown = (await admin_client.get(f"/api/admin/users/{user.user_id}")).json()
    assert shown["balance"] == "10.5"
    log = (await admin_client.get("/api/admin/audit-log", params={"action": "ledger.top_up"})).json()["data"]
    assert log[0]["before"] == {"balance": "0"}
    assert log[0]["after"]["balance"] == "10.5"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"amount": 10.5, "reason": "x"}, "amount"),
        ({"amount": "0", "reason": "x"}, "amount"),
        ({"amount": "-1", "reason": "x"}, "amount"),
        ({"amount": "1e3", "reason": "x"}, "amount"),
        ({"amount": "0.0000000001", "reason": "x"}, "amount"),
        ({"amount": True, "reason": "x"}, "amount"),
        ({"amount": "1"}, "reason"),
        ({"amount": "1", "reason": " "}, "reason"),
        ({"amount": "1", "reason": "x", "currency": "EUR"}, "currency"),
    ],
)
async def test_an_amount_that_is_none_is_refused(
    admin_client: httpx.AsyncClient, user: Actor, body: Any, param: str
) -> None:
    error = refusal(await admin_client.post(_credits(user), json=body), 400, "invalid_request")
    assert error["param"] == param
    assert (await admin_client.get(f"/api/admin/users/{user.user_id}")).json()["balance"] == "0"


async def test_an_adjustment_never_takes_more_than_is_available(
    admin_client: httpx.AsyncClient, user: Actor
) -> None:
    path = f"/api/admin/users/{user.user_id}/adjustments"
    await admin_client.post(_credits(user), json={"amount": "3", "reason": "x"})
    error = refusal(await admin_client.post(path, json={"amount": "-3.1", "reason": "x"}), 409, "conflict")
    assert error["available"] == "3"
    taken = await admin_client.post(path, json={"amount": "-3", "reason": "x"})
    assert (taken.status_code, taken.json()["balance_after"]) == (201, "0")


async def test_a_refund_gives_back_a_part_or_the_rest(
    admin_client: httpx.AsyncClient, till: TillCalls
) -> None:
    call_id = await till.call(input=1_000, output=0)
    path = f"/api/admin/calls/{call_id}/refunds"
    part = await admin_client.post(path, json={"amount": "0.0001", "reason": "Sorry"})
    assert (part.status_code, part.json()["kind"], part.json()["call_id"]) == (201, "refund", call_id)
    error = refusal(await admin_client.post(path, json={"amount": "0.00006", "reason": "x"}), 409, "conflict")
    assert (error["charge"], error["refunded"], error["refundable"]) == ("0.00015", "0.0001", "0.00005")
    rest = await admin_client.post(path, json={"reason": "x"})
    assert (rest.json()["amount"], rest.json()["balance_after"]) == ("0.00005", "1")
    refusal(await admin_client.post(path, json={"reason": "x"}), 409, "conflict")
    receipt = (await admin_client.get(f"/api/admin/calls/{call_id}")).json()
    assert (receipt["charge"], receipt["refunded"]) == ("0.00015", "0.00015")


async def test_the_same_request_under_the_same_key_is_done_once(
    admin_client: httpx.AsyncClient, user: Actor, other_user: Actor
) -> None:
    headers = {"Idempotency-Key": "invoice-7"}
    body = {"amount": "5", "reason": "Invoice 7"}
    answers = await asyncio.gather(
        *(admin_client.post(_credits(user), json=body, headers=headers) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert (await admin_client.get(f"/api/admin/users/{user.user_id}")).json()["balance"] == "5"
    # Written otherwise, it is the same request; for another user or with another amount, it is not.
    again = await admin_client.post(_credits(user), json={**body, "amount": "5.0"}, headers=headers)
    assert again.text == answers[0].text
    for path, other in ((_credits(other_user), body), (_credits(user), {**body, "amount": "6"})):
        refusal(await admin_client.post(path, json=other, headers=headers), 409, "conflict")


async def test_every_money_post_takes_an_idempotency_key(
    admin_client: httpx.AsyncClient, till: TillCalls
) -> None:
    call_id = await till.call()
    user_id = till.user.user_id
    for path, body in (
        (f"/api/admin/users/{user_id}/credits", {"amount": "1", "reason": "x"}),
        (f"/api/admin/users/{user_id}/adjustments", {"amount": "-0.5", "reason": "x"}),
        (f"/api/admin/calls/{call_id}/refunds", {"amount": "0.0001", "reason": "x"}),
    ):
        headers = {"Idempotency-Key": path}
        first = await admin_client.post(path, json=body, headers=headers)
        assert first.status_code == 201
        assert (await admin_client.post(path, json=body, headers=headers)).text == first.text
    kinds = [entry["kind"] for entry in (await admin_client.get("/api/admin/ledger")).json()["data"]]
    assert sorted(kinds) == ["adjustment", "charge", "refund", "top_up", "top_up"]


async def test_the_ledger_is_filtered_and_paged(admin_client: httpx.AsyncClient, till: TillCalls) -> None:
    for _ in range(3):
        till.clock.move(seconds=1)
        await till.call(hold=10**6)
    wanted = {"user": till.user.user_id, "limit": "3"}
    first = (await admin_client.get("/api/admin/ledger", params=wanted)).json()
    assert [entry["number"] for entry in first["data"]] == [4, 3, 2]
    rest = await admin_client.get("/api/admin/ledger", params={**wanted, "cursor": first["next_cursor"]})
    assert [entry["number"] for entry in rest.json()["data"]] == [1]
    everything = (await admin_client.get("/api/admin/ledger", params={"limit": 2})).json()
    last = {"limit": 2, "cursor": everything["next_cursor"]}
    everything["data"] += (await admin_client.get("/api/admin/ledger", params=last)).json()["data"]
    ids = [entry["id"] for entry in everything["data"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 4
    refusal(await admin_client.get("/api/admin/ledger", params={"kind": "gift"}), 400, "invalid_request")
    refusal(await admin_client.get("/api/admin/ledger", params={"usr": "x"}), 400, "invalid_request")
