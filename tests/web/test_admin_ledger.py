"""The ledger's page, and the audit that is run from it."""

import httpx
import pytest
from sqlalchemy import update

from tests.till_calls import TillCalls
from tests.web.forms import send_form
from tokenopen.control.audit_report import INVARIANTS
from tokenopen.storage.schema import accounts
from tokenopen.web import admin_ledger
from tokenopen.web.text import Languages

Client = httpx.AsyncClient


async def test_entries_are_found_by_user_kind_and_call(till: TillCalls, administrator_page: Client) -> None:
    call_id = await till.call()

    async def rows(**query: str) -> list[str]:
        page = (await administrator_page.get("/admin/ledger", params=query)).text.split('id="ledger"')[1]
        return [kind for kind in ("Top-up", "Charge", "Refund") if f">{kind}</span>" in page]

    assert await rows() == ["Top-up", "Charge"]
    assert await rows(user="ada@example.com") == ["Top-up", "Charge"]
    assert await rows(user=till.user.user_id, kind="charge") == ["Charge"]
    assert await rows(kind="top_up") == ["Top-up"]
    assert await rows(user="nobody@example.com") == []
    assert await rows(call="call_none") == []
    page = (await administrator_page.get("/admin/ledger", params={"user": till.user.email})).text
    assert f'href="/admin/calls/{call_id}"' in page
    assert "1 credit = 1 USD" in page


async def test_an_empty_ledger_says_so(administrator_page: Client) -> None:
    assert "Nothing has moved yet" in (await administrator_page.get("/admin/ledger")).text
    page = await administrator_page.get("/admin/ledger", params={"kind": "refund"})
    assert "No entry fits" in page.text


async def test_an_audit_says_0_drift_and_what_it_looked_at(
    till: TillCalls, administrator_page: Client
) -> None:
    await till.call()
    page = await send_form(administrator_page, "/admin/ledger/audit")
    assert page.status_code == 200
    assert "0 drift" in page.text
    assert "Ledger entries" in page.text
    assert page.text.count(">Holds</span>") == 11


async def test_an_audit_names_the_rows_that_drift(till: TillCalls, administrator_page: Client) -> None:
    await till.call()
    async with till.storage.write() as tx:
        await tx.execute(
            update(accounts)
            .where(accounts.c.id == till.user.account_id)
            .values(balance=accounts.c.balance + 1)
        )
    page = (await send_form(administrator_page, "/admin/ledger/audit")).text
    assert "0 drift" not in page
    assert "drift" in page.split('role="alert"')[1].split("</div>")[0]
    assert till.user.account_id in page.rsplit("Rows that do not add up", 1)[1]


async def test_an_audit_that_takes_too_long_is_given_up(
    administrator_page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_ledger, "AUDIT_SECONDS_MAX", 0)
    page = await send_form(administrator_page, "/admin/ledger/audit")
    assert page.status_code == 503
    assert "tokenopen audit" in page.text
    monkeypatch.undo()
    assert (await send_form(administrator_page, "/admin/ledger/audit")).status_code == 200


def test_every_invariant_has_words_of_its_own() -> None:
    text = Languages().choose("en")
    for name in INVARIANTS:
        assert text(f"admin_ledger.holds_that.{name}")
