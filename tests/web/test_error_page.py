"""What is answered where there is no page to give."""

from collections.abc import Mapping

import httpx
import pytest
from structlog.testing import capture_logs

from tests.web.conftest import BASE_URL, HTML, MakeWebApp
from tokenopen.control.services import Services
from tokenopen.ports.storage import StorageAway, Transaction
from tokenopen.web.security import SECURITY_HEADERS


async def test_a_browser_is_shown_a_page_and_a_program_is_told_in_json(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/nothing/here")
    assert page.status_code == 404
    assert "There is nothing here" in page.text
    told = await browser.get("/nothing/here", headers={"accept": "*/*"})
    assert told.status_code == 404
    assert told.json()["error"]["code"] == "not_found"


async def test_a_method_that_a_page_does_not_have_is_refused_as_such(browser: httpx.AsyncClient) -> None:
    answer = await browser.put("/guide", headers={"origin": BASE_URL, "accept": "*/*"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"


class _Away:
    async def __aenter__(self) -> Transaction:
        raise StorageAway("the disk is gone")

    async def __aexit__(self, *_: object) -> None:
        """Nothing was begun."""


async def test_with_the_storage_away_a_page_says_so_and_when_to_come_back(
    services: Services, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.storage, "read", _Away)
    answer = await browser.get("/guide")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "The database cannot be reached" in answer.text
    assert "the disk is gone" not in answer.text
    # Nobody can be recognized then, which does not mean that nobody is signed in.
    assert (await browser.get("/profile")).status_code == 503


def _broken() -> Mapping[str, object]:
    raise RuntimeError("not there")


async def test_a_bug_is_a_page_without_detail_and_with_every_header(
    services: Services, make_web_app: MakeWebApp
) -> None:
    transport = httpx.ASGITransport(make_web_app(services, openapi=_broken), raise_app_exceptions=False)
    # Rendering a traceback for a screen takes seconds.
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=HTML) as browser:
            answer = await browser.get("/reference")
    assert [log["log_level"] for log in logs] == ["error"]
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "not there" not in answer.text
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
