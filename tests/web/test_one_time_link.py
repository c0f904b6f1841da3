"""One-time links: once, in time, by whoever holds them, and for one thing."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.types import ASGIApp

from tests.fakes.clock import MovableClock
from tests.fakes.mail import FakeMail
from tests.sessions import OTHER_PASSWORD, PASSWORD, give_password, give_session, link_token
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, form_token, send_form
from tokenopen.control.actor import Actor
from tokenopen.control.setup import ADMINISTRATOR_EMAIL
from tokenopen.core.one_time_link import LINK_LIFE_MS
from tokenopen.ports.storage import Storage
from tokenopen.storage.schema import one_time_links

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
MakeLink = Callable[[], Awaitable[str]]
ROOT = {"email": "root@example.com", "name": "Root", "password": PASSWORD}


@pytest.fixture
def password_link(admin_client: Client, user: Actor) -> MakeLink:
    """A link with which the user chooses a new password: its path."""

    async def make() -> str:
        answer = await admin_client.post(f"/api/admin/users/{user.user_id}/password-links")
        return httpx.URL(answer.json()["url"]).path

    return make


@pytest.fixture
def administrator_link(admin_client: Client) -> MakeLink:
    """A link that makes an administrator: its path."""

    async def make() -> str:
        answer = await admin_client.post("/api/admin/administrator-links")
        return httpx.URL(answer.json()["url"]).path

    return make


async def can_sign_in(browser: Client, email: str, password: str) -> bool:
    browser.cookies.clear()
    return (await send_form(browser, "/sign-in", email=email, password=password)).status_code == 303


async def test_a_password_is_chosen_once(visitor: Client, password_link: MakeLink, user: Actor) -> None:
    path = await password_link()
    page = await visitor.get(path)
    form = {"form_token": form_token(page), "password": PASSWORD}
    answer = await visitor.post(path, data=form, headers=FROM_OUR_PAGE)
    assert answer.headers["location"] == "/sign-in"
    for again in (
        await visitor.get(path),
        await visitor.post(path, data=form | {"password": OTHER_PASSWORD}, headers=FROM_OUR_PAGE),
    ):
        assert again.status_code == 410
        assert "has been used or has expired" in again.text
    assert await can_sign_in(visitor, user.email, PASSWORD)


async def test_of_two_who_use_a_link_at_once_one_does(
    open_browser: OpenBrowser, password_link: MakeLink, user: Actor
) -> None:
    path = await password_link()
    browsers = [open_browser(), open_browser()]
    forms = [
        {"form_token": form_token(await browser.get(path)), "password": password}
        for browser, password in zip(browsers, (PASSWORD, OTHER_PASSWORD), strict=True)
    ]
    answers = await asyncio.gather(
        *(
            browser.post(path, data=form, headers=FROM_OUR_PAGE)
            for browser, form in zip(browsers, forms, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [303, 410]
    worked = [
        await can_sign_in(open_browser(), user.email, password) for password in (PASSWORD, OTHER_PASSWORD)
    ]
    assert worked == [answer.status_code == 303 for answer in answers]


async def test_looking_at_a_link_uses_nothing_up(visitor: Client, password_link: MakeLink) -> None:
    path = await password_link()
    for _ in range(3):
        assert (await visitor.get(path)).status_code == 200
        assert (await visitor.head(path)).status_code in (200, 405)
    assert (await send_form(visitor, path, password=PASSWORD)).status_code == 303


async def test_a_link_ends_after_an_hour(
    visitor: Client, password_link: MakeLink, clock: MovableClock
) -> None:
    path = await password_link()
    page = await visitor.get(path)
    clock.move(milliseconds=LINK_LIFE_MS - 1)
    assert (await visitor.get(path)).status_code == 200
    clock.move(milliseconds=1)
    form = {"form_token": form_token(page), "password": PASSWORD}
    assert (await visitor.post(path, data=form, headers=FROM_OUR_PAGE)).status_code == 410


async def test_a_password_that_will_not_do_leaves_the_link_as_it_is(
    visitor: Client, password_link: MakeLink
) -> None:
    path = await password_link()
    answer = await send_form(visitor, path, password="password123")
    assert answer.status_code == 400
    assert "guessed first" in answer.text
    assert (await send_form(visitor, path, password=PASSWORD)).status_code == 303


async def test_a_new_password_ends_every_session_and_every_other_link(
    open_browser: OpenBrowser, storage: Storage, password_link: MakeLink, user: Actor
) -> None:
    browser = open_browser(await give_session(storage, user.user_id))
    assert (await browser.get("/profile")).status_code == 200
    other = await password_link()
    await send_form(open_browser(), await password_link(), password=PASSWORD)
    assert (await browser.get("/profile")).status_code == 303
    assert (await open_browser().get(other)).status_code == 410


async def test_a_suspended_user_s_link_is_worth_nothing(
    visitor: Client, password_link: MakeLink, admin_client: Client, user: Actor
) -> None:
    path = await password_link()
    await admin_client.patch(f"/api/admin/users/{user.user_id}", json={"state": "suspended"})
    assert (await visitor.get(path)).status_code == 410


async def test_a_link_does_only_what_it_was_made_for(
    visitor: Client, password_link: MakeLink, administrator_link: MakeLink
) -> None:
    password, administrator = await password_link(), await administrator_link()
    form = {"form_token": form_token(await visitor.get(password)), **ROOT}
    for wrong in (
        f"/administrator-link/{link_token(password)}",
        f"/new-password/{link_token(administrator)}",
        f"/sign-up/{link_token(administrator)}",
        f"/administrator-link/{'a' * 43}",
        "/administrator-link/x",
    ):
        assert (await visitor.get(wrong)).status_code == 410
        assert (await visitor.post(wrong, data=form, headers=FROM_OUR_PAGE)).status_code == 410
    assert (await visitor.get(password)).status_code == 200
    assert (await visitor.get(administrator)).status_code == 200


async def test_a_link_is_stored_without_its_token(storage: Storage, password_link: MakeLink) -> None:
    token = link_token(await password_link())
    async with storage.read() as tx:
        row = await tx.fetch_one(one_time_links.select())
    assert token not in str(row)
    assert token.encode() not in str(row).encode()


async def test_the_first_one_to_come_becomes_the_administrator_that_there_is(
    visitor: Client, administrator_link: MakeLink, administrator: Actor, admin_client: Client
) -> None:
    answer = await send_form(visitor, await administrator_link(), **ROOT)
    assert answer.status_code == 303
    page = await visitor.get("/profile")
    assert "root@example.com" in page.text
    assert "Administrator" in page.text
    me = (await admin_client.get("/api/me")).json()
    # The management key of the first start is theirs.
    assert (me["id"], me["email"], me["name"]) == (administrator.user_id, "root@example.com", "Root")
    assert await can_sign_in(visitor, "root@example.com", PASSWORD)
    assert not await can_sign_in(visitor, ADMINISTRATOR_EMAIL, PASSWORD)


async def test_the_next_link_makes_another_administrator(
    open_browser: OpenBrowser, administrator_link: MakeLink, administrator: Actor, admin_client: Client
) -> None:
    await send_form(open_browser(), await administrator_link(), **ROOT)
    second = ROOT | {"email": "second@example.com"}
    path = await administrator_link()
    taken = await send_form(open_browser(), path, **ROOT)
    assert taken.status_code == 409
    assert (await send_form(open_browser(), path, **second)).status_code == 303
    users = (await admin_client.get("/api/admin/users", params={"role": "administrator"})).json()["data"]
    assert sorted(user["email"] for user in users) == ["root@example.com", "second@example.com"]


async def test_a_user_cannot_make_links(user_client: Client, user: Actor) -> None:
    for path in ("/api/admin/administrator-links", f"/api/admin/users/{user.user_id}/password-links"):
        assert (await user_client.post(path)).status_code == 403


async def test_a_forgotten_password_is_answered_the_same_for_everybody(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, user: Actor
) -> None:
    answers = []
    for email in (user.email, "nobody@example.com"):
        browser = open_browser(app=mailing_app)
        answer = await send_form(browser, "/forgot-password", email=email)
        answers.append((answer.status_code, answer.text.split("<main")[1].replace(email, "E-MAIL")))
    assert answers[0] == answers[1]
    assert [message.to for message in mail.sent] == [user.email]


async def test_the_mailed_link_sets_the_password(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, user: Actor
) -> None:
    browser = open_browser(app=mailing_app)
    await send_form(browser, "/forgot-password", email=user.email.upper())
    message = mail.sent[0]
    assert message.subject == "TokenOpen: choose a new password"
    assert "Ada" in message.text
    link = next(line for line in message.text.splitlines() if line.startswith("http"))
    assert link.startswith("http://localhost/new-password/")
    assert (await send_form(browser, httpx.URL(link).path, password=PASSWORD)).status_code == 303
    assert await can_sign_in(browser, user.email, PASSWORD)


@pytest.mark.parametrize("host", ["http://evil.example.net", "http://192.0.2.7:8000"])
async def test_no_link_is_mailed_for_a_host_that_somebody_made_up(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, user: Actor, host: str
) -> None:
    token = form_token(await open_browser(app=mailing_app).get("/forgot-password"))
    answer = await open_browser(app=mailing_app, base_url=host).post(
        "/forgot-password",
        data={"form_token": token, "email": user.email},
        headers={"Origin": host, "Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status_code == 403
    assert mail.sent == []


async def test_mails_to_one_address_are_few(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, user: Actor
) -> None:
    statuses = []
    for number in range(6):
        browser = open_browser(app=mailing_app, address=f"192.0.2.{number}")
        statuses.append((await send_form(browser, "/forgot-password", email=user.email)).status_code)
    assert statuses == [200, 200, 200, 429, 429, 429]
    assert len(mail.sent) == 3


async def test_a_suspended_user_is_sent_nothing(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, admin_client: Client, user: Actor
) -> None:
    await admin_client.patch(f"/api/admin/users/{user.user_id}", json={"state": "suspended"})
    browser = open_browser(app=mailing_app)
    assert (await send_form(browser, "/forgot-password", email=user.email)).status_code == 200
    assert mail.sent == []


async def test_a_mail_server_that_is_away_changes_no_answer(
    open_browser: OpenBrowser, mailing_app: ASGIApp, mail: FakeMail, user: Actor
) -> None:
    mail.is_away = True
    browser = open_browser(app=mailing_app)
    assert (await send_form(browser, "/forgot-password", email=user.email)).status_code == 200


async def test_without_mail_one_is_told_whom_to_ask(visitor: Client, admin_client: Client) -> None:
    await admin_client.patch("/api/admin/settings", json={"support_contact": "help@example.com"})
    page = await visitor.get("/forgot-password")
    assert "help@example.com" in page.text
    assert 'name="email"' not in page.text


async def test_changing_one_s_password_ends_every_session_but_this_one(
    open_browser: OpenBrowser, storage: Storage, user: Actor
) -> None:
    await give_password(storage, user.user_id)
    token = await give_session(storage, user.user_id)
    here, elsewhere = open_browser(token), open_browser(await give_session(storage, user.user_id))
    form = {"current_password": PASSWORD, "password": OTHER_PASSWORD}
    wrong = await send_form(here, "/profile/password", on="/profile", **form | {"current_password": "x"})
    assert wrong.status_code == 401
    assert "not your password" in wrong.text
    weak = await send_form(here, "/profile/password", on="/profile", **form | {"password": "short"})
    assert weak.status_code == 400
    assert (await elsewhere.get("/profile")).status_code == 200
    answer = await send_form(here, "/profile/password", on="/profile", **form)
    assert answer.status_code == 303
    assert (await here.get("/profile")).status_code == 200
    assert (await elsewhere.get("/profile")).status_code == 303
    # This one, too, goes on under another token.
    assert (await open_browser(token).get("/profile")).status_code == 303
    assert await can_sign_in(open_browser(), user.email, OTHER_PASSWORD)
