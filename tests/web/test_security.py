"""What every page owes its reader: headers, no script or style of its own, no copy of what is personal."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from fastapi import FastAPI

import tokenopen.web
from tests.sessions import give_session
from tests.web.component_page import add_component_page
from tests.web.conftest import OpenBrowser
from tests.web.route_table import ROUTES
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.ports.storage import Storage
from tokenopen.web.app import around_pages, create_pages
from tokenopen.web.guide import PAGES
from tokenopen.web.security import SECURITY_HEADERS

PLAIN_PATHS = sorted({path for method, path in ROUTES if method == "GET" and "{" not in path} | set(PAGES))

# What our policy forbids; a browser would drop it, and the page would not look or work as it should.
_FORBIDDEN = {
    "a style attribute": r"<[^>]+\sstyle\s*=",
    "a style element": r"<style",
    "a script of the page's own": r"<script(?![^>]*\ssrc=)",
    "a handler in an attribute": r"<[^>]+\son[a-z]+\s*=",
    "a script in an address": r"""(?:href|src|action)\s*=\s*["']?\s*javascript:""",
    "something from elsewhere": r"""<(?:script|link|img|iframe)[^>]+(?:src|href)\s*=\s*["'](?:https?:)?//""",
}


def assert_clean(html: str, where: str) -> None:
    """Assert that markup holds nothing that the content security policy forbids."""
    for what, pattern in _FORBIDDEN.items():
        found = re.search(pattern, html, re.IGNORECASE)
        assert found is None, f"{where} has {what}: {found.group(0)}"


@pytest.fixture(scope="module")
def pages_with_components() -> FastAPI:
    """The pages, and one that shows every component; whose services they are about is set by each test."""
    pages = create_pages(cast(Services, None))
    add_component_page(pages)
    return pages


@pytest.fixture
async def every_reader(
    pages_with_components: FastAPI,
    services: Services,
    control_app: FastAPI,
    storage: Storage,
    administrator: Actor,
    open_browser: OpenBrowser,
) -> list[httpx.AsyncClient]:
    """An administrator's browser and one that is not signed in, on an application with the components too."""
    state = pages_with_components.state
    state.services, state.openapi = services, control_app.openapi
    app = around_pages(pages_with_components)
    return [open_browser(app=app), open_browser(await give_session(storage, administrator.user_id), app=app)]


async def test_no_page_has_a_script_or_style_of_its_own_and_each_has_every_header(
    every_reader: list[httpx.AsyncClient],
) -> None:
    assert len(PLAIN_PATHS) > 20
    for reader in every_reader:
        for path in [*PLAIN_PATHS, "/components", "/nothing"]:
            answer = await reader.get(path)
            assert answer.status_code < 500, f"{path}: {answer.text}"
            assert_clean(answer.text, path)
            for name, value in SECURITY_HEADERS.items():
                assert answer.headers[name] == value, f"{path}: {name}"


async def test_what_a_viewer_sees_is_kept_by_no_cache(every_reader: list[httpx.AsyncClient]) -> None:
    stranger, administrator = every_reader
    for path in ("/profile", "/guide", "/components"):
        assert (await administrator.get(path)).headers["cache-control"] == "no-store"
    assert (await stranger.get("/guide")).headers["cache-control"] == "no-cache"


async def test_what_was_typed_is_shown_again_as_text(every_reader: list[httpx.AsyncClient]) -> None:
    page = (await every_reader[0].get("/components")).text
    assert 'value="&lt;b&gt;Nightly&lt;/b&gt;"' in page
    assert "<b>Nightly" not in page
    assert re.search(r'id="field-limit"[^>]*aria-describedby=" error-limit" aria-invalid="true"', page)
    assert "&#39;ten&#39; is not a decimal number such as 12.5" in page


@pytest.mark.parametrize(("cookie", "theme"), [("dark", "dark"), ("light", "light"), ('"><b>', "auto")])
async def test_the_theme_that_was_chosen_is_there_from_the_start(
    browser: httpx.AsyncClient, cookie: str, theme: str
) -> None:
    page = await browser.get("/guide", headers={"cookie": f"tokenopen-theme={cookie}"})
    assert f'data-theme="{theme}"' in page.text


def test_no_template_has_a_script_or_style_of_its_own() -> None:
    templates = Path(tokenopen.web.__file__).parent / "templates"
    for path in templates.rglob("*.html"):
        assert_clean(path.read_text(encoding="utf-8"), path.name)


async def _pages(browser: httpx.AsyncClient) -> AsyncIterator[str]:
    for path in ("/guide", "/nothing", "/sign-in"):
        yield (await browser.get(path)).text


async def test_the_top_bar_with_guide_reference_and_help_is_on_every_page(browser: httpx.AsyncClient) -> None:
    async for page in _pages(browser):
        bar = page.split("<header", 1)[1].split("</header>")[0]
        for name, path in (
            ("User Guide", "/guide"),
            ("API Reference", "/reference"),
            ("Help &amp; Support", "/help"),
        ):
            assert re.search(rf'<a href="{path}"[^>]*>{re.escape(name)}</a>', bar)
