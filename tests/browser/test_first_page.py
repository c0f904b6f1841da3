"""What a first visit weighs, and that the pages need neither a mouse nor anything that moves."""

from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import OpenWindow
from tests.browser.populated import PASSWORD, Populated
from tests.browser.window import Window, enliven_charts
from tests.e2e.running import Platform

FIRST_PAGE_BYTES_MAX: Final = 150_000
_FOCUS: Final = """
() => {
  const at = document.activeElement;
  const ring = at.matches("input[type=radio]") ? at.closest("label") : at;
  const style = getComputedStyle(ring);
  const label = document.querySelector(`label[for="${at.id}"]`);
  const words = ring.innerText || label?.innerText || at.value || "";
  return {
    name: `${at.tagName.toLowerCase()} ${words.trim().split("\\n")[0]}`,
    inMain: Boolean(at.closest("main")),
    isVisible: at.matches(":focus-visible") && style.outlineStyle !== "none"
      && parseFloat(style.outlineWidth) >= 2,
    top: Math.round(ring.getBoundingClientRect().top + scrollY),
    left: Math.round(ring.getBoundingClientRect().left),
  };
}
"""


@pytest.mark.parametrize("path", ["/guide", "/sign-in", "/home", "/usage"])
def test_a_first_page_with_all_that_it_needs_stays_below_150_kb(
    chromium: Browser, platform: Platform, populated: Populated, path: str
) -> None:
    signed_in = Window(chromium, platform.server.url)
    if path in ("/home", "/usage"):
        signed_in.sign_in(populated.user, PASSWORD)
    # The same cookies with an empty cache: nothing is there but what this page loads.
    window = Window(chromium, platform.server.url, state=signed_in.context.storage_state())
    sizes: list[int] = []
    window.page.on(
        "requestfinished",
        lambda request: sizes.append(
            request.sizes()["responseBodySize"] + request.sizes()["responseHeadersSize"]
        ),
    )
    page = window.open(path)
    enliven_charts(page)
    page.wait_for_load_state("networkidle")
    assert len(sizes) >= 3, "the page, its style and its script at least"
    assert 5_000 < sum(sizes) < FIRST_PAGE_BYTES_MAX, sizes
    for opened in (signed_in, window):
        opened.close()


def test_a_key_is_created_by_keyboard_alone_and_focus_is_always_seen(
    populated: Populated, open_window: OpenWindow
) -> None:
    window = open_window()
    page = window.sign_in(populated.newcomer, PASSWORD)
    window.open("/home")
    page.keyboard.press("Tab")
    assert page.evaluate(_FOCUS)["name"] == "a Skip to content"
    page.keyboard.press("Enter")
    window.open("/keys/new")
    stops = [page.evaluate(_FOCUS)]
    assert stops[0]["name"] == "input Name", "one can type at once"
    while "button Create API key" not in stops[-1]["name"]:
        page.keyboard.press("Tab")
        stops.append(page.evaluate(_FOCUS))
        assert len(stops) < 40, stops
    assert [stop["name"] for stop in stops if not stop["isVisible"]] == []
    assert all(stop["inMain"] for stop in stops)
    places = [(stop["top"] // 200, stop["left"] // 200, stop["top"]) for stop in stops]
    assert [place[0] for place in places] == sorted(place[0] for place in places), "from top to bottom"
    assert sum(stop["name"].startswith("input ") for stop in stops) == 2, "groups are one stop, arrows choose"

    window.open("/keys/new")
    page.keyboard.type("By keyboard")
    while page.evaluate("document.activeElement.type") != "radio":
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    chosen = page.evaluate("document.activeElement.value")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your new API key")).to_be_visible()
    assert chosen != "default"
    expect(page.get_by_role("main")).to_contain_text("0.95x")


def test_nothing_moves_for_people_who_ask_for_that(open_window: OpenWindow) -> None:
    """A window of these tests asks for it; another preference shows that there is something to leave out."""
    page = open_window().open("/sign-in")
    style = "getComputedStyle(document.querySelector('.button')).transitionDuration"
    everything = "[...document.querySelectorAll('*')]"
    moving = f"{everything}.filter((each) => getComputedStyle(each).animationName !== 'none')"
    assert page.evaluate(style) == "0s"
    assert page.evaluate(f"{moving}.length") == 0
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(style) != "0s"
