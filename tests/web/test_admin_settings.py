"""Settings: saved where they can be, refused at their field where not, and mail that is tried out."""

import re
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from tests.conftest import make_management_key
from tests.fakes.clock import MovableClock
from tests.fakes.mail import FakeMail
from tests.sessions import give_password, give_session
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, error_at, form_token, send_form
from tokenopen.control.actor import Actor
from tokenopen.core.session import PASSWORD_RECENT_MS
from tokenopen.ports.mail import MailAway
from tokenopen.ports.storage import Storage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
SETTINGS = {
    "name": "Lab & Co",
    "time_zone": "Europe/Berlin",
    "support_contact": "help@example.com",
    "default_group": "default",
    "public_prices": "yes",
}


async def settings(admin_client: Client) -> Any:
    return (await admin_client.get("/api/admin/settings")).json()


async def test_what_is_saved_is_shown_to_everybody_from_then_on(
    administrator_page: Client, visitor: Client, admin_client: Client
) -> None:
    answer = await send_form(administrator_page, "/admin/settings", **SETTINGS)
    assert answer.status_code == 303, answer.text
    saved = await settings(admin_client)
    assert {name: saved[name] for name in ("name", "time_zone", "support_contact", "public_prices")} == {
        "name": "Lab & Co",
        "time_zone": "Europe/Berlin",
        "support_contact": "help@example.com",
        "public_prices": True,
    }
    helped = (await visitor.get("/help")).text
    assert "Lab &amp; Co" in helped
    assert 'href="mailto:help@example.com"' in helped
    shown = (await administrator_page.get("/admin/settings")).text
    assert re.search(r'name="public_prices"[^>]* checked', shown)
    # A box that is not ticked is sent as nothing at all.
    unticked = {name: value for name, value in SETTINGS.items() if name != "public_prices"}
    await send_form(administrator_page, "/admin/settings", **unticked)
    assert (await settings(admin_client))["public_prices"] is False
    shown = (await administrator_page.get("/admin/settings")).text
    assert not re.search(r'name="public_prices"[^>]* checked', shown)


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("name", ""),
        ("time_zone", "Mars/Olympus"),
        ("support_contact", "javascript:alert(1)"),
        ("support_contact", "ask around"),
        ("default_group", "none"),
        ("default_group", "enterprise"),
    ],
)
async def test_a_setting_that_cannot_be_is_refused_at_its_field(
    administrator_page: Client, admin_client: Client, field: str, typed: str
) -> None:
    before = await settings(admin_client)
    page = await send_form(administrator_page, "/admin/settings", **SETTINGS | {field: typed})
    assert page.status_code in (400, 409)
    assert error_at(page, field)
    assert field == "name" or 'value="Lab &amp; Co"' in page.text
    assert await settings(admin_client) == before


async def test_sign_up_is_opened_for_some_with_credit_to_begin_with(
    administrator_page: Client, admin_client: Client, visitor: Client
) -> None:
    answer = await send_form(
        administrator_page,
        "/admin/settings/sign-up",
        sign_up="open",
        allowed_email_domains="example.com\r\n@Example.org",
        starting_credit="1.5",
        call_retention_days="90",
    )
    assert answer.status_code == 303, answer.text
    saved = await settings(admin_client)
    assert (saved["sign_up"], saved["starting_credit"], saved["call_retention_days"]) == ("open", "1.5", 90)
    assert saved["allowed_email_domains"] == ["example.com", "example.org"]
    assert "1.50 credits" in (await visitor.get("/sign-up")).text
    shown = (await administrator_page.get("/admin/settings")).text
    assert "Kept for 90 days" in shown


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("sign_up", "half"),
        ("allowed_email_domains", "not a domain!"),
        ("starting_credit", "1,5"),
        ("starting_credit", "-1"),
        ("call_retention_days", "0"),
        ("call_retention_days", "soon"),
    ],
)
async def test_sign_up_settings_that_cannot_be_are_refused_at_their_field(
    administrator_page: Client, admin_client: Client, field: str, typed: str
) -> None:
    before = await settings(admin_client)
    fields = {
        "sign_up": "open",
        "allowed_email_domains": "",
        "starting_credit": "2",
        "call_retention_days": "",
    }
    page = await send_form(administrator_page, "/admin/settings/sign-up", **fields | {field: typed})
    assert page.status_code == 400
    assert error_at(page, field)
    assert await settings(admin_client) == before


async def test_starting_credit_needs_a_recent_password(
    open_browser: OpenBrowser,
    storage: Storage,
    administrator: Actor,
    admin_client: Client,
    clock: MovableClock,
) -> None:
    await give_password(storage, administrator.user_id)
    browser = open_browser(await give_session(storage, administrator.user_id))
    token = form_token(await browser.get("/profile"))
    clock.move(milliseconds=PASSWORD_RECENT_MS + 1)
    answer = await browser.get("/admin/settings/sign-up")
    assert answer.headers["location"] == "/confirm-password?next=/admin/settings/sign-up"
    fields = {"form_token": token, "sign_up": "closed", "starting_credit": "9"}
    answer = await browser.post("/admin/settings/sign-up", data=fields, headers=FROM_OUR_PAGE)
    assert answer.headers["location"].startswith("/confirm-password?")
    assert (await settings(admin_client))["starting_credit"] == "0"


async def test_a_test_mail_goes_to_whoever_asks_and_its_failure_is_told(
    mailing_app: ASGIApp,
    mail: FakeMail,
    open_browser: OpenBrowser,
    storage: Storage,
    administrator: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await give_password(storage, administrator.user_id)
    browser = open_browser(await give_session(storage, administrator.user_id), app=mailing_app)
    await send_form(browser, "/admin/settings/test-mail", on="/admin/settings")
    assert [message.to for message in mail.sent] == [administrator.email]
    assert "took a test" in (await browser.get("/admin/settings")).text

    async def refuse(_message: object) -> None:
        raise MailAway("550 no such <sender>")

    monkeypatch.setattr(mail, "send", refuse)
    await send_form(browser, "/admin/settings/test-mail", on="/admin/settings")
    assert "550 no such &lt;sender&gt;" in (await browser.get("/admin/settings")).text


async def test_without_a_mail_server_the_page_says_how_to_set_one_up(administrator_page: Client) -> None:
    page = (await administrator_page.get("/admin/settings")).text
    assert "TOKENOPEN_SMTP_URL" in page
    assert "/admin/settings/test-mail" not in page


async def test_anybody_s_management_key_is_revoked(
    administrator_page: Client, storage: Storage, user: Actor, user_client: Client
) -> None:
    await make_management_key(storage, user)
    page = (await administrator_page.get("/admin/settings")).text
    paths = re.findall(rf'action="(/admin/settings/management-keys/{user.user_id}/\w+/revoke)"', page)
    assert len(paths) == 2
    for path in paths:
        assert (await send_form(administrator_page, path, on="/admin/settings")).status_code == 303
    assert (await user_client.get("/api/me")).status_code == 401
