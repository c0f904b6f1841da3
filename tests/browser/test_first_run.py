"""The first minutes of an installation: a one-time link, three steps, and the first call's receipt."""

import re

import httpx
from playwright.sync_api import expect

from tests.browser.conftest import OpenWindow
from tests.browser.populated import PASSWORD
from tests.e2e.running import Platform


def test_an_administrator_comes_from_the_one_time_link_to_the_receipt_of_the_first_call(
    platform: Platform, open_window: OpenWindow
) -> None:
    window = open_window()
    page = window.open(platform.ask("POST", "/api/admin/administrator-links")["url"])
    page.get_by_label("E-mail").fill("root@example.com")
    page.get_by_label("Name").fill("Root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create administrator").click()
    expect(page.get_by_role("heading", name="Three steps to the first call")).to_be_visible()

    page.get_by_role("main").get_by_role("link", name="Add an upstream").click()
    page.get_by_role("link", name=re.compile("^OpenAI ")).click()
    page.get_by_label("Name").fill("Simulated")
    page.get_by_label("Address (base URL)").fill(platform.simulator.base_url)
    page.get_by_label("Credential").fill("sim-key")
    page.get_by_role("button", name="Add and see its models").click()
    page.get_by_role("checkbox", name="gpt-4o-mini", exact=True).check()
    page.get_by_role("button", name="Carry what is ticked").click()
    expect(page.get_by_role("status").first).to_contain_text("Models added: 1.")

    window.open("/admin")
    page.get_by_label("Credit for your own account").fill("3")
    page.get_by_role("button", name="Create API key").click()
    secret = page.get_by_label("API key").input_value()
    expect(page.get_by_text("Waiting for your first call.")).to_be_visible()
    assert page.evaluate("document.getAnimations().length") == 0, "this window asked for reduced motion"

    with platform.caller(secret) as caller:
        call = first_call(caller)
    # The page asks by itself, and goes on when the call is there.
    page.wait_for_url(f"**/admin/calls/{call.headers['x-request-id']}")
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(call.headers["x-tokenopen-charge"])
    window.open("/credit")
    expect(page.get_by_role("main")).to_contain_text("Credit for a first call")


def first_call(caller: httpx.Client) -> httpx.Response:
    """Make the call that the page's examples make."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}
    answer = caller.post("/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer
