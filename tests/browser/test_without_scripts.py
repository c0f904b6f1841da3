"""The three core journeys where no script runs, and on a phone: sign in, create a key, ask for an upgrade."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenWindow
from tests.browser.populated import PASSWORD, add_person, call
from tests.browser.window import Window
from tests.e2e.running import Platform


@pytest.fixture(scope="module")
def ready(platform: Platform) -> Platform:
    """The platform with a model on offer."""
    platform.add_upstream(["gpt-4o-mini", "gpt-4o"])
    return platform


@pytest.mark.parametrize(("scripts", "phone"), [(False, False), (False, True), (True, True)])
def test_signing_in_creating_a_key_and_asking_for_an_upgrade(
    ready: Platform, open_window: OpenWindow, scripts: bool, phone: bool
) -> None:
    email = f"ada-{scripts}-{phone}@example.com".lower()
    user_id = add_person(ready, email)
    ready.top_up(user_id, "5")
    window = open_window(scripts=scripts, phone=phone)
    page = window.sign_in(email, PASSWORD)
    _fits(window)

    if phone:
        page.get_by_role("button", name="Menu").click()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="API Keys").click()
    page.get_by_role("main").get_by_role("link", name="Create API key").first.click()
    _fits(window)
    page.get_by_label("Name").fill("Phone")
    page.get_by_role("radio", name=re.compile("^Default")).check()
    page.get_by_role("button", name="Create API key").click()
    secret = page.get_by_label("API key", exact=True).input_value()
    assert call(ready, secret) == 200
    _fits(window)

    window.open("/upgrade?group=vip")
    _fits(window)
    page.get_by_role("radio", name=re.compile("^VIP")).check()
    page.get_by_label("Reason", exact=True).fill("More calls.")
    page.get_by_role("button", name="Send the request").click()
    expect(page.get_by_role("main")).to_contain_text("Your request for group VIP is on its way.")
    assert page.get_by_role("button", name="Withdraw").count() == 1
    _fits(window)


def _fits(window: Window) -> None:
    """No page scrolls sideways; tables do so by themselves."""
    assert window.overflow_px() <= 0, window.page.url
