"""Try it: a real call from the page, through the gateway's own pipeline, with one of one's own keys."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from structlog.testing import capture_logs

from tests.conftest import HASHING_KEY, SEALING_KEY
from tests.fakes.upstream import FakeUpstream

# Fixtures that the gateway's own tests have too.
from tests.gateway.conftest import furnished as furnished
from tests.gateway.conftest import world as world
from tests.gateway.replies import INPUT_TOKENS, OUTPUT_TOKENS, provider_error, whole_json
from tests.gateway.world import CHAT, MODEL, OTHER_MODEL, World, price
from tests.sessions import give_session
from tests.web.conftest import MakeWebApp, OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, form_token, plain
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.core.money import Nanocredits, format_amount
from tokenopen.jobs.refused_calls import write_refused_calls

Client = httpx.AsyncClient
OpenPage = Callable[..., Awaitable[Client]]

CHARGE = price(input=INPUT_TOKENS, output=OUTPUT_TOKENS)


@pytest.fixture
async def page(world: World, open_page: OpenPage) -> Client:
    """The user's browser, on pages that the gateway stands behind."""
    return await open_page(world.user)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep what the gateway logs of failures off the screen; rendering their tracebacks takes seconds."""
    with capture_logs():
        yield


@pytest.fixture
def web_app() -> None:
    """No other pages than the world's."""


@pytest.fixture
def open_page(world: World, make_web_app: MakeWebApp, open_browser: OpenBrowser) -> OpenPage:
    """What opens somebody's browser, signed in, on pages with the world's gateway behind them."""
    services = Services(
        storage=world.storage,
        clock=world.clock,
        upstream=FakeUpstream(),
        hashing_key=HASHING_KEY,
        sealing_key=SEALING_KEY,
        allowed_networks=(),
    )
    app = make_web_app(services, make_call=world.api.make_call)

    async def open_one(actor: Actor, *, address: str = "192.0.2.1") -> Client:
        return open_browser(await give_session(world.storage, actor.user_id), app=app, address=address)

    return open_one


def _once(answer: httpx.Response) -> str:
    found = re.search(r'name="once" value="([0-9a-f]{32})"', answer.text)
    assert found is not None
    return found[1]


async def _send(browser: Client, **fields: str) -> httpx.Response:
    form = await browser.get("/try")
    data = {"form_token": form_token(form), "once": _once(form), "message": "Hello", "model": MODEL, **fields}
    return await browser.post("/try", data=data, headers=FROM_OUR_PAGE)


async def test_a_call_is_made_charged_and_its_receipt_shown(world: World, page: Client) -> None:
    world.upstream.will(whole_json(text="Good <day>"))
    answer = await _send(page, key=world.key_id, message="Say hello", max_tokens="40")
    assert answer.status_code == 200
    assert "Good &lt;day&gt;" in answer.text
    assert f"Charge {format_amount(Nanocredits(CHARGE))}" in plain(answer.text)
    row = await world.only_call()
    assert (row["key_id"], row["state"], row["charge"]) == (world.key_id, "settled", CHARGE)
    assert f'href="/calls/{row["id"]}"' in answer.text
    assert await world.charges() == [CHARGE]
    [sent] = world.upstream.requests
    assert isinstance(sent.body, bytes)
    assert b'"content":"Say hello"' in sent.body
    assert b'"max_completion_tokens":40' in sent.body
    await world.assert_sound()


async def test_a_page_that_is_sent_again_charges_nothing_again(world: World, page: Client) -> None:
    world.upstream.will(whole_json(text="Once"))
    form = await page.get("/try")
    data = {
        "form_token": form_token(form),
        "once": _once(form),
        "message": "Hello",
        "model": MODEL,
        "key": world.key_id,
    }
    first = await page.post("/try", data=data, headers=FROM_OUR_PAGE)
    again = await page.post("/try", data=data, headers=FROM_OUR_PAGE)
    assert "Nothing was charged again" not in first.text
    assert "Once" in again.text
    assert "Nothing was charged again" in again.text
    assert await world.charges() == [CHARGE]
    # The page that answers carries another one, so that its button makes another call.
    assert _once(first) != data["once"]


async def test_two_clicks_at_once_make_one_call(world: World, page: Client) -> None:
    gate = asyncio.Event()
    world.upstream.will(replace(whole_json(text="Once"), before=[gate]))
    form = await page.get("/try")
    data = {
        "form_token": form_token(form),
        "once": _once(form),
        "message": "Hello",
        "model": MODEL,
        "key": world.key_id,
    }
    running = [asyncio.create_task(page.post("/try", data=data, headers=FROM_OUR_PAGE)) for _ in range(2)]
    await asyncio.sleep(0.3)
    gate.set()
    answers = await asyncio.gather(*running)
    assert all("Once" in answer.text for answer in answers)
    assert await world.charges() == [CHARGE]


async def test_the_limits_of_the_group_hold_and_the_refusal_is_explained(world: World, page: Client) -> None:
    await world.change_group({"requests_per_minute": 1})
    world.upstream.will(whole_json(text="One"))
    await _send(page, key=world.key_id)
    refused = await _send(page, key=world.key_id)
    text = plain(refused.text)
    assert "Requests / minute used up" in text
    assert "Requests / minute (RPM) 1 Used 1 One more call would pass from 2026-06-01 12:01:01 UTC" in text
    assert re.search(r'href="/upgrade\?refused=call_\w+&amp;from=team"', refused.text)
    assert len(await world.rows("calls")) == 1
    # It is in the log of refused calls like any other.
    await write_refused_calls(world.storage, world.gateway.refused)
    [row] = await world.rows("refused_calls")
    assert row["id"] in refused.text


async def test_what_credit_does_not_cover_is_refused(world: World, page: Client) -> None:
    await world.set_credit(10)
    text = plain((await _send(page, key=world.key_id)).text)
    assert "Not enough credit" in text
    assert "Available credit 0.00000001" in text
    assert await world.rows("calls") == []


async def test_a_key_s_group_models_and_addresses_bind_here_too(
    world: World, page: Client, open_page: OpenPage
) -> None:
    assert "Model not in the group" in (await _send(page, key=world.key_id, model=OTHER_MODEL)).text
    _, narrowed = await world.create_key(allowed_ips=("198.51.100.7",))
    assert "Address not allowed" in (await _send(page, key=narrowed)).text
    world.upstream.will(whole_json(text="From home"))
    home = await open_page(world.user, address="198.51.100.7")
    assert "From home" in (await _send(home, key=narrowed)).text
    await world.change_key({"state": "disabled"})
    text = (await _send(page, key=world.key_id)).text
    assert "API key revoked or off" in text
    assert len(await world.rows("calls")) == 1


async def test_nobody_calls_with_another_user_s_key(world: World, open_page: OpenPage) -> None:
    await world.create_key_of_another()
    keys = await world.rows("api_keys")
    [theirs] = [row for row in keys if row["user_id"] != world.user.user_id]
    for actor, key_id in ((world.user, theirs["id"]), (world.administrator, world.key_id)):
        browser = await open_page(actor)
        form = await browser.get("/profile")
        data = {"form_token": form_token(form), "once": "0" * 32, "message": "x", "model": MODEL}
        answer = await browser.post("/try", data={**data, "key": key_id}, headers=FROM_OUR_PAGE)
        assert answer.status_code == 404
    assert await world.rows("calls") == []
    assert world.upstream.requests == []


async def test_a_provider_s_own_refusal_is_shown_and_costs_nothing(world: World, page: Client) -> None:
    world.upstream.will(provider_error(400))
    text = plain((await _send(page, key=world.key_id)).text)
    assert "organisation org-secret said no" in text
    assert "Not charged" in text
    assert await world.charges() == []


async def test_a_provider_that_fails_is_said_to_have_failed(world: World, page: Client) -> None:
    world.upstream.will(provider_error(500))
    answer = await _send(page, key=world.key_id)
    assert answer.status_code == 200
    assert "Nothing was charged" in answer.text
    await world.settled()
    assert await world.charges() == []
    assert (await world.only_call())["state"] == "voided"


async def test_a_process_that_ends_makes_no_more_calls(world: World, page: Client) -> None:
    world.api.stop_admitting(cut_after_s=1)
    assert "Server stopping" in (await _send(page, key=world.key_id)).text
    assert await world.rows("calls") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"key": ""},
        {"model": " "},
        {"message": "\n"},
        {"message": "x" * 100_001},
        {"max_tokens": "0"},
        {"max_tokens": "many"},
        {"max_tokens": "100001"},
        {"max_tokens": "\u0665"},
    ],
)
async def test_a_form_that_is_not_filled_in_is_shown_again(
    world: World, page: Client, fields: dict[str, str]
) -> None:
    answer = await _send(page, **{"key": world.key_id, **fields})
    assert answer.status_code == 400
    assert 'class="field-error"' in answer.text
    assert await world.rows("calls") == []


async def test_without_a_key_the_page_leads_to_creating_one(world: World, open_page: OpenPage) -> None:
    browser = await open_page(world.administrator)
    page = (await browser.get("/try")).text
    assert "No key to try" in page
    assert "<textarea" not in page


async def test_key_and_model_may_be_chosen_in_the_address(world: World, page: Client) -> None:
    _, other = await world.create_key()
    answer = await page.get("/try", params={"key": other, "model": "gpt-x"})
    assert f'<option value="{other}" selected>' in answer.text
    assert 'value="gpt-x"' in answer.text
    assert f'value="{MODEL}"' in (await page.get("/try")).text
    assert CHAT == "/v1/chat/completions"
