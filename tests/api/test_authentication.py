"""Who is let into the control API, and what everybody else is told."""

from typing import Any

import httpx
import pytest

from tests.api.conftest import refusal
from tokenopen.core.api_key import API_KEY_PREFIX, MANAGEMENT_KEY_PREFIX, generate_key
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient


async def test_an_api_key_is_told_that_a_management_key_is_needed(
    anonymous_client: Client, user_client: Client
) -> None:
    secret = (await user_client.post("/api/me/keys", json={"name": "key"})).json()["key"]
    for key in (secret, f"{API_KEY_PREFIX}x"):
        answer = await anonymous_client.get("/api/me", headers={"Authorization": f"Bearer {key}"})
        error = refusal(answer, 401, "invalid_api_key")
        assert "management key" in error["message"]
        assert MANAGEMENT_KEY_PREFIX in error["message"]


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer ", "Basic eDp5", "sk-mgmt-x", "Token sk-mgmt-x"])
async def test_without_a_bearer_one_is_told_how_to_send_it(
    anonymous_client: Client, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = await anonymous_client.get("/api/me", headers=headers)
    assert "Authorization: Bearer" in refusal(answer, 401, "invalid_api_key")["message"]


@pytest.mark.parametrize("key", ["x", "x" * 31, "x" * 513, "sk-mgmt-"])
async def test_junk_is_refused_before_the_database_is_asked(
    anonymous_client: Client, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    def read() -> Any:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(storage, "read", read)
    answer = await anonymous_client.get("/api/me", headers={"Authorization": f"Bearer {key}"})
    refusal(answer, 401, "invalid_api_key")


async def test_a_well_formed_key_that_nobody_has_is_refused(anonymous_client: Client) -> None:
    key = generate_key(MANAGEMENT_KEY_PREFIX, lambda letters: letters[-1])
    answer = await anonymous_client.get("/api/me", headers={"Authorization": f"Bearer {key}"})
    refusal(answer, 401, "invalid_api_key")


async def test_openapi_is_read_without_a_key_and_names_the_scheme(anonymous_client: Client) -> None:
    openapi = (await anonymous_client.get("/api/openapi.json")).json()
    assert openapi["components"]["securitySchemes"]["management key"]["scheme"] == "bearer"
    for operations in openapi["paths"].values():
        for operation in operations.values():
            assert operation["security"] == [{"management key": []}]
            # Requests that cannot be read are 400 here; the framework would have promised 422.
            assert "422" not in operation["responses"]
            assert "4XX" in operation["responses"]
