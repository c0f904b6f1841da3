"""Home: credit, spend, limits, refusals and news of one's own, and first steps where there is nothing yet."""

import html

import httpx
import pytest

from tests.api.conftest import Entitle
from tests.fakes.clock import MovableClock
from tests.refused_calls import refuse_call
from tests.till_calls import start_calls
from tests.web.forms import send_form
from tests.web.page_text import text_of
from tokenopen.control.actor import Actor
from tokenopen.storage.sqlite import SqliteStorage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient


async def test_who_is_signed_in_comes_home(user_page: Client, visitor: Client) -> None:
    assert (await user_page.get("/")).headers["location"] == "/home"
    assert (await visitor.get("/")).headers["location"] == "/guide"


async def test_a_newcomer_is_told_what_to_do_first(user_page: Client, admin_client: Client) -> None:
    await admin_client.patch("/api/admin/settings", json={"support_contact": "help@example.com"})
    page = await user_page.get("/home")
    text = text_of(page)
    assert "Hello Ada" in text
    assert "1 Have credit" in text
    assert 'href="mailto:help@example.com"' in page.text
    assert "2 Create an API key" in text
    assert "3 Make your first call" in text
    assert "Available credit 0.00 1 credit = 1 USD" in text
    for nothing in ("Limits in use", "Your last charge", "Last refused calls"):
        assert nothing not in text


async def test_steps_are_ticked_off_and_leave_with_the_first_charge(
    user_page: Client, storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor
) -> None:
    till = await start_calls(storage, clock, administrator, user)
    text = text_of(await user_page.get("/home"))
    assert "Done: Have credit" in text
    assert "Done: Create an API key" in text
    assert "Quickstart" in text
    await till.call()
    assert "First steps" not in text_of(await user_page.get("/home"))


async def test_spend_limits_and_the_last_charge_are_exact(
    user_page: Client,
    other_page: Client,
    storage: SqliteStorage,
    clock: MovableClock,
    administrator: Actor,
    user: Actor,
) -> None:
    till = await start_calls(storage, clock, administrator, user)
    await till.call(input=1_000_000)
    clock.move(seconds=24 * 3600)
    call_id = await till.call(input=2_000_000, output=100_000)
    await till.admit(hold=2 * 10**9)
    page = await user_page.get("/home")
    text = text_of(page)
    assert "Available credit 7.49 1 credit = 1 USD" in text
    assert "Reserved for running calls 2.00" in text
    assert "Spent today 0.36 1 call" in text
    assert "Spent this month 0.51 2 calls" in text
    assert 'href="/usage?from=2026-06-02"' in page.text
    assert 'href="/usage?from=2026-06-01"' in page.text
    assert "Default 1.0x 1 key" in text
    assert "Requests / minute (RPM) 2 / 60" in text
    assert "Requests / day (TPD) 2 / 1,000 Starts anew in 12 h" in text
    assert "(2,000,000 x 0.15 + 100,000 x 0.6) / 1,000,000 x 1.0 = 0.36" in text
    assert f'href="/calls/{call_id}"' in page.text
    assert "None was refused." in text
    other = await other_page.get("/home")
    assert call_id not in other.text
    assert "0.36" not in text_of(other)


async def test_the_last_refused_calls_say_why(
    user_page: Client, other_page: Client, storage: SqliteStorage, clock: MovableClock, user: Actor
) -> None:
    for number in range(7):
        clock.move(milliseconds=1)
        refused = await refuse_call(storage, user, message=f"Refusal <{number}>.")
    page = await user_page.get("/home")
    assert "Requests / minute used up" in text_of(page)
    assert html.unescape(page.text).count("Refusal <") == 5
    assert "Refusal <6>." not in page.text
    assert f'href="/calls/{refused}"' in page.text
    assert "Refusal" not in (await other_page.get("/home")).text


async def test_answers_and_access_that_ends_are_announced(
    user_page: Client, other_page: Client, user_client: Client, admin_client: Client, entitle: Entitle
) -> None:
    async def decide(state: str, answer: str) -> None:
        [request] = (await user_client.get("/api/me/upgrade-requests?state=pending")).json()["data"]
        path = f"/api/admin/upgrade-requests/{request['id']}"
        assert (await admin_client.patch(path, json={"state": state, "answer": answer})).is_success

    await send_form(user_page, "/upgrade", group="vip", reason="More")
    assert "You asked for VIP just now . There is no answer yet." in text_of(await user_page.get("/home"))
    await decide("declined", "Not yet.")
    assert "VIP was declined Not yet." in text_of(await user_page.get("/home"))
    await send_form(user_page, "/upgrade", group="vip", reason="More")
    await decide("approved", "Welcome.")
    page = await user_page.get("/home")
    assert "VIP is open to you Welcome." in text_of(page)
    assert 'href="/keys/new?group=vip"' in page.text
    await entitle("vip", expires_at="2026-06-10T00:00:00Z")
    assert "Your access to VIP ends 2026-06-10 00:00 UTC" in text_of(await user_page.get("/home"))
    assert "VIP" not in text_of(await other_page.get("/home"))
