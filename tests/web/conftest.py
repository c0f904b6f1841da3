"""Browsers for the pages: signed out, and on a real database."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from tokenopen.control.services import Services
from tokenopen.web.app import create_web_app

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BASE_URL = "http://localhost:8000"


@pytest.fixture
def web_app(services: Services, control_app: FastAPI) -> ASGIApp:
    """The console and guide, on a database that has been set up."""
    return create_web_app(services, openapi=control_app.openapi)


@pytest.fixture
async def browser(web_app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is not signed in."""
    transport = httpx.ASGITransport(web_app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL, headers=HTML) as client:
        yield client
