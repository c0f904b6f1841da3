"""Messages after a redirect: shown once, in our words only."""

import base64

import httpx
import pytest
from starlette.requests import Request

from tokenopen.web.flash import FLASH_COOKIE, find_flash, redirect
from tokenopen.web.text import Languages

ENGLISH = Languages().choose("en")


def _request(cookie: str) -> Request:
    return Request({"type": "http", "headers": [(b"cookie", f"{FLASH_COOKIE}={cookie}".encode())]})


def _carried(response_cookie: str) -> str:
    return response_cookie.split(";")[0].split("=", 1)[1].strip('"')


async def test_a_message_is_shown_once(browser: httpx.AsyncClient) -> None:
    response = redirect("/guide", flash="common.ago", duration="<5 min>", tone="note")
    assert response.status_code == 303
    cookie = _carried(response.headers["set-cookie"])
    page = await browser.get("/guide", headers={"cookie": f"{FLASH_COOKIE}={cookie}"})
    assert "&lt;5 min&gt; ago" in page.text
    assert 'role="status"' in page.text
    [forgotten] = [value for value in page.headers.get_list("set-cookie") if FLASH_COOKIE in value]
    assert "Max-Age=0" in forgotten
    assert 'role="status"' not in (await browser.get("/guide")).text


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b'{"key": "no.such.key", "values": {}, "tone": "good"}',
        b'{"key": "common.ago", "values": {}, "tone": "good"}',
        b'{"key": "common.ago", "values": {"duration": "1"}, "tone": "\\" onload=x"}',
        b'{"text": "Your account is locked, call us."}',
    ],
)
def test_a_cookie_that_somebody_made_up_says_nothing(content: bytes) -> None:
    assert find_flash(_request(base64.urlsafe_b64encode(content).decode()), ENGLISH) is None
    assert find_flash(_request("%%%"), ENGLISH) is None


def test_a_redirect_leads_to_our_own_pages_only() -> None:
    for path in ("https://example.net", "//example.net"):
        with pytest.raises(AssertionError):
            redirect(path)
