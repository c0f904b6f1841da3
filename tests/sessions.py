"""Browsers for tests: users with passwords, sessions, and what forms have to carry."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import httpx
import pytest
from argon2 import PasswordHasher

from tests.conftest import HASHING_KEY
from tokenopen.control import password
from tokenopen.control.actor import Actor
from tokenopen.control.password import Hashing
from tokenopen.control.session import Browser, open_session
from tokenopen.core.session import form_token_of
from tokenopen.ports.storage import Storage
from tokenopen.storage.password import update_password
from tokenopen.storage.user import find_user

PASSWORD: Final = "mauve otter reads maps"
OTHER_PASSWORD: Final = "nine quiet lamps upstairs"
BROWSER: Final = Browser(user_agent="Firefox", address="192.0.2.1")
ORIGIN: Final = "http://localhost"


def cheap_hasher(*, time_cost: int = 1) -> PasswordHasher:
    """Return a hasher that takes no time, for tests that hash in passing."""
    return PasswordHasher(time_cost=time_cost, memory_cost=8, parallelism=1)


@contextmanager
def cheap_hashing() -> Iterator[None]:
    """Hash passwords at no cost meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(password, "HASHING", Hashing(cheap_hasher()))
        yield


async def give_password(storage: Storage, user_id: str, text: str = PASSWORD) -> None:
    """Give a user a password."""
    async with storage.write() as tx:
        await update_password(tx, user_id, cheap_hasher().hash(text))


async def give_session(storage: Storage, user_id: str, *, browser: Browser = BROWSER) -> str:
    """Open a session for a user and return its token."""
    async with storage.write() as tx:
        user = await find_user(tx, user_id)
        assert user is not None
        return await open_session(tx, user, browser, hashing_key=HASHING_KEY, replaced=None)


def browser_headers(token: str) -> dict[str, str]:
    """Return what the console's own scripts send along with a change."""
    return {
        "Origin": ORIGIN,
        "Sec-Fetch-Site": "same-origin",
        "X-CSRF-Token": form_token_of(token, HASHING_KEY),
    }


def session_actor(actor: Actor, *, now_ms: int, session_id: str = "ses_test") -> Actor:
    """Return an actor as one who came in by a session, their password given at ``now_ms``."""
    return replace(actor, via="session", session_id=session_id, password_at_ms=now_ms)


def link_token(url: str) -> str:
    """Return the token at the end of a one-time link."""
    match = re.fullmatch(r".*/([A-Za-z0-9_-]{43})", url)
    assert match is not None, url
    return match[1]


def cookie_of(answer: httpx.Response, name: str) -> str | None:
    """Return the Set-Cookie header of a cookie, or None."""
    for header in answer.headers.get_list("set-cookie"):
        if header.startswith(f"{name}="):
            return header
    return None
