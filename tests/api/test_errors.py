"""Whatever goes wrong is answered in one shape, and says no more than it should."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.api.conftest import refusal
from tokenopen.api.control_app import create_control_app
from tokenopen.api.errors import BODY_BYTES_MAX
from tokenopen.api.services import CurrentServices
from tokenopen.control.services import Services
from tokenopen.ports.storage import StorageAway
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("path", ["/api/nothing", "/api/admin", "/api/me/", "/", "/api/admin/groups/a/b/c"])
async def test_an_unknown_path_is_not_found(admin_client: Client, path: str) -> None:
    assert path in refusal(await admin_client.get(path), 404, "not_found")["message"]


async def test_a_method_that_a_path_does_not_take_says_which_it_takes(admin_client: Client) -> None:
    answer = await admin_client.delete("/api/admin/groups/vip")
    refusal(answer, 405, "invalid_request")
    assert "PATCH" in answer.headers["allow"] or "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[]", b'"text"', b"1", b"null", b"\xff", b'{"name": NaN}', b"[" * 20_000]
)
async def test_a_body_that_is_no_json_object_is_a_bad_request(admin_client: Client, body: bytes) -> None:
    answer = await admin_client.post("/api/admin/groups", content=body, headers=JSON)
    refusal(answer, 400, "invalid_request")


async def test_json_sent_as_something_else_is_told_the_content_type(admin_client: Client) -> None:
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):
        answer = await admin_client.post("/api/admin/groups", content=b'{"slug": "a"}', headers=headers)
        assert "application/json" in refusal(answer, 400, "invalid_request")["message"]


async def _chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"x" * (BODY_BYTES_MAX // 2)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_too_large_is_refused(admin_client: Client, announced: bool) -> None:
    content = b"x" * (BODY_BYTES_MAX + 1) if announced else _chunks()
    answer = await admin_client.post("/api/admin/groups", content=content, headers=JSON)
    assert refusal(answer, 413, "request_too_large")["limit_bytes"] == BODY_BYTES_MAX


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "limitt=5", "state=gone"])
async def test_a_query_that_cannot_be_is_refused_by_name(admin_client: Client, query: str) -> None:
    error = refusal(await admin_client.get(f"/api/admin/groups?{query}"), 400, "invalid_request")
    assert error["param"] == query.split("=")[0]


async def test_text_that_is_no_unicode_is_refused(admin_client: Client) -> None:
    body = b'{"email": "a@b", "name": "\\ud800"}'
    refusal(await admin_client.post("/api/admin/users", content=body, headers=JSON), 400, "invalid_request")


async def test_a_database_that_is_away_is_503_and_told_when_to_come_back(
    admin_client: Client, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> None:
        raise StorageAway("disk I/O error in /secret/path")

    monkeypatch.setattr(storage, "read", read)
    answer = await admin_client.get("/api/me")
    refusal(answer, 503, "storage_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret" not in answer.text


async def test_a_bug_is_500_without_detail(services: Services) -> None:
    # Its own: those of the fixtures are handed on to other tests.
    app = create_control_app(services)

    @app.get("/api/bug")
    async def bug(services: CurrentServices) -> None:
        raise RuntimeError(f"secret {services.hashing_key!r}")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/api/bug")
    refusal(answer, 500, "internal_error")
    assert "secret" not in answer.text
