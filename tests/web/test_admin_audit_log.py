"""The audit log's page: each change in words, as a difference, without anything that is a secret."""

import re
from pathlib import Path

import httpx
import pytest

import tokenopen.control
from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor
from tokenopen.web.admin_audit_log import SUBJECT_KINDS
from tokenopen.web.text import Languages

Client = httpx.AsyncClient
_ACTION = re.compile(
    r'"((?:api_key|administrator_link|entitlement|group|ledger|management_key|model|platform'
    r'|session|upgrade_request|upstream|user)\.[a-z_]+)"'
)


def test_every_change_that_is_recorded_has_words() -> None:
    text = Languages().choose("en")
    sources = [
        path.read_text(encoding="utf-8") for path in Path(tokenopen.control.__file__).parent.glob("*.py")
    ]
    actions = {action for source in sources for action in _ACTION.findall(source)}
    kinds = {kind for source in sources for kind in re.findall(r'subject_kind="([a-z_]+)"', source)}
    assert len(actions) > 20
    assert {action for action in actions if f"admin_audit_log.action.{action}" not in text.entries} == set()
    assert kinds == set(SUBJECT_KINDS)


async def test_changes_are_shown_as_differences_and_filtered(
    administrator_page: Client,
    admin_client: Client,
    user: Actor,
    administrator: Actor,
    clock: MovableClock,
) -> None:
    # Else the seeded groups would be as new as what is changed here.
    clock.move(seconds=1)
    await admin_client.patch(
        "/api/admin/groups/default", json={"requests_per_minute": None, "name": "<Basic>"}
    )
    await admin_client.post(
        f"/api/admin/users/{user.user_id}/credits", json={"amount": "3", "reason": "Test"}
    )
    page = await administrator_page.get("/admin/audit-log", params={"kind": "group"})
    first = page.text.split('class="card change"')[1]
    assert "Group changed" in first
    assert re.search(
        r"Requests / minute \(RPM\)</dt><dd>\s*<del>.*?60</del>\s*<ins>.*?Unlimited</ins>", first
    )
    assert "&lt;Basic&gt;" in first
    assert "Credit topped up" not in page.text
    for query, there in (
        ({"kind": "account"}, True),
        ({"who": administrator.email}, True),
        ({"who": user.email}, False),
        ({"who": "nobody@example.com"}, False),
        ({"subject": user.account_id}, True),
        ({"subject": "acc_none"}, False),
    ):
        shown = (await administrator_page.get("/admin/audit-log", params=query)).text
        assert ("Credit topped up" in shown) is there, query
        assert there or "No change fits" in shown or user.email in str(query)


async def test_no_secret_is_on_the_page(
    administrator_page: Client, admin_client: Client, user: Actor
) -> None:
    created = await admin_client.post(f"/api/admin/users/{user.user_id}/keys", json={"name": "key"})
    page = await administrator_page.get("/admin/audit-log")
    assert "API key created" in page.text
    assert created.json()["key"] not in page.text


@pytest.mark.parametrize("cursor", ["aud_none", ""])
async def test_any_cursor_is_taken(administrator_page: Client, cursor: str) -> None:
    assert (await administrator_page.get("/admin/audit-log", params={"cursor": cursor})).status_code == 200
