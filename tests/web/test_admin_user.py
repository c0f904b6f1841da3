"""Users, as administrators see and change them: each change once, each refusal where it was typed."""

import re
from typing import Any

import httpx
import pytest

from tests.conftest import make_user
from tests.fakes.clock import MovableClock
from tests.sessions import PASSWORD, give_password, give_session
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, error_at, form_token, once_token, send_form
from tokenopen.control.actor import Actor
from tokenopen.control.page import PageRequest
from tokenopen.control.user import find_user, list_users
from tokenopen.core.session import PASSWORD_RECENT_MS
from tokenopen.ports.storage import Storage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient


async def api(client: Client, path: str, **query: str) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_users_are_found_by_a_part_of_their_address_or_name(
    administrator_page: Client, storage: Storage, administrator: Actor, user: Actor
) -> None:
    await make_user(storage, administrator, "grace_hopper@example.net")
    for query, shown in {
        "q=ADA@": {"ada@example.com"},
        "q=hopper": {"grace_hopper@example.net"},
        "q=_hop": {"grace_hopper@example.net"},
        "q=%25": set(),
        f"q={user.user_id}": {"ada@example.com"},
        "q=nobody": set(),
        "q=&role=administrator": {administrator.email},
        "state=suspended": set(),
        "role=emperor": {"ada@example.com", "grace_hopper@example.net", administrator.email},
    }.items():
        page = await administrator_page.get(f"/admin/users?{query}")
        table = page.text.split('id="users"')[1]
        found = {
            email
            for email in ("ada@example.com", "grace_hopper@example.net", administrator.email)
            if f'<span class="sub">{email}</span>' in table
        }
        assert found == shown, query
        assert shown or "No user fits" in page.text


async def test_the_list_pages_by_key(
    administrator_page: Client, storage: Storage, administrator: Actor
) -> None:
    for at in range(52):
        await make_user(storage, administrator, f"user-{at:02d}@example.com")
    page = await administrator_page.get("/admin/users?q=user-")
    following = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert following is not None
    rest = await administrator_page.get(following[1].replace("&amp;", "&"))
    seen = [re.findall(r"user-\d\d@example\.com", each.text) for each in (page, rest)]
    assert [len(each) for each in seen] == [50, 2]
    assert len({*seen[0], *seen[1]}) == 52


async def test_a_created_user_chooses_a_password_with_the_link_and_has_the_credit(
    administrator_page: Client, visitor: Client, admin_client: Client
) -> None:
    page = await send_form(
        administrator_page,
        "/admin/users",
        on="/admin/users/new",
        email=" Eve@Example.com",
        name="Eve",
        role="user",
        credit="2.5",
    )
    assert page.status_code == 200
    link = re.search(r'value="http://localhost(/new-password/[^"]+)"', page.text)
    assert link is not None
    [eve] = (await api(admin_client, "/api/admin/users", email="eve@example.com"))["data"]
    assert (eve["balance"], eve["role"], eve["has_password"]) == ("2.5", "user", False)
    assert (await send_form(visitor, link[1], password=PASSWORD)).status_code == 303
    answer = await send_form(visitor, "/sign-in", email="eve@example.com", password=PASSWORD)
    assert answer.status_code == 303


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("email", "eve", "Type an e-mail address"),
        ("email", "ada@example.com", "already"),
        ("name", "", "Type your name"),
        ("role", "emperor", "Choose one of these"),
        ("credit", "12,5", "Type an amount"),
        ("credit", "-1", "not below 0"),
    ],
)
async def test_what_cannot_be_created_is_said_at_its_field(
    administrator_page: Client, admin_client: Client, user: Actor, field: str, typed: str, says: str
) -> None:
    typed_before = {"email": "eve@example.com", "name": "<b>Eve</b>", "role": "user", "credit": "7"}
    page = await send_form(
        administrator_page, "/admin/users", on="/admin/users/new", **typed_before | {field: typed}
    )
    assert page.status_code in (400, 409)
    assert says in error_at(page, field)
    assert field == "name" or 'value="&lt;b&gt;Eve&lt;/b&gt;"' in page.text
    assert (await api(admin_client, "/api/admin/users", email="eve@example.com"))["data"] == []


async def test_credit_is_topped_up_once_however_often_the_form_is_sent(
    administrator_page: Client, admin_client: Client, user: Actor
) -> None:
    path = f"/admin/users/{user.user_id}/credit"
    page = await administrator_page.get(path)
    fields = {
        "form_token": form_token(page),
        "once": once_token(page),
        "kind": "top_up",
        "amount": "10",
        "reason": "Invoice 7",
    }
    for _ in range(3):
        answer = await administrator_page.post(path, data=fields, headers=FROM_OUR_PAGE)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"] == f"/admin/users/{user.user_id}#credit"
    # Sent again with another amount it is refused: nobody can tell whether the first was meant too.
    again = await administrator_page.post(path, data=fields | {"amount": "20"}, headers=FROM_OUR_PAGE)
    assert again.status_code == 409
    assert "sent already" in again.text
    assert (await api(admin_client, f"/api/admin/users/{user.user_id}"))["balance"] == "10"
    # The form that is shown then is a new one.
    fields |= {"amount": "20", "once": once_token(again)}
    assert (await administrator_page.post(path, data=fields, headers=FROM_OUR_PAGE)).status_code == 303
    entries = (await api(admin_client, "/api/admin/ledger", user=user.user_id))["data"]
    assert [(entry["kind"], entry["amount"], entry["reason"]) for entry in entries] == [
        ("top_up", "20", "Invoice 7"),
        ("top_up", "10", "Invoice 7"),
    ]
    shown = (await administrator_page.get(f"/admin/users/{user.user_id}")).text
    assert "Invoice 7" in shown
    assert "1 credit = 1 USD" in shown


async def test_a_form_of_one_user_is_not_one_of_another(
    administrator_page: Client, admin_client: Client, user: Actor, other_user: Actor
) -> None:
    page = await administrator_page.get(f"/admin/users/{user.user_id}/credit")
    fields = {"form_token": form_token(page), "kind": "top_up", "amount": "10", "reason": "Invoice 7"}
    for once, status in ((once_token(page), 303), ("", 400), ("x" * 101, 400)):
        answer = await administrator_page.post(
            f"/admin/users/{user.user_id}/credit", data=fields | {"once": once}, headers=FROM_OUR_PAGE
        )
        assert answer.status_code == status
    answer = await administrator_page.post(
        f"/admin/users/{other_user.user_id}/credit",
        data=fields | {"once": once_token(page)},
        headers=FROM_OUR_PAGE,
    )
    assert answer.status_code == 409
    assert (await api(admin_client, f"/api/admin/users/{user.user_id}"))["balance"] == "10"
    assert (await api(admin_client, f"/api/admin/users/{other_user.user_id}"))["balance"] == "0"


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"amount": "12,5"}, "amount", "Type an amount"),
        ({"amount": "0"}, "amount", "more than 0"),
        ({"amount": "-1"}, "amount", "more than 0"),
        ({"kind": "charge"}, "kind", "Choose one of these"),
        ({"reason": " "}, "reason", "Say why"),
        ({"kind": "adjustment", "amount": "0"}, "amount", "Must not be 0"),
    ],
)
async def test_what_cannot_be_posted_is_said_at_its_field(
    administrator_page: Client, admin_client: Client, user: Actor, fields: Any, field: str, says: str
) -> None:
    path = f"/admin/users/{user.user_id}/credit"
    once = once_token(await administrator_page.get(path))
    sent = {"kind": "top_up", "amount": "5", "reason": "Invoice <7>", "once": once} | fields
    page = await send_form(administrator_page, path, **sent)
    assert page.status_code == 400
    assert says in error_at(page, field)
    assert field == "reason" or 'value="Invoice &lt;7&gt;"' in page.text
    assert (await api(admin_client, "/api/admin/ledger"))["data"] == []


async def test_an_adjustment_takes_no_more_than_is_available(
    administrator_page: Client, admin_client: Client, user: Actor
) -> None:
    await admin_client.post(f"/api/admin/users/{user.user_id}/credits", json={"amount": "3", "reason": "x"})
    path = f"/admin/users/{user.user_id}/credit"
    for amount, status, balance in (("-3.1", 409, "3"), ("-3", 303, "0")):
        once = once_token(await administrator_page.get(path))
        answer = await send_form(
            administrator_page, path, kind="adjustment", amount=amount, reason="Error", once=once
        )
        assert answer.status_code == status
        assert (await api(admin_client, f"/api/admin/users/{user.user_id}"))["balance"] == balance


@pytest.mark.parametrize("page", ["credit", "edit", "new"])
async def test_credit_roles_and_new_users_need_a_recent_password(
    open_browser: OpenBrowser,
    storage: Storage,
    administrator: Actor,
    user: Actor,
    clock: MovableClock,
    page: str,
) -> None:
    await give_password(storage, administrator.user_id)
    browser = open_browser(await give_session(storage, administrator.user_id))
    token = form_token(await browser.get("/profile"))
    clock.move(milliseconds=PASSWORD_RECENT_MS + 1)
    path = "/admin/users/new" if page == "new" else f"/admin/users/{user.user_id}/{page}"
    answer = await browser.get(path)
    assert answer.headers["location"] == f"/confirm-password?next={path}"
    target = "/admin/users" if page == "new" else path
    fields = {
        "form_token": token,
        "once": "abc",
        "kind": "top_up",
        "amount": "1",
        "reason": "r",
        "email": "eve@example.com",
        "name": "Eve",
        "role": "administrator",
    }
    answer = await browser.post(target, data=fields, headers=FROM_OUR_PAGE)
    assert answer.headers["location"].startswith("/confirm-password?next=")
    async with storage.read() as tx:
        assert (await find_user(tx, administrator, user.user_id)).balance == 0
        assert (await find_user(tx, administrator, user.user_id)).role == "user"
        assert len((await list_users(tx, administrator, page=PageRequest())).items) == 2


async def test_a_suspended_user_is_refused_until_let_in_again(
    administrator_page: Client, user_client: Client, user: Actor
) -> None:
    path = f"/admin/users/{user.user_id}"
    answer = await send_form(administrator_page, f"{path}/suspend", on=path)
    assert answer.status_code == 303
    assert (await user_client.get("/api/me")).status_code == 403
    shown = (await administrator_page.get(path)).text
    assert "The user is suspended." in shown
    assert "Let in again" in shown
    await send_form(administrator_page, f"{path}/reactivate", on=path)
    assert (await user_client.get("/api/me")).status_code == 200


async def test_the_last_administrator_stays_one(
    administrator_page: Client, administrator: Actor, admin_client: Client
) -> None:
    path = f"/admin/users/{administrator.user_id}"
    answer = await send_form(administrator_page, f"{path}/suspend", on=path)
    assert answer.headers["location"] == path
    assert "is the only active administrator" in (await administrator_page.get(path)).text
    page = await send_form(administrator_page, f"{path}/edit", name="Root", role="user")
    assert page.status_code == 409
    assert "is the only active administrator" in page.text
    assert 'value="Root"' in page.text
    # Nobody can shut themselves out by a slip of the hand.
    assert "/suspend" not in (await administrator_page.get(path)).text


async def test_name_and_role_are_changed(
    administrator_page: Client, admin_client: Client, user: Actor
) -> None:
    path = f"/admin/users/{user.user_id}/edit"
    assert (await send_form(administrator_page, path, name="Ada L.", role="administrator")).status_code == 303
    changed = await api(admin_client, f"/api/admin/users/{user.user_id}")
    assert (changed["name"], changed["role"]) == ("Ada L.", "administrator")


async def test_sessions_end(administrator_page: Client, user_page: Client, user: Actor) -> None:
    path = f"/admin/users/{user.user_id}"
    await send_form(administrator_page, f"{path}/end-sessions", on=path)
    assert (await user_page.get("/profile")).status_code == 303


async def test_access_is_given_on_custom_terms_changed_and_ended(
    administrator_page: Client, admin_client: Client, user: Actor
) -> None:
    base = f"/admin/users/{user.user_id}"
    chosen = await administrator_page.get(f"{base}/access", params={"group": "enterprise"})
    assert chosen.headers["location"] == f"{base}/access/enterprise"
    fields = {
        "multiplier": "0.65",
        "expires_at": "2031-01-01T00:00",
        "requests_per_minute": "1,200",
        "requests_per_day": "unlimited",
        "tokens_per_minute": "",
        "concurrent_calls": "",
        "model_multipliers": "gpt-5* 0.5",
        "extra_models": "o3",
    }
    path = f"{base}/access/enterprise"
    answer = await send_form(administrator_page, path, **fields)
    assert answer.status_code == 303, answer.text
    [given] = (await api(admin_client, f"/api/admin/users/{user.user_id}/entitlements"))["data"]
    assert given["multiplier"] == "0.65"
    assert given["expires_at"] == "2031-01-01T00:00:00Z"
    assert (given["requests_per_minute"], given["requests_per_day"]) == (1200, None)
    assert "tokens_per_minute" not in given
    assert (given["model_multipliers"], given["extra_models"]) == ({"gpt-5*": "0.5"}, ["o3"])
    # The form shows what is given; saved as it stands it changes nothing.
    page = await administrator_page.get(path)
    shown = dict(re.findall(r'name="(\w+)"[^>]* value="([^"]*)"', page.text))
    assert {
        name: shown.get(name, "") for name in fields if name not in ("model_multipliers", "extra_models")
    } == {
        name: {"requests_per_day": "Unlimited"}.get(name, value)
        for name, value in fields.items()
        if name not in ("model_multipliers", "extra_models")
    }
    listed = (await administrator_page.get(base)).text
    for part in ("0.65x", "1,200", "Unlimited", "gpt-5*", "2031-01-01 00:00 UTC"):
        assert part in listed
    await send_form(administrator_page, f"{path}/end", on=base)
    assert (await api(admin_client, f"/api/admin/users/{user.user_id}/entitlements"))["data"] == []


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("multiplier", "0,8", "Type a multiplier"),
        ("requests_per_minute", "many", "whole number, or unlimited"),
        ("expires_at", "2020-01-01T00:00", "Must lie in the future"),
        ("expires_at", "soon", "a date and a time"),
        ("model_multipliers", "gpt-5*", "cannot be read"),
        ("extra_models", "<script>", "no model name"),
    ],
)
async def test_custom_terms_that_cannot_be_are_said_at_their_field(
    administrator_page: Client, admin_client: Client, user: Actor, field: str, typed: str, says: str
) -> None:
    path = f"/admin/users/{user.user_id}/access/vip"
    page = await send_form(administrator_page, path, **{"tokens_per_minute": "77", field: typed})
    assert page.status_code == 400
    assert says in error_at(page, field)
    assert 'value="77"' in page.text
    assert "<script>" not in page.text.split("<main", 1)[1]
    assert (await api(admin_client, f"/api/admin/users/{user.user_id}/entitlements"))["data"] == []


async def test_keys_are_created_moved_switched_off_and_revoked(
    administrator_page: Client, admin_client: Client, user: Actor, other_user: Actor
) -> None:
    base = f"/admin/users/{user.user_id}"
    page = await send_form(
        administrator_page, f"{base}/keys", on=f"{base}/keys/new", name="Batch", group="default"
    )
    assert page.status_code == 200
    assert re.search(r'value="sk-to-\w+"', page.text)

    async def key() -> Any:
        [found] = (await api(admin_client, "/api/admin/keys", user=user.user_id))["data"]
        return found

    path = f"{base}/keys/{(await key())['id']}"
    # A group that is not open to the user is no choice of anybody's.
    await send_form(administrator_page, f"{path}/group", on=base, group="enterprise")
    assert (await key())["group"]["slug"] == "default"
    assert "no access to it" in (await administrator_page.get(base)).text
    await admin_client.put(f"/api/admin/users/{user.user_id}/entitlements/vip", json={})
    await send_form(administrator_page, f"{path}/group", on=base, group="vip")
    assert (await key())["group"]["slug"] == "vip"
    for state in ("disabled", "active"):
        await send_form(administrator_page, f"{path}/state", on=base, state=state)
        assert (await key())["state"] == state
    elsewhere = path.replace(user.user_id, other_user.user_id)
    for what in ("group", "state", "revoke"):
        answer = await send_form(
            administrator_page, f"{elsewhere}/{what}", on=base, group="default", state="disabled"
        )
        assert answer.status_code == 404
    assert (await key())["state"] == "active"
    await send_form(administrator_page, f"{path}/revoke", on=base)
    assert (await key())["state"] == "revoked"
    answer = await send_form(administrator_page, f"{path}/state", on=base, state="active")
    assert (await key())["state"] == "revoked"


async def test_a_link_for_a_new_password_is_shown_once(
    administrator_page: Client, visitor: Client, user: Actor
) -> None:
    base = f"/admin/users/{user.user_id}"
    page = await send_form(administrator_page, f"{base}/password-link", on=base)
    link = re.search(r'value="http://localhost(/new-password/[^"]+)"', page.text)
    assert link is not None
    assert link[1] not in (await administrator_page.get(base)).text
    assert (await send_form(visitor, link[1], password=PASSWORD)).status_code == 303


async def test_what_is_not_there_is_not_found(administrator_page: Client) -> None:
    for path in ("", "/edit", "/credit", "/access/vip", "/keys/new"):
        assert (await administrator_page.get(f"/admin/users/usr_nobody{path}")).status_code == 404
