"""Short ways to prepare things through the control API."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tokenopen.control.actor import Actor

Json = Any
Entitle = Callable[..., Awaitable[Json]]


def refusal(answer: httpx.Response, status: int, code: str) -> Json:
    """Assert that a request was refused so, and return the refusal."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code, error
    assert set(error) >= {"code", "message", "type", "param"}
    return error


@pytest.fixture
def entitle(admin_client: httpx.AsyncClient, user: Actor) -> Entitle:
    """Let the user into a group, on own terms where some are given."""

    async def put(slug: str, **terms: Any) -> Json:
        answer = await admin_client.put(f"/api/admin/users/{user.user_id}/entitlements/{slug}", json=terms)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return put
