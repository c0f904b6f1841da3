"""Every route of the control API, from its own table: who may use it."""

import httpx
import pytest

from tests.api.route_table import ROUTES
from tokenopen.core.api_key import API_KEY_PREFIX, generate_key

ADMIN_ROUTES = [route for route in ROUTES if route[1].startswith("/api/admin/") or route[1] == "/metrics"]
MY_ROUTES = [route for route in ROUTES if route[1] == "/api/me" or route[1].startswith("/api/me/")]


def _filled(path: str) -> str:
    return "/".join("x" if part.startswith("{") else part for part in path.split("/"))


def test_every_route_is_an_administrators_or_ones_own() -> None:
    assert sorted(ADMIN_ROUTES + MY_ROUTES) == sorted(ROUTES)
    assert len(ADMIN_ROUTES) > 20
    assert len(MY_ROUTES) > 10


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
async def test_a_user_is_refused_on_every_administrators_route(
    user_client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await user_client.request(method, _filled(path))
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "permission_denied"


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_uses_a_route_without_a_management_key(
    anonymous_client: httpx.AsyncClient, method: str, path: str
) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer junk"},
        {"Authorization": f"Bearer {generate_key(API_KEY_PREFIX, lambda letters: letters[0])}"},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
    ):
        answer = await anonymous_client.request(method, _filled(path), headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", [path for method, path in MY_ROUTES if method == "GET" and "{" not in path])
async def test_every_role_reads_what_is_its_own(
    user_client: httpx.AsyncClient, admin_client: httpx.AsyncClient, path: str
) -> None:
    assert (await user_client.get(path)).status_code == 200
    assert (await admin_client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "path", [path for method, path in ADMIN_ROUTES if method == "GET" and "{" not in path]
)
async def test_administrators_read_every_list(admin_client: httpx.AsyncClient, path: str) -> None:
    assert (await admin_client.get(path)).status_code == 200
