"""Signing up: only where the operator lets people, with credit given once."""

import asyncio
import re

import httpx
import pytest
from starlette.types import ASGIApp

from tests.fakes.clock import MovableClock
from tests.fakes.mail import FakeMail
from tests.sessions import PASSWORD, give_password
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, form_token, send_form
from tokenopen.control.actor import Actor
from tokenopen.core.one_time_link import LINK_LIFE_MS
from tokenopen.ports.storage import Storage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
EVE = {"email": "eve@example.com", "name": "Eve", "password": PASSWORD}


async def open_up(admin_client: Client, **settings: object) -> None:
    answer = await admin_client.patch("/api/admin/settings", json={"sign_up": "open", **settings})
    assert answer.is_success, answer.text


async def users_of(admin_client: Client, email: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = (
        await admin_client.get("/api/admin/users", params={"email": email})
    ).json()["data"]
    return found


async def test_nobody_signs_up_unless_the_operator_says_so(visitor: Client, admin_client: Client) -> None:
    page = await visitor.get("/sign-up")
    assert "Users are added by the administrator" in page.text
    token = form_token(await visitor.get("/sign-in"))
    answer = await visitor.post("/sign-up", data={"form_token": token, **EVE}, headers=FROM_OUR_PAGE)
    assert answer.status_code == 403
    assert await users_of(admin_client, EVE["email"]) == []


async def test_who_signs_up_is_a_user_with_the_starting_credit_and_the_default_group(
    visitor: Client, admin_client: Client
) -> None:
    await open_up(admin_client, starting_credit="2.5")
    assert "2.50 credits" in (await visitor.get("/sign-up")).text
    answer = await send_form(visitor, "/sign-up", **EVE)
    assert answer.status_code == 303, answer.text
    assert "eve@example.com" in (await visitor.get("/profile")).text
    [user] = await users_of(admin_client, "eve@example.com")
    assert (user["role"], user["balance"]) == ("user", "2.5")
    entries = (await admin_client.get("/api/admin/ledger", params={"user": user["id"]})).json()["data"]
    assert [(entry["kind"], entry["amount"], entry["reason"]) for entry in entries] == [
        ("top_up", "2.5", "Starting credit")
    ]
    key = (await admin_client.post(f"/api/admin/users/{user['id']}/keys", json={"name": "key"})).json()
    assert key["group"]["slug"] == "default"


async def test_without_starting_credit_there_is_no_entry(visitor: Client, admin_client: Client) -> None:
    await open_up(admin_client)
    await send_form(visitor, "/sign-up", **EVE)
    [user] = await users_of(admin_client, "eve@example.com")
    assert user["balance"] == "0"
    assert (await admin_client.get("/api/admin/ledger")).json()["data"] == []


async def test_of_many_who_sign_up_with_one_address_at_once_one_does(
    open_browser: OpenBrowser, admin_client: Client
) -> None:
    await open_up(admin_client, starting_credit="1")
    browsers = [open_browser(address=f"192.0.2.{number}") for number in range(5)]
    tokens = [form_token(await browser.get("/sign-up")) for browser in browsers]
    answers = await asyncio.gather(
        *(
            browser.post("/sign-up", data={"form_token": token, **EVE}, headers=FROM_OUR_PAGE)
            for browser, token in zip(browsers, tokens, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409, 409]
    assert [user["balance"] for user in await users_of(admin_client, "eve@example.com")] == ["1"]
    assert len((await admin_client.get("/api/admin/ledger")).json()["data"]) == 1


@pytest.mark.parametrize(
    "email", ["eve@example.org", "eve@sub.example.com", "eve@example.com.evil.net", "evil.net"]
)
async def test_only_the_domains_that_the_operator_names(
    visitor: Client, admin_client: Client, email: str
) -> None:
    await open_up(admin_client, allowed_email_domains=["example.com"])
    answer = await send_form(visitor, "/sign-up", **EVE | {"email": email})
    assert answer.status_code in (400, 403)
    assert await users_of(admin_client, email) == []
    assert (await send_form(visitor, "/sign-up", **EVE)).status_code == 303


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "eve"), ("name", ""), ("name", "x" * 201), ("name", "a\nb"), ("password", "password123")],
)
async def test_what_is_wrong_is_told_at_its_field(
    visitor: Client, admin_client: Client, field: str, value: str
) -> None:
    await open_up(admin_client)
    answer = await send_form(visitor, "/sign-up", **EVE | {field: value})
    assert answer.status_code == 400
    assert f'id="error-{field}"' in answer.text
    assert await users_of(admin_client, EVE["email"]) == []


async def test_sign_ups_from_one_address_are_slowed_down(visitor: Client, admin_client: Client) -> None:
    await open_up(admin_client)
    page = await visitor.get("/sign-up")
    statuses = []
    for number in range(22):
        fields = {"form_token": form_token(page), **EVE, "email": f"eve{number}@example.com", "password": "x"}
        statuses.append((await visitor.post("/sign-up", data=fields, headers=FROM_OUR_PAGE)).status_code)
    assert statuses == [400] * 20 + [429, 429]


def link_in(mail: FakeMail) -> str:
    found = re.search(r"http://localhost(/sign-up/\S+)", mail.sent[-1].text)
    assert found is not None, mail.sent[-1].text
    return found[1]


async def test_with_mail_an_address_is_proven_first(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, admin_client: Client
) -> None:
    await open_up(admin_client, starting_credit="3")
    browser = open_browser(app=mailing_app)
    assert 'name="password"' not in (await browser.get("/sign-up")).text
    answer = await send_form(browser, "/sign-up", email="Eve@Example.com")
    assert answer.status_code == 200
    assert await users_of(admin_client, "eve@example.com") == []
    path = link_in(mail)
    # Whatever address the form sends along, the user has the one that the mail went to.
    answer = await send_form(browser, path, name="Eve", password=PASSWORD, email="admin@localhost")
    assert answer.status_code == 303
    [user] = await users_of(admin_client, "eve@example.com")
    assert user["balance"] == "3"
    again = await send_form(browser, "/sign-up", on="/profile", email="eve@example.com")
    assert again.status_code == 200
    assert (await browser.get(path)).status_code == 410
    assert len((await admin_client.get("/api/admin/ledger")).json()["data"]) == 1


async def test_with_mail_nobody_learns_which_addresses_have_users(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, admin_client: Client, user: Actor
) -> None:
    await open_up(admin_client)
    answers = []
    for email in (user.email, "eve@example.com"):
        answer = await send_form(open_browser(app=mailing_app), "/sign-up", email=email)
        answers.append((answer.status_code, answer.text.split("<main")[1].replace(email, "E-MAIL")))
    assert answers[0] == answers[1]
    assert [(message.to, message.subject) for message in mail.sent] == [
        (user.email, "TokenOpen: you have an account already"),
        ("eve@example.com", "TokenOpen: go on signing up"),
    ]
    assert "/sign-up/" not in mail.sent[0].text


async def test_a_mailed_link_to_sign_up_ends(
    open_browser: OpenBrowser,
    mailing_app: ASGIApp,
    mail: FakeMail,
    admin_client: Client,
    clock: MovableClock,
) -> None:
    await open_up(admin_client)
    browser = open_browser(app=mailing_app)
    await send_form(browser, "/sign-up", email="eve@example.com")
    path = link_in(mail)
    form = {"form_token": form_token(await browser.get(path)), "name": "Eve", "password": PASSWORD}
    # Signing up was closed meanwhile.
    await admin_client.patch("/api/admin/settings", json={"sign_up": "closed"})
    assert (await browser.post(path, data=form, headers=FROM_OUR_PAGE)).status_code == 403
    await open_up(admin_client)
    clock.move(milliseconds=LINK_LIFE_MS)
    assert (await browser.post(path, data=form, headers=FROM_OUR_PAGE)).status_code == 410
    assert await users_of(admin_client, "eve@example.com") == []


async def test_two_links_to_one_address_make_one_user(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, admin_client: Client
) -> None:
    await open_up(admin_client, starting_credit="1")
    paths = []
    for _ in range(2):
        await send_form(open_browser(app=mailing_app), "/sign-up", email="eve@example.com")
        paths.append(link_in(mail))
    statuses = [
        (await send_form(open_browser(app=mailing_app), path, name="Eve", password=PASSWORD)).status_code
        for path in paths
    ]
    assert statuses == [303, 409]
    assert len((await admin_client.get("/api/admin/ledger")).json()["data"]) == 1


async def test_who_is_signed_in_is_led_home(user_page: Client) -> None:
    for path in ("/sign-up", "/sign-in"):
        assert (await user_page.get(path)).headers["location"] in ("/home", "/profile")


async def test_a_user_who_signed_up_is_no_administrator(
    visitor: Client, admin_client: Client, storage: Storage, administrator: Actor
) -> None:
    await give_password(storage, administrator.user_id)
    await open_up(admin_client)
    await send_form(visitor, "/sign-up", **EVE, role="administrator")
    assert [user["role"] for user in await users_of(admin_client, "eve@example.com")] == ["user"]
