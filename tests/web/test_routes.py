"""Every route of the pages, from their own table: who may use it, and what it takes to change something.

A new route needs a line in ACCESS: ``everybody``, also signed out; ``users``, for whom it shows or changes
what is their own; or ``administrators``. One that names something of a user's own in its path needs a line
in OWNED too, which proves that nobody else reaches it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal

import httpx
import pytest

from tests.conftest import HASHING_KEY
from tests.refused_calls import refuse_call
from tests.sessions import BROWSER, OTHER_PASSWORD, give_session
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, form_token
from tests.web.route_table import ROUTES, Route
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import Narrowing, create_api_key
from tokenopen.control.management_key import create_management_key
from tokenopen.control.session import list_sessions
from tokenopen.control.upgrade_request import create_upgrade_request
from tokenopen.core.session import form_token_of
from tokenopen.core.site import SAFE_METHODS
from tokenopen.ports.storage import Storage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
Access = Literal["everybody", "users", "administrators"]

ACCESS: Final[Mapping[Route, Access]] = {
    ("GET", "/"): "everybody",
    ("GET", "/sign-in"): "everybody",
    ("POST", "/sign-in"): "everybody",
    ("POST", "/sign-out"): "users",
    ("GET", "/confirm-password"): "users",
    ("POST", "/confirm-password"): "users",
    ("GET", "/forgot-password"): "everybody",
    ("POST", "/forgot-password"): "everybody",
    ("GET", "/new-password/{token}"): "everybody",
    ("POST", "/new-password/{token}"): "everybody",
    ("GET", "/sign-up"): "everybody",
    ("POST", "/sign-up"): "everybody",
    ("GET", "/sign-up/{token}"): "everybody",
    ("POST", "/sign-up/{token}"): "everybody",
    ("GET", "/administrator-link/{token}"): "everybody",
    ("POST", "/administrator-link/{token}"): "everybody",
    ("GET", "/profile"): "users",
    ("POST", "/profile/password"): "users",
    ("POST", "/profile/sessions/revoke-others"): "users",
    ("POST", "/profile/sessions/{session_id}/revoke"): "users",
    ("GET", "/profile/management-keys/new"): "users",
    ("POST", "/profile/management-keys"): "users",
    ("POST", "/profile/management-keys/{key_id}/revoke"): "users",
    ("GET", "/home"): "users",
    ("GET", "/keys"): "users",
    ("POST", "/keys"): "users",
    ("GET", "/keys/new"): "users",
    ("GET", "/keys/{key_id}"): "users",
    ("POST", "/keys/{key_id}"): "users",
    ("POST", "/keys/{key_id}/group"): "users",
    ("POST", "/keys/{key_id}/on"): "users",
    ("POST", "/keys/{key_id}/off"): "users",
    ("POST", "/keys/{key_id}/rotate"): "users",
    ("POST", "/keys/{key_id}/revoke"): "users",
    ("GET", "/groups"): "users",
    ("GET", "/upgrade"): "users",
    ("POST", "/upgrade"): "users",
    ("POST", "/upgrade/{request_id}/withdraw"): "users",
    ("POST", "/upgrade/{request_id}/keys"): "users",
    ("GET", "/calls"): "users",
    ("GET", "/calls/refused"): "users",
    ("GET", "/calls/find"): "users",
    ("GET", "/calls/{call_id}"): "users",
    ("GET", "/admin/groups"): "administrators",
    ("POST", "/admin/groups"): "administrators",
    ("GET", "/admin/groups/_new"): "administrators",
    ("GET", "/admin/groups/{slug}"): "administrators",
    ("POST", "/admin/groups/{slug}"): "administrators",
    ("GET", "/admin/groups/{slug}/history"): "administrators",
    ("GET", "/admin/groups/{slug}/archive"): "administrators",
    ("POST", "/admin/groups/{slug}/archive"): "administrators",
    ("GET", "/credit"): "users",
    ("GET", "/usage"): "users",
    ("GET", "/usage.csv"): "users",
    ("GET", "/admin/models"): "administrators",
    ("POST", "/admin/models"): "administrators",
    ("GET", "/admin/models/_new"): "administrators",
    ("GET", "/admin/models/_import"): "administrators",
    ("POST", "/admin/models/_import"): "administrators",
    ("POST", "/admin/models/_archive"): "administrators",
    ("POST", "/admin/models/_unarchive"): "administrators",
    ("GET", "/admin/models/{name:path}"): "administrators",
    ("GET", "/try"): "users",
    ("POST", "/try"): "users",
    ("GET", "/admin/upstreams"): "administrators",
    ("POST", "/admin/upstreams"): "administrators",
    ("GET", "/admin/upstreams/new"): "administrators",
    ("GET", "/admin/upstreams/{upstream_id}"): "administrators",
    ("POST", "/admin/upstreams/{upstream_id}"): "administrators",
    ("GET", "/admin/upstreams/{upstream_id}/address"): "administrators",
    ("POST", "/admin/upstreams/{upstream_id}/address"): "administrators",
    ("POST", "/admin/upstreams/{upstream_id}/test"): "administrators",
    ("GET", "/admin/upstreams/{upstream_id}/models"): "administrators",
    ("POST", "/admin/upstreams/{upstream_id}/models"): "administrators",
    ("POST", "/admin/upstreams/{upstream_id}/models/remove"): "administrators",
    ("GET", "/guide"): "everybody",
    ("GET", "/guide/{name}"): "everybody",
    ("GET", "/guide/{name}.md"): "everybody",
    ("GET", "/reference"): "everybody",
    ("GET", "/reference/{name}"): "everybody",
    ("GET", "/reference/{name}.md"): "everybody",
    ("GET", "/help"): "everybody",
    ("GET", "/help/{name}"): "everybody",
    ("GET", "/help/{name}.md"): "everybody",
    ("GET", "/llms.txt"): "everybody",
    ("GET", "/admin/users"): "administrators",
    ("POST", "/admin/users"): "administrators",
    ("GET", "/admin/users/new"): "administrators",
    ("GET", "/admin/users/{user_id}"): "administrators",
    ("GET", "/admin/users/{user_id}/edit"): "administrators",
    ("POST", "/admin/users/{user_id}/edit"): "administrators",
    ("POST", "/admin/users/{user_id}/suspend"): "administrators",
    ("POST", "/admin/users/{user_id}/reactivate"): "administrators",
    ("POST", "/admin/users/{user_id}/end-sessions"): "administrators",
    ("POST", "/admin/users/{user_id}/password-link"): "administrators",
    ("GET", "/admin/users/{user_id}/credit"): "administrators",
    ("POST", "/admin/users/{user_id}/credit"): "administrators",
    ("GET", "/admin/users/{user_id}/access"): "administrators",
    ("GET", "/admin/users/{user_id}/access/{slug}"): "administrators",
    ("POST", "/admin/users/{user_id}/access/{slug}"): "administrators",
    ("POST", "/admin/users/{user_id}/access/{slug}/end"): "administrators",
    ("GET", "/admin/users/{user_id}/keys/new"): "administrators",
    ("POST", "/admin/users/{user_id}/keys"): "administrators",
    ("POST", "/admin/users/{user_id}/keys/{key_id}/group"): "administrators",
    ("POST", "/admin/users/{user_id}/keys/{key_id}/state"): "administrators",
    ("POST", "/admin/users/{user_id}/keys/{key_id}/revoke"): "administrators",
    ("GET", "/admin/upgrade-requests"): "administrators",
    ("GET", "/admin/upgrade-requests/{request_id}"): "administrators",
    ("POST", "/admin/upgrade-requests/{request_id}/approve"): "administrators",
    ("POST", "/admin/upgrade-requests/{request_id}/decline"): "administrators",
    ("GET", "/admin/calls"): "administrators",
    ("GET", "/admin/calls/refused"): "administrators",
    ("GET", "/admin/calls/flagged"): "administrators",
    ("GET", "/admin/calls/find"): "administrators",
    ("GET", "/admin/calls/{call_id}"): "administrators",
    ("GET", "/admin/calls/{call_id}/refund"): "administrators",
    ("POST", "/admin/calls/{call_id}/refund"): "administrators",
    ("POST", "/admin/calls/{call_id}/review"): "administrators",
    ("GET", "/admin/calls/{call_id}/adjustment"): "administrators",
    ("POST", "/admin/calls/{call_id}/adjustment"): "administrators",
    ("GET", "/admin/ledger"): "administrators",
    ("GET", "/admin/ledger/audit"): "administrators",
    ("POST", "/admin/ledger/audit"): "administrators",
    ("GET", "/admin/audit-log"): "administrators",
    ("GET", "/admin"): "administrators",
    ("POST", "/admin/first-key"): "administrators",
    ("GET", "/admin/first-call"): "administrators",
    ("GET", "/admin/settings"): "administrators",
    ("POST", "/admin/settings"): "administrators",
    ("GET", "/admin/settings/sign-up"): "administrators",
    ("POST", "/admin/settings/sign-up"): "administrators",
    ("POST", "/admin/settings/test-mail"): "administrators",
    ("POST", "/admin/settings/management-keys/{user_id}/{key_id}/revoke"): "administrators",
}

Own = Callable[[Storage, Actor], Awaitable[Mapping[str, str]]]


async def _own_session(storage: Storage, owner: Actor) -> Mapping[str, str]:
    await give_session(storage, owner.user_id)
    async with storage.read() as tx:
        sessions = await list_sessions(tx, owner, user_id=owner.user_id)
    return {"session_id": sessions[0].id}


async def _own_management_key(storage: Storage, owner: Actor) -> Mapping[str, str]:
    async with storage.write() as tx:
        _, key = await create_management_key(
            tx, owner, user_id=owner.user_id, name="theirs", hashing_key=HASHING_KEY
        )
    return {"key_id": key.id}


async def _own_call(storage: Storage, owner: Actor) -> Mapping[str, str]:
    return {"call_id": await refuse_call(storage, owner)}


async def _own_api_key(storage: Storage, owner: Actor) -> Mapping[str, str]:
    async with storage.write() as tx:
        _, view = await create_api_key(
            tx,
            owner,
            user_id=owner.user_id,
            name="theirs",
            group=None,
            narrowing=Narrowing(),
            hashing_key=HASHING_KEY,
        )
    return {"key_id": view.key.id}


async def _own_upgrade_request(storage: Storage, owner: Actor) -> Mapping[str, str]:
    async with storage.write() as tx:
        request = await create_upgrade_request(tx, owner, group="vip", reason="more")
    return {"request_id": request.id}


# What a path names that is one user's own, and how the user comes to have it.
OWNED: Final[Mapping[Route, Own]] = {
    ("POST", "/profile/sessions/{session_id}/revoke"): _own_session,
    ("POST", "/profile/management-keys/{key_id}/revoke"): _own_management_key,
    ("GET", "/keys/{key_id}"): _own_api_key,
    ("POST", "/keys/{key_id}"): _own_api_key,
    ("POST", "/keys/{key_id}/group"): _own_api_key,
    ("POST", "/keys/{key_id}/on"): _own_api_key,
    ("POST", "/keys/{key_id}/off"): _own_api_key,
    ("POST", "/keys/{key_id}/rotate"): _own_api_key,
    ("POST", "/keys/{key_id}/revoke"): _own_api_key,
    ("POST", "/upgrade/{request_id}/withdraw"): _own_upgrade_request,
    ("POST", "/upgrade/{request_id}/keys"): _own_upgrade_request,
    ("GET", "/calls/{call_id}"): _own_call,
}

FROM_ELSEWHERE: Final[Sequence[Mapping[str, str]]] = (
    {},
    {"Origin": "https://evil.example.net"},
    {"Origin": "null"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost:8000"},
)
CHANGING: Final = [route for route in ROUTES if route[0] not in SAFE_METHODS]


def _having(access: Access) -> list[Route]:
    return [route for route in ROUTES if ACCESS.get(route) == access]


def _filled(path: str) -> str:
    return re.sub(r"\{\w+(:path)?\}", "x", path)


async def _send(browser: Client, route: Route, token: str, path: str | None = None) -> httpx.Response:
    method, pattern = route
    target = path or _filled(pattern)
    if method in SAFE_METHODS:
        return await browser.request(method, target)
    return await browser.request(method, target, data={"form_token": token}, headers=FROM_OUR_PAGE)


def test_every_route_has_its_line() -> None:
    assert sorted(ACCESS) == ROUTES
    assert set(OWNED) <= set(ROUTES)


def test_what_is_a_user_s_own_is_proven_to_be() -> None:
    named = {route for route in _having("users") if "{" in route[1]}
    assert named == set(OWNED)


def test_the_administrators_pages_are_theirs() -> None:
    assert all((ACCESS[route] == "administrators") == (route[1].split("/")[1] == "admin") for route in ROUTES)


async def test_signed_out_every_page_of_users_leads_to_signing_in(visitor: Client) -> None:
    token = form_token(await visitor.get("/sign-in"))
    for route in [*_having("users"), *_having("administrators")]:
        answer = await _send(visitor, route, token)
        assert answer.status_code == 303, route
        assert answer.headers["location"].startswith("/sign-in?next="), route


async def test_users_are_refused_on_every_page_of_administrators(user_page: Client) -> None:
    token = form_token(await user_page.get("/profile"))
    for route in _having("administrators"):
        answer = await _send(user_page, route, token)
        assert answer.status_code == 403, route


async def test_administrators_are_let_in_on_theirs(administrator_page: Client) -> None:
    """Refused at most for what was sent: nothing in these paths is there, and nothing right was typed."""
    token = form_token(await administrator_page.get("/profile"))
    for route in _having("administrators"):
        answer = await _send(administrator_page, route, token)
        assert answer.status_code in (200, 303, 400, 404), (route, answer.text)
        assert not answer.headers.get("location", "").startswith(("/sign-in?", "/confirm-password?")), route


@pytest.mark.parametrize("route", _having("users"), ids=" ".join)
async def test_users_and_administrators_are_let_in(
    user_page: Client, administrator_page: Client, route: Route
) -> None:
    for browser in (user_page, administrator_page):
        token = form_token(await browser.get("/profile"))
        answer = await _send(browser, route, token)
        # Refused at most for what was sent: nothing that would be right was.
        assert answer.status_code in (200, 303, 400, 401, 404), answer.text
        assert not answer.headers.get("location", "").startswith("/sign-in?")


@pytest.mark.parametrize("route", OWNED, ids=" ".join)
async def test_nobody_reaches_what_is_another_user_s(
    other_page: Client,
    administrator_page: Client,
    user_page: Client,
    storage: Storage,
    user: Actor,
    route: Route,
) -> None:
    path = route[1].format_map(await OWNED[route](storage, user))
    # An administrator has pages of their own for it; a profile is one's own.
    for browser in (other_page, administrator_page):
        answer = await _send(browser, route, form_token(await browser.get("/profile")), path)
        assert answer.status_code == 404
    answer = await _send(user_page, route, form_token(await user_page.get("/profile")), path)
    assert answer.status_code in (200, 303)


async def test_with_the_right_token_another_site_still_changes_nothing(
    open_browser: OpenBrowser, storage: Storage, user: Actor
) -> None:
    cookie = await give_session(storage, user.user_id)
    token = form_token_of(cookie, HASHING_KEY)
    browser = open_browser(cookie)
    for method, path in CHANGING:
        for headers in FROM_ELSEWHERE:
            answer = await browser.request(method, _filled(path), data={"form_token": token}, headers=headers)
            assert answer.status_code == 403, (path, headers)
            assert "own pages" in answer.text, (path, headers)


async def test_from_our_own_origin_nothing_changes_without_the_session_s_token(
    open_browser: OpenBrowser, storage: Storage, user: Actor, other_user: Actor
) -> None:
    browser = open_browser(await give_session(storage, user.user_id))
    others = form_token_of(await give_session(storage, other_user.user_id), HASHING_KEY)
    mine_elsewhere = form_token_of(await give_session(storage, user.user_id), HASHING_KEY)
    signed_out = form_token(await open_browser().get("/sign-in"))
    mine = form_token(await browser.get("/profile"))
    for route in CHANGING:
        for token in ("", "0" * 64, "\u00fc", others, mine_elsewhere, signed_out):
            assert (await _send(browser, route, token)).status_code == 403, route
        # Nor does a token in the address count, which would be written down along the way.
        answer = await browser.request(
            route[0], _filled(route[1]), params={"form_token": mine}, headers=FROM_OUR_PAGE
        )
        assert answer.status_code == 403, route


async def test_scripts_of_ours_send_the_token_in_a_header(user_page: Client) -> None:
    token = form_token(await user_page.get("/profile"))
    headers = FROM_OUR_PAGE | {"X-CSRF-Token": token}
    assert (await user_page.post("/profile/sessions/revoke-others", headers=headers)).status_code == 303


async def test_nothing_changes_on_a_get(user_page: Client, storage: Storage, user: Actor) -> None:
    async def state() -> object:
        async with storage.read() as tx:
            return [session.id for session in await list_sessions(tx, user, user_id=user.user_id)]

    before = await state()
    for method, path in ROUTES:
        if method == "GET":
            assert (await user_page.get(_filled(path))).status_code < 500
    for method, path in CHANGING:
        answer = await user_page.get(_filled(path), params={"password": OTHER_PASSWORD})
        assert answer.status_code < 500, (method, path)
    assert await state() == before


async def test_a_page_of_somebody_who_is_signed_in_is_kept_by_no_cache(user_page: Client) -> None:
    pages = [path for method, path in ROUTES if method == "GET"]
    for path in pages:
        answer = await user_page.get(_filled(path))
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert answer.headers["cache-control"] == "no-store", path


async def test_a_session_that_ended_while_a_form_was_open_leads_to_signing_in(
    open_browser: OpenBrowser, storage: Storage, user: Actor, admin_client: Client
) -> None:
    cookie = await give_session(storage, user.user_id, browser=BROWSER)
    browser = open_browser(cookie)
    token = form_token(await browser.get("/profile"))
    await admin_client.post(f"/api/admin/users/{user.user_id}/password", json={"password": OTHER_PASSWORD})
    answer = await _send(browser, ("POST", "/profile/password"), token)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=")
