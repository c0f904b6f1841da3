"""The guide: what it says of this installation is what holds now, and none of its links is broken."""

import re

import httpx
import pytest
from fastapi import FastAPI

from tests.fakes.clock import MovableClock
from tests.web.offers import offer
from tokenopen.api.caller import CallerApi
from tokenopen.control.actor import Actor
from tokenopen.control.group import update_group
from tokenopen.control.platform import update_platform
from tokenopen.control.price_list import read_price_list
from tokenopen.control.services import Services
from tokenopen.core.catalog import resolve_prices
from tokenopen.core.charge import charge_for
from tokenopen.core.money import format_amount, parse_price
from tokenopen.gateway.directory import Directory
from tokenopen.settings import Settings
from tokenopen.upstream.surfaces.offered import SURFACES
from tokenopen.web.guide import PAGES
from tokenopen.web.guide_fact import EXAMPLE_USAGE, guide_values, list_refusals
from tokenopen.web.guide_page import GUIDE
from tokenopen.web.text import Languages

PAGE_PATHS = sorted(PAGES)


def _rows(html: str) -> list[list[str]]:
    """Return the cells of each row of each table, without their markup."""
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    ]


async def test_group_pricing_shows_every_group_with_its_terms(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/guide/group-pricing")
    rows = _rows(page.text)
    assert rows[0] == ["Group", "Price Multiplier", "Suitable For", "Models", "RPM", "TPD"]
    assert rows[1][:3] == ["Default", "1.0x", "Regular users; standard pricing"]
    assert rows[1][4:] == ["60", "1,000"]
    assert [rows[2][0], rows[2][1], *rows[2][4:]] == ["VIP", "From 0.8x", "600", "20,000"]
    assert [rows[3][0], rows[3][1], *rows[3][4:]] == ["Enterprise", "Custom", "Unlimited", "Unlimited"]
    headings = (
        "What groups are",
        "Group permission differences",
        "Selecting a group when creating an API key",
    )
    for heading in headings:
        assert f">{heading}</h2>" in page.text
    assert 'href="/keys"' in page.text
    assert 'href="/help/faq#groups"' in page.text


async def test_a_groups_new_revision_is_on_the_page_at_once_with_its_date(
    browser: httpx.AsyncClient, services: Services, administrator: Actor, clock: MovableClock
) -> None:
    before = await browser.get("/guide/group-pricing")
    clock.move(seconds=300 * 24 * 3_600)
    async with services.storage.write() as tx:
        await update_platform(tx, administrator, {"time_zone": "Asia/Tokyo"})
        await update_group(
            tx,
            administrator,
            "vip",
            {"multiplier_ppm": 750_000, "requests_per_day": 30_000, "suitable_for": "<b>Everybody</b>"},
        )
    after = await browser.get("/guide/group-pricing")
    assert _rows(before.text)[2][1] == "From 0.8x"
    row = _rows(after.text)[2]
    assert [row[1], row[5]] == ["From 0.75x", "30,000"]
    assert "&lt;b&gt;Everybody&lt;/b&gt;" in after.text
    as_of = r"Multipliers as of ([\d-]+) [\d:]+ JST; the platform.{1,6}s current configuration applies"
    now = re.search(as_of, after.text)
    assert now is not None
    assert f"Last updated on {now.group(1)}" in after.text
    assert f"Last updated on {now.group(1)}" not in before.text


async def test_the_worked_example_is_charged_by_the_code_that_charges_calls(
    browser: httpx.AsyncClient, services: Services, administrator: Actor
) -> None:
    prices = {"input": "0.15", "cached_input": "0.075", "output": "0.6"}
    await offer(services, administrator, "gpt-4o-mini", **prices)
    page = await browser.get("/guide/billing")
    resolved = resolve_prices({name: parse_price(price) for name, price in prices.items()})
    charge = format_amount(charge_for(EXAMPLE_USAGE, resolved, multiplier_ppm=800_000))
    assert f"The call costs <strong>{charge} credits</strong>" in page.text
    rows = {row[0]: row[1:] for row in _rows(page.text)}
    assert rows["Input tokens"] == ["1,200", "0.15", "0.00018"]
    assert rows["Cached input tokens"] == ["4,096", "0.075", "0.0003072"]
    assert rows["Output tokens"] == ["350", "0.60", "0.00021"]
    assert rows["Price multiplier"][-1] == "0.8x"
    assert rows["Charge"][-1] == charge


async def test_models_are_listed_with_prices_and_the_groups_that_have_them(
    browser: httpx.AsyncClient, services: Services, administrator: Actor
) -> None:
    assert "No model is offered yet" in (await browser.get("/guide/models")).text
    await offer(services, administrator, "gpt-4.1", input="2", cached_input="0.5", output="8")
    rows = _rows((await browser.get("/guide/models")).text)
    assert rows[1] == ["gpt-4.1", "128,000", "2.00", "0.50", "8.00", "VIP, Enterprise"]


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("help@example.com", '<a href="mailto:help@example.com">help@example.com</a>'),
        ("https://example.com/help", '<a href="https://example.com/help">https://example.com/help</a>'),
        ("javascript:alert(1)", "javascript:alert(1)"),
    ],
)
async def test_the_support_contact_is_a_link_where_it_can_be_one(
    browser: httpx.AsyncClient, services: Services, administrator: Actor, contact: str, link: str
) -> None:
    async with services.storage.write() as tx:
        await update_platform(tx, administrator, {"support_contact": contact})
    for path in ("/help", "/help/faq"):
        page = (await browser.get(path)).text
        assert f"Support for TokenOpen: {link}." in page
        assert 'href="javascript' not in page


async def test_names_that_administrators_gave_are_shown_as_text(
    browser: httpx.AsyncClient, services: Services, administrator: Actor
) -> None:
    async with services.storage.write() as tx:
        await update_platform(tx, administrator, {"name": "<i>Acme</i>", "support_contact": "<u>ask</u>"})
        await update_group(tx, administrator, "vip", {"name": "<b>VIP</b>"})
    for path in PAGE_PATHS:
        page = (await browser.get(path)).text
        for markup in ("<i>", "<u>", "<b>"):
            assert markup not in page, path


@pytest.mark.parametrize("path", PAGE_PATHS)
async def test_no_value_is_left_open_on_a_page(browser: httpx.AsyncClient, path: str) -> None:
    page = await browser.get(path)
    assert page.status_code == 200
    assert f"<h1>{PAGES[path].title}</h1>" in page.text.replace("&amp;", "&")
    assert "{{" not in page.text
    markdown = await browser.get(f"{path}.md") if path.count("/") > 1 else None
    if markdown is not None:
        assert markdown.text.startswith(f"# {PAGES[path].title}\n")
        assert "{{" not in markdown.text


# Pages of the console that the guide leads to; each is in the menu and has its own tests.
_CONSOLE = {"/keys", "/calls", "/usage", "/credit", "/upgrade", "/api/openapi.json", "/sign-in", "/sign-up"}


async def test_every_link_of_the_guide_leads_somewhere(browser: httpx.AsyncClient) -> None:
    checked = 0
    for path in PAGE_PATHS:
        html = (await browser.get(path)).text
        for target in set(re.findall(r'href="([^"]+)"', html)):
            address, _, anchor = target.partition("#")
            if address in _CONSOLE or address.startswith(("mailto:", "/static/")):
                continue
            answer = await browser.get(address or path)
            assert answer.status_code in (200, 303), f"{path} links to {target}"
            if anchor:
                assert f'id="{anchor}"' in answer.text, f"{path} links to {target}"
            checked += 1
    assert checked > 100


async def test_programs_find_every_page(browser: httpx.AsyncClient) -> None:
    listed = (await browser.get("/llms.txt", headers={"accept": "*/*"})).text
    addresses = re.findall(r"\]\((http[^)]+)\): ", listed)
    assert len(addresses) == len(PAGES)
    for address in addresses:
        assert (await browser.get(address)).status_code == 200


async def test_a_page_that_is_not_there_is_not_found(browser: httpx.AsyncClient) -> None:
    for path in ("/guide/nothing", "/guide/nothing.md", "/help/../app", "/reference/faq"):
        assert (await browser.get(path)).status_code == 404


def test_the_reference_names_every_path_that_callers_have(services: Services) -> None:
    text = (GUIDE / "calls-api.md").read_text()
    named = set(re.findall(r"`((?:GET|POST|DELETE) /[^`]+)`", text))
    calls = {f"{surface.method} {surface.path}" for surface in SURFACES}
    look_ups = set(CallerApi(services.storage, Directory(services.storage)).look_ups)
    assert calls <= named
    assert {f"/v1/{name}" for name in look_ups} == {
        "/".join(request.split()[1].split("/")[:3]) for request in named - calls
    }


async def test_the_reference_names_every_request_of_the_control_api(
    browser: httpx.AsyncClient, control_app: FastAPI
) -> None:
    page = (await browser.get("/reference/control-api")).text
    operations = {row[0] for row in _rows(page) if len(row) == 2}
    paths = control_app.openapi()["paths"]
    assert operations >= {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_the_guide_names_only_settings_that_there_are() -> None:
    text = "".join(path.read_text() for path in GUIDE.glob("*.md"))
    named = set(re.findall(r"TOKENOPEN_[A-Z_]+", text))
    assert named
    assert named <= {f"TOKENOPEN_{name.upper()}" for name in Settings.model_fields}


async def test_every_live_value_is_used_by_a_page(services: Services) -> None:
    async with services.storage.read() as tx:
        prices = await read_price_list(tx)
    values = guide_values(prices, Languages().choose("en"), base_url="http://localhost", openapi={})
    text = "".join(page.markdown for page in PAGES.values())
    assert {name for name in values if f"{{{{ {name} }}}}" not in text} == set()
    assert len(values) == len(set(values))


async def test_each_reason_has_a_row_that_a_refused_call_can_lead_to(browser: httpx.AsyncClient) -> None:
    html = (await browser.get("/help/errors")).text
    for refusal in list_refusals():
        assert f'<tr id="{refusal.code}"><th scope="row">{refusal.status}</th>' in html
        assert f"<td><code>{refusal.code}</code></td>" in html
    assert "`" not in html.split("<main", 1)[1]
    assert "| 429 | `rpm_exceeded` |" in (await browser.get("/help/errors.md")).text
