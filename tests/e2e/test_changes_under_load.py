"""A change binds every call that arrives after it was answered, while other calls never stop."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.running import Platform

LOADERS = 6
CHANGES = 10
CHARGE_AT_1X = "0.00000285"
CHARGE_AT_3X = "0.00000855"


@dataclass(frozen=True)
class Scene:
    """A user with a key, and the calls that run all the while."""

    platform: Platform
    user: str
    group: str
    key: str
    key_id: str

    def call(self) -> httpx.Response:
        """Make one call of 3 tokens in and 4 out."""
        with self.platform.caller(self.key) as caller:
            body = {"model": "changing", "max_tokens": 4, "messages": [{"role": "user", "content": "a b c"}]}
            return caller.post("/chat/completions", json=body)

    def seen(self) -> str:
        """Return what a call that begins now costs, or the code that it is refused with."""
        reply = self.call()
        if reply.status_code == 200:
            return reply.headers["x-tokenopen-charge"]
        return str(reply.json()["error"]["code"])


@contextmanager
def load(scene: Scene) -> Iterator[None]:
    """Keep calling until the block ends; nothing that is answered meanwhile may be 5xx."""
    stopped = False

    def run() -> int:
        calls = 0
        while not stopped:
            assert scene.call().status_code < 500
            calls += 1
        return calls

    with ThreadPoolExecutor(LOADERS) as pool:
        runs = [pool.submit(run) for _ in range(LOADERS)]
        try:
            yield
        finally:
            stopped = True
        assert sum(done.result() for done in runs) > LOADERS


@pytest.fixture
def scene(platform: Platform) -> Scene:
    platform.add_model("changing")
    upstreams = platform.ask("GET", "/api/admin/upstreams")["data"]
    if not any(upstream["name"] == "changing" for upstream in upstreams):
        platform.add_upstream(["changing"], name="changing")
    group = f"g{secrets.token_hex(4)}"
    platform.add_group(group)
    user = platform.add_user(f"{group}@example.com", credit="50")
    created = platform.ask("POST", f"/api/admin/users/{user}/keys", {"name": "k", "group": group})
    return Scene(platform=platform, user=user, group=group, key=created["key"], key_id=created["id"])


def change_group(scene: Scene, turn: int) -> str:
    multiplier, charge = (("3", CHARGE_AT_3X), ("1", CHARGE_AT_1X))[turn % 2]
    scene.platform.ask("PATCH", f"/api/admin/groups/{scene.group}", {"multiplier": multiplier})
    return charge


def change_price(scene: Scene, turn: int) -> str:
    prices, charge = (
        ({"input": "0.45", "output": "1.8"}, CHARGE_AT_3X),
        ({"input": "0.15", "output": "0.6"}, CHARGE_AT_1X),
    )[turn % 2]
    scene.platform.add_model("changing", prices=prices)
    return charge


def change_key(scene: Scene, turn: int) -> str:
    state, seen = (("disabled", "api_key_revoked"), ("active", CHARGE_AT_1X))[turn % 2]
    scene.platform.ask("PATCH", f"/api/admin/keys/{scene.key_id}", {"state": state})
    return seen


def change_entitlement(scene: Scene, turn: int) -> str:
    path = f"/api/admin/users/{scene.user}/entitlements/{scene.group}"
    if turn % 2:
        scene.platform.ask("DELETE", path)
        return CHARGE_AT_1X
    scene.platform.ask("PUT", path, {"multiplier": "3"})
    return CHARGE_AT_3X


def change_upstream(scene: Scene, turn: int) -> str:
    upstreams = scene.platform.ask("GET", "/api/admin/upstreams")["data"]
    upstream = next(found for found in upstreams if found["name"] == "changing")
    path = f"/api/admin/upstreams/{upstream['id']}"
    scene.platform.ask("PATCH", path, {"enabled": bool(turn % 2)})
    return CHARGE_AT_1X if turn % 2 else "model_not_found"


@pytest.mark.parametrize(
    "change", [change_group, change_price, change_key, change_entitlement, change_upstream]
)
def test_no_call_that_arrives_after_a_change_was_answered_carries_the_old_terms(
    scene: Scene, change: Callable[[Scene, int], str]
) -> None:
    assert scene.seen() == CHARGE_AT_1X
    with load(scene):
        for turn in range(CHANGES):
            expected = change(scene, turn)
            assert scene.seen() == expected
    scene.platform.wait_until_nothing_is_held(scene.user)
    scene.platform.audit()
