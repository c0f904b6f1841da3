"""Usage: charts whose numbers are those of the calls, tables beside them, and a file without formulas."""

import csv
import io
import re
from collections.abc import Mapping
from itertools import product

import httpx
import pytest
from sqlalchemy import insert

from tests.fakes.clock import MovableClock
from tests.refused_calls import refuse_call
from tests.till_calls import TillCalls, start_calls
from tests.web.forms import plain
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import update_api_key
from tokenopen.control.usage import UsageSum
from tokenopen.core.money import Nanocredits
from tokenopen.core.refused_call import HOUR_MS
from tokenopen.ports.storage import Storage
from tokenopen.storage.schema import usage_hours
from tokenopen.web.csv_file import csv_file, safe_cell
from tokenopen.web.text import Languages
from tokenopen.web.usage_chart import label_text, largest

Client = httpx.AsyncClient


@pytest.fixture
async def till(storage: Storage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)


async def _page(browser: Client, **query: str) -> str:
    answer = await browser.get("/usage", params=query)
    assert answer.status_code == 200, answer.text[:3000]
    return answer.text


def _chart_rows(page: str, name: str) -> dict[str, list[int]]:
    """Return the numbers of a chart's table by the column's name; columns of nothing are left out."""
    table = re.search(rf'<table id="{name}-table">(.*?)</table>', page, re.DOTALL)
    assert table is not None, name
    rows = re.findall(r'<th scope="row" data-at="\d+">([^<]*)</th>(.*?)</tr>', table[1], re.DOTALL)
    found = {head: [int(raw) for raw in re.findall(r'data-value="(\d+)"', cells)] for head, cells in rows}
    return {head: values for head, values in found.items() if any(values)}


def _columns(page: str, name: str) -> int:
    return page.split(f'<table id="{name}-table">')[1].split("</table>")[0].count("data-at=")


async def _csv(browser: Client, **query: str) -> list[dict[str, str]]:
    answer = await browser.get("/usage.csv", params=query)
    assert answer.status_code == 200, answer.text[:3000]
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_charts_and_table_say_what_was_called_and_charged(
    till: TillCalls, user_page: Client, other_page: Client
) -> None:
    await till.call(input=1_000_000)
    till.clock.move(seconds=86_400)
    await till.call(input=2_000_000, output=10)
    other = await till.with_key()
    await other.call(output=1_000_000)
    page = await _page(user_page)
    # 0.15 + 0.30 + 0.000006 and 0.60 credits.
    assert _chart_rows(page, "usage-1") == {"2026-06-01": [150_000_000], "2026-06-02": [900_006_000]}
    assert _chart_rows(page, "usage-2") == {"2026-06-01": [1], "2026-06-02": [2]}
    assert _chart_rows(page, "usage-3") == {"2026-06-01": [1_000_000], "2026-06-02": [3_000_010]}
    assert _columns(page, "usage-1") == 30
    text = plain(page)
    assert "gpt-4o-mini 3 3,000,000 1,000,010 1.050006 100.0%" in text
    assert "Total 3 3,000,000 1,000,010 1.050006" in text
    by_key = await _page(user_page, by="key")
    assert _chart_rows(by_key, "usage-2") == {"2026-06-01": [0, 1], "2026-06-02": [1, 1]}
    # Thirty days, of which today is the last.
    assert f'href="/calls?key={(await other.find_caller()).key.id}&amp;from=2026-05-04"' in by_key
    assert 'href="/calls?group=default&amp;from=2026-05-04"' in await _page(user_page, by="group")
    assert "No calls in this time" in await _page(other_page)


async def test_a_day_is_shown_by_the_hour_and_named_days_by_the_day(
    till: TillCalls, user_page: Client
) -> None:
    await till.call(input=10)
    hourly = await _page(user_page, range="24h")
    assert _chart_rows(hourly, "usage-2") == {"06-01 12:00": [1]}
    assert _columns(hourly, "usage-2") == 25
    assert 'href="/calls?model=gpt-4o-mini&amp;range=24h"' in hourly
    named = await _page(user_page, **{"from": "2026-05-20", "to": "2026-06-01"})
    assert _chart_rows(named, "usage-2") == {"2026-06-01": [1]}
    assert _columns(named, "usage-2") == 13
    assert 'href="/calls?model=gpt-4o-mini&amp;from=2026-05-20&amp;to=2026-06-01"' in named
    assert "No calls in this time" in await _page(user_page, **{"from": "2026-05-20", "to": "2026-05-31"})


async def test_more_than_four_keys_share_the_last_colour(till: TillCalls, user_page: Client) -> None:
    for number in range(6):
        await (await till.with_key()).call(input=1000 * (number + 1))
    rows = _chart_rows(await _page(user_page, by="key"), "usage-3")
    assert rows == {"2026-06-01": [6000, 5000, 4000, 3000, 3000]}


async def test_a_month_of_twenty_models_and_what_its_page_needs_stay_below_150_kb_uncompressed(
    storage: Storage, user: Actor, user_page: Client, clock: MovableClock
) -> None:
    hour = clock.now_ms() // HOUR_MS
    names = {"account_id": user.account_id, "key_id": "key_x", "group_id": "grp_x"}
    sums = dict.fromkeys(("calls", "input_units", "output_units", "charge", "absorbed"), 1234567)
    rows = [
        {"hour": hour - 24 * day, "model": f"maker/a-model-of-theirs-{model}", **names, **sums}
        for day, model in product(range(30), range(20))
    ]
    async with storage.write() as tx:
        await tx.execute(insert(usage_hours).values(rows))
    page = await _page(user_page)
    assert page.count("data-value=") == 3 * 30 * 5
    addresses = re.findall(r'(?:<script src|<link rel="[a-z]+" href)="([^"]+)"', page)
    assert len(addresses) >= 3
    files = [(await user_page.get(address)).content for address in addresses]
    assert len(page.encode()) + sum(map(len, files)) < 150_000


async def test_refused_calls_are_counted_by_reason(
    storage: Storage, user: Actor, user_page: Client, other_page: Client
) -> None:
    for code in ("rpm_exceeded", "rpm_exceeded", "model_not_allowed"):
        await refuse_call(storage, user, code=code)
    page = await _page(user_page)
    assert _chart_rows(page, "refused") == {"2026-06-01": [2, 1]}
    assert 'href="/calls/refused?code=rpm_exceeded&amp;from=2026-05-03"' in page
    assert "Refused calls 3" in plain(page)
    assert "Refused calls 0" in plain(await _page(other_page))


async def test_the_file_has_the_numbers_of_the_page(till: TillCalls, user_page: Client) -> None:
    await till.call(input=1_000_000, output=5)
    till.clock.move(seconds=86_400)
    await till.call(input=7)
    rows = await _csv(user_page)
    assert [list(row.values()) for row in rows] == [
        ["2026-06-01", "gpt-4o-mini", "gpt-4o-mini", "1", "1000000", "5", "0.150003", "0"],
        ["2026-06-02", "gpt-4o-mini", "gpt-4o-mini", "1", "7", "0", "0.00000105", "0"],
    ]
    till.clock.move(seconds=3_600)
    [row] = await _csv(user_page, range="24h", by="group")
    assert (row["hour"], row["group"], row["group_id"]) == ("2026-06-02T12:00:00Z", "Default", "default")


async def test_a_name_that_would_be_a_formula_is_a_text_in_the_file(
    till: TillCalls, storage: Storage, user_page: Client, other_page: Client
) -> None:
    formula = '=HYPERLINK("http://evil.example.net","x")'
    key_id = (await till.find_caller()).key.id
    async with storage.write() as tx:
        await update_api_key(
            tx, till.user, key_id, account_id=till.user.account_id, changes={"name": formula}
        )
    await till.call()
    [row] = await _csv(user_page, by="key")
    assert (row["key"], row["key_id"]) == (f"'{formula}", key_id)
    assert await _csv(other_page, by="key") == []


@pytest.mark.parametrize("mark", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_begins_a_formula(mark: str) -> None:
    assert safe_cell(f"{mark}1+1") == f"'{mark}1+1"
    body = bytes(csv_file("x.csv", ["a"], [[f"{mark}1+1"]]).body).decode()
    assert [row[0][0] for row in csv.reader(io.StringIO(body))] == ["a", "'"]


def test_numbers_and_other_texts_stay_as_they_are() -> None:
    assert [safe_cell(cell) for cell in (-5, "a=b", "", "1.5")] == [-5, "a=b", "", "1.5"]


def test_what_has_no_label_is_called_the_others() -> None:
    zero = Nanocredits(0)
    each = UsageSum(calls=0, input_units=0, output_units=0, charge=zero, absorbed=zero)
    assert label_text(each, Languages().choose("en")) == "All others"


@pytest.mark.parametrize(
    "query",
    [{"by": "user"}, {"range": "all"}, {"range": "1y"}, {"from": "2020-01-01"}, {"from": "2026-07-01"}],
)
async def test_what_cannot_be_shown_is_refused(user_page: Client, query: Mapping[str, str]) -> None:
    for path in ("/usage", "/usage.csv"):
        assert (await user_page.get(path, params=query)).status_code == 400


def test_what_is_not_among_the_largest_is_one_line() -> None:
    def spent(label: str | None, charge: int) -> UsageSum:
        amount = Nanocredits(charge)
        return UsageSum(label=label, calls=1, input_units=2, output_units=3, charge=amount, absorbed=amount)

    sums = [spent("a", 5), spent("b", 9), spent(None, 2), spent("c", 7), spent("d", 1)]
    shown = [(each.label, each.calls, each.charge) for each in largest(sums, 2)]
    assert shown == [("b", 1, 9), ("c", 1, 7), (None, 3, 8)]
    assert [each.label for each in largest(sums, 5)] == ["b", "c", "a", "d", None]
