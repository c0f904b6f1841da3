"""The call log: one's own calls with their receipts, and refused calls that explain themselves."""

import re
from collections.abc import Mapping

import httpx
import pytest
from markupsafe import escape

from tests.fakes.clock import MovableClock
from tests.refused_calls import refuse_call
from tests.till_calls import TillCalls, start_calls
from tests.web.forms import plain
from tokenopen.control.actor import Actor
from tokenopen.control.ledger import refund
from tokenopen.core.call import Outcome
from tokenopen.core.money import parse_amount
from tokenopen.core.usage import USAGE_CLASSES
from tokenopen.ports.storage import Storage
from tokenopen.web.call_query import surface_names
from tokenopen.web.refusal import call_refusal_codes
from tokenopen.web.text import Languages

Client = httpx.AsyncClient

_CALL_LINK = re.compile(r'<th scope="row"[^>]*><a href="/calls/(call_\w+)">')


@pytest.fixture
async def till(storage: Storage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)


async def _page(browser: Client, path: str, **query: str) -> str:
    answer = await browser.get(path, params=query)
    assert answer.status_code == 200, answer.text[:3000]
    return answer.text


async def _listed(browser: Client, path: str = "/calls", **query: str) -> list[str]:
    return _CALL_LINK.findall(await _page(browser, path, **query))


async def test_one_sees_ones_own_calls_only(till: TillCalls, user_page: Client, other_page: Client) -> None:
    call_id = await till.call()
    assert await _listed(user_page) == [call_id]
    assert await _listed(other_page) == []
    assert (await user_page.get(f"/calls/{call_id}")).status_code == 200
    assert (await other_page.get(f"/calls/{call_id}")).status_code == 404
    key_id = (await till.find_caller()).key.id
    assert await _listed(other_page, key=key_id) == []


async def test_calls_are_filtered_by_what_was_chosen(till: TillCalls, user_page: Client) -> None:
    settled = await till.call()
    till.clock.move(seconds=2 * 3600)
    voided = await till.admit(surface="embeddings")
    await till.void(voided)
    till.clock.move(seconds=1)
    other = await till.with_key()
    running = (await other.admit()).facts
    ids = [running.call_id, voided.facts.call_id, settled]
    assert await _listed(user_page) == ids
    wanted: Mapping[str, tuple[Mapping[str, str], list[str]]] = {
        "nothing chosen": ({"key": "", "group": "", "outcome": "", "from": "", "model": " "}, ids),
        "outcome": ({"outcome": "completed"}, [settled]),
        "running": ({"outcome": "running"}, [running.call_id]),
        "not charged": ({"outcome": "not_charged"}, [voided.facts.call_id]),
        "why": ({"outcome": "upstream_failed"}, [voided.facts.call_id]),
        "key": ({"key": running.key_id}, [running.call_id]),
        "API": ({"api": "embeddings"}, [voided.facts.call_id]),
        "group": ({"group": "default"}, ids),
        "model": ({"model": "gpt-none"}, []),
        "last hour": ({"range": "1h"}, ids[:2]),
        "day": ({"from": "2026-06-01", "to": "2026-06-01"}, ids),
        "another day": ({"from": "2026-06-02"}, []),
        "days the wrong way round": ({"from": "2026-06-02", "to": "2026-06-01"}, ids),
        "a year that is half typed": ({"from": "0202-06-01"}, ids),
        "a year with a digit too many": ({"from": "9999-06-01"}, []),
    }
    for name, (query, expected) in wanted.items():
        assert await _listed(user_page, **query) == expected, name


@pytest.mark.parametrize(
    "query",
    [{"outcome": "fine"}, {"range": "1y"}, {"from": "soon"}],
)
async def test_filters_that_make_no_sense_are_refused(user_page: Client, query: Mapping[str, str]) -> None:
    assert (await user_page.get("/calls", params=query)).status_code == 400


async def test_the_list_goes_on_where_a_page_ends(till: TillCalls, user_page: Client) -> None:
    made = []
    for _ in range(53):
        till.clock.move(seconds=1)
        made.append(await till.call(hold=10**6))
    first = await _page(user_page, "/calls", range="24h")
    following = re.search(r'rel="next" href="/calls\?([^"]*)"', first)
    assert following is not None
    query = dict(httpx.QueryParams(following[1].replace("&amp;", "&")))
    assert query["range"] == "24h"
    assert _CALL_LINK.findall(first) + await _listed(user_page, **query) == made[::-1]


async def test_where_a_search_has_not_come_to_its_end_the_page_offers_to_go_on(
    till: TillCalls, user_page: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenopen.storage.call_search._SCANS", (2, 2))
    for _ in range(6):
        till.clock.move(seconds=1)
        await till.call(hold=10**6)
    page = await _page(user_page, "/calls", api="embeddings")
    assert "Search older calls" in page
    following = re.search(r'href="/calls\?([^"]*cursor[^"]*)"', page)
    assert following is not None


async def test_a_receipt_shows_the_sum_line_by_line(till: TillCalls, user_page: Client) -> None:
    call_id = await till.call(input=1_234, cached_input=100, output=56)
    text = plain(await _page(user_page, f"/calls/{call_id}"))
    assert "Input tokens 1,234 0.15 0.0001851" in text
    assert "Cached input tokens 100 0.15 0.000015" in text
    assert "Output tokens 56 0.60 0.0000336" in text
    assert "Price multiplier group Default x 1.0x" in text
    assert "Charge 0.0002337" in text
    assert "(1,234 x 0.15 + 100 x 0.15 + 56 x 0.6) / 1,000,000 x 1.0 = 0.0002337" in text
    assert "Revision of the group 1" in text
    assert "Revision of the prices 1" in text
    assert "First byte after 5 ms" in text
    assert "Not covered" not in text
    assert "Refunded" not in text


async def test_attempts_are_shown_to_users_without_the_upstreams_names(
    till: TillCalls, user_page: Client
) -> None:
    admission = await till.admit(hold=10**9)
    attempts = (
        '[{"upstream_id": "ups_secret", "result": "503", "duration_ms": 120},'
        ' {"upstream_id": "ups_other", "result": "200", "duration_ms": 80}]'
    )
    await till.settle(admission, {"input": 10}, attempts=attempts, upstream_id="ups_other")
    page = await _page(user_page, f"/calls/{admission.facts.call_id}")
    assert "1 503 120 ms 2 200 80 ms" in plain(page)
    assert "ups_" not in page


async def test_a_receipt_says_that_a_call_was_translated(till: TillCalls, user_page: Client) -> None:
    straight, translated = await till.admit(), await till.admit()
    attempts = '[{"upstream_id": "ups_one", "result": "200", "duration_ms": 80, "translated_to": "messages"}]'
    await till.settle(straight, {"input": 10})
    await till.settle(translated, {"input": 10}, attempts=attempts, upstream_id="ups_one")
    said = "translated to Messages for the provider"
    assert said not in await _page(user_page, f"/calls/{straight.facts.call_id}")
    assert said in await _page(user_page, f"/calls/{translated.facts.call_id}")


async def test_what_credit_did_not_cover_and_what_was_refunded_stands_below_the_sum(
    till: TillCalls, administrator: Actor, storage: Storage, user_page: Client
) -> None:
    admission = await till.admit(hold=10**10)
    # 20,000,000 output tokens cost 12 credits; the account has 10.
    await till.settle(admission, {"output": 20_000_000})
    call_id = admission.facts.call_id
    async with storage.write() as tx:
        await refund(
            tx, administrator, call_id=call_id, amount=parse_amount("2.5"), reason="Answer was <cut>"
        )
    page = await _page(user_page, f"/calls/{call_id}")
    text = plain(page)
    assert "Price of the call 12.00 Not covered by credit (not charged) -2.00 Charge 10.00" in text
    assert "Refunded -2.50 Paid in the end 7.50" in text
    assert "Answer was &lt;cut&gt;" in page
    assert "Partly not covered" in plain(await _page(user_page, "/calls", outcome="not_covered"))


async def test_a_running_call_and_one_that_cost_nothing_say_so(till: TillCalls, user_page: Client) -> None:
    running = (await till.admit(hold=10**9)).facts.call_id
    text = plain(await _page(user_page, f"/calls/{running}"))
    assert "Reserved 1.00" in text
    assert "under way" in text
    voided = await till.admit()
    await till.resolve(
        voided, Outcome(resolution="void", end_reason="upstream_rejected", status=400, duration_ms=3)
    )
    text = plain(await _page(user_page, f"/calls/{voided.facts.call_id}"))
    assert "Not charged" in text
    assert "The provider refused the request in its own words." in text


async def test_a_call_is_found_by_the_id_of_its_reply(
    till: TillCalls, storage: Storage, user: Actor, user_page: Client, other_page: Client
) -> None:
    refused = await refuse_call(storage, user)
    for call_id in (await till.call(), refused):
        answer = await user_page.get("/calls/find", params={"id": f" {call_id} "})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/calls/{call_id}")
        answer = await other_page.get("/calls/find", params={"id": call_id})
        assert answer.headers["location"] == "/calls"
        assert "There is no call" in (await other_page.get("/calls")).text
    for nothing in ("", "/evil.example.net", "//evil.example.net", "refused"):
        answer = await user_page.get("/calls/find", params={"id": nothing})
        assert answer.headers["location"] == "/calls"


async def test_a_refused_call_explains_itself_and_leads_to_an_upgrade(
    storage: Storage, user: Actor, user_page: Client, other_page: Client
) -> None:
    facts = {"group": "Default", "limit": 60, "used": 60, "retry_after_s": 12}
    call_id = await refuse_call(storage, user, facts=facts)
    assert await _listed(user_page, "/calls/refused") == [call_id]
    assert await _listed(other_page, "/calls/refused") == []
    page = await _page(user_page, f"/calls/{call_id}")
    text = plain(page)
    assert "Requests / minute used up" in text
    assert "Group Default allows 60 requests per minute; 60 used." in text
    assert "Requests / minute (RPM) 60 Used 60 One more call would pass from 2026-06-01 12:00:12 UTC" in text
    assert "What to do Wait for Retry-After" in text
    assert f'href="/upgrade?refused={call_id}&amp;from=default"' in page
    assert "rpm_exceeded" in page


async def test_a_refusal_that_no_group_helps_against_offers_no_upgrade(
    storage: Storage, user: Actor, user_page: Client
) -> None:
    facts = {"needed": "1.5", "available": "0.25", "affordable_max_output_tokens": 1_200}
    call_id = await refuse_call(
        storage, user, code="insufficient_credit", status=402, message="Too little <credit>.", facts=facts
    )
    page = await _page(user_page, f"/calls/{call_id}")
    text = plain(page)
    assert "Most that this call can cost 1.5 Available credit 0.25" in text
    assert "Output tokens that would fit 1,200" in text
    assert "/upgrade" not in page.split("<main")[1]
    assert str(escape("Too little <credit>.")) in page


async def test_a_refused_call_without_its_facts_is_explained_too(
    storage: Storage, user: Actor, user_page: Client
) -> None:
    for code in call_refusal_codes():
        call_id = await refuse_call(storage, user, code=code, model=None)
        assert "What to do" in await _page(user_page, f"/calls/{call_id}"), code
    assert len(await _listed(user_page, "/calls/refused")) == len(call_refusal_codes())
    assert len(await _listed(user_page, "/calls/refused", code="tpd_exceeded")) == 1
    assert await _listed(user_page, "/calls/refused", model="gpt-4o-mini") == []


async def test_where_there_is_nothing_a_page_says_what_to_do(user_page: Client) -> None:
    assert "Quickstart" in await _page(user_page, "/calls")
    assert "Nothing was refused" in await _page(user_page, "/calls/refused")
    assert "No call fits" in await _page(user_page, "/calls", model="gpt-4o-mini")


def test_every_api_usage_class_and_reason_has_its_words() -> None:
    text = Languages().choose("en")
    for name in surface_names():
        assert text(f"surface.{name}")
    for unit_class in USAGE_CLASSES:
        assert text(f"usage_class.{unit_class}")
    for code in call_refusal_codes():
        assert text(f"refusal.{code}.title")
