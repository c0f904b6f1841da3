"""The administrators' first page: three steps to a first call, then what there is to know and to do."""

import re

import httpx
import pytest

from tests.fakes.clock import MovableClock
from tests.refused_calls import refuse_call
from tests.sessions import give_password, give_session
from tests.till_calls import TillCalls, start_calls
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, error_at, form_token, once_token, send_form
from tokenopen.control.actor import Actor
from tokenopen.core.call import Outcome
from tokenopen.core.session import PASSWORD_RECENT_MS
from tokenopen.ports.storage import Storage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
SCRIPT = {"HX-Request": "true"}


def step(page: httpx.Response) -> str:
    found = re.search(r'aria-current="step">.*?<h2>(.*?)\s*</h2>', page.text, re.DOTALL)
    return "" if found is None else found[1]


async def offer_a_model(admin_client: Client) -> None:
    answer = await admin_client.post(
        "/api/admin/upstreams",
        json={
            "name": "OpenAI",
            "provider": "openai",
            "base_url": "https://api.openai.com/v1",
            "credential": "sk-x",
            "models": {"gpt-4o-mini": "gpt-4o-mini"},
        },
    )
    assert answer.status_code == 201, answer.text
    answer = await admin_client.put(
        "/api/admin/models/gpt-4o-mini",
        json={
            "prices": {"input": "0.15", "output": "0.6"},
            "context_window": 128_000,
            "max_output_tokens": 16_384,
        },
    )
    assert answer.is_success, answer.text


async def test_an_empty_installation_is_led_to_its_first_call(
    administrator_page: Client, admin_client: Client, administrator: Actor, storage: Storage
) -> None:
    assert step(await administrator_page.get("/admin")) == "Add an upstream"
    await offer_a_model(admin_client)
    page = await administrator_page.get("/admin")
    assert step(page) == "Create a key and call"
    assert "1 model is on offer." in page.text
    fields = {
        "form_token": form_token(page),
        "once": once_token(page),
        "group": "default",
        "credit": "5",
    }
    made = await administrator_page.post("/admin/first-key", data=fields, headers=FROM_OUR_PAGE)
    assert made.status_code == 200, made.text
    secret = re.search(r'value="(sk-to-\w+)"', made.text)
    assert secret is not None
    assert made.text.count(secret[1]) > 3
    assert "http://localhost/v1" in made.text
    # Sent again it does nothing more, and the secret is told no second time.
    again = await administrator_page.post("/admin/first-key", data=fields, headers=FROM_OUR_PAGE)
    assert again.headers["location"] == "/admin"
    me = (await admin_client.get("/api/me")).json()
    assert me["balance"] == "5"
    assert len((await admin_client.get("/api/me/keys")).json()["data"]) == 1
    page = await administrator_page.get("/admin")
    assert "Waiting for your first call" in page.text
    assert secret[1] not in page.text
    assert "YOUR_API_KEY" in page.text


async def test_the_waiting_page_opens_the_receipt_once_the_call_came(
    administrator_page: Client,
    admin_client: Client,
    administrator: Actor,
    storage: Storage,
    clock: MovableClock,
) -> None:
    still = await administrator_page.get("/admin/first-call", headers=SCRIPT)
    assert still.status_code == 200
    assert "hx-redirect" not in still.headers
    assert "Waiting for your first call" in still.text
    assert "<html" not in still.text
    by_hand = await administrator_page.get("/admin/first-call")
    assert by_hand.headers["location"] == "/admin"
    refused_id = await refuse_call(
        storage, administrator, code="insufficient_credit", status=402, message="This call can <cost> 1."
    )
    still = await administrator_page.get("/admin/first-call", headers=SCRIPT)
    assert "This call can &lt;cost&gt; 1." in still.text
    assert f'href="/admin/calls/{refused_id}"' in still.text
    calls = await start_calls(storage, clock, administrator, administrator)
    call_id = await calls.call()
    came = await administrator_page.get("/admin/first-call", headers=SCRIPT)
    assert came.headers["hx-redirect"] == f"/admin/calls/{call_id}"
    by_hand = await administrator_page.get("/admin/first-call")
    assert by_hand.headers["location"] == f"/admin/calls/{call_id}"
    assert step(await administrator_page.get("/admin")) == ""


async def test_another_user_s_call_is_not_the_one_that_is_waited_for(
    administrator_page: Client, till: TillCalls
) -> None:
    await till.call()
    assert "hx-redirect" not in (await administrator_page.get("/admin/first-call", headers=SCRIPT)).headers


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"credit": "5,0"}, "credit"), ({"credit": "-1"}, "credit"), ({"group": "enterprise"}, "group")],
)
async def test_a_first_key_that_cannot_be_leaves_nothing_behind(
    administrator_page: Client, admin_client: Client, fields: dict[str, str], field: str
) -> None:
    await offer_a_model(admin_client)
    once = once_token(await administrator_page.get("/admin"))
    typed = {"group": "default", "credit": "7", "once": once} | fields
    page = await send_form(administrator_page, "/admin/first-key", on="/admin", **typed)
    assert page.status_code in (400, 403)
    assert error_at(page, field)
    me = (await admin_client.get("/api/me")).json()
    assert me["balance"] == "0"
    assert (await admin_client.get("/api/me/keys")).json()["data"] == []


async def test_credit_for_a_first_call_needs_a_recent_password(
    open_browser: OpenBrowser,
    storage: Storage,
    administrator: Actor,
    admin_client: Client,
    clock: MovableClock,
) -> None:
    await offer_a_model(admin_client)
    await give_password(storage, administrator.user_id)
    browser = open_browser(await give_session(storage, administrator.user_id))
    page = await browser.get("/admin")
    clock.move(milliseconds=PASSWORD_RECENT_MS + 1)
    fields = {"form_token": form_token(page), "once": once_token(page), "group": "default", "credit": "5"}
    answer = await browser.post("/admin/first-key", data=fields, headers=FROM_OUR_PAGE)
    assert answer.headers["location"].startswith("/confirm-password?")
    assert (await admin_client.get("/api/me/keys")).json()["data"] == []


async def test_the_overview_sums_everybody_s_calls_and_names_what_waits(
    till: TillCalls, administrator_page: Client, admin_client: Client, user_client: Client
) -> None:
    await till.call(hold=10**9, input=1_000_000, output=0)
    failed = await till.admit()
    await till.void(failed)
    flagged = await till.admit()
    await till.resolve(
        flagged,
        Outcome(resolution="void", end_reason="impossible_usage", status=200, flag="impossible_usage"),
    )
    await refuse_call(till.storage, till.user)
    await user_client.post("/api/me/upgrade-requests", json={"group": "vip", "reason": "More"})
    page = await administrator_page.get("/admin")
    assert page.status_code == 200

    def tile(label: str) -> str:
        found = re.search(rf'tile-label">{label}</span>\s*<span class="tile-value">(.*?)</span>', page.text)
        assert found is not None, label
        return re.sub(r"<[^>]+>", "", found[1])

    assert tile("Revenue") == "0.15"
    assert tile("Calls") == "1"
    assert tile("Refused calls") == "1"
    assert tile("Upgrade requests") == "1"
    assert tile("Flagged calls") == "1"
    assert "1 call got no reply" in page.text
    assert till.user.email in page.text.rsplit("Users with the most revenue", 1)[1]
    assert "gpt-4o-mini" in page.text.rsplit("Models with the most revenue", 1)[1]


async def test_an_overview_without_anything_to_do_says_so(
    till: TillCalls, administrator_page: Client, clock: MovableClock
) -> None:
    await till.call()
    clock.move(seconds=40 * 24 * 3600)
    token = await give_session(till.storage, till.administrator.user_id)
    administrator_page.cookies.set("tokenopen", token)
    page = await administrator_page.get("/admin")
    assert "Nothing in these 30 days" in page.text
    assert "Nothing was refused" in page.text
    assert "Providers failed" not in page.text
