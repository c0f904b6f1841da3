"""Upgrade requests: answered once, with the keys that were ticked moved in the same step."""

from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from tests.fakes.mail import FakeMail
from tests.sessions import give_password, give_session
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, error_at, form_token, send_form
from tokenopen.control.actor import Actor
from tokenopen.ports.storage import Storage

Client = httpx.AsyncClient


async def ask(user_client: Client, reason: str = "Our <batch> needs 300 requests a minute.") -> str:
    answer = await user_client.post("/api/me/upgrade-requests", json={"group": "vip", "reason": reason})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def state_of(admin_client: Client, request_id: str) -> Any:
    listed = (await admin_client.get("/api/admin/upgrade-requests")).json()["data"]
    return next(each for each in listed if each["id"] == request_id)


async def keys_of(user_client: Client) -> dict[str, str]:
    listed = (await user_client.get("/api/me/keys")).json()["data"]
    return {key["name"]: key["group"]["slug"] for key in listed}


async def test_the_queue_is_empty_until_somebody_asks(
    administrator_page: Client, user_client: Client, user: Actor
) -> None:
    assert "Nobody is waiting" in (await administrator_page.get("/admin/upgrade-requests")).text
    request_id = await ask(user_client)
    page = (await administrator_page.get("/admin/upgrade-requests")).text
    assert f'href="/admin/upgrade-requests/{request_id}"' in page
    assert user.email in page
    assert "Our &lt;batch&gt;" in page
    on_user = (await administrator_page.get(f"/admin/users/{user.user_id}")).text
    assert f'href="/admin/upgrade-requests/{request_id}"' in on_user


async def test_an_approval_gives_access_and_moves_the_keys_that_were_ticked(
    administrator_page: Client, admin_client: Client, user_client: Client
) -> None:
    made = {
        name: (await user_client.post("/api/me/keys", json={"name": name})).json()["id"]
        for name in ("one", "two", "three")
    }
    request_id = await ask(user_client)
    path = f"/admin/upgrade-requests/{request_id}"
    page = (await administrator_page.get(path)).text
    assert all(key_id in page for key_id in made.values())
    answer = await send_form(
        administrator_page,
        f"{path}/approve",
        on=path,
        answer="Welcome.",
        multiplier="0.7",
        expires_at="2031-01-01T00:00",
        move_keys=[made["one"], made["three"]],
    )
    assert answer.headers["location"] == "/admin/upgrade-requests"
    assert await keys_of(user_client) == {"one": "vip", "two": "default", "three": "vip"}
    decided = await state_of(admin_client, request_id)
    assert (decided["state"], decided["answer"]) == ("approved", "Welcome.")
    groups = (await user_client.get("/api/me/groups")).json()["data"]
    vip = next(group for group in groups if group["slug"] == "vip")
    assert (vip["multiplier"], vip["expires_at"]) == ("0.7", "2031-01-01T00:00:00Z")
    assert "Welcome." in (await administrator_page.get(path)).text
    assert "Nobody is waiting" in (await administrator_page.get("/admin/upgrade-requests")).text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"multiplier": "0,7"}, "multiplier"),
        ({"expires_at": "2020-01-01T00:00"}, "expires_at"),
        ({"answer": "x" * 2_001}, "answer"),
    ],
)
async def test_an_approval_that_cannot_be_changes_nothing_and_keeps_what_was_typed(
    administrator_page: Client, admin_client: Client, user_client: Client, fields: Any, field: str
) -> None:
    key = (await user_client.post("/api/me/keys", json={"name": "one"})).json()["id"]
    request_id = await ask(user_client)
    path = f"/admin/upgrade-requests/{request_id}"
    typed = {"requests_per_day": "777", "move_keys": key} | fields
    page = await send_form(administrator_page, f"{path}/approve", on=path, **typed)
    assert page.status_code == 400
    assert error_at(page, field)
    assert 'value="777"' in page.text
    assert f'value="{key}" checked' in page.text
    assert (await state_of(admin_client, request_id))["state"] == "pending"
    assert await keys_of(user_client) == {"one": "default"}


async def test_a_key_of_somebody_else_is_not_moved_and_nothing_is_decided(
    administrator_page: Client, admin_client: Client, user_client: Client, other_client: Client
) -> None:
    theirs = (await other_client.post("/api/me/keys", json={"name": "theirs"})).json()["id"]
    request_id = await ask(user_client)
    path = f"/admin/upgrade-requests/{request_id}"
    answer = await send_form(administrator_page, f"{path}/approve", on=path, move_keys=theirs)
    assert answer.status_code == 404
    assert (await state_of(admin_client, request_id))["state"] == "pending"
    assert await keys_of(other_client) == {"theirs": "default"}


async def test_a_request_is_declined_with_a_word_and_answered_once(
    administrator_page: Client, admin_client: Client, user_client: Client
) -> None:
    request_id = await ask(user_client)
    path = f"/admin/upgrade-requests/{request_id}"
    page = await administrator_page.get(path)
    answer = await send_form(administrator_page, f"{path}/decline", on=path, answer="Not\nyet <b>")
    assert answer.status_code == 303
    assert (await state_of(admin_client, request_id))["answer"] == "Not\nyet <b>"
    shown = (await administrator_page.get(path)).text
    assert "Not\nyet &lt;b&gt;" in shown
    assert "/approve" not in shown
    # From a page that was left open: the first answer stands.
    late = await administrator_page.post(
        f"{path}/approve", data={"form_token": form_token(page)}, headers=FROM_OUR_PAGE
    )
    assert late.status_code == 409
    assert "has been declined already" in late.text
    declined = await administrator_page.get("/admin/upgrade-requests", params={"state": "declined"})
    assert request_id in declined.text


@pytest.mark.parametrize(("answered", "said"), [("approve", "open to you"), ("decline", "declined")])
async def test_the_answer_comes_by_mail_too_where_mail_is_set_up(
    open_browser: OpenBrowser,
    storage: Storage,
    administrator: Actor,
    user: Actor,
    user_client: Client,
    mailing_app: ASGIApp,
    mail: FakeMail,
    answered: str,
    said: str,
) -> None:
    await give_password(storage, administrator.user_id)
    desk = open_browser(await give_session(storage, administrator.user_id), app=mailing_app)
    path = f"/admin/upgrade-requests/{await ask(user_client)}"
    refused = await send_form(desk, f"{path}/{answered}", on=path, answer="x" * 2_001)
    assert (refused.status_code, mail.sent) == (400, [])
    done = await send_form(desk, f"{path}/{answered}", on=path, answer="As of {today}, 100 %.")
    assert done.status_code == 303
    [message] = mail.sent
    assert message.to == user.email
    assert "VIP" in message.subject
    for part in (said, "As of {today}, 100 %.", "http://localhost/upgrade"):
        assert part in message.text
