"""Console sessions at the control API: what they may do, and what proves that a page of ours asked."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from tests.api.conftest import refusal
from tests.api.route_table import ROUTES, Route
from tests.conftest import HASHING_KEY, MakeControlApp, make_user
from tests.fakes.clock import MovableClock
from tests.sessions import (
    OTHER_PASSWORD,
    PASSWORD,
    browser_headers,
    cheap_hashing,
    give_session,
    link_token,
)
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.core.session import SESSION_IDLE_MS, SESSION_LONGEST_MS, form_token_of
from tokenopen.ports.storage import Storage

Client = httpx.AsyncClient
NEW_KEY = {"name": "key"}


@pytest.fixture(autouse=True)
def _cheap() -> object:
    with cheap_hashing():
        yield


def browser(app: FastAPI, token: str | None, *, base_url: str = "http://localhost") -> Client:
    cookies = {} if token is None else {"tokenopen": token}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return Client(transport=transport, base_url=base_url, cookies=cookies)


@pytest.fixture
async def token(storage: Storage, user: Actor) -> str:
    return await give_session(storage, user.user_id)


@pytest.fixture
async def page(control_app: FastAPI, token: str) -> AsyncIterator[Client]:
    """The user's browser."""
    async with browser(control_app, token) as client:
        yield client


@pytest.fixture
async def admin_page(control_app: FastAPI, storage: Storage, administrator: Actor) -> AsyncIterator[Client]:
    """The administrator's browser, as the console's own scripts use it."""
    token = await give_session(storage, administrator.user_id)
    async with browser(control_app, token) as client:
        client.headers.update(browser_headers(token))
        yield client


async def test_a_session_reads_as_its_user(page: Client, user: Actor) -> None:
    assert (await page.get("/api/me")).json()["id"] == user.user_id
    refusal(await page.get("/api/admin/users"), 403, "permission_denied")


async def test_a_change_from_our_own_page_is_made(page: Client, token: str) -> None:
    answer = await page.post("/api/me/keys", json=NEW_KEY, headers=browser_headers(token))
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"X-CSRF-Token": None}, "X-CSRF-Token"),
        ({"X-CSRF-Token": ""}, "X-CSRF-Token"),
        ({"X-CSRF-Token": "0" * 64}, "X-CSRF-Token"),
        ({"X-CSRF-Token": "ü"}, "X-CSRF-Token"),
        ({"Origin": "https://evil.example.net"}, "own pages"),
        ({"Origin": "null"}, "own pages"),
        ({"Origin": "http://localhost:81"}, "own pages"),
        ({"Sec-Fetch-Site": "cross-site"}, "own pages"),
        ({"Sec-Fetch-Site": "same-site"}, "own pages"),
        ({"Origin": None, "Sec-Fetch-Site": None}, "own pages"),
    ],
)
async def test_a_change_that_another_page_could_have_sent_is_refused(
    page: Client, token: str, changed: dict[str, str | None], says: str
) -> None:
    sent = browser_headers(token) | changed
    headers = [(name.encode(), value.encode()) for name, value in sent.items() if value is not None]
    answer = await page.post("/api/me/keys", json=NEW_KEY, headers=headers)
    assert says in refusal(answer, 403, "request_forged")["message"]
    assert (await page.get("/api/me/keys")).json()["data"] == []


@pytest.mark.parametrize("route", [route for route in ROUTES if route[0] != "GET"], ids=" ".join)
async def test_no_route_changes_anything_for_a_cookie_alone(
    control_app: FastAPI, storage: Storage, administrator: Actor, route: Route
) -> None:
    async with browser(control_app, await give_session(storage, administrator.user_id)) as client:
        answer = await client.request(route[0], route[1].replace("{", "").replace("}", ""), json={})
    refusal(answer, 403, "request_forged")


async def test_another_session_s_token_proves_nothing(
    page: Client, storage: Storage, user: Actor, other_user: Actor
) -> None:
    for other in (await give_session(storage, user.user_id), await give_session(storage, other_user.user_id)):
        answer = await page.post("/api/me/keys", json=NEW_KEY, headers=browser_headers(other))
        refusal(answer, 403, "request_forged")


async def test_the_token_of_forms_opens_no_session(control_app: FastAPI, token: str) -> None:
    async with browser(control_app, form_token_of(token, HASHING_KEY)) as client:
        refusal(await client.get("/api/me"), 401, "session_ended")


@pytest.mark.parametrize("token", ["", "x", "\u00fc", "a" * 4000])
async def test_a_made_up_cookie_is_no_session(control_app: FastAPI, user: Actor, token: str) -> None:
    async with browser(control_app, None) as client:
        answer = await client.get("/api/me", headers=[(b"cookie", f"tokenopen={token}".encode())])
    refusal(answer, 401, "session_ended")


@pytest.mark.parametrize("host", ["http://192.0.2.7:8000", "http://console.example.com", "http://control"])
async def test_over_plain_http_from_elsewhere_a_cookie_counts_for_nothing(
    control_app: FastAPI, token: str, host: str
) -> None:
    async with browser(control_app, token, base_url=host) as client:
        refusal(await client.get("/api/me"), 401, "invalid_api_key")


async def test_with_a_public_address_only_the_host_cookie_counts(
    make_control_app: MakeControlApp, services: Services, token: str
) -> None:
    app = make_control_app(replace(services, public_url="https://console.example.com"))
    async with browser(app, token, base_url="http://console.example.com") as client:
        refusal(await client.get("/api/me"), 401, "invalid_api_key")
        headers = {"Cookie": f"__Host-tokenopen={token}"}
        assert (await client.get("/api/me", headers=headers)).status_code == 200
        change = browser_headers(token) | headers | {"Origin": "http://console.example.com"}
        refusal(await client.post("/api/me/keys", json=NEW_KEY, headers=change), 403, "request_forged")
        change["Origin"] = "https://console.example.com"
        assert (await client.post("/api/me/keys", json=NEW_KEY, headers=change)).status_code == 201


async def test_a_management_key_stands_above_a_cookie_and_needs_no_proof(
    page: Client, admin_client: Client
) -> None:
    headers = {"Authorization": admin_client.headers["Authorization"]}
    assert (await page.get("/api/me", headers=headers)).json()["role"] == "administrator"
    assert (await page.post("/api/me/keys", json=NEW_KEY, headers=headers)).status_code == 201
    # A wrong one is not made good by the cookie beside it.
    for wrong in ("Bearer junk", "Basic eDp5", ""):
        refusal(await page.get("/api/me", headers={"Authorization": wrong}), 401, "invalid_api_key")


async def test_a_suspended_user_s_session_is_over_at_the_next_request(
    page: Client, admin_client: Client, user: Actor
) -> None:
    assert (await page.get("/api/me")).status_code == 200
    await admin_client.patch(f"/api/admin/users/{user.user_id}", json={"state": "suspended"})
    assert (await page.get("/api/me")).status_code in (401, 403)
    await admin_client.patch(f"/api/admin/users/{user.user_id}", json={"state": "active"})
    refusal(await page.get("/api/me"), 401, "session_ended")


async def test_a_new_role_ends_the_sessions_of_the_old_one(
    page: Client, admin_client: Client, user: Actor
) -> None:
    await admin_client.patch(f"/api/admin/users/{user.user_id}", json={"name": "Ada"})
    assert (await page.get("/api/me")).status_code == 200
    await admin_client.patch(f"/api/admin/users/{user.user_id}", json={"role": "administrator"})
    refusal(await page.get("/api/me"), 401, "session_ended")


async def test_a_session_ends_when_it_is_not_used_and_however_it_is_used(
    page: Client, clock: MovableClock
) -> None:
    for _ in range(SESSION_LONGEST_MS // (SESSION_IDLE_MS - 1)):
        clock.move(milliseconds=SESSION_IDLE_MS - 1)
        assert (await page.get("/api/me")).status_code == 200
    clock.move(milliseconds=SESSION_LONGEST_MS % (SESSION_IDLE_MS - 1))
    refusal(await page.get("/api/me"), 401, "session_ended")


async def test_an_unused_session_ends(page: Client, clock: MovableClock) -> None:
    clock.move(milliseconds=SESSION_IDLE_MS)
    refusal(await page.get("/api/me"), 401, "session_ended")


async def test_a_user_sees_and_ends_their_own_sessions_and_no_others(
    page: Client, token: str, storage: Storage, user: Actor, other_user: Actor, other_client: Client
) -> None:
    await give_session(storage, user.user_id)
    await give_session(storage, other_user.user_id)
    mine = (await page.get("/api/me/sessions")).json()["data"]
    assert [session["current"] for session in mine].count(True) == 1
    assert len(mine) == 2
    assert all(token not in str(session) for session in mine)
    theirs = (await other_client.get("/api/me/sessions")).json()["data"][0]["id"]
    headers = browser_headers(token)
    refusal(await page.post(f"/api/me/sessions/{theirs}/revoke", headers=headers), 404, "not_found")
    other = next(session["id"] for session in mine if not session["current"])
    assert (await page.post(f"/api/me/sessions/{other}/revoke", headers=headers)).status_code == 204
    assert len((await page.get("/api/me/sessions")).json()["data"]) == 1
    this = (await page.get("/api/me/sessions")).json()["data"][0]["id"]
    assert (await page.post(f"/api/me/sessions/{this}/revoke", headers=headers)).status_code == 204
    refusal(await page.get("/api/me"), 401, "session_ended")


async def test_an_administrator_ends_anybody_s_session(
    page: Client, admin_client: Client, user: Actor
) -> None:
    path = f"/api/admin/users/{user.user_id}/sessions"
    session = (await admin_client.get(path)).json()["data"][0]["id"]
    assert (await admin_client.post(f"{path}/{session}/revoke")).status_code == 204
    refusal(await page.get("/api/me"), 401, "session_ended")


async def test_a_password_set_by_an_administrator_ends_every_session(
    page: Client, admin_client: Client, storage: Storage, user: Actor
) -> None:
    path = f"/api/admin/users/{user.user_id}/password"
    error = refusal(await admin_client.post(path, json={"password": "short"}), 400, "invalid_request")
    assert error["param"] == "password"
    assert (await page.get("/api/me")).status_code == 200
    assert (await admin_client.post(path, json={"password": OTHER_PASSWORD})).status_code == 204
    refusal(await page.get("/api/me"), 401, "session_ended")


async def test_links_are_made_for_the_operator_s_own_address(
    admin_client: Client, make_control_app: MakeControlApp, services: Services, user: Actor
) -> None:
    path = f"/api/admin/users/{user.user_id}/password-links"
    answer = await admin_client.post(path)
    assert answer.status_code == 201
    assert answer.json()["url"].startswith("http://control/new-password/")
    app = make_control_app(replace(services, public_url="https://console.example.com"))
    async with browser(app, None) as client:
        client.headers["Authorization"] = admin_client.headers["Authorization"]
        url = (await client.post("/api/admin/administrator-links")).json()["url"]
    assert url.startswith("https://console.example.com/administrator-link/")
    assert len(link_token(url)) == 43


CREDENTIALS = [
    ("POST", "/api/admin/users/{user}/credits", {"amount": "1", "reason": "paid"}),
    ("POST", "/api/admin/users/{user}/adjustments", {"amount": "1", "reason": "slip"}),
    ("POST", "/api/admin/users/{user}/management-keys", {"name": "ci"}),
    ("POST", "/api/admin/users/{user}/password", {"password": OTHER_PASSWORD}),
    ("POST", "/api/admin/users/{user}/password-links", None),
    ("POST", "/api/admin/administrator-links", None),
    ("POST", "/api/me/management-keys", {"name": "ci"}),
    ("POST", "/api/admin/users", {"email": "new@example.com", "name": "New", "role": "administrator"}),
    ("PATCH", "/api/admin/users/{user}", {"role": "administrator"}),
    ("PATCH", "/api/admin/settings", {"starting_credit": "5"}),
    ("PATCH", "/api/admin/settings", {"call_retention_days": 30}),
    (
        "POST",
        "/api/admin/upstreams",
        {"name": "new", "provider": "openai", "credential": "secret-credential"},
    ),
]


@pytest.mark.parametrize(("method", "path", "body"), CREDENTIALS)
async def test_credentials_credit_and_roles_need_a_recent_password(
    admin_page: Client,
    admin_client: Client,
    clock: MovableClock,
    user: Actor,
    method: str,
    path: str,
    body: object,
) -> None:
    clock.move(seconds=15 * 60)
    filled = path.format(user=user.user_id)
    refusal(await admin_page.request(method, filled, json=body), 403, "password_required")
    # A management key is a credential of its own.
    answer = await admin_client.request(method, filled, json=body)
    assert answer.is_success, answer.text


@pytest.mark.parametrize(("method", "path", "body"), CREDENTIALS)
async def test_just_after_signing_in_they_need_no_other(
    admin_page: Client, clock: MovableClock, user: Actor, method: str, path: str, body: object
) -> None:
    clock.move(seconds=15 * 60 - 1)
    answer = await admin_page.request(method, path.format(user=user.user_id), json=body)
    assert answer.is_success, answer.text


async def test_the_last_administrator_stays_one(
    admin_page: Client, administrator: Actor, storage: Storage
) -> None:
    path = f"/api/admin/users/{administrator.user_id}"
    for change in ({"role": "user"}, {"state": "suspended"}):
        refusal(await admin_page.patch(path, json=change), 409, "conflict")
    await make_user(storage, administrator, "second@example.com", role="administrator")
    assert (await admin_page.patch(path, json={"role": "user"})).is_success


async def test_a_user_is_created_with_a_password_that_will_do(admin_client: Client) -> None:
    body = {"email": "new@example.com", "name": "New", "password": "password123"}
    error = refusal(await admin_client.post("/api/admin/users", json=body), 400, "invalid_request")
    assert error["param"] == "password"
    body["password"] = PASSWORD
    assert (await admin_client.post("/api/admin/users", json=body)).json()["has_password"]
