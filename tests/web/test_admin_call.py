"""Calls, as administrators see them: everybody's, those to look at, and refunds that are made once."""

import re
from typing import Any

import httpx
import pytest

from tests.refused_calls import refuse_call
from tests.till_calls import TillCalls
from tests.web.forms import FROM_OUR_PAGE, error_at, form_token, once_token, send_form
from tokenopen.core.call import Outcome
from tokenopen.gateway import settle
from tokenopen.web.admin_call import FLAGS

Client = httpx.AsyncClient
_LINK = re.compile(r'<th scope="row"[^>]*><a href="/admin/calls/(call_\w+)">')


async def listed(browser: Client, path: str = "/admin/calls", **query: str) -> list[str]:
    answer = await browser.get(path, params=query)
    assert answer.status_code == 200, answer.text[:2000]
    return _LINK.findall(answer.text)


async def test_everybody_s_calls_are_listed_and_filtered_by_user(
    till: TillCalls, administrator_page: Client, administrator: Any
) -> None:
    call_id = await till.call()
    assert await listed(administrator_page) == [call_id]
    assert await listed(administrator_page, user="ADA@example.com") == [call_id]
    assert await listed(administrator_page, user=till.user.user_id, model="gpt-4o-mini") == [call_id]
    assert await listed(administrator_page, user=administrator.email) == []
    # Nobody of that name: not everybody's calls.
    assert await listed(administrator_page, user="nobody@example.com") == []
    key = (await till.find_caller()).key
    page = await administrator_page.get("/admin/calls", params={"user": till.user.email})
    assert f'value="{key.id}"' in page.text
    found = await administrator_page.get("/admin/calls/find", params={"id": f" {call_id} "})
    assert found.headers["location"] == f"/admin/calls/{call_id}"
    missing = await administrator_page.get("/admin/calls/find", params={"id": "call_none"})
    assert missing.headers["location"] == "/admin/calls"


async def test_a_call_names_the_upstreams_that_were_tried_and_its_user(
    till: TillCalls, administrator_page: Client
) -> None:
    admission = await till.admit(hold=10**9)
    attempts = '[{"upstream_id":"ups_gone","result":"503","duration_ms":7}]'
    await till.settle(admission, {"input": 10, "output": 10}, attempts=attempts)
    page = (await administrator_page.get(f"/admin/calls/{admission.facts.call_id}")).text
    assert "ups_gone" in page
    assert f'href="/admin/users/{till.user.user_id}"' in page


async def test_refused_calls_of_everybody_are_listed(till: TillCalls, administrator_page: Client) -> None:
    refused_id = await refuse_call(till.storage, till.user, key_id=(await till.find_caller()).key.id)
    assert await listed(administrator_page, "/admin/calls/refused") == [refused_id]
    assert await listed(administrator_page, "/admin/calls/refused", user="nobody@example.com") == []
    page = await administrator_page.get(f"/admin/calls/{refused_id}")
    assert page.status_code == 200
    assert till.user.email in page.text


@pytest.mark.parametrize("flag", [*FLAGS, "of_another_version"])
async def test_a_flagged_call_says_what_is_wrong(
    till: TillCalls, administrator_page: Client, flag: str
) -> None:
    assert "Nothing to look at" in (await administrator_page.get("/admin/calls/flagged")).text
    await till.call()
    admission = await till.admit()
    await till.resolve(
        admission, Outcome(resolution="void", end_reason="impossible_usage", status=200, flag=flag)
    )
    call_id = admission.facts.call_id
    assert await listed(administrator_page, "/admin/calls/flagged") == [call_id]
    words = {
        "impossible_usage": "Usage that cannot be true",
        "unpriced_usage": "Usage without a price",
        "beyond_context_window": "Beyond the context window",
    }.get(flag, flag)
    for path in ("/admin/calls/flagged", f"/admin/calls/{call_id}"):
        assert words in (await administrator_page.get(path)).text


def test_every_flag_of_the_gateway_is_explained() -> None:
    assert {settle.IMPOSSIBLE_USAGE, settle.UNPRICED_USAGE, settle.BEYOND_CONTEXT_WINDOW} == set(FLAGS)


async def test_a_refund_is_made_once_and_never_beyond_the_charge(
    till: TillCalls, administrator_page: Client, admin_client: Client
) -> None:
    call_id = await till.call(hold=10**9, input=1_000_000, output=0)
    path = f"/admin/calls/{call_id}/refund"
    assert f'href="{path}"' in (await administrator_page.get(f"/admin/calls/{call_id}")).text
    page = await administrator_page.get(path)
    fields = {"form_token": form_token(page), "once": once_token(page), "amount": "0.05", "reason": "Wrong"}
    for _ in range(3):
        answer = await administrator_page.post(path, data=fields, headers=FROM_OUR_PAGE)
        assert answer.headers["location"] == f"/admin/calls/{call_id}", answer.text
    call = (await admin_client.get(f"/api/admin/calls/{call_id}")).json()
    assert (call["charge"], call["refunded"]) == ("0.15", "0.05")
    too_much = await send_form(
        administrator_page,
        path,
        amount="0.100000001",
        reason="More",
        once=once_token(await administrator_page.get(path)),
    )
    assert too_much.status_code == 409
    assert "0.1 are left" in too_much.text
    rest = once_token(too_much)
    answer = await send_form(administrator_page, path, amount="", reason="The rest", once=rest)
    assert answer.status_code == 303
    assert (await admin_client.get(f"/api/admin/calls/{call_id}")).json()["refunded"] == "0.15"
    shown = (await administrator_page.get(f"/admin/calls/{call_id}")).text
    assert "The rest" in shown
    assert f'href="{path}"' not in shown


@pytest.mark.parametrize(
    ("amount", "reason", "field"), [("0,1", "x", "amount"), ("-1", "x", "amount"), ("0.01", "", "reason")]
)
async def test_a_refund_that_cannot_be_is_refused_at_its_field(
    till: TillCalls, administrator_page: Client, admin_client: Client, amount: str, reason: str, field: str
) -> None:
    call_id = await till.call(hold=10**9, input=1_000_000, output=0)
    path = f"/admin/calls/{call_id}/refund"
    once = once_token(await administrator_page.get(path))
    page = await send_form(administrator_page, path, amount=amount, reason=reason, once=once)
    assert page.status_code == 400
    assert error_at(page, field)
    assert (await admin_client.get(f"/api/admin/calls/{call_id}")).json()["refunded"] == "0"


async def test_a_flagged_call_is_reviewed_or_adjusted_once(
    till: TillCalls, administrator_page: Client, admin_client: Client
) -> None:
    admission = await till.admit(hold=10**9)
    outcome = Outcome(
        resolution="void",
        end_reason="impossible_usage",
        status=200,
        flag="unpriced_usage",
        flag_detail="no price for 7 <audio>",
    )
    await till.resolve(admission, outcome)
    call_id = admission.facts.call_id
    page = (await administrator_page.get(f"/admin/calls/{call_id}")).text
    assert "no price for 7 &lt;audio&gt;" in page
    path = f"/admin/calls/{call_id}/adjustment"
    form = await administrator_page.get(path)
    fields = {"form_token": form_token(form), "once": once_token(form), "amount": "-0.25", "reason": "Audio"}
    for _ in range(2):
        answer = await administrator_page.post(path, data=fields, headers=FROM_OUR_PAGE)
        assert answer.status_code == 303, answer.text
    assert (await admin_client.get(f"/api/admin/calls/{call_id}")).json()["adjusted"] == "-0.25"
    assert await listed(administrator_page, "/admin/calls/flagged") == []
    assert await listed(administrator_page, "/admin/calls/flagged", reviewed="yes") == [call_id]
    too_much = await send_form(
        administrator_page, path, amount="-2", reason="x", once=once_token(await administrator_page.get(path))
    )
    assert too_much.status_code == 409
    assert "take at most 0.75" in too_much.text
    other = await till.admit()
    await till.resolve(other, outcome)
    other_path = f"/admin/calls/{other.facts.call_id}"
    await send_form(administrator_page, f"{other_path}/review", on=other_path)
    assert await listed(administrator_page, "/admin/calls/flagged") == []
    assert "Reviewed by" in (await administrator_page.get(other_path)).text


async def test_a_call_that_is_not_flagged_is_not_adjusted(
    till: TillCalls, administrator_page: Client, admin_client: Client
) -> None:
    call_id = await till.call()
    path = f"/admin/calls/{call_id}/adjustment"
    once = once_token(await administrator_page.get(path))
    answer = await send_form(administrator_page, path, amount="0.01", reason="x", once=once)
    assert answer.status_code == 409
    assert "is not flagged" in answer.text
    assert (await admin_client.get(f"/api/admin/calls/{call_id}")).json()["adjusted"] == "0"
