"""Models and prices in the administrators' pages: the list, the editor, revisions, import, archiving."""

import re
from html import unescape

import httpx
import pytest

from tests.fakes.clock import MovableClock
from tests.web.catalog import offer
from tests.web.forms import FROM_OUR_PAGE, form_token, send_form
from tests.web.page_text import words
from tokenopen.control.actor import Actor
from tokenopen.control.model import ModelRecord, find_model, list_by_state, list_price_revisions, put_model
from tokenopen.control.model_access import list_active_groups
from tokenopen.control.page import PageRequest
from tokenopen.control.services import Services
from tokenopen.control.upstream import Sealing, create_upstream
from tokenopen.core.errors import InvalidRequest, NotFound, PermissionDenied
from tokenopen.core.money import Nanocredits, parse_price
from tokenopen.ports.storage import Storage
from tokenopen.web.model_form import fill_model_form

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
MODELS = "/admin/models"


async def read(storage: Storage, actor: Actor, name: str) -> ModelRecord:
    async with storage.read() as tx:
        return await find_model(tx, actor, name)


def fields_of(page: httpx.Response) -> dict[str, str]:
    """Return the fields of a page's editor as a browser would send them."""
    form = page.text[page.text.index('id="editor"') : page.text.index("<aside")]
    inputs = [
        (re.search(r'name="(\w+)"', tag), re.search(r'value="([^"]*)"', tag))
        for tag in re.findall(r"<input [^>]*>", form)
    ]
    return {name[1]: unescape(value[1]) if value else "" for name, value in inputs if name}


async def save(browser: Client, on: str, **changes: str) -> httpx.Response:
    """Open an editor, type over some of its fields and save it."""
    page = await browser.get(on)
    data = {"form_token": form_token(page), **fields_of(page), **changes}
    return await browser.post(MODELS, data=data, headers=FROM_OUR_PAGE)


async def carry(services: Services, administrator: Actor, name: str) -> None:
    """Have an upstream of its own carry a model as it is."""
    wanted = {"name": f"to {name}", "provider": "openai", "credential": "sk-provider", "models": {name: name}}
    async with services.storage.write() as tx:
        sealing = Sealing(key=services.sealing_key, allowed_networks=())
        await create_upstream(tx, administrator, wanted, sealing=sealing)  # type: ignore[arg-type]


async def test_incomplete_models_that_are_carried_come_first_and_say_what_they_lack(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "a-offered")
    async with storage.write() as tx:
        await put_model(tx, administrator, "b-archived", {"context_window": 1})
        await put_model(tx, administrator, "c-incomplete", {"context_window": 1_000})
        await put_model(tx, administrator, "a-unused", {"context_window": 1_000})
        prices = {"input": parse_price("1"), "output": parse_price("2")}
        whole = {"context_window": 9, "max_output_tokens": 3, "prices": prices}
        await put_model(tx, administrator, "d-whole", whole)  # type: ignore[arg-type]
    await carry(services, administrator, "c-incomplete")
    await send_form(administrator_page, f"{MODELS}/_archive", on=f"{MODELS}/b-archived", name="b-archived")
    answer = await administrator_page.get(MODELS)
    assert re.findall(r'<a href="/admin/models/([a-d]-\w+)"', answer.text) == [
        "c-incomplete",
        "a-offered",
        "d-whole",
        "a-unused",
        "b-archived",
    ]
    text = words(answer)
    assert "1 model that an upstream carries is incomplete and therefore not offered" in text
    assert re.search(r"c-incomplete custom Incomplete prices, output maximum", text)
    assert re.search(
        r"a-offered openai On offer 2\.00 . 8\.00 128,000 output 16,384 to a-offered Enterprise", text
    )
    assert "d-whole custom No upstream carries it" in text


async def test_the_list_pages_by_place_and_name(
    storage: Storage, services: Services, administrator: Actor, administrator_page: Client
) -> None:
    prices = {"input": Nanocredits(1), "output": Nanocredits(1)}
    async with storage.write() as tx:
        for number in range(5):
            await put_model(tx, administrator, f"x-{number}", {"context_window": 5})
            whole = {"context_window": 5, "max_output_tokens": 5, "prices": prices}
            await put_model(tx, administrator, f"y-{number}", whole)  # type: ignore[arg-type]
    for name in ("x-3", "y-4"):
        await carry(services, administrator, name)
    found: list[str] = []
    cursor = None
    async with storage.read() as tx:
        while True:
            page = await list_by_state(
                tx, administrator, text=None, state=None, page=PageRequest(limit=3, after=cursor)
            )
            found += [record.model.name for record in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        with pytest.raises(InvalidRequest):
            await list_by_state(tx, administrator, text=None, state=None, page=PageRequest(after="nonsense"))
    assert found == ["x-3", "y-4", "y-0", "y-1", "y-2", "y-3", "x-0", "x-1", "x-2", "x-4"]
    assert (await administrator_page.get(MODELS, params={"cursor": "nonsense"})).status_code == 400


async def test_models_are_found_by_name_maker_and_state(
    administrator_page: Client, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-a", "claude-b")
    answer = await administrator_page.get(MODELS, params={"q": "CLAUDE"})
    assert re.findall(r'<a href="/admin/models/(\w+-\w)"', answer.text) == ["claude-b"]
    answer = await administrator_page.get(MODELS, params={"q": "openai"})
    assert re.findall(r'<a href="/admin/models/(\w+-\w)"', answer.text) == ["claude-b", "gpt-a"]
    assert "Nothing found" in (await administrator_page.get(MODELS, params={"state": "archived"})).text


async def test_without_any_model_the_list_leads_to_the_import(administrator_page: Client) -> None:
    answer = await administrator_page.get(MODELS)
    assert "No models yet" in answer.text
    assert 'href="/admin/models/_import"' in answer.text


async def test_a_model_is_added_with_its_prices(
    administrator_page: Client, storage: Storage, administrator: Actor
) -> None:
    answer = await send_form(
        administrator_page,
        MODELS,
        on=f"{MODELS}/_new?name=maker/new-model",
        name="maker/new-model",
        maker="maker",
        context_window="200,000",
        max_output_tokens="8192",
        price_input="2.5",
        price_output="10",
        price_cached_input="0.25",
        price_per_call="0.01",
        step1_above="100000",
        step1_price_input="5",
        step1_price_output="20",
        reason="New in spring",
    )
    assert answer.headers["location"] == "/admin/models/maker/new-model"
    record = await read(storage, administrator, "maker/new-model")
    assert record.missing == []
    assert record.price is not None
    assert record.price.reason == "New in spring"
    assert record.price.named.named == {
        "input": parse_price("2.5"),
        "cached_input": parse_price("0.25"),
        "output": parse_price("10"),
        "per_call": parse_price("0.01"),
    }
    assert record.price.named.steps == [(100_000, {"input": parse_price("5"), "output": parse_price("20")})]
    page = await administrator_page.get("/admin/models/maker/new-model")
    assert "Model maker/new-model is added." in words(page)
    # The editor shows it as it is: saved again, nothing changes, and no revision is written.
    assert fields_of(page)["step1_price_output"] == "20"
    assert (await save(administrator_page, "/admin/models/maker/new-model")).status_code == 303
    assert (await read(storage, administrator, "maker/new-model")).price == record.price


async def test_a_model_without_prices_is_incomplete_never_free(
    administrator_page: Client, storage: Storage, administrator: Actor
) -> None:
    """Invariant I8: an empty field is no price."""
    await send_form(administrator_page, MODELS, on=f"{MODELS}/_new", name="bare", context_window="10")
    record = await read(storage, administrator, "bare")
    assert record.price is None
    assert record.missing == ["prices", "max_output_tokens"]
    # A price that there was cannot be emptied either: zero has to be typed.
    await save(administrator_page, f"{MODELS}/bare", price_input="1", price_output="1")
    answer = await save(administrator_page, f"{MODELS}/bare", price_input="", price_output="")
    assert answer.status_code == 400
    assert 'id="error-prices"' in answer.text
    await save(administrator_page, f"{MODELS}/bare", price_input="0", price_output="0")
    price = (await read(storage, administrator, "bare")).price
    assert price is not None
    assert price.named.named == {"input": 0, "output": 0}


REFUSED = [
    ("price_input", "free", "price_input"),
    ("price_input", "-1", "price_input"),
    ("price_output", "1,5", "price_output"),
    ("price_input", "", "prices"),
    ("price_output", "", "prices"),
    ("context_window", "0", "context_window"),
    ("context_window", "many", "context_window"),
    ("max_output_tokens", "128001", "max_output_tokens"),
    ("step1_above", "x", "step1_above"),
    ("step1_price_input", "3", "step1_above"),
    ("effective_from", "2020-01-01T00:00", "effective_from"),
    ("reason", "import", "reason"),
]


async def test_a_refusal_stands_at_its_field_and_what_was_typed_stays(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-a")
    before = await read(storage, administrator, "gpt-a")
    for field, typed, shown_at in REFUSED:
        changes = {"price_cached_input": "0.123", field: typed}
        answer = await save(administrator_page, f"{MODELS}/gpt-a", **changes)
        assert answer.status_code == 400, (field, typed)
        assert f'id="error-{shown_at}"' in answer.text, (field, typed)
        assert fields_of(answer)[field] == typed
        assert fields_of(answer)["price_cached_input"] == "0.123"
    assert await read(storage, administrator, "gpt-a") == before


async def test_a_name_that_cannot_be_or_is_taken_is_refused(
    administrator_page: Client, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-a")
    for name, status in (("no spaces", 400), ("_new", 400), ("", 400), ("gpt-a", 409)):
        answer = await send_form(
            administrator_page, MODELS, on=f"{MODELS}/_new", name=name, price_input="0", price_output="0"
        )
        assert answer.status_code == status, name
        assert 'id="error-name"' in answer.text


async def test_a_new_price_is_a_revision_at_once_or_from_an_instant_on(
    administrator_page: Client,
    storage: Storage,
    services: Services,
    administrator: Actor,
    clock: MovableClock,
) -> None:
    await offer(services, administrator, "gpt-a")
    clock.move(seconds=60)
    await save(administrator_page, f"{MODELS}/gpt-a", price_input="3", reason="<b>Dearer</b>")
    clock.move(seconds=60)
    await save(administrator_page, f"{MODELS}/gpt-a", price_output="9", effective_from="2026-07-01T00:00")
    record = await read(storage, administrator, "gpt-a")
    assert record.price is not None
    assert record.price.named.named == {"input": parse_price("3"), "output": parse_price("8")}
    assert record.upcoming[0].revision.effective_from_ms == 1_782_864_000_000
    answer = await administrator_page.get(f"{MODELS}/gpt-a")
    third, second, first = re.split(r"Revision \d ", words(answer).partition("Revisions of its prices")[2])[
        1:
    ]
    assert re.search(r"^Scheduled .* Output tokens Before: 8\.00 After: 9\.00", third)
    assert re.search(r"^In force .* Input tokens Before: 2\.00 After: 3\.00", second)
    assert "Output" not in second
    assert re.search(r"^Past .* Input tokens After: 2\.00 Output tokens After: 8\.00", first)
    assert "&lt;b&gt;Dearer&lt;/b&gt;" in answer.text


async def test_nobody_overwrites_a_price_that_was_set_meanwhile(
    administrator_page: Client,
    storage: Storage,
    services: Services,
    administrator: Actor,
    clock: MovableClock,
) -> None:
    await offer(services, administrator, "gpt-a")
    mine = fill_model_form(await read(storage, administrator, "gpt-a"))
    typed = {**{name: values[0] for name, values in mine.values.items()}, "max_output_tokens": "77"}
    async with storage.write() as tx:
        named = {"input": parse_price("5"), "output": parse_price("6")}
        await put_model(tx, administrator, "gpt-a", {"prices": named})
    answer = await send_form(administrator_page, MODELS, on=f"{MODELS}/gpt-a", **typed)
    assert answer.status_code == 409
    assert "nothing of yours was saved" in answer.text
    record = await read(storage, administrator, "gpt-a")
    assert record.model.max_output_tokens == 16_384
    # Sent again by somebody who has read it, it is theirs; a price that begins meanwhile counts as a change.
    again = fields_of(answer)
    assert (again["version"], again["max_output_tokens"]) == (record.version, "77")
    assert (await send_form(administrator_page, MODELS, on=f"{MODELS}/gpt-a", **again)).status_code == 303
    async with storage.write() as tx:
        named = {"input": parse_price("7"), "output": parse_price("8")}
        at_ms = tx.now_ms + 60_000
        await put_model(tx, administrator, "gpt-a", {"prices": named}, effective_from_ms=at_ms)
    typed = fields_of(await administrator_page.get(f"{MODELS}/gpt-a"))
    clock.move(seconds=61)
    answer = await send_form(administrator_page, MODELS, on=f"{MODELS}/gpt-a", **{**typed, "maker": "x"})
    assert answer.status_code == 409
    async with storage.read() as tx:
        newest = (await list_price_revisions(tx, administrator, "gpt-a"))[0]
    assert newest.named.named["input"] == parse_price("7")


async def test_the_preview_names_the_groups_that_let_a_model_in_at_their_rates(
    administrator_page: Client, storage: Storage, administrator: Actor
) -> None:
    answer = await send_form(
        administrator_page,
        MODELS,
        on=f"{MODELS}/_new",
        name="gpt-6-next",
        price_input="2",
        price_output="10",
        action="preview",
    )
    assert answer.status_code == 200
    text = words(answer)
    assert re.search(r"Enterprise by \* 1\.0x 2\.00 10\.00", text)
    assert re.search(r"VIP by gpt-6\* 0\.9x 1\.80 9\.00", text)
    assert "Default by" not in text
    assert re.search(r"Reasoning tokens 10\.00", text)
    with pytest.raises(NotFound):
        await read(storage, administrator, "gpt-6-next")


async def test_the_makers_models_are_imported_and_own_prices_stay(
    administrator_page: Client, storage: Storage, administrator: Actor
) -> None:
    answer = await administrator_page.get(f"{MODELS}/_import")
    text = words(answer)
    assert re.search(r"deepseek \d+ new", text)
    assert "Let in by Enterprise" in text
    token = form_token(answer)

    async def send(*makers: str) -> httpx.Response:
        data = {"form_token": token, "makers": list(makers)}
        return await administrator_page.post(f"{MODELS}/_import", data=data, headers=FROM_OUR_PAGE)

    for makers in ((), ("nobody",)):
        refused = await send(*makers)
        assert (refused.status_code, 'id="error-makers"' in refused.text) == (400, True)
    assert (await send("deepseek")).headers["location"] == MODELS
    listed = await administrator_page.get(MODELS, params={"q": "deepseek"})
    assert re.search(r"Imported: \d+ new, 0 changed\. Your own prices that were kept: 0", words(listed))
    name = re.search(r'<a href="/admin/models/(deepseek[^"]*)"', listed.text)
    assert name is not None
    await save(administrator_page, f"{MODELS}/{name[1]}", price_input="77", price_output="78")
    await send("deepseek")
    assert "Your own prices that were kept: 1." in words(await administrator_page.get(MODELS))
    price = (await read(storage, administrator, name[1])).price
    assert price is not None
    assert price.named.named["input"] == parse_price("77")


async def test_a_model_is_archived_and_put_back(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-6")
    page = await administrator_page.get(f"{MODELS}/gpt-6")
    assert re.search(r"among the available models of: Enterprise ?, ?VIP", words(page))
    await send_form(administrator_page, f"{MODELS}/_archive", on=f"{MODELS}/gpt-6", name="gpt-6")
    assert (await read(storage, administrator, "gpt-6")).state == "archived"
    assert "This model is archived" in (await administrator_page.get(f"{MODELS}/gpt-6")).text
    await send_form(administrator_page, f"{MODELS}/_unarchive", on=f"{MODELS}/gpt-6", name="gpt-6")
    assert (await read(storage, administrator, "gpt-6")).state == "active"
    gone = await send_form(administrator_page, f"{MODELS}/_archive", on=f"{MODELS}/gpt-6", name="none")
    assert gone.status_code == 404
    assert (await administrator_page.get(f"{MODELS}/none")).status_code == 404


async def test_use_cases_are_the_administrators(storage: Storage, user: Actor) -> None:
    async with storage.read() as tx:
        with pytest.raises(PermissionDenied):
            await list_active_groups(tx, user)
        with pytest.raises(PermissionDenied):
            await list_by_state(tx, user, text=None, state=None, page=PageRequest())
