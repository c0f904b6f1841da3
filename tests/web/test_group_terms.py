"""Groups & pricing: what is shown is what calls are charged; to visitors where the operator wants."""

import re

import httpx
import pytest

from tests.api.conftest import Entitle
from tests.web.offers import offer
from tests.web.page_text import text_of
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient


def rows_of(page: httpx.Response) -> dict[str, list[str]]:
    """Return the cells of each model's row by its name."""
    body = page.text.split('id="models"')[1]
    rows = [
        [
            " ".join(re.sub(r"<[^>]+>", " ", cell).split())
            for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr\b[^>]*>(.*?)</tr>", body, re.DOTALL)[1:]
    ]
    return {row[0].split()[0]: row[1:] for row in rows}


@pytest.fixture
async def models(services: Services, administrator: Actor) -> None:
    """Three models: in every group, not in Default, and one without output."""
    await offer(services, administrator, "gpt-4o-mini", input="0.15", cached_input="0.075", output="0.6")
    await offer(services, administrator, "gpt-6-sol", input="2", output="10", web_searches="10000")
    await offer(services, administrator, "text-embedding-3-small", input="0.02")


@pytest.mark.usefixtures("models")
async def test_rates_are_list_price_times_the_group_s_multiplier(user_page: Client) -> None:
    default = rows_of(await user_page.get("/groups"))
    assert default["gpt-4o-mini"] == [
        *("128k", "0.15 / 0.60", "1.0x", "0.15", "0.075", "0.60"),
        "Default, VIP, Enterprise",
    ]
    assert default["gpt-6-sol"] == ["128k", "2.00 / 10.00", "Not available in Default", "VIP, Enterprise"]
    assert default["text-embedding-3-small"][1:6] == ["0.02", "1.0x", "0.02", "0.02", ""]
    page = await user_page.get("/groups?group=vip")
    assert "Web searches 9.00 per 1,000" in text_of(page), (
        "what is counted one by one has no price per million"
    )
    vip = rows_of(page)
    assert vip["gpt-4o-mini"][2:6] == ["0.8x", "0.12", "0.06", "0.48"]
    assert vip["gpt-6-sol"][2:6] == ["0.9x", "1.80", "1.80", "9.00"]
    enterprise = rows_of(await user_page.get("/groups?group=enterprise"))
    assert enterprise["gpt-6-sol"][2:4] == ["Custom", "By agreement"]


@pytest.mark.usefixtures("models")
async def test_own_terms_are_priced_as_calls_are_charged(
    user_page: Client, other_page: Client, entitle: Entitle
) -> None:
    await entitle("enterprise", multiplier="0.65", model_multipliers={"gpt-6*": "0.5"})
    page = await user_page.get("/groups?group=enterprise")
    assert rows_of(page)["gpt-6-sol"][2:6] == ["0.5x", "1.00", "1.00", "5.00"]
    assert rows_of(page)["gpt-4o-mini"][2:6] == ["0.65x", "0.0975", "0.04875", "0.39"]
    assert "Custom terms" in text_of(page)
    # They are nobody else's.
    other = await other_page.get("/groups?group=enterprise")
    assert "Custom terms" not in text_of(other)
    assert rows_of(other)["gpt-6-sol"][2] == "Custom"


@pytest.mark.usefixtures("models")
async def test_models_are_found_by_name_or_maker_and_by_what_the_group_has(user_page: Client) -> None:
    for query, names in (
        ("q=MINI", ["gpt-4o-mini"]),
        ("q=openai", ["gpt-4o-mini", "gpt-6-sol", "text-embedding-3-small"]),
        ("show=available", ["gpt-4o-mini", "text-embedding-3-small"]),
        ("cursor=gpt-4o-mini", ["gpt-6-sol", "text-embedding-3-small"]),
        ("group=gold", ["gpt-4o-mini", "gpt-6-sol", "text-embedding-3-small"]),
    ):
        assert list(rows_of(await user_page.get(f"/groups?{query}"))) == names, query
    assert "No model fits" in text_of(await user_page.get("/groups?q=claude"))


async def test_without_models_the_page_says_so(user_page: Client) -> None:
    assert "No model is offered yet" in text_of(await user_page.get("/groups"))


@pytest.mark.usefixtures("models")
async def test_visitors_see_prices_only_where_the_operator_wants(
    visitor: Client, admin_client: Client
) -> None:
    answer = await visitor.get("/groups?group=vip")
    assert answer.headers["location"] == "/sign-in?next=/groups%3Fgroup%3Dvip"
    assert 'href="/groups"' not in (await visitor.get("/guide")).text
    await admin_client.patch("/api/admin/settings", json={"public_prices": True})
    page = await visitor.get("/groups?group=vip")
    assert rows_of(page)["gpt-4o-mini"][2:6] == ["0.8x", "0.12", "0.06", "0.48"]
    assert 'href="/groups"' in (await visitor.get("/guide")).text
    # Nothing that only users have is offered.
    for path in ("/keys/new", "/upgrade", "/sign-up"):
        assert path not in page.text.split("<main")[1]
    await admin_client.patch("/api/admin/settings", json={"sign_up": "open"})
    assert "/sign-up" in (await visitor.get("/groups")).text.split("<main")[1]


async def test_what_was_asked_for_is_marked(user_page: Client, user_client: Client) -> None:
    await user_client.post("/api/me/upgrade-requests", json={"group": "vip", "reason": "more"})
    text = text_of(await user_page.get("/groups"))
    assert "Asked for" in text.split("VIP")[1].split("Enterprise")[0]
