"""Browsers for the pages: signed out, and on a real database."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

# A fixture that the tests of the control API have too.
from tests.api.conftest import entitle as entitle
from tests.fakes.clock import MovableClock
from tests.fakes.mail import FakeMail
from tests.sessions import ORIGIN, cheap_hashing, give_password, give_session
from tests.till_calls import TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.gateway.made_call import MakeCall
from tokenopen.ports.storage import Storage
from tokenopen.web.app import around_pages, create_pages

Client = httpx.AsyncClient
# Opens a browser: signed in with a session's token, or signed out.
OpenBrowser = Callable[..., Client]
# Makes an application of services, and of what else create_pages takes.
MakeWebApp = Callable[..., ASGIApp]

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BASE_URL = "http://localhost:8000"


# FastAPI prepares their routes, and the templates are compiled, while the first pages are asked for.
_idle_pages: list[FastAPI] = []


@pytest.fixture
def make_web_app() -> Iterator[MakeWebApp]:
    """What makes the pages, each of a test others; those of tests that have ended are taken over."""
    made: list[FastAPI] = []

    def make(
        services: Services,
        *,
        openapi: Callable[[], Mapping[str, Any]] = dict,
        make_call: MakeCall | None = None,
    ) -> ASGIApp:
        pages = _idle_pages.pop() if _idle_pages else create_pages(services, openapi=openapi)
        pages.state.services, pages.state.openapi, pages.state.make_call = services, openapi, make_call
        made.append(pages)
        return around_pages(pages)

    yield make
    _idle_pages.extend(made)


@pytest.fixture
def web_app(make_web_app: MakeWebApp, services: Services, control_app: FastAPI) -> ASGIApp:
    """The console and guide, on a database that has been set up."""
    return make_web_app(services, openapi=control_app.openapi)


@pytest.fixture
async def browser(web_app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is not signed in."""
    transport = httpx.ASGITransport(web_app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=HTML) as client:
        yield client


@pytest.fixture
def cheap_passwords() -> Iterator[None]:
    """Passwords that take no time to hash."""
    with cheap_hashing():
        yield


@pytest.fixture
def mail() -> FakeMail:
    """The mail server that ``mailing_app`` is connected to."""
    return FakeMail()


@pytest.fixture
def mailing_app(make_web_app: MakeWebApp, services: Services, mail: FakeMail) -> ASGIApp:
    """The pages of a platform that can send mail."""
    return make_web_app(replace(services, mail=mail))


@pytest.fixture
async def open_browser(web_app: ASGIApp) -> AsyncIterator[OpenBrowser]:
    """What opens a browser; all are closed at the end."""
    async with AsyncExitStack() as stack:
        opened: list[Client] = []

        def open_one(
            token: str | None = None,
            *,
            app: ASGIApp = web_app,
            base_url: str = ORIGIN,
            address: str = "192.0.2.1",
        ) -> Client:
            client = Client(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 40_000)),
                base_url=base_url,
                headers=HTML | {"User-Agent": "Firefox"},
                cookies={} if token is None else {"tokenopen": token},
            )
            opened.append(client)
            return client

        yield open_one
        for client in opened:
            stack.push_async_callback(client.aclose)


@pytest.fixture
def visitor(open_browser: OpenBrowser) -> Client:
    """The browser of somebody who is not signed in."""
    return open_browser()


@pytest.fixture
async def user_page(open_browser: OpenBrowser, storage: Storage, user: Actor) -> Client:
    """The browser of the user, signed in."""
    await give_password(storage, user.user_id)
    return open_browser(await give_session(storage, user.user_id))


@pytest.fixture
async def other_page(open_browser: OpenBrowser, storage: Storage, other_user: Actor) -> Client:
    """The browser of the other user, signed in."""
    await give_password(storage, other_user.user_id)
    return open_browser(await give_session(storage, other_user.user_id))


@pytest.fixture
async def administrator_page(open_browser: OpenBrowser, storage: Storage, administrator: Actor) -> Client:
    """The browser of the administrator, signed in."""
    await give_password(storage, administrator.user_id)
    return open_browser(await give_session(storage, administrator.user_id))


@pytest.fixture
async def till(storage: Storage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    """The user's calls, with credit and a key."""
    return await start_calls(storage, clock, administrator, user)
