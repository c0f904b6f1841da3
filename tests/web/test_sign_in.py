"""Signing in: what is let in, what is told to whom, and what browsers keep of it."""

from dataclasses import replace

import httpx
import pytest

from tests.conftest import HASHING_KEY, make_user
from tests.fakes.clock import MovableClock
from tests.sessions import (
    BROWSER,
    OTHER_PASSWORD,
    PASSWORD,
    cheap_hasher,
    cookie_of,
    give_password,
    give_session,
)
from tests.web.conftest import MakeWebApp, OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, form_token, send_form
from tokenopen.control import password as passwords
from tokenopen.control.actor import Actor
from tokenopen.control.password import Hashing
from tokenopen.control.services import Services
from tokenopen.core.session import PASSWORD_RECENT_MS
from tokenopen.ports.storage import Storage
from tokenopen.storage.password import find_password_by_email

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient


@pytest.fixture
async def ada(storage: Storage, user: Actor) -> Actor:
    """The user, with a password."""
    await give_password(storage, user.user_id)
    return user


async def sign_in(browser: Client, email: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    return await send_form(browser, "/sign-in", email=email, password=password, **fields)


async def is_signed_in(browser: Client) -> bool:
    return (await browser.get("/profile")).status_code == 200


async def test_the_right_password_opens_a_session(visitor: Client, ada: Actor) -> None:
    assert not await is_signed_in(visitor)
    answer = await sign_in(visitor, " ADA@Example.com ")
    assert answer.status_code == 303
    assert await is_signed_in(visitor)
    assert "ada@example.com" in (await visitor.get("/profile")).text


@pytest.mark.parametrize("password", ["", "x", PASSWORD + " ", PASSWORD.upper(), "x" * 100_000])
async def test_a_wrong_one_opens_none(visitor: Client, ada: Actor, password: str) -> None:
    answer = await sign_in(visitor, ada.email, password)
    assert answer.status_code == 401
    assert "E-mail address or password is wrong." in answer.text
    assert cookie_of(answer, "tokenopen") is None
    assert not await is_signed_in(visitor)
    # What was typed stays, but for the password.
    assert f'value="{ada.email}"' in answer.text
    assert not password or f'value="{password}"' not in answer.text


async def test_nobody_learns_whether_an_address_has_a_user(
    open_browser: OpenBrowser, storage: Storage, administrator: Actor, ada: Actor
) -> None:
    """The text, the status and the work are the same: every attempt verifies one hash."""
    verified: list[object] = []

    class Watched(Hashing):
        def _verify(self, stored: str | None, password: str) -> passwords.Verified:
            verified.append(stored)
            return super()._verify(stored, password)

    await make_user(storage, administrator, "without-password@example.com")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHING", Watched(cheap_hasher()))
        answers = [
            await sign_in(open_browser(), email, OTHER_PASSWORD)
            for email in (ada.email, "nobody@example.com", "without-password@example.com", "no address")
        ]
    assert len(verified) == 4
    assert {answer.status_code for answer in answers} == {401}
    texts = {
        answer.text.replace(form_token(answer), "").split("field-email", 1)[0].split("<main", 1)[1]
        for answer in answers
    }
    assert len(texts) == 1


async def test_a_suspended_user_is_told_so_only_with_the_right_password(
    visitor: Client, admin_client: Client, ada: Actor
) -> None:
    await admin_client.patch(f"/api/admin/users/{ada.user_id}", json={"state": "suspended"})
    assert (await sign_in(visitor, ada.email, OTHER_PASSWORD)).status_code == 401
    answer = await sign_in(visitor, ada.email)
    assert answer.status_code == 403
    assert "suspended" in answer.text
    assert not await is_signed_in(visitor)


async def test_the_cookie_on_this_machine(visitor: Client, ada: Actor) -> None:
    cookie = cookie_of(await sign_in(visitor, ada.email), "tokenopen")
    assert cookie is not None
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=2592000"} <= attributes
    assert "secure" not in attributes
    assert not any(attribute.startswith("domain") for attribute in attributes)


async def test_the_cookie_of_a_public_address(
    services: Services, make_web_app: MakeWebApp, open_browser: OpenBrowser, ada: Actor
) -> None:
    app = make_web_app(replace(services, public_url="https://console.example.com"))
    browser = open_browser(app=app, base_url="https://console.example.com")
    page = await browser.get("/sign-in")
    visit = cookie_of(page, "__Host-tokenopen-visit")
    assert visit is not None
    answer = await browser.post(
        "/sign-in",
        data={"form_token": form_token(page), "email": ada.email, "password": PASSWORD},
        headers={"Origin": "https://console.example.com", "Sec-Fetch-Site": "same-origin"},
    )
    session = cookie_of(answer, "__Host-tokenopen")
    assert session is not None
    for cookie in (visit, session):
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
        assert not any(attribute.startswith("domain") for attribute in attributes)
    assert cookie_of(answer, "tokenopen") is None
    assert await is_signed_in(browser)


@pytest.mark.parametrize(
    "host", ["http://192.0.2.7:8000", "http://console.example.com", "http://evil.example"]
)
async def test_over_plain_http_from_elsewhere_nobody_signs_in(
    open_browser: OpenBrowser, storage: Storage, ada: Actor, host: str
) -> None:
    browser = open_browser(await give_session(storage, ada.user_id), base_url=host)
    page = await browser.get("/sign-in")
    assert page.status_code == 403
    assert "https" in page.text
    assert "<input" not in page.text.split("<main", 1)[1]
    assert page.headers.get_list("set-cookie") == []
    answer = await browser.post(
        "/sign-in", data={"email": ada.email, "password": PASSWORD}, headers={"Origin": host}
    )
    assert answer.status_code == 403
    assert not await is_signed_in(browser)


async def test_a_session_that_was_planted_is_not_the_one_that_opens(
    open_browser: OpenBrowser, storage: Storage, ada: Actor, other_user: Actor
) -> None:
    """Fixation: the token is new at each sign-in, and the one that the browser came with is ended."""
    planted = await give_session(storage, other_user.user_id)
    invented = "a" * 43
    for token in (planted, invented):
        browser = open_browser(token)
        if token == planted:
            await send_form(browser, "/sign-out", on="/profile")
            browser.cookies.set("tokenopen", token)
        answer = await sign_in(browser, ada.email)
        cookie = cookie_of(answer, "tokenopen")
        assert cookie is not None
        assert not cookie.startswith(f"tokenopen={token}")
        assert not await is_signed_in(open_browser(token))


async def test_signing_in_ends_the_session_that_the_browser_came_with(
    open_browser: OpenBrowser, storage: Storage, ada: Actor, other_user: Actor
) -> None:
    before = await give_session(storage, other_user.user_id)
    browser = open_browser(before)
    answer = await send_form(browser, "/sign-in", on="/profile", email=ada.email, password=PASSWORD)
    assert answer.status_code == 303
    assert "ada@example.com" in (await browser.get("/profile")).text
    assert not await is_signed_in(open_browser(before))


async def test_a_password_that_changes_while_it_is_verified_opens_nothing(
    visitor: Client, storage: Storage, ada: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overtaken(Hashing):
        async def verify(self, stored: str | None, password: str) -> passwords.Verified:
            verified = await super().verify(stored, password)
            await give_password(storage, ada.user_id, OTHER_PASSWORD)
            return verified

    monkeypatch.setattr(passwords, "HASHING", Overtaken(cheap_hasher()))
    assert (await sign_in(visitor, ada.email)).status_code == 401
    assert not await is_signed_in(visitor)


async def test_signing_out_ends_the_session_not_only_the_cookie(
    open_browser: OpenBrowser, storage: Storage, ada: Actor
) -> None:
    token = await give_session(storage, ada.user_id)
    browser = open_browser(token)
    answer = await send_form(browser, "/sign-out", on="/profile")
    assert answer.status_code == 303
    assert not await is_signed_in(open_browser(token))


async def test_a_page_for_users_leads_to_signing_in_and_back(visitor: Client, ada: Actor) -> None:
    answer = await visitor.get("/profile?from=menu")
    assert answer.status_code == 303
    target = answer.headers["location"]
    assert target == "/sign-in?next=/profile%3Ffrom%3Dmenu"
    page = await visitor.get(target)
    answer = await visitor.post(
        "/sign-in",
        data={
            "form_token": form_token(page),
            "next": "/profile?from=menu",
            "email": ada.email,
            "password": PASSWORD,
        },
        headers=FROM_OUR_PAGE,
    )
    assert answer.headers["location"] == "/profile?from=menu"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example.net",
        "//evil.example.net",
        "/\\evil.example.net",
        "/\t/evil.example.net",
        "javascript:alert(1)",
        "evil",
        "",
        "/%0d%0aSet-Cookie:x\r\nSet-Cookie: y",
        '/"><script>',
    ],
)
async def test_nobody_is_led_to_another_site(visitor: Client, ada: Actor, elsewhere: str) -> None:
    page = await visitor.get("/sign-in", params={"next": elsewhere})
    assert "evil" not in page.text
    assert "<script>" not in page.text
    answer = await sign_in(visitor, ada.email, next=elsewhere)
    assert answer.status_code == 303
    assert answer.headers["location"] in ("/home", "/profile")


async def test_guessing_is_slowed_down_and_waiting_is_enough(
    visitor: Client, clock: MovableClock, ada: Actor
) -> None:
    for _ in range(5):
        assert (await sign_in(visitor, ada.email, OTHER_PASSWORD)).status_code == 401
    refused = await sign_in(visitor, ada.email)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "2"
    assert "Try again in 2 s." in refused.text
    # Those that were refused do not count.
    for _ in range(20):
        assert (await sign_in(visitor, ada.email)).status_code == 429
    clock.move(seconds=2)
    assert (await sign_in(visitor, ada.email)).status_code == 303
    # Success forgets what went wrong before.
    for _ in range(5):
        assert (await sign_in(visitor_of(visitor), ada.email, OTHER_PASSWORD)).status_code == 401


def visitor_of(browser: Client) -> Client:
    """Return the same browser, signed out."""
    browser.cookies.clear()
    return browser


async def test_each_further_wrong_guess_waits_twice_as_long(
    visitor: Client, clock: MovableClock, ada: Actor
) -> None:
    waits_s = []
    for _ in range(16):
        answer = await sign_in(visitor, ada.email, OTHER_PASSWORD)
        if answer.status_code == 429:
            waits_s.append(int(answer.headers["retry-after"]))
            clock.move(seconds=waits_s[-1])
            assert (await sign_in(visitor, ada.email, OTHER_PASSWORD)).status_code == 401
    assert waits_s == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


async def test_a_user_is_not_locked_out_by_another_address_s_guesses(
    open_browser: OpenBrowser, ada: Actor
) -> None:
    attacker = open_browser(address="198.51.100.9")
    for _ in range(8):
        await sign_in(attacker, ada.email, OTHER_PASSWORD)
    assert (await sign_in(attacker, ada.email)).status_code == 429
    assert (await sign_in(open_browser(), ada.email)).status_code == 303


async def test_one_address_that_guesses_at_many_users_is_slowed_down(
    open_browser: OpenBrowser, ada: Actor
) -> None:
    attacker = open_browser(address="198.51.100.9")
    page = await attacker.get("/sign-in")
    fields = {"form_token": form_token(page), "password": OTHER_PASSWORD}
    statuses = [
        (
            await attacker.post(
                "/sign-in", data={**fields, "email": f"user{number}@example.com"}, headers=FROM_OUR_PAGE
            )
        ).status_code
        for number in range(62)
    ]
    assert statuses == [401] * 60 + [429, 429]


async def test_users_that_do_not_exist_are_throttled_like_those_that_do(
    open_browser: OpenBrowser, ada: Actor
) -> None:
    for email in (ada.email, "nobody@example.com"):
        browser = open_browser(address=f"192.0.2.{len(email)}")
        statuses = [(await sign_in(browser, email, OTHER_PASSWORD)).status_code for _ in range(6)]
        assert statuses == [401] * 5 + [429]


async def test_a_password_is_hashed_anew_when_the_parameters_change(
    visitor: Client, storage: Storage, ada: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stored() -> str:
        async with storage.read() as tx:
            found = await find_password_by_email(tx, ada.email)
        assert found is not None
        assert found.hash is not None
        return found.hash

    before = await stored()
    monkeypatch.setattr(passwords, "HASHING", Hashing(cheap_hasher(time_cost=2)))
    assert (await sign_in(visitor, ada.email)).status_code == 303
    after = await stored()
    assert "t=1," in before
    assert "t=2," in after
    assert (await sign_in(visitor_of(visitor), ada.email)).status_code == 303
    assert await stored() == after


async def test_a_flood_of_sign_ins_is_refused_before_it_takes_memory(
    visitor: Client, ada: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "HASHING", Hashing(cheap_hasher(), waiting_max=0))
    answer = await sign_in(visitor, ada.email)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "5"


async def test_a_password_given_anew_counts_and_changes_the_token(
    open_browser: OpenBrowser, storage: Storage, clock: MovableClock, administrator: Actor
) -> None:
    await give_password(storage, administrator.user_id)
    token = await give_session(storage, administrator.user_id)
    browser = open_browser(token)
    assert (await browser.get("/profile/management-keys/new")).status_code == 200
    clock.move(milliseconds=PASSWORD_RECENT_MS)
    answer = await browser.get("/profile/management-keys/new")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/confirm-password?next=/profile/management-keys/new"
    wrong = await send_form(browser, "/confirm-password", password=OTHER_PASSWORD)
    assert wrong.status_code == 400
    assert "not your password" in wrong.text
    answer = await send_form(
        browser, "/confirm-password", password=PASSWORD, next="/profile/management-keys/new"
    )
    assert answer.headers["location"] == "/profile/management-keys/new"
    assert (await browser.get("/profile/management-keys/new")).status_code == 200
    # Whoever had copied the cookie before has nothing now.
    assert not await is_signed_in(open_browser(token))


async def test_a_form_sent_after_the_quarter_of_an_hour_is_not_carried_out(
    administrator_page: Client, clock: MovableClock, admin_client: Client
) -> None:
    page = await administrator_page.get("/profile/management-keys/new")
    clock.move(milliseconds=PASSWORD_RECENT_MS)
    headers = FROM_OUR_PAGE | {"Referer": "http://localhost/profile/management-keys/new"}
    answer = await administrator_page.post(
        "/profile/management-keys", data={"form_token": form_token(page), "name": "ci"}, headers=headers
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == "/confirm-password?next=/profile/management-keys/new"
    names = [key["name"] for key in (await admin_client.get("/api/me/management-keys")).json()["data"]]
    assert "ci" not in names


async def test_scripts_are_told_to_leave_the_page_where_one_must_sign_in(visitor: Client) -> None:
    answer = await visitor.get("/profile", headers={"HX-Request": "true"})
    assert answer.headers["hx-redirect"] == "/sign-in?next=/profile"


async def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(
    services: Services,
    make_web_app: MakeWebApp,
    open_browser: OpenBrowser,
    ada: Actor,
    storage: Storage,
    admin_client: Client,
) -> None:
    app = make_web_app(replace(services, public_url="https://console.example.com"))
    browser = open_browser(app=app, base_url="https://console.example.com", address="127.0.0.1")
    page = await browser.get("/sign-in")
    await browser.post(
        "/sign-in",
        data={"form_token": form_token(page), "email": ada.email, "password": PASSWORD},
        headers={
            "Origin": "https://console.example.com",
            "X-Forwarded-For": "203.0.113.1, 198.51.100.7",
        },
    )
    sessions = (await admin_client.get(f"/api/admin/users/{ada.user_id}/sessions")).json()["data"]
    assert [session["address"] for session in sessions] == ["198.51.100.7"]


async def test_a_session_s_use_is_written_down_now_and_then_only(
    user_page: Client, clock: MovableClock, admin_client: Client, user: Actor
) -> None:
    async def last_used() -> str:
        sessions = (await admin_client.get(f"/api/admin/users/{user.user_id}/sessions")).json()["data"]
        return str(sessions[0]["last_used_at"])

    first = await last_used()
    clock.move(seconds=299)
    await user_page.get("/profile")
    assert await last_used() == first
    clock.move(seconds=1)
    await user_page.get("/profile")
    assert await last_used() != first


async def test_the_stored_session_does_not_hold_its_token(storage: Storage, ada: Actor) -> None:
    token = await give_session(storage, ada.user_id, browser=BROWSER)
    from tokenopen.storage.schema import sessions

    async with storage.read() as tx:
        row = await tx.fetch_one(sessions.select())
    assert row is not None
    assert token not in str(row)
    assert HASHING_KEY not in row.values()


async def test_a_form_that_is_sent_after_signing_out_elsewhere_leads_to_signing_in(visitor: Client) -> None:
    """The browser has forgotten both cookies that the form's token could belong to."""
    sent = {"form_token": "of the session that ended"}
    answer = await visitor.post("/keys", data=sent, headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 403
    assert "You were signed out meanwhile" in answer.text
    assert 'href="/sign-in"' in answer.text.split("<main", 1)[1]
