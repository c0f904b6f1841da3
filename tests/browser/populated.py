"""A console that has something on every page: people, groups, keys, calls, refusals, requests."""

import secrets
from dataclasses import dataclass
from typing import Final

from tests.e2e.running import Platform

PASSWORD: Final = "mauve otter reads maps"
MODELS: Final = ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "text-embedding-3-small")
LONG_NAME: Final = "A team with a name that somebody made much longer than anybody who draws a page thinks of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Populated:
    """The people of such a console; all have the same password."""

    user: str = "ada@example.com"
    newcomer: str = "new@example.com"
    administrator: str = "root@example.com"
    password: str = PASSWORD


def add_person(platform: Platform, email: str, *, name: str = "Ada Holm", role: str = "user") -> str:
    """Create somebody who can sign in and return their id."""
    wanted = {"email": email, "name": name, "role": role, "password": PASSWORD}
    return str(platform.ask("POST", "/api/admin/users", wanted)["id"])


def call(platform: Platform, key: str, *, model: str = "gpt-4o-mini", **more: object) -> int:
    """Make a call and return its status."""
    body = {"model": model, "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 20}
    with platform.caller(key) as caller:
        return caller.post("/chat/completions", json=body | more).status_code


def populate(platform: Platform) -> Populated:
    """Give a fresh platform a little of everything, through its public API."""
    people = Populated()
    platform.add_upstream(MODELS, name="Simulated provider")
    add_person(platform, people.administrator, name="Root", role="administrator")
    add_person(platform, people.newcomer, name="Noor")
    ada = add_person(platform, people.user, name=LONG_NAME)
    platform.top_up(ada, "25")
    platform.add_group("trial", allowed_models=["gpt-4o-mini"], requests_per_minute=1, requests_per_day=10)
    platform.ask("PATCH", "/api/admin/groups/trial", {"suitable_for": "Trying it out", "multiplier": "0.95"})
    for name, group in (("Shop assistant", "default"), ("Trial", "trial")):
        key = platform.add_key(ada, group, name=name)
        statuses = [call(platform, key), call(platform, key, stream=True)]
        assert statuses == ([200, 200] if group == "default" else [200, 429])
    platform.add_key(ada, name=LONG_NAME, credit_limit="2.5", models=["gpt-4o*"])
    _ask_for_groups(platform, ada)
    return people


def _ask_for_groups(platform: Platform, user_id: str) -> None:
    """One request is approved, with keys that may move, and another waits for an answer."""
    created = platform.ask("POST", f"/api/admin/users/{user_id}/management-keys", {"name": "own"})
    own = {"Authorization": f"Bearer {created['key']}", "Idempotency-Key": secrets.token_hex(8)}
    asked = [
        platform.ask(
            "POST", "/api/me/upgrade-requests", {"group": group, "reason": "We need more calls."}, **own
        )
        for group in ("enterprise", "vip")
    ]
    platform.ask(
        "PATCH",
        f"/api/admin/upgrade-requests/{asked[0]['id']}",
        {"state": "approved", "answer": "Welcome", "terms": {"multiplier": "0.7"}},
    )
