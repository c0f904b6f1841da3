"""Upstreams through the control API: a credential goes in and never comes out."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.api.conftest import refusal
from tests.conftest import SEALING_KEY
from tests.fakes.clock import MovableClock
from tests.fakes.upstream import FakeReply, FakeUpstream
from tokenopen.ports.upstream import AddressForbidden, FirstByteTimeout, NotReached, ReplyBroken
from tokenopen.storage import schema
from tokenopen.storage.sqlite import SqliteStorage
from tokenopen.upstream.credential import open_credential

CREDENTIAL = "sk-very-secret-wxyz"
BODY: dict[str, Any] = {"name": "Main", "provider": "openai", "credential": CREDENTIAL}
WHOLE = {"prices": {"input": "1", "output": "2"}, "context_window": 1_000, "max_output_tokens": 100}


async def _create(client: httpx.AsyncClient, **fields: Any) -> Any:
    answer = await client.post("/api/admin/upstreams", json={**BODY, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _patch(client: httpx.AsyncClient, upstream: Any, **fields: Any) -> httpx.Response:
    return await client.patch(f"/api/admin/upstreams/{upstream['id']}", json=fields)


def _list_of(*names: str) -> FakeReply:
    return FakeReply(200, json.dumps({"data": [{"id": name} for name in names]}).encode())


async def _sealed(storage: SqliteStorage) -> bytes:
    async with storage.read() as tx:
        row = await tx.fetch_one(select(schema.upstreams.c.credential_sealed))
    assert row is not None
    return bytes(row["credential_sealed"])


async def test_an_upstream_is_created_with_the_providers_own_address(
    admin_client: httpx.AsyncClient, storage: SqliteStorage
) -> None:
    created = await _create(admin_client)
    assert created["base_url"] == "https://api.openai.com/v1"
    assert created["credential_last_four"] == "wxyz"
    assert (created["enabled"], created["priority"], created["weight"]) == (True, 0, 1)
    assert created["models"] == {}
    assert created["warnings"] == []
    sealed = await _sealed(storage)
    assert open_credential(SEALING_KEY, "https://api.openai.com:443", sealed) == CREDENTIAL


async def test_a_credential_is_in_no_answer_and_in_no_log(
    admin_client: httpx.AsyncClient, storage: SqliteStorage
) -> None:
    created = await _create(admin_client)
    await _patch(admin_client, created, credential="sk-another-secret-abcd", priority=3)
    answers = [
        await admin_client.get("/api/admin/upstreams"),
        await admin_client.get(f"/api/admin/upstreams/{created['id']}"),
        await admin_client.get("/api/admin/audit-log"),
    ]
    for answer in answers:
        assert "secret" not in answer.text
    assert answers[1].json()["credential_last_four"] == "abcd"
    async with storage.read() as tx:
        rows = await tx.fetch_all(select(schema.audit_log))
    assert "secret" not in repr(rows)
    assert any(row["after"] and "credential_replaced" in row["after"] for row in rows)


async def test_of_a_short_credential_nothing_is_shown(admin_client: httpx.AsyncClient) -> None:
    assert (await _create(admin_client, credential="short"))["credential_last_four"] == ""


async def test_a_credential_stays_with_its_origin(
    admin_client: httpx.AsyncClient, storage: SqliteStorage
) -> None:
    created = await _create(admin_client)
    error = refusal(
        await _patch(admin_client, created, base_url="https://elsewhere.example.com/v1"),
        400,
        "invalid_request",
    )
    assert error["param"] == "credential"
    assert "https://api.openai.com:443" in error["message"]
    # Another path of the same origin is no other place.
    moved = await _patch(admin_client, created, base_url="https://API.openai.com:443/v2/")
    assert moved.json()["base_url"] == "https://API.openai.com:443/v2"
    moved = await _patch(
        admin_client, created, base_url="https://elsewhere.example.com/v1", credential="sk-for-elsewhere"
    )
    assert moved.status_code == 200
    sealed = await _sealed(storage)
    assert open_credential(SEALING_KEY, "https://elsewhere.example.com:443", sealed) == "sk-for-elsewhere"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8000/v1",
        "http://169.254.169.254/latest",
        "http://[::1]/v1",
        "http://[::ffff:10.0.0.1]/v1",
        "http://10.1.2.3",
        "https://user:pass@example.com/v1",
        "ftp://example.com",
        "https://example.com/v1?api-version=1",
        "https://example.com/v1#x",
        "http://2130706433/v1",
        "example.com",
    ],
)
async def test_an_address_that_no_upstream_can_have_is_refused_when_it_is_written(
    admin_client: httpx.AsyncClient, base_url: str
) -> None:
    answer = await admin_client.post("/api/admin/upstreams", json={**BODY, "base_url": base_url})
    assert refusal(answer, 400, "invalid_request")["param"] == "base_url"
    created = await _create(admin_client)
    refusal(
        await _patch(admin_client, created, base_url=base_url, credential="x" * 20), 400, "invalid_request"
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": "ollama"}, "base_url"),
        ({"credential": "two words"}, "credential"),
        ({"credential": "line\nbreak"}, "credential"),
        ({"credential": ""}, "credential"),
        ({"name": ""}, "name"),
        ({"weight": 0}, "weight"),
        ({"priority": -1}, "priority"),
        ({"idle_timeout_ms": 1}, "idle_timeout_ms"),
        ({"models": {"gpt-*": "x"}}, "models"),
        ({"models": {"m": ""}}, "models"),
        ({"models": {"m": 5}}, "models.m"),
        ({"timeout": 5}, "timeout"),
    ],
)
async def test_what_cannot_be_is_refused_naming_the_field(
    admin_client: httpx.AsyncClient, fields: Any, param: str
) -> None:
    answer = await admin_client.post("/api/admin/upstreams", json={**BODY, **fields})
    assert refusal(answer, 400, "invalid_request")["param"] == param


async def test_two_upstreams_have_two_names(admin_client: httpx.AsyncClient) -> None:
    await _create(admin_client)
    other = await _create(admin_client, name="Other")
    refusal(await admin_client.post("/api/admin/upstreams", json=BODY), 409, "conflict")
    refusal(await _patch(admin_client, other, name="Main"), 409, "conflict")
    assert (await _patch(admin_client, other, name="Other")).status_code == 200


async def test_a_map_is_replaced_and_warns_of_models_that_cannot_be_called(
    admin_client: httpx.AsyncClient,
) -> None:
    await admin_client.put("/api/admin/models/good", json=WHOLE)
    await admin_client.put("/api/admin/models/half", json={"context_window": 5})
    await admin_client.put("/api/admin/models/old", json=WHOLE)
    await admin_client.post("/api/admin/models/old/archive")
    models = {"good": "good-2026", "half": "h", "old": "o", "unknown/x": "x"}
    created = await _create(admin_client, models=models)
    assert created["models"] == models
    assert [warning.split()[1] for warning in created["warnings"]] == ["half", "old", "unknown/x"]
    good = (await admin_client.get("/api/admin/models/good")).json()
    assert (good["offered"], good["carried_by"]) == (True, ["Main"])
    changed = (await _patch(admin_client, created, models={"good": "g"})).json()
    assert (changed["models"], changed["warnings"]) == ({"good": "g"}, [])
    await _patch(admin_client, created, enabled=False)
    assert (await admin_client.get("/api/admin/models/good")).json()["offered"] is False


async def test_an_unencrypted_upstream_warns(admin_client: httpx.AsyncClient) -> None:
    created = await _create(admin_client, provider="vllm", base_url="http://models.example.com/v1")
    assert "not encrypted" in created["warnings"][0]


async def test_a_change_binds_the_next_call_and_no_change_does_not_disturb(
    admin_client: httpx.AsyncClient, storage: SqliteStorage
) -> None:
    created = await _create(admin_client, models={"m": "m"})
    version = (await storage.find_versions(None)).catalog
    await _patch(admin_client, created, models={"m": "m"}, priority=0)
    assert (await storage.find_versions(None)).catalog == version
    await _patch(admin_client, created, priority=1)
    assert (await storage.find_versions(None)).catalog == version + 1
    catalog = await storage.load_catalog()
    assert [route.priority for route in catalog.routes["m"]] == [1]


async def test_the_test_asks_the_provider_with_the_credential(
    admin_client: httpx.AsyncClient, upstream: FakeUpstream
) -> None:
    created = await _create(admin_client)
    upstream.replies.append(_list_of("a", "b"))
    answer = (await admin_client.post(f"/api/admin/upstreams/{created['id']}/test")).json()
    assert answer == {"ok": True, "status": 200, "latency_ms": 0, "models": 2, "error": None}
    request = upstream.requests[0]
    assert (request.method, request.url) == (b"GET", "https://api.openai.com/v1/models")
    assert (b"authorization", f"Bearer {CREDENTIAL}".encode()) in request.headers
    assert request.connect_timeout_ms == request.first_byte_timeout_ms == 10_000


@pytest.mark.parametrize(
    ("reply", "status", "says"),
    [
        (
            FakeReply(401, b'{"error":{"message":"Incorrect API key provided: sk-very-secret-wxyz"}}'),
            401,
            "refused",
        ),
        (FakeReply(404, b""), 404, "/v1"),
        (FakeReply(429, b""), 429, "no room"),
        (FakeReply(301, b""), 301, "redirects"),
        (FakeReply(500, b"oops"), 500, "status 500"),
        (FakeReply(200, b"<html>"), 200, "list of models"),
        (FakeReply(200, b'{"data":5}'), 200, "list of models"),
        (NotReached("https://api.openai.com:443 cannot be reached"), None, "could not be reached"),
        (AddressForbidden("10.0.0.1 is not public"), None, "TOKENOPEN_UPSTREAM_NETWORKS"),
        (FirstByteTimeout("late"), None, "in time"),
        (ReplyBroken("cut"), None, "broke off"),
    ],
)
async def test_what_goes_wrong_is_said_in_our_words_without_the_credential(
    admin_client: httpx.AsyncClient,
    upstream: FakeUpstream,
    reply: FakeReply | Exception,
    status: int | None,
    says: str,
) -> None:
    created = await _create(admin_client)
    upstream.replies.append(reply)
    answer = (await admin_client.post(f"/api/admin/upstreams/{created['id']}/test")).json()
    assert (answer["ok"], answer["status"], answer["models"]) == (False, status, 0)
    assert says in answer["error"]
    assert CREDENTIAL not in answer["error"]
    listing = await admin_client.get(f"/api/admin/upstreams/{created['id']}/available-models")
    refusal(listing, 502, "upstream_error")


async def test_a_credential_that_cannot_be_opened_is_said(
    admin_client: httpx.AsyncClient, storage: SqliteStorage, upstream: FakeUpstream
) -> None:
    created = await _create(admin_client)
    async with storage.write() as tx:
        await tx.execute(schema.upstreams.update().values(base_url="https://evil.example.com/v1"))
    answer = (await admin_client.post(f"/api/admin/upstreams/{created['id']}/test")).json()
    assert answer["ok"] is False
    assert "Enter it again" in answer["error"]
    assert upstream.requests == []


async def test_an_upstream_in_a_network_that_is_no_longer_allowed_can_still_be_switched_off(
    admin_client: httpx.AsyncClient, storage: SqliteStorage
) -> None:
    created = await _create(admin_client)
    async with storage.write() as tx:
        await tx.execute(schema.upstreams.update().values(base_url="http://10.0.0.1/v1"))
    assert (await _patch(admin_client, created, enabled=False)).json()["enabled"] is False


async def test_available_models_say_what_has_a_price_and_what_is_mapped(
    admin_client: httpx.AsyncClient, upstream: FakeUpstream, clock: MovableClock
) -> None:
    await admin_client.put("/api/admin/models/gemini-x", json=WHOLE)
    await admin_client.put("/api/admin/models/half", json={"context_window": 5})
    created = await _create(admin_client, models={"public": "models/gemini-x"})
    upstream.replies.append(_list_of("models/gemini-x", "half", "new", "half"))
    answer = await admin_client.get(f"/api/admin/upstreams/{created['id']}/available-models")
    assert answer.status_code == 200, answer.text
    found = {each["upstream_model"]: each for each in answer.json()["data"]}
    assert found == {
        "half": {
            "upstream_model": "half",
            "model": "half",
            "state": "incomplete",
            "has_price": False,
            "mapped_as": [],
        },
        "models/gemini-x": {
            "upstream_model": "models/gemini-x",
            "model": "gemini-x",
            "state": "active",
            "has_price": True,
            "mapped_as": ["public"],
        },
        "new": {
            "upstream_model": "new",
            "model": None,
            "state": None,
            "has_price": False,
            "mapped_as": [],
        },
    }


async def test_an_upstream_that_is_not_there_is_not_found(admin_client: httpx.AsyncClient) -> None:
    refusal(await admin_client.get("/api/admin/upstreams/ups_none"), 404, "not_found")
    refusal(await _patch(admin_client, {"id": "ups_none"}, priority=1), 404, "not_found")
    refusal(await admin_client.post("/api/admin/upstreams/ups_none/test"), 404, "not_found")


async def test_what_a_provider_takes_is_stated_and_taken_back(admin_client: httpx.AsyncClient) -> None:
    body = {"name": "new", "provider": "openai", "credential": "secret-credential", "cost_multiplier": "0.85"}
    upstream = (await admin_client.post("/api/admin/upstreams", json=body)).json()
    assert upstream["cost_multiplier"] == "0.85"
    path = f"/api/admin/upstreams/{upstream['id']}"
    assert (await admin_client.patch(path, json={"weight": 2})).json()["cost_multiplier"] == "0.85"
    assert (await admin_client.patch(path, json={"cost_multiplier": None})).json()["cost_multiplier"] is None
    refusal(await admin_client.patch(path, json={"cost_multiplier": "-1"}), 400, "invalid_request")
