"""Every page of the route table in a real browser: accessible in both themes, narrow enough, calm, strict.

Pages are found by following links from where people begin, so a new page is covered as soon as something
leads to it; one that nothing leads to fails until it has a line in REACHED_OTHERWISE.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import pytest
from playwright.sync_api import Browser

from tests.browser.accessibility import find_violations
from tests.browser.answers import ANSWERS, send
from tests.browser.crawl import follow_links, is_page, is_theirs
from tests.browser.populated import PASSWORD, Populated
from tests.browser.window import DESKTOP, PHONE, Window, enliven_charts
from tests.e2e.running import Platform
from tests.web.test_routes import ACCESS

# Below 0.1 is what Google's Web Vitals call good; 0.01 is less than anybody sees.
LAYOUT_SHIFT_MAX: Final = 0.01
# Where no link leads, and where people begin instead; other tests have their forms.
REACHED_OTHERWISE: Final[Mapping[str, str]] = {
    "/": "leads on",
    "/new-password/{token}": "a link that is handed over",
    "/sign-up/{token}": "a link that comes by mail",
    "/administrator-link/{token}": "a link that is printed",
    "/sign-up": "linked where sign-up is open",
    "/confirm-password": "asked for by itself",
    "/calls/find": "leads on",
    "/admin/calls/find": "leads on",
    "/admin/first-call": "asked for by a waiting page",
    "/admin/users/{user_id}/access": "leads on",
    "/admin/calls/{call_id}/adjustment": "linked for a call that is flagged",
}
BEGINNINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "nobody": ("/guide", "/reference", "/help", "/sign-in", "/sign-up", "/administrator-link/x", "/nowhere"),
    "newcomer": ("/home", "/upgrade", "/try"),
    "user": ("/home", "/calls/refused", "/keys/new", "/upgrade", "/profile", "/confirm-password"),
    "administrator": (
        "/admin",
        "/admin/calls",
        "/admin/calls/refused",
        "/admin/upgrade-requests?state=all",
        "/admin/settings",
    ),
}


def check_page(window: Window, axe: str) -> Iterator[str]:
    """Yield what is wrong with the page that a window shows."""
    page = window.page
    enliven_charts(page)
    shift = page.evaluate("window.layoutShift")
    if shift > LAYOUT_SHIFT_MAX:
        yield f"layout shift {shift:.3f} of {page.evaluate('window.shifted')}"
    yield from find_violations(page, axe)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    if (overflow_px := window.overflow_px()) > 0:
        yield f"at 360 px the page scrolls sideways by {overflow_px} px"
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    if page.locator("h1").count() != 1:
        yield f"{page.locator('h1').count()} headings of the first level"
    yield from window.complaints
    window.complaints.clear()


@pytest.fixture(scope="module")
def visited() -> set[str]:
    """The routes that the tests below have opened."""
    return set()


@pytest.mark.parametrize("who", BEGINNINGS)
def test_pages_are_accessible_fit_on_a_phone_and_make_the_browser_complain_of_nothing(
    chromium: Browser, platform: Platform, populated: Populated, axe: str, visited: set[str], who: str
) -> None:
    window = Window(chromium, platform.server.url)
    if who != "nobody":
        window.sign_in(getattr(populated, who), PASSWORD)
    wrong: dict[str, list[str]] = {}
    for route, address in follow_links(window, BEGINNINGS[who], is_opened=lambda path: is_theirs(who, path)):
        visited.add(route)
        if window.status >= 400 and address not in BEGINNINGS[who]:
            wrong[address] = [f"a link leads here, where the answer is {window.status}"]
        elif is_theirs(who, address) and (found := list(check_page(window, axe))):
            wrong[address] = found
    window.close()
    assert not wrong, "\n".join(f"{address}:\n  " + "\n  ".join(found) for address, found in wrong.items())


@pytest.mark.parametrize("who", ANSWERS)
def test_what_answers_a_form_is_as_accessible_as_any_other_page(
    chromium: Browser, platform: Platform, populated: Populated, axe: str, who: str
) -> None:
    [user] = platform.ask("GET", f"/api/admin/users?search={populated.user}")["data"]
    [asked] = platform.ask("GET", "/api/admin/upgrade-requests?state=pending")["data"]
    window = Window(chromium, platform.server.url)
    if who != "nobody":
        window.sign_in(getattr(populated, who), PASSWORD)
    wrong: dict[str, list[str]] = {}
    for number, answer in enumerate(ANSWERS[who]):
        send(window, answer, {"user": user["id"], "request": asked["id"]})
        said = window.page.locator("main").inner_text().lower()
        found = [] if answer.says.lower() in said else [f"says nothing of {answer.says}: {said}"]
        if found := [*found, *check_page(window, axe)]:
            wrong[f"{number}: {answer.action}"] = found
    window.close()
    assert not wrong, "\n".join(f"{address}:\n  " + "\n  ".join(found) for address, found in wrong.items())


def test_every_page_of_the_route_table_was_opened(visited: set[str]) -> None:
    if not visited:
        pytest.skip("no page was opened")
    pages = {path for (method, path) in ACCESS if method == "GET" and is_page(path)}
    assert pages - visited - set(REACHED_OTHERWISE) == set()
