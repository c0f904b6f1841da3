"""Upgrade: asked for with the numbers filled in, answered once; the keys that are chosen move together."""

import html
import re
from typing import Any

import httpx
import pytest

from tests.api.conftest import Entitle
from tests.fakes.clock import MovableClock
from tests.refused_calls import refuse_call
from tests.web.forms import send_form
from tests.web.page_text import text_of
from tokenopen.control.actor import Actor
from tokenopen.ports.storage import Storage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient


def typed_in(page: httpx.Response) -> tuple[str, str | None]:
    """Return the reason that the form holds, and the group that is chosen."""
    reason = re.search(r"<textarea[^>]*>(.*?)</textarea>", page.text, re.DOTALL)
    chosen = re.search(r'name="group" value="(\w+)" checked', page.text)
    assert reason is not None
    return html.unescape(reason[1]), None if chosen is None else chosen[1]


async def ask(browser: Client, group: str = "vip") -> str:
    answer = await send_form(browser, "/upgrade", group=group, reason="More calls")
    assert answer.status_code == 303
    found = re.search(r"/upgrade/(upg_\w+)/withdraw", (await browser.get("/upgrade")).text)
    assert found is not None
    return found[1]


async def decide(admin_client: Client, request_id: str, **body: Any) -> None:
    answer = await admin_client.patch(f"/api/admin/upgrade-requests/{request_id}", json=body)
    assert answer.is_success, answer.text


async def create_key(client: Client, name: str) -> str:
    created: str = (await client.post("/api/me/keys", json={"name": name})).json()["id"]
    return created


async def group_of(client: Client, key_id: str) -> str:
    found: str = (await client.get(f"/api/me/keys/{key_id}")).json()["group"]["slug"]
    return found


async def test_a_refused_call_fills_in_its_numbers_and_a_group_that_would_help(
    user_page: Client, storage: Storage, user: Actor
) -> None:
    for _ in range(3):
        refused = await refuse_call(storage, user)
    reason, chosen = typed_in(await user_page.get(f"/upgrade?refused={refused}"))
    assert chosen == "vip"
    assert "Group Default allows 60 requests per minute; 60 used." in reason
    assert "2026-06-01 12:00 UTC" in reason
    assert "In the last 7 days we made 0 calls, and 3 were refused" in reason
    answer = await send_form(user_page, "/upgrade", group=chosen, reason=reason)
    assert answer.status_code == 303
    page = await user_page.get("/upgrade")
    assert "Your request for group VIP is on its way." in text_of(page)
    assert "No answer yet" in text_of(page)


async def test_a_model_that_is_missing_chooses_a_group_that_has_it(
    user_page: Client, storage: Storage, user: Actor, entitle: Entitle
) -> None:
    async def refuse(model: str) -> str:
        return await refuse_call(
            storage, user, code="model_not_allowed", status=403, model=model, message="Not allowed."
        )

    refused = await refuse("gpt-4.1")
    reason, chosen = typed_in(await user_page.get(f"/upgrade?refused={refused}"))
    assert (chosen, reason.startswith("We need gpt-4.1")) == ("vip", True)
    # Only Enterprise allows everything.
    refused = await refuse("house-model")
    assert typed_in(await user_page.get(f"/upgrade?refused={refused}"))[1] == "enterprise"
    await entitle("vip")
    refused = await refuse("gpt-4.1")
    page = await user_page.get(f"/upgrade?refused={refused}")
    assert "Open to you already, and it would have let this call in: VIP." in text_of(page)


async def test_another_user_s_refused_call_fills_in_nothing(
    user_page: Client, storage: Storage, other_user: Actor
) -> None:
    refused = await refuse_call(storage, other_user, message="Theirs")
    page = await user_page.get(f"/upgrade?refused={refused}")
    assert typed_in(page)[0] == ""
    assert "Theirs" not in page.text
    assert typed_in(await user_page.get("/upgrade?refused=call_x&group=enterprise")) == ("", "enterprise")


async def test_what_is_wrong_is_told_and_nothing_is_asked_for(user_page: Client, user_client: Client) -> None:
    for fields, field in (
        ({"group": "", "reason": "More"}, "group"),
        ({"group": "vip", "reason": ""}, "reason"),
        ({"group": "vip", "reason": "x" * 2_001}, "reason"),
        ({"group": "default", "reason": "More"}, "group"),
    ):
        page = await send_form(user_page, "/upgrade", **fields)
        assert page.status_code in (400, 409), fields
        assert f'id="error-{field}"' in page.text, fields
    assert (await send_form(user_page, "/upgrade", group="gold", reason="More")).status_code == 404
    assert (await user_client.get("/api/me/upgrade-requests")).json()["data"] == []


async def test_a_group_that_was_asked_for_cannot_be_asked_for_again(user_page: Client) -> None:
    await ask(user_page)
    page = await user_page.get("/upgrade?group=vip")
    assert "Asked for" in text_of(page)
    assert 'value="vip" disabled' in page.text
    assert typed_in(page)[1] == "enterprise"
    answer = await send_form(user_page, "/upgrade", group="vip", reason="More")
    assert answer.status_code == 409


async def test_an_open_request_is_withdrawn(
    user_page: Client, user_client: Client, admin_client: Client
) -> None:
    request_id = await ask(user_page)
    await send_form(user_page, f"/upgrade/{request_id}/withdraw", on="/upgrade")
    assert "Withdrawn" in text_of(await user_page.get("/upgrade"))
    request_id = await ask(user_page)
    await decide(admin_client, request_id, state="declined", answer="Not yet, sorry.")
    await send_form(user_page, f"/upgrade/{request_id}/withdraw", on="/upgrade")
    text = text_of(await user_page.get("/upgrade"))
    assert "This request has been declined already." in text
    assert "Not yet, sorry." in text
    assert "Declined" in text


async def test_once_approved_the_keys_that_are_chosen_move_and_their_secrets_stay(
    user_page: Client, user_client: Client, admin_client: Client
) -> None:
    keys = [await create_key(user_client, name) for name in ("Shop", "Search", "Notebook")]
    request_id = await ask(user_page)
    path = f"/upgrade/{request_id}/keys"
    assert path not in (await user_page.get("/upgrade")).text
    # Nothing moves before the answer, whoever asks for it.
    await send_form(user_page, path, on="/upgrade", key=keys)
    assert [await group_of(user_client, key) for key in keys] == ["default"] * 3
    await decide(admin_client, request_id, state="approved", answer="Welcome.")
    page = await user_page.get("/upgrade")
    assert "VIP is open to you" in text_of(page)
    assert "Welcome." in text_of(page)
    assert all(f'value="{key}" checked' in page.text for key in keys)
    answer = await send_form(user_page, path, on="/upgrade", key=keys[:2])
    assert answer.headers["location"] == "/keys"
    assert "The keys are in group VIP." in text_of(await user_page.get("/keys"))
    assert [await group_of(user_client, key) for key in keys] == ["vip", "vip", "default"]
    # The third may follow.
    page = await user_page.get("/upgrade")
    assert re.findall(r'name="key" value="(\w+)"', page.text) == [keys[2]]


async def test_keys_move_together_or_not_at_all(
    user_page: Client, user_client: Client, other_client: Client, admin_client: Client
) -> None:
    mine, theirs = await create_key(user_client, "Shop"), await create_key(other_client, "Theirs")
    request_id = await ask(user_page)
    await decide(admin_client, request_id, state="approved")
    answer = await send_form(user_page, f"/upgrade/{request_id}/keys", on="/upgrade", key=[mine, theirs])
    assert answer.status_code == 404
    assert await group_of(user_client, mine) == "default"
    assert await group_of(other_client, theirs) == "default"
    await send_form(user_page, f"/upgrade/{request_id}/keys", on="/upgrade")
    assert "No key was ticked" in text_of(await user_page.get("/upgrade"))


async def test_access_that_was_taken_back_moves_nothing(
    user_page: Client, user_client: Client, admin_client: Client, user: Actor
) -> None:
    key = await create_key(user_client, "Shop")
    request_id = await ask(user_page)
    await decide(admin_client, request_id, state="approved")
    await admin_client.delete(f"/api/admin/users/{user.user_id}/entitlements/vip")
    await send_form(user_page, f"/upgrade/{request_id}/keys", on="/upgrade", key=key)
    assert "no key was moved" in text_of(await user_page.get("/upgrade"))
    assert await group_of(user_client, key) == "default"


async def test_access_that_ends_is_announced(
    user_page: Client, user_client: Client, entitle: Entitle, clock: MovableClock
) -> None:
    await entitle("vip", expires_at="2026-06-04T00:00:00Z")
    await user_client.post("/api/me/keys", json={"name": "Shop", "group": "vip"})
    text = text_of(await user_page.get("/upgrade"))
    assert "Your access to VIP ends 2026-06-04 00:00 UTC" in text
    assert "1 key is in it" in text
    clock.move(seconds=3 * 24 * 3600)
    assert "VIP is not open to you any more Calls with 1 key are refused." in text_of(
        await user_page.get("/upgrade")
    )


async def test_access_that_ends_can_be_asked_for_longer_and_keeps_its_terms(
    user_page: Client, administrator_page: Client, user_client: Client, entitle: Entitle
) -> None:
    await entitle("vip", expires_at="2026-06-04T00:00:00Z", multiplier="0.7")
    page = await user_page.get("/home")
    assert 'href="/upgrade?group=vip"' in page.text
    answer = await send_form(user_page, "/upgrade", group="vip", reason="We go on.")
    assert answer.status_code == 303
    queue = (await administrator_page.get("/admin/upgrade-requests")).text
    found = re.search(r"/admin/upgrade-requests/upg_\w+", queue)
    assert found is not None
    asked = await administrator_page.get(found[0])
    assert "has access to the group until 2026-06-04 00:00 UTC" in text_of(asked)
    assert 'name="expires_at" value="2026-06-04T00:00"' in asked.text.replace(' type="datetime-local"', "")
    fields = {"terms_of_now": "yes", "multiplier": "0.7", "expires_at": ""}
    await send_form(administrator_page, f"{found[0]}/approve", on=found[0], **fields)
    groups = (await user_client.get("/api/me/groups")).json()["data"]
    vip = next(group for group in groups if group["slug"] == "vip")
    assert (vip["open"], vip["multiplier"], vip["expires_at"]) == (True, "0.7", None)
    again = await user_client.post("/api/me/upgrade-requests", json={"group": "vip", "reason": "x"})
    assert again.status_code == 409


async def test_with_every_group_open_there_is_nothing_to_ask_for(user_page: Client, entitle: Entitle) -> None:
    await entitle("vip")
    await entitle("enterprise")
    assert "Every group is open to you" in text_of(await user_page.get("/upgrade"))


async def test_whose_groups_are_all_open_is_told_which_would_have_let_the_call_in(
    user_page: Client, entitle: Entitle, storage: Storage, user: Actor
) -> None:
    await entitle("vip")
    await entitle("enterprise")
    refused = await refuse_call(storage, user)
    page = await user_page.get(f"/upgrade?refused={refused}")
    assert "Open to you already, and it would have let this call in: VIP, Enterprise." in text_of(page)
    assert re.search(r'href="/keys/key_\w+#group"', page.text)


async def test_the_operator_s_contact_is_named_and_what_was_typed_is_text(
    user_page: Client, admin_client: Client
) -> None:
    await admin_client.patch("/api/admin/settings", json={"support_contact": "help@example.com"})
    await send_form(user_page, "/upgrade", group="vip", reason="<script>alert(1)</script>" + "long" * 300)
    page = await user_page.get("/upgrade")
    assert 'href="mailto:help@example.com"' in page.text
    assert "<script>alert" not in page.text
