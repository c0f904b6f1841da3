"""Credit: the balance, what is reserved, and the ledger."""

import re

import httpx
import pytest

from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls, start_calls
from tests.web.forms import plain
from tokenopen.control.actor import Actor
from tokenopen.control.ledger import adjust, refund
from tokenopen.core.money import parse_amount
from tokenopen.ports.storage import Storage

Client = httpx.AsyncClient


@pytest.fixture
async def till(storage: Storage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)


async def _text(browser: Client, **query: str) -> str:
    answer = await browser.get("/credit", params=query)
    assert answer.status_code == 200, answer.text[:3000]
    return plain(answer.text)


async def test_balance_reserved_and_available_are_shown_to_the_owner_only(
    till: TillCalls, user_page: Client, other_page: Client
) -> None:
    await till.call(input=1_000_000)
    await till.admit(hold=25 * 10**8)
    text = await _text(user_page)
    assert "Available 7.35 1 credit = 1 USD" in text
    assert "Balance 9.85 exactly 9.85" in text
    assert "Reserved for running calls 2.50" in text
    assert "To top up, ask the administrator of this service." in text
    text = await _text(other_page)
    assert "Available 0.00" in text
    assert "No credit is available" in text
    assert "To top up, ask the administrator of this service." in text
    assert "Nothing has changed your balance yet" in text


async def test_every_change_is_listed_with_the_balance_it_left_and_its_call(
    till: TillCalls, storage: Storage, administrator: Actor, user_page: Client
) -> None:
    call_id = await till.call(input=1_000_000)
    async with storage.write() as tx:
        await refund(tx, administrator, call_id=call_id, amount=None, reason="Wrong <answer>")
        await adjust(
            tx, administrator, user_id=till.user.user_id, amount=parse_amount("-1.5"), reason="Moved"
        )
    answer = await user_page.get("/credit")
    text = plain(answer.text)
    rows = [
        "Adjustment Moved -1.50 8.50",
        "Refund Receipt of the call Wrong &lt;answer&gt; +0.15 10.00",
        "Charge Receipt of the call -0.15 9.85",
        "Top-up Test +10.00 10.00",
    ]
    assert [text.index(row) for row in rows] == sorted(text.index(row) for row in rows)
    assert answer.text.count(f'href="/calls/{call_id}"') == 2
    only = await _text(user_page, kind="refund")
    assert "Wrong" in only
    assert "Moved" not in only
    assert (await user_page.get("/credit", params={"kind": "gift"})).status_code == 400


async def test_the_ledger_goes_on_where_a_page_ends(till: TillCalls, user_page: Client) -> None:
    for number in range(55):
        till.clock.move(seconds=1)
        await till.call(hold=10**6, input=number + 1)
    first = await user_page.get("/credit", params={"kind": "charge"})
    following = re.search(r'rel="next" href="(/credit\?[^"]*)"', first.text)
    assert following is not None
    second = await user_page.get(following[1].replace("&amp;", "&"))
    assert [page.text.count("Receipt of the call") for page in (first, second)] == [50, 5]
    assert "Next page" not in second.text
