"""Sending forms as browsers do: with what the page held, from the page's own origin; reading what it says."""

import re
from typing import Any, Final

import httpx

from tests.sessions import ORIGIN

FROM_OUR_PAGE: Final = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
_ONCE: Final = re.compile(r'name="once" value="([^"]+)"')
_TOKEN: Final = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


def form_token(page: httpx.Response) -> str:
    """Return the form token that a page carries."""
    found = _TOKEN.search(page.text)
    assert found is not None, f"{page.status_code}: no form\n{page.text[:2000]}"
    return found[1]


async def send_form(
    browser: httpx.AsyncClient, path: str, *, on: str | None = None, **fields: Any
) -> httpx.Response:
    """Open the page that a form stands on (its own path where none is named), fill it in and send it."""
    page = await browser.get(on or path)
    assert page.status_code == 200, page.text[:2000]
    return await browser.post(path, data={"form_token": form_token(page), **fields}, headers=FROM_OUR_PAGE)


def plain(page: str) -> str:
    """Return the words of a page, one space apart; its minus and multiplication signs as they are typed."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{MULTIPLICATION SIGN}", "x")


def once_token(page: httpx.Response) -> str:
    """Return the token that has a form do what it does once."""
    found = _ONCE.search(page.text)
    assert found is not None, f"{page.status_code}: no form that does something once\n{page.text[:2000]}"
    return found[1]


def error_at(page: httpx.Response, field: str) -> str:
    """Return what a page says is wrong with a field."""
    found = re.search(rf'id="error-{field}">(.*?)</p>', page.text, re.DOTALL)
    assert found is not None, f"{page.status_code}: nothing is wrong with {field}\n{page.text[:4000]}"
    return found[1]
