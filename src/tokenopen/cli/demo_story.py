"""The demo's story: an administrator sets up, a user picks groups, calls are made, refused and explained."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import httpx
import typer
from rich.console import Console
from rich.table import Table

from tokenopen.cli.demo_people import ADMINISTRATOR, PEOPLE

EVERYDAY_MODEL: Final = "gpt-4o-mini"
NEW_MODEL: Final = "gpt-6-luna"
STRONG_MODEL: Final = "gpt-4.1"
# Of each group: the key's name, and the model that it calls.
GROUPS: Final = {"default": EVERYDAY_MODEL, "vip": NEW_MODEL, "enterprise": STRONG_MODEL}
ADA: Final = PEOPLE[1]
_TIMEOUT_S: Final = 30


class DemoFailed(Exception):
    """Something was not as the demo says it is."""


@dataclass
class Story:
    """What the demo has set up, and how to reach it."""

    url: str
    admin: httpx.Client
    user: httpx.Client
    user_id: str
    keys: dict[str, str] = field(default_factory=dict)
    console: Console = field(default_factory=Console)

    def ask(self, client: httpx.Client, method: str, path: str, body: object = None) -> Any:
        """Ask the control API. Raises DemoFailed."""
        headers = {"Idempotency-Key": secrets.token_hex(8)} if method == "POST" else {}
        reply = client.request(method, path, json=body, headers=headers)
        if not reply.is_success:
            raise DemoFailed(f"{method} {path} answered {reply.status_code}: {reply.text}")
        return reply.json() if reply.content else None

    def call(self, group: str, model: str, *, max_tokens: int = 48) -> httpx.Response:
        """Make one chat completion with a group's key."""
        return httpx.post(
            f"{self.url}/v1/chat/completions",
            headers={"Authorization": f"Bearer {self.keys[group]}"},
            json={
                "model": model,
                "max_tokens": max_tokens,
                "messages": [{"role": "user", "content": "Say in a few words what a group is for."}],
            },
            timeout=_TIMEOUT_S,
        )

    def receipt(self, call_id: str, group: str) -> Any:
        """Return a call's receipt, asked for with the key that made it."""
        reply = httpx.get(
            f"{self.url}/v1/receipts/{call_id}",
            headers={"Authorization": f"Bearer {self.keys[group]}"},
            timeout=_TIMEOUT_S,
        )
        if reply.status_code != 200:
            raise DemoFailed(f"no receipt of {call_id}: {reply.text}")
        return reply.json()

    def credit(self, group: str = "default") -> Any:
        """Return the user's balance, held and available credit."""
        headers = {"Authorization": f"Bearer {self.keys[group]}"}
        return httpx.get(f"{self.url}/v1/credits", headers=headers, timeout=_TIMEOUT_S).json()

    def exact_rates(self, group: str, model: str) -> Mapping[str, Fraction]:
        """Return list price x multiplier of input and output, credits per million, from the public prices."""
        prices = self.ask(self.admin, "GET", f"/api/admin/models/{model}")["prices"]
        headers = {"Authorization": f"Bearer {self.keys[group]}"}
        offered = httpx.get(f"{self.url}/v1/models/{model}", headers=headers, timeout=_TIMEOUT_S).json()
        multiplier = Fraction(offered["multiplier"])
        return {name: Fraction(prices[name]) * multiplier for name in ("input", "output")}

    def say_what_to_try(self, password: str) -> None:
        """Print what a newcomer can do next. Everybody signs in with ``password``."""
        key = self.keys["default"]
        typer.echo(f"""
Open the console in a browser on this machine, which has a month of calls in it:

  http://localhost:{self.url.rsplit(":", 1)[1]}
  as a user:           {ADA.email}    password {password}
  as an administrator: {ADMINISTRATOR.email}  password {password}

Or call it (the key belongs to group Default):

  export OPENAI_BASE_URL={self.url}/v1
  export OPENAI_API_KEY={key}

  curl {self.url}/v1/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\
    -H 'Content-Type: application/json' \\
    -d '{{"model": "{EVERYDAY_MODEL}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
  curl {self.url}/v1/key -H "Authorization: Bearer $OPENAI_API_KEY"
  curl {self.url}/v1/models -H "Authorization: Bearer $OPENAI_API_KEY"
  curl {self.url}/api/admin/groups -H "Authorization: Bearer {self.admin.headers["authorization"][7:]}"

Keys of the other groups:  VIP {self.keys["vip"]}
                           Enterprise {self.keys["enterprise"]}""")


def tell_story(url: str, admin_key: str) -> Story:
    """Give keys to a user, make one call per group, and show two refusals. Raises DemoFailed."""
    admin = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {admin_key}"}, timeout=_TIMEOUT_S)
    story = Story(url=url, admin=admin, user=admin, user_id="")
    _find_user(story)
    _pick_groups(story)
    _call_each_group(story)
    _show_refusals(story)
    return story


def _find_user(story: Story) -> None:
    users = story.ask(story.admin, "GET", "/api/admin/users")["data"]
    story.user_id = next(user["id"] for user in users if user["email"] == ADA.email)
    path = f"/api/admin/users/{story.user_id}/management-keys"
    created = story.ask(story.admin, "POST", path, {"name": "Ada's terminal"})
    headers = {"Authorization": f"Bearer {created['key']}"}
    story.user = httpx.Client(base_url=story.url, headers=headers, timeout=_TIMEOUT_S)


def _pick_groups(story: Story) -> None:
    """The user, who got VIP last month, is given Enterprise on own terms, and picks a group per key."""
    wish = {"group": "enterprise", "reason": "We are about to call ten times as often."}
    request = story.ask(story.user, "POST", "/api/me/upgrade-requests", wish)
    path = f"/api/admin/users/{story.user_id}/entitlements/enterprise"
    story.ask(story.admin, "PUT", path, {"multiplier": "0.65", "requests_per_minute": 2_000})
    path = f"/api/admin/upgrade-requests/{request['id']}"
    story.ask(story.admin, "PATCH", path, {"state": "approved", "answer": "Welcome."})
    table = Table(title="Groups that Ada may pick for a key")
    for heading in ("Group", "Price multiplier", "Suitable for", "Requests / minute", "Requests / day"):
        table.add_column(heading)
    groups = story.ask(story.user, "GET", "/api/me/groups")["data"]
    for group in groups:
        limits = (group["limits"]["requests_per_minute"], group["limits"]["requests_per_day"])
        table.add_row(
            group["name"],
            group["display_multiplier"],
            group["suitable_for"],
            *("unlimited" if limit is None else f"{limit:,}" for limit in limits),
        )
    story.console.print(table)
    for slug in GROUPS:
        created = story.ask(story.user, "POST", "/api/me/keys", {"name": f"{slug} key", "group": slug})
        story.keys[slug] = created["key"]


def _call_each_group(story: Story) -> None:
    balance = story.credit()["balance"]
    table = Table(title=f"One call per group, from a balance of {balance} (1 credit = 1 USD)")
    for heading in (
        "Group",
        "Model",
        "List price in / out per 1M",
        "Multiplier",
        "Tokens in / out",
        "Charge",
        "Balance",
    ):
        table.add_column(heading, overflow="fold")
    receipt: Any = None
    for slug, model in GROUPS.items():
        reply = story.call(slug, model)
        if reply.status_code != 200:
            raise DemoFailed(f"the call with group {slug} answered {reply.status_code}: {reply.text}")
        receipt = story.receipt(reply.headers["x-request-id"], slug)
        if receipt["charge"] != reply.headers["x-tokenopen-charge"]:
            raise DemoFailed(f"receipt {receipt['charge']}, reply {reply.headers['x-tokenopen-charge']}")
        usage, prices = receipt["usage"], receipt["unit_prices"]
        table.add_row(
            slug,
            model,
            f"{prices['input']} / {prices['output']}",
            f"{receipt['multiplier']}x ({receipt['multiplier_rule']})",
            f"{usage.get('input', 0)} / {usage.get('output', 0)}",
            receipt["charge"],
            story.credit(slug)["balance"],
        )
    story.console.print(table)
    story.console.print(f"The last receipt's formula:  {receipt['formula']}", soft_wrap=True)


def _show_refusals(story: Story) -> None:
    """One call over a limit, one to a model that the group lacks; both answers in full."""
    story.ask(
        story.admin,
        "POST",
        "/api/admin/groups",
        {
            "slug": "trial",
            "name": "Trial",
            "visibility": "public",
            "suitable_for": "Trying it out",
            "multiplier": "1.0",
            "allowed_models": [EVERYDAY_MODEL],
            "requests_per_minute": 1,
            "requests_per_day": 10,
        },
    )
    created = story.ask(story.user, "POST", "/api/me/keys", {"name": "trial key", "group": "trial"})
    story.keys["trial"] = created["key"]
    story.call("trial", EVERYDAY_MODEL)
    for title, reply, status in (
        ("One call more than the group's requests per minute", story.call("trial", EVERYDAY_MODEL), 429),
        ("A model that the group lacks", story.call("default", STRONG_MODEL), 403),
    ):
        if reply.status_code != status:
            raise DemoFailed(f"{title} answered {reply.status_code} instead of {status}: {reply.text}")
        story.console.print(f"\n{title}: {reply.status_code} {reply.reason_phrase}", style="bold")
        retry_after = reply.headers.get("retry-after")
        if retry_after:
            story.console.print(f"Retry-After: {retry_after}")
        story.console.print_json(reply.text)
