"""Models and prices through the control API."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import refusal
from tests.fakes.clock import MovableClock

PRICES = {"input": "0.15", "output": "0.60"}
WHOLE: dict[str, Any] = {"prices": PRICES, "context_window": 1_000, "max_output_tokens": 100}


async def _put(client: httpx.AsyncClient, name: str, body: Any = WHOLE) -> httpx.Response:
    return await client.put(f"/api/admin/models/{name}", json=body)


async def test_a_model_is_created_then_changed(admin_client: httpx.AsyncClient, clock: MovableClock) -> None:
    created = await _put(admin_client, "acme/fast:v1", {**WHOLE, "maker": "acme", "reason": "New"})
    assert created.status_code == 201, created.text
    model = created.json()
    assert model["name"] == "acme/fast:v1"
    assert (model["state"], model["missing"], model["offered"]) == ("active", [], False)
    assert model["prices"] == {"input": "0.15", "output": "0.6"}
    assert model["revision"]["resolved_prices"]["cached_input"] == "0.15"
    assert model["revision"]["resolved_prices"]["per_call"] == "0"
    assert model["revision"]["by"]["email"] == "admin@localhost"
    assert model["revision"]["reason"] == "New"
    clock.move(seconds=1)
    changed = await _put(
        admin_client,
        "acme/fast:v1",
        {
            "prices": {"input": 1, "output": "2", "per_call": "0.01"},
            "steps": [{"above_input_tokens": 500, "prices": {"input": "3", "output": "4"}}],
        },
    )
    assert changed.status_code == 200, changed.text
    assert changed.json()["prices"] == {"input": "1", "output": "2", "per_call": "0.01"}
    assert changed.json()["steps"] == [{"above_input_tokens": 500, "prices": {"input": "3", "output": "4"}}]
    revisions = (await admin_client.get("/api/admin/models/acme/fast:v1/revisions")).json()["data"]
    assert [revision["number"] for revision in revisions] == [2, 1]
    assert (await admin_client.get("/api/admin/models/acme/fast:v1")).json() == changed.json()


async def test_a_price_may_begin_later(admin_client: httpx.AsyncClient) -> None:
    await _put(admin_client, "m")
    answer = await _put(
        admin_client,
        "m",
        {"prices": {"input": "9", "output": "9"}, "effective_from": "2026-06-02T00:00:00Z", "reason": "Soon"},
    )
    assert answer.json()["prices"] == {"input": "0.15", "output": "0.6"}
    coming = answer.json()["upcoming"][0]
    assert (coming["effective_from"], coming["reason"]) == ("2026-06-02T00:00:00Z", "Soon")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prices": {"input": 0.15, "output": "1"}}, "prices.input"),
        ({"prices": {"input": "1"}}, "prices"),
        ({"prices": {"input": "-1", "output": "1"}}, "prices.input"),
        ({"prices": {"input": "1", "output": "1", "video": "1"}}, "prices"),
        ({"prices": None}, "prices"),
        ({"context_window": "1000"}, "context_window"),
        ({"price": {}}, "price"),
        ({"reason": "import"}, "reason"),
        ({"prices": PRICES, "effective_from": "2020-01-01T00:00:00Z"}, "effective_from"),
        ({"steps": [{"above_input_tokens": 5, "prices": PRICES}]}, "prices"),
    ],
)
async def test_what_cannot_be_is_refused_naming_the_field(
    admin_client: httpx.AsyncClient, body: Any, param: str
) -> None:
    error = refusal(await _put(admin_client, "m", body), 400, "invalid_request")
    assert error["param"] == param
    refusal(await admin_client.get("/api/admin/models/m"), 404, "not_found")


async def test_an_incomplete_model_is_listed_with_what_to_fill_in(admin_client: httpx.AsyncClient) -> None:
    await _put(admin_client, "whole")
    await _put(admin_client, "half", {"prices": PRICES})
    listed = (await admin_client.get("/api/admin/models", params={"state": "incomplete"})).json()
    assert [(model["name"], model["missing"]) for model in listed["data"]] == [
        ("half", ["context_window", "max_output_tokens"])
    ]
    found = (await admin_client.get("/api/admin/models", params={"q": "WHO"})).json()
    assert [model["name"] for model in found["data"]] == ["whole"]


async def test_models_are_paged(admin_client: httpx.AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await _put(admin_client, name)
    first = (await admin_client.get("/api/admin/models", params={"limit": 2})).json()
    assert [model["name"] for model in first["data"]] == ["a", "b"]
    rest = await admin_client.get("/api/admin/models", params={"limit": 2, "cursor": first["next_cursor"]})
    assert [model["name"] for model in rest.json()["data"]] == ["c"]
    assert rest.json()["next_cursor"] is None


async def test_a_model_is_archived_and_comes_back(admin_client: httpx.AsyncClient) -> None:
    await _put(admin_client, "acme/m")
    archived = await admin_client.post("/api/admin/models/acme/m/archive")
    assert (archived.status_code, archived.json()["state"]) == (200, "archived")
    back = await admin_client.post("/api/admin/models/acme/m/unarchive")
    assert (back.status_code, back.json()["state"]) == (200, "active")
    refusal(await admin_client.post("/api/admin/models/none/archive"), 404, "not_found")


async def test_the_makers_models_are_imported_by_maker(admin_client: httpx.AsyncClient) -> None:
    body = {"makers": ["openai"], "dry_run": True}
    dry = (await admin_client.post("/api/admin/models/import", json=body)).json()
    assert dry["dry_run"] is True
    assert dry["created"] == len(dry["models"]) > 20
    assert (await admin_client.get("/api/admin/models")).json()["data"] == []
    done = (await admin_client.post("/api/admin/models/import", json={"makers": ["openai"]})).json()
    assert done == {**dry, "dry_run": False}
    mini = (await admin_client.get("/api/admin/models/gpt-4o-mini")).json()
    assert (mini["maker"], mini["prices"]["input"], mini["prices"]["output"]) == ("openai", "0.15", "0.6")
    assert mini["state"] == "active"
    again = (await admin_client.post("/api/admin/models/import", json={"makers": ["openai"]})).json()
    assert (again["created"], again["changed"]) == (0, 0)
    refusal(
        await admin_client.post("/api/admin/models/import", json={"makers": ["nobody"]}),
        400,
        "invalid_request",
    )
