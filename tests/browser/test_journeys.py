"""What users and administrators come for, each journey once, end to end: browser, process, provider."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenWindow
from tests.browser.populated import PASSWORD, add_person, call
from tests.browser.window import TIMEOUT_MS, Window
from tests.e2e.running import Platform

ADMINISTRATOR = "root@example.com"


@pytest.fixture(scope="module")
def ready(platform: Platform) -> Platform:
    """The platform with a model, a group of one request a minute, and an administrator."""
    platform.add_upstream(["gpt-4o-mini", "gpt-4o"])
    platform.add_group("slow", name="Slow", allowed_models=["gpt-4o-mini"], requests_per_minute=1)
    add_person(platform, ADMINISTRATOR, name="Root", role="administrator")
    return platform


def a_user(platform: Platform, email: str, *, credit: str = "20") -> str:
    """Create a user with credit and return their id."""
    user_id = add_person(platform, email)
    platform.top_up(user_id, credit)
    return user_id


def reload_until(page: Page, text: str | re.Pattern[str]) -> None:
    """Load a page again until its table, not only a filter above, has what is written a little later."""
    for _ in range(TIMEOUT_MS // 500):
        if page.get_by_role("table").get_by_text(text).count():
            return
        page.wait_for_timeout(500)
        page.reload()
    raise AssertionError(f"{page.url} never showed {text}")


def test_a_user_compares_groups_creates_a_key_and_opens_the_receipt_of_a_call(
    ready: Platform, open_window: OpenWindow
) -> None:
    a_user(ready, "ada@example.com")
    window = open_window()
    page = window.sign_in("ada@example.com", PASSWORD)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="API Keys").click()
    page.get_by_role("main").get_by_role("link", name="Create API key").first.click()

    cards = {name: page.locator(".group-card", has_text=name).first for name in ("Default", "Slow", "VIP")}
    tops = {round(card.bounding_box()["y"]) for card in cards.values()}  # type: ignore[index]
    assert len(tops) == 1, "groups stand side by side"
    for name, said in (("Default", "1.0x"), ("Default", "1,000"), ("VIP", "From 0.8x"), ("VIP", "20,000")):
        expect(cards[name]).to_contain_text(said)
    expect(cards["Default"]).to_contain_text(re.compile(r"gpt-4o-mini\s*0\.15 / 0\.60"))
    page.get_by_label("Name").fill("Shop")
    page.get_by_role("radio", name=re.compile("^Default")).check()
    page.get_by_role("button", name="Create API key").click()

    expect(page.get_by_role("heading", name="Your new API key")).to_be_visible()
    secret = page.get_by_label("API key", exact=True).input_value()
    assert secret.startswith("sk-to-")
    assert call(ready, secret) == 200
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_role("heading", name="Shop", exact=True)).to_be_visible()
    assert secret not in page.content(), "it is shown once"

    window.open("/calls")
    page.get_by_role("table").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    # 3 tokens in and 20 out at 0.15 and 0.60 per million, x 1.0.
    expect(page.get_by_role("main")).to_contain_text("/ 1,000,000 x 1.0 =")


def test_a_429_leads_to_a_request_whose_approval_lets_the_user_move_keys(
    ready: Platform, open_window: OpenWindow
) -> None:
    user_id = a_user(ready, "linus@example.com")
    secret = ready.add_key(user_id, "slow", name="Busy")
    assert [call(ready, secret), call(ready, secret)] == [200, 429]
    users = open_window()
    page = users.sign_in("linus@example.com", PASSWORD)
    users.open("/calls/refused")
    reload_until(page, "Requests / minute used up")
    page.get_by_role("table").get_by_role("link").first.click()
    expect(page.get_by_role("main")).to_contain_text("Group Slow allows 1 request per minute; 1 used.")
    page.get_by_role("link", name="Ask for a higher group").click()
    reason = page.get_by_label("Reason", exact=True)
    expect(reason).to_have_value(re.compile("Group Slow allows 1 request per minute; 1 used"))
    page.get_by_role("radio", name=re.compile("^VIP")).check()
    page.get_by_role("button", name="Send the request").click()
    expect(page.get_by_role("status").first).to_contain_text("Your request for group VIP is on its way.")

    administrators = open_window()
    desk = administrators.sign_in(ADMINISTRATOR, PASSWORD)
    administrators.open("/admin/upgrade-requests")
    desk.get_by_role("link", name="linus@example.com").click()
    expect(desk.get_by_role("main")).to_contain_text("Group Slow allows 1 request per minute")
    desk.get_by_label("A word to the user").fill("Gladly.")
    desk.get_by_role("button", name="Approve").click()
    expect(desk.get_by_role("status").first).to_contain_text("linus@example.com may use group VIP now.")

    users.open("/home")
    expect(page.get_by_role("main")).to_contain_text("VIP is open to you")
    users.open("/upgrade")
    expect(page.get_by_role("main")).to_contain_text("Gladly.")
    expect(page.get_by_role("checkbox", name=re.compile("^Busy"))).to_be_checked()
    page.get_by_role("button", name="Move to VIP").click()
    expect(page.get_by_role("status").first).to_contain_text("The keys are in group VIP.")
    with ready.caller(secret) as caller:
        assert caller.get("/key").json()["group"]["slug"] == "vip"
    assert call(ready, secret) == 200


def test_an_administrator_sees_a_group_s_change_before_it_is_saved_and_in_its_history(
    ready: Platform, open_window: OpenWindow
) -> None:
    ready.add_group("spare", name="Spare", allowed_models=["gpt-4o*"])
    window = open_window()
    page = window.sign_in(ADMINISTRATOR, PASSWORD)
    window.open("/admin/groups/spare")
    preview = page.get_by_role("complementary", name="Preview")
    expect(preview).to_contain_text("1.0x")
    page.get_by_label("Price multiplier").fill("0.5")
    expect(preview).to_contain_text("0.075")
    page.get_by_label("Available models").fill("gpt-4o-mini")
    expect(preview).to_contain_text("Keys lose 1 model")
    assert ready.ask("GET", "/api/admin/groups/spare")["multiplier"] == "1.0", "a preview saves nothing"
    page.get_by_label("Reason").fill("Autumn offer")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("status").first).to_contain_text("Saved as revision 2.")
    page.get_by_role("link", name="History").click()
    newest = page.locator(".card", has_text="Revision 2")
    expect(newest).to_contain_text("Autumn offer")
    expect(newest.locator("ins", has_text="0.5x")).to_be_visible()
    expect(newest.locator("del", has_text="1.0x")).to_be_visible()


def test_a_top_up_appears_in_the_ledger_of_its_user(ready: Platform, open_window: OpenWindow) -> None:
    a_user(ready, "mae@example.com", credit="1")
    administrators = open_window()
    desk = administrators.sign_in(ADMINISTRATOR, PASSWORD)
    administrators.open("/admin/users?q=mae")
    desk.get_by_role("table").get_by_role("link").first.click()
    desk.get_by_role("link", name="Top-up").click()
    desk.get_by_label("Amount").fill("12.5")
    desk.get_by_label("Reason").fill("Invoice 4711")
    desk.get_by_role("button", name="Change credit").click()
    expect(desk.get_by_role("status").first).to_contain_text("12.50 credits are on the account.")
    users = open_window()
    page = users.sign_in("mae@example.com", PASSWORD)
    users.open("/credit")
    row = page.get_by_role("row", name=re.compile("Invoice 4711"))
    expect(row).to_contain_text("+12.5")
    expect(row).to_contain_text("13.5")


def test_trying_it_makes_a_real_call_and_shows_its_receipt(ready: Platform, open_window: OpenWindow) -> None:
    user_id = a_user(ready, "noor@example.com")
    ready.add_key(user_id, "default", name="Trial")
    window = open_window()
    page = window.sign_in("noor@example.com", PASSWORD)
    window.open("/try")
    page.get_by_label("Model").fill("gpt-4o-mini")
    page.get_by_label("Message").fill("one two three")
    page.get_by_label("Output tokens at most").fill("5")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("heading", name="Reply")).to_be_visible()
    assert page.locator(".reply").inner_text().strip()
    page.get_by_role("link", name="Whole receipt").click()
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    assert ready.ask("GET", f"/api/admin/users/{user_id}")["balance"] != "20"


def test_the_support_contact_of_the_settings_stands_in_help(ready: Platform, open_window: OpenWindow) -> None:
    administrators: Window = open_window()
    desk = administrators.sign_in(ADMINISTRATOR, PASSWORD)
    administrators.open("/admin/settings")
    desk.get_by_label("Support contact").fill("help@example.net")
    desk.get_by_role("button", name="Save", exact=True).click()
    expect(desk.get_by_role("status").first).to_contain_text("The settings are saved.")
    visitor = open_window()
    page = visitor.open("/help")
    expect(page.get_by_role("main").get_by_role("link", name="help@example.net")).to_be_visible()


def test_a_day_is_typed_into_a_filter_and_one_that_is_refused_leaves_the_list(
    ready: Platform, open_window: OpenWindow
) -> None:
    """A browser tells of the years 2, 20 and 202 on the way to 2026; each is asked for."""
    a_user(ready, "typist@example.com")
    window = open_window()
    page = window.sign_in("typist@example.com", PASSWORD)
    window.open("/usage")
    day = page.get_by_label("From day")
    tiles = page.locator("#usage .tile")
    shown = tiles.count()

    day.fill("2016-01-01")
    expect(page.get_by_role("alert")).to_have_text("Ask for at most 400 days at once.")
    assert tiles.count() == shown
    # That the answer was a 400 is what the browser has to say here.
    window.complaints.clear()
    a_week_ago = (datetime.now(UTC) - timedelta(days=7)).date().isoformat()
    day.fill(a_week_ago)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page).to_have_url(re.compile(f"from={a_week_ago}"))

    window.open("/calls")
    page.get_by_label("From day").focus()
    page.keyboard.type("01012026", delay=100)
    expect(page).to_have_url(re.compile("from=2026-01-01"))
    expect(page.get_by_label("From day")).to_have_value("2026-01-01")
    expect(page.locator("#calls")).to_contain_text("No call fits")
