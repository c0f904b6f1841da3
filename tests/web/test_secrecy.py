"""No password, session, link or form token is written down, whatever happens to it."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import structlog
from structlog.testing import LogCapture

from tests.fakes.mail import FakeMail
from tests.sessions import OTHER_PASSWORD, PASSWORD, cookie_of, give_password, link_token
from tests.web.conftest import MakeWebApp, OpenBrowser
from tests.web.forms import form_token, send_form
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.ports.storage import Storage
from tokenopen.storage.schema_base import metadata
from tokenopen.web import sign_up

pytestmark = pytest.mark.usefixtures("cheap_passwords")


@pytest.fixture
def log() -> Iterator[LogCapture]:
    """Everything that is logged by structlog meanwhile."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture
    structlog.configure(**before)


async def _everything_stored(storage: Storage) -> str:
    async with storage.read() as tx:
        rows = [(table.name, await tx.fetch_all(table.select())) for table in metadata.sorted_tables]
    return "\n".join(f"{name}: {row}" for name, found in rows for row in found)


async def test_nothing_secret_is_logged_or_stored(
    open_browser: OpenBrowser,
    services: Services,
    mail: FakeMail,
    storage: Storage,
    user: Actor,
    admin_client: httpx.AsyncClient,
    make_web_app: MakeWebApp,
    log: LogCapture,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    # The tests' own client writes every address down.
    caplog.set_level(logging.WARNING, logger="httpx")
    await give_password(storage, user.user_id)
    await admin_client.patch("/api/admin/settings", json={"sign_up": "open"})
    app = make_web_app(replace(services, mail=mail))
    secrets: set[str] = {PASSWORD, OTHER_PASSWORD, "a wrong password of mine"}

    browser = open_browser(app=app)
    # Right and wrong, known and unknown: also a password that was typed into the field of the address.
    for email, password in (
        (user.email, "a wrong password of mine"),
        (OTHER_PASSWORD, OTHER_PASSWORD),
        (user.email, PASSWORD),
    ):
        answer = await send_form(browser, "/sign-in", email=email, password=password)
    session = cookie_of(answer, "tokenopen")
    assert session is not None
    secrets |= {session.split(";")[0].partition("=")[2], form_token(await browser.get("/profile"))}
    secrets.add(str(browser.cookies.get("tokenopen-visit", "no visit any more")))

    answer = await send_form(
        browser, "/profile/password", on="/profile", current_password=PASSWORD, password=OTHER_PASSWORD
    )
    changed = cookie_of(answer, "tokenopen")
    assert changed is not None
    secrets.add(changed.split(";")[0].partition("=")[2])

    page = await send_form(browser, "/profile/management-keys", on="/profile/management-keys/new", name="ci")
    key = re.search(r"sk-mgmt-\w+", page.text)
    assert key is not None
    secrets.add(key[0])

    stranger = open_browser(app=app)
    await send_form(stranger, "/forgot-password", email=user.email)
    await send_form(stranger, "/sign-up", email="eve@example.com")
    tokens = [link_token(line) for each in mail.sent for line in each.text.splitlines() if "://" in line]
    assert len(tokens) == 2
    secrets |= set(tokens)
    await send_form(stranger, f"/sign-up/{tokens[1]}", name="Eve", password=OTHER_PASSWORD)
    # What fails is logged; the mail's text and address are not.
    mail.is_away = True
    await send_form(open_browser(app=app), "/forgot-password", email="eve@example.com")
    assert [entry["event"] for entry in log.entries] == ["mail_not_sent"]

    link = (await admin_client.post("/api/admin/administrator-links")).json()["url"]
    secrets.add(link_token(link))
    reset = await admin_client.post(f"/api/admin/users/{user.user_id}/password-links")
    secrets.add(link_token(reset.json()["url"]))

    output = capfd.readouterr()
    written = {
        "log": str(log.entries) + caplog.text + output.out + output.err,
        "database": await _everything_stored(storage),
        "audit log": (await admin_client.get("/api/admin/audit-log", params={"limit": 200})).text,
    }
    assert "session.create" in written["audit log"]
    for place, text in written.items():
        for secret in secrets:
            assert len(secret) > 15
            assert secret not in text, f"{secret[:6]}… is in the {place}"
    assert "eve@example.com" not in str(log.entries)


async def test_a_bug_behind_a_link_is_logged_without_the_link(
    visitor: httpx.AsyncClient,
    admin_client: httpx.AsyncClient,
    log: LogCapture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = httpx.URL((await admin_client.post("/api/admin/administrator-links")).json()["url"])

    async def fail(*_arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(sign_up, "find_link", fail)
    assert (await visitor.get(url.path)).status_code == 500
    [entry] = log.entries
    assert entry["route"] == "/administrator-link/{token}"
    assert link_token(str(url)) not in str(entry)


async def test_pages_with_a_token_in_their_address_tell_no_other_site(
    visitor: httpx.AsyncClient, admin_client: httpx.AsyncClient
) -> None:
    url = httpx.URL((await admin_client.post("/api/admin/administrator-links")).json()["url"])
    page = await visitor.get(url.path)
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
