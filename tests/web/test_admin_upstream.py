"""Upstreams in the administrators' pages: adding, picking models, testing, health, settings, credentials."""

import json
import re

import httpx
import pytest
from sqlalchemy import insert

from tests.conftest import SEALING_KEY
from tests.fakes.clock import MovableClock
from tests.fakes.upstream import FakeReply, FakeUpstream
from tests.sessions import give_session
from tests.till_calls import start_calls
from tests.web.catalog import CREDENTIAL, offer
from tests.web.conftest import OpenBrowser
from tests.web.forms import FROM_OUR_PAGE, form_token, send_form
from tests.web.page_text import words
from tokenopen.control.actor import Actor
from tokenopen.control.model import put_model
from tokenopen.control.page import PageRequest
from tokenopen.control.services import Services
from tokenopen.control.upstream import (
    Sealing,
    UpstreamRecord,
    change_models,
    find_upstream,
    list_upstreams,
    update_upstream,
)
from tokenopen.control.upstream_health import UpstreamHealth, list_health
from tokenopen.core.errors import PermissionDenied
from tokenopen.ports.storage import Storage
from tokenopen.storage.schema import calls
from tokenopen.storage.sqlite import SqliteStorage
from tokenopen.upstream.credential import open_credential
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.web.upstream_form import fill_settings

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
UPSTREAMS = "/admin/upstreams"
NEW = {
    "name": "Main",
    "provider": "openai",
    "base_url": "https://api.openai.com/v1",
    "credential": CREDENTIAL,
}
SEALING = Sealing(key=SEALING_KEY, allowed_networks=())


def listing(*names: str) -> FakeReply:
    return FakeReply(200, json.dumps({"data": [{"id": name} for name in names]}).encode())


async def read(storage: Storage, actor: Actor, upstream_id: str) -> UpstreamRecord:
    async with storage.read() as tx:
        return await find_upstream(tx, actor, upstream_id)


async def settings(storage: Storage, actor: Actor, upstream_id: str, **changes: str) -> dict[str, str]:
    form = fill_settings(await read(storage, actor, upstream_id))
    return {**{name: values[0] for name, values in form.values.items()}, **changes}


async def test_without_an_upstream_the_list_leads_to_the_providers(administrator_page: Client) -> None:
    assert "No upstreams yet" in (await administrator_page.get(UPSTREAMS)).text
    providers = await administrator_page.get(f"{UPSTREAMS}/new")
    for provider in PROVIDERS.values():
        assert f'href="/admin/upstreams/new?provider={provider.name}"' in providers.text
    page = await administrator_page.get(f"{UPSTREAMS}/new", params={"provider": "groq"})
    assert 'value="https://api.groq.com/openai/v1"' in page.text
    assert "GROQ_API_KEY" in page.text
    assert 'type="password"' in page.text


async def test_an_upstream_is_added_its_models_fetched_and_picked(
    administrator_page: Client,
    storage: Storage,
    administrator: Actor,
    upstream: FakeUpstream,
) -> None:
    async with storage.write() as tx:
        prices = {"input": 1, "output": 2}
        whole = {"context_window": 9, "max_output_tokens": 3, "prices": prices}
        await put_model(tx, administrator, "gpt-6", whole)  # type: ignore[arg-type]
        await put_model(tx, administrator, "gpt-bare", {"context_window": 9})
    answer = await send_form(administrator_page, UPSTREAMS, on=f"{UPSTREAMS}/new?provider=openai", **NEW)
    path = answer.headers["location"]
    match = re.fullmatch(r"/admin/upstreams/(ups_\w+)/models\?fetch=yes", path)
    assert match is not None
    upstream_id = match[1]
    record = await read(storage, administrator, upstream_id)
    sealed = record.endpoint.credential_sealed
    assert open_credential(SEALING_KEY, "https://api.openai.com:443", sealed) == CREDENTIAL

    upstream.replies += [listing("models/gpt-6", "gpt-bare", "whisper-9") for _ in range(2)]
    page = await administrator_page.get(path)
    text = words(page)
    # What has a price comes first, each with the groups whose patterns would let it in.
    assert re.search(
        r"With a price here .* models/gpt-6 gpt-6 Priced Enterprise ?, ?VIP "
        r".*Without a price here .* gpt-bare gpt-bare Incomplete Enterprise "
        r".*whisper-9 whisper-9 Set a price Enterprise",
        text,
    )
    assert 'href="/admin/models/_new?name=whisper-9"' in page.text
    token = form_token(page)
    nothing = await administrator_page.post(path, data={"form_token": token}, headers=FROM_OUR_PAGE)
    assert (nothing.status_code, 'id="error-pick"' in nothing.text) == (400, True)
    data = {"form_token": token, "pick": ["models/gpt-6", "gpt-bare"]}
    answer = await administrator_page.post(path, data=data, headers=FROM_OUR_PAGE)
    assert answer.headers["location"] == f"{UPSTREAMS}/{upstream_id}#models"
    record = await read(storage, administrator, upstream_id)
    assert record.models == {"gpt-6": "models/gpt-6", "gpt-bare": "gpt-bare"}
    page = await administrator_page.get(f"{UPSTREAMS}/{upstream_id}")
    assert "Models added: 2." in words(page)
    assert re.search(r"gpt-6 models/gpt-6 Priced Enterprise ?, ?VIP", words(page))
    assert re.search(r"1 not on offer", words(await administrator_page.get(UPSTREAMS)))


async def test_models_are_added_by_hand_and_taken_away_beside_what_is_there(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a", "gpt-b")
    path = f"{UPSTREAMS}/{upstream_id}/models"
    await send_form(administrator_page, path, name="mine", upstream_model="theirs-2026")
    await send_form(administrator_page, path, name="same", upstream_model="")
    await send_form(administrator_page, f"{path}/remove", on=f"{UPSTREAMS}/{upstream_id}", name="gpt-a")
    record = await read(storage, administrator, upstream_id)
    assert record.models == {"gpt-b": "gpt-b", "mine": "theirs-2026", "same": "same"}
    for name in ("no spaces", ""):
        refused = await send_form(administrator_page, path, name=name, upstream_model="kept")
        assert refused.status_code == 400
        assert 'id="error-name"' in refused.text
        assert 'value="kept"' in refused.text
    assert (await read(storage, administrator, upstream_id)).models == record.models


async def test_a_list_that_cannot_be_fetched_says_what_to_do(
    administrator_page: Client, services: Services, administrator: Actor, upstream: FakeUpstream
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a")
    path = f"{UPSTREAMS}/{upstream_id}"
    upstream.replies += [FakeReply(401, b"{}"), listing(), FakeReply(401, b"{}"), listing("gpt-a", "gpt-b")]
    page = await administrator_page.get(f"{path}/models?fetch=yes")
    assert "The provider refused the credential" in page.text
    assert CREDENTIAL not in page.text
    assert "The provider lists no models" in (await administrator_page.get(f"{path}/models?fetch=yes")).text
    # Nobody is asked before somebody wants it.
    await administrator_page.get(f"{path}/models")
    assert len(upstream.replies) == 2
    await send_form(administrator_page, f"{path}/test", on=path)
    assert "The test failed. The provider refused the credential" in words(await administrator_page.get(path))
    await send_form(administrator_page, f"{path}/test", on=path)
    assert "It answered in 0 ms and lists 2 models." in words(await administrator_page.get(path))


async def test_the_credential_is_shown_nowhere(
    administrator_page: Client, services: Services, administrator: Actor
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a")
    path = f"{UPSTREAMS}/{upstream_id}"
    for page in (UPSTREAMS, path, f"{path}/models", f"{path}/address"):
        assert CREDENTIAL not in (await administrator_page.get(page)).text
    wrong = {**NEW, "base_url": "ftp://x", "credential": "sk-typed-in-vain"}
    refused = await send_form(administrator_page, UPSTREAMS, on=f"{UPSTREAMS}/new?provider=openai", **wrong)
    assert refused.status_code == 400
    assert 'id="error-base_url"' in refused.text
    assert "sk-typed-in-vain" not in refused.text
    assert 'value="ftp://x"' in refused.text


NEW_REFUSED = [
    ("name", ""),
    ("name", "to gpt-a"),
    ("credential", ""),
    ("credential", "two words"),
    ("base_url", "x"),
]


async def test_what_cannot_be_of_a_new_upstream_is_refused_at_its_field(
    administrator_page: Client, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-a")
    token = form_token(await administrator_page.get(f"{UPSTREAMS}/new?provider=openai"))
    for field, typed in NEW_REFUSED:
        data = {"form_token": token, **NEW, field: typed}
        answer = await administrator_page.post(UPSTREAMS, data=data, headers=FROM_OUR_PAGE)
        assert answer.status_code in (400, 409), field
        assert f'id="error-{field}"' in answer.text
    async with services.storage.read() as tx:
        assert len((await list_upstreams(tx, administrator, page=PageRequest())).items) == 1


async def test_credentials_need_a_password_that_was_given_a_short_while_ago(
    open_browser: OpenBrowser,
    administrator_page: Client,
    storage: Storage,
    services: Services,
    administrator: Actor,
    clock: MovableClock,
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a")
    address = f"{UPSTREAMS}/{upstream_id}/address"
    browser = open_browser(await give_session(storage, administrator.user_id))
    token = form_token(await browser.get(address))
    clock.move(seconds=15 * 60)
    for path in (f"{UPSTREAMS}/new", address):
        answer = await browser.get(path)
        assert answer.headers["location"].startswith("/confirm-password?next=")
    sent = {"form_token": token, **NEW}
    for path in (UPSTREAMS, address):
        answer = await browser.post(path, data=sent, headers=FROM_OUR_PAGE)
        assert answer.headers["location"].startswith("/confirm-password?next=")
    assert (await read(storage, administrator, upstream_id)).credential_last_four == CREDENTIAL[-4:]


async def test_another_host_needs_the_credential_anew(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a")
    address = f"{UPSTREAMS}/{upstream_id}/address"
    refused = await send_form(administrator_page, address, base_url="https://elsewhere.example/v1")
    assert refused.status_code == 400
    assert 'id="error-credential"' in refused.text
    assert 'value="https://elsewhere.example/v1"' in refused.text
    assert 'id="error-base_url"' in (await send_form(administrator_page, address, base_url="")).text
    # The same host under another path keeps it.
    await send_form(administrator_page, address, base_url="https://api.openai.com/v2")
    changed = {"base_url": "https://elsewhere.example/v1", "credential": "sk-another-secret-abcd"}
    assert (await send_form(administrator_page, address, **changed)).status_code == 303
    record = await read(storage, administrator, upstream_id)
    assert (record.endpoint.base_url, record.credential_last_four) == (changed["base_url"], "abcd")


SETTINGS_REFUSED = [
    ("name", ""),
    ("priority", "-1"),
    ("weight", "0"),
    ("connect_timeout_ms", "99"),
    ("idle_timeout_ms", "3600001"),
    ("cost_multiplier", "cheap"),
]


async def test_settings_are_changed_or_refused_at_their_field(
    administrator_page: Client,
    storage: Storage,
    services: Services,
    administrator: Actor,
    clock: MovableClock,
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a")
    path = f"{UPSTREAMS}/{upstream_id}"
    before = await read(storage, administrator, upstream_id)
    fields = await settings(storage, administrator, upstream_id, weight="7")
    fields["form_token"] = form_token(await administrator_page.get(path))
    for field, typed in SETTINGS_REFUSED:
        data = {**fields, field: typed}
        answer = await administrator_page.post(path, data=data, headers=FROM_OUR_PAGE)
        assert answer.status_code == 400, field
        assert f'id="error-{field}"' in answer.text
    assert await read(storage, administrator, upstream_id) == before
    clock.move(seconds=1)
    changes = {"weight": "7", "connect_timeout_ms": "2,500", "cost_multiplier": "0.6"}
    fields = await settings(storage, administrator, upstream_id, **changes)
    del fields["enabled"]
    assert (await send_form(administrator_page, path, **fields)).status_code == 303
    record = await read(storage, administrator, upstream_id)
    assert (record.weight, record.endpoint.connect_timeout_ms) == (7, 2_500)
    assert (record.endpoint.cost_multiplier_ppm, record.endpoint.enabled) == (600_000, False)
    assert record.models == before.models
    assert "Switched off" in words(await administrator_page.get(UPSTREAMS))


async def test_nobody_overwrites_settings_that_were_changed_meanwhile(
    administrator_page: Client,
    storage: Storage,
    services: Services,
    administrator: Actor,
    clock: MovableClock,
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a")
    mine = await settings(storage, administrator, upstream_id, weight="9")
    clock.move(seconds=1)
    async with storage.write() as tx:
        await update_upstream(tx, administrator, upstream_id, {"priority": 3}, sealing=SEALING)
    answer = await send_form(administrator_page, f"{UPSTREAMS}/{upstream_id}", **mine)
    assert answer.status_code == 409
    assert "nothing of yours was saved" in answer.text
    record = await read(storage, administrator, upstream_id)
    assert (record.priority, record.weight) == (3, 1)
    assert f'name="version" value="{record.version}"' in answer.text
    assert re.search(r'id="field-weight"[^>]*value="9"', answer.text)


async def test_health_is_what_came_of_the_last_calls(
    administrator_page: Client,
    storage: SqliteStorage,
    services: Services,
    administrator: Actor,
    user: Actor,
    clock: MovableClock,
) -> None:
    upstream_id = await offer(services, administrator, "gpt-a")
    till = await start_calls(storage, clock, administrator, user)
    await till.call(input=10, output=10)
    async with storage.write() as tx:
        rows = await tx.fetch_all(calls.select())
        await tx.execute(calls.delete())

        async def note(number: int, end_reason: str, attempts: list[tuple[str, str]]) -> None:
            tries = [{"upstream_id": at, "result": result, "duration_ms": 5} for at, result in attempts]
            whole = len(tries) == 1 and tries[0]["result"] == "200"
            changes = {
                "id": f"call_{number}",
                "end_reason": end_reason,
                "upstream_id": attempts[-1][0],
                "attempts": None if whole else json.dumps(tries),
                "resolved_at_ms": clock.now_ms() - 60_000 * (9 - number),
            }
            await tx.execute(insert(calls).values(**{**rows[0], **changes}))

        await note(1, "completed", [(upstream_id, "200")])
        await note(2, "completed", [(upstream_id, "503"), ("ups_other", "200")])
        await note(3, "upstream_broke_off", [(upstream_id, "200")])
        await note(4, "upstream_rejected", [(upstream_id, "400")])
    async with storage.read() as tx:
        health = await list_health(tx, administrator)
    mine, other = health[upstream_id], health["ups_other"]
    assert (mine.tries, mine.failed, mine.is_failing) == (4, 2, False)
    assert (mine.last_failure, mine.last_failure_ms) == ("upstream_broke_off", clock.now_ms() - 360_000)
    assert (other.tries, other.failed) == (1, 0)
    text = words(await administrator_page.get(UPSTREAMS))
    assert "Some failures 2 of 4 tries failed. Last failure: stream broke off, 6 min ago" in text


def test_an_upstream_whose_last_try_failed_is_failing() -> None:
    health = UpstreamHealth()
    for result in ("NotReached", "200", "503"):
        health.note(result, 5)
    assert (health.is_failing, health.tries, health.failed, health.last_failure) == (True, 3, 2, "NotReached")


async def test_use_cases_are_the_administrators(storage: Storage, user: Actor) -> None:
    async with storage.write() as tx:
        with pytest.raises(PermissionDenied):
            await list_health(tx, user)
        with pytest.raises(PermissionDenied):
            await change_models(tx, user, "ups_x", add={}, sealing=SEALING)


async def test_an_upstream_that_is_not_there_is_not_found(administrator_page: Client) -> None:
    for page in ("", "/address", "/models"):
        assert (await administrator_page.get(f"{UPSTREAMS}/ups_none{page}")).status_code == 404
