"""API Keys: a group is chosen side by side, the secret is shown once, all of it works without scripts."""

import html
import re

import httpx
import pytest

from tests.api.conftest import Entitle
from tests.conftest import HASHING_KEY
from tests.fakes.clock import MovableClock
from tests.web.forms import send_form
from tests.web.offers import offer
from tests.web.page_text import text_of
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.core.api_key import hash_key
from tokenopen.core.caller import Caller, refuse_caller
from tokenopen.core.errors import Refusal
from tokenopen.storage.sqlite import SqliteStorage

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
SECRET = re.compile(r'id="api-key" value="(sk-to-\w+)"')


def secret_on(page: httpx.Response) -> str:
    found = SECRET.search(page.text)
    assert found is not None, text_of(page)
    return found[1]


async def create(browser: Client, name: str = "Shop", **fields: str) -> tuple[str, str]:
    """Create a key by the form and return its secret and the path of its page."""
    page = await send_form(browser, "/keys", on="/keys/new", name=name, **fields)
    assert page.status_code == 200, text_of(page, status=page.status_code)
    found = re.search(r'href="(/keys/key_\w+)"', page.text)
    assert found is not None
    return secret_on(page), found[1]


async def refused(storage: SqliteStorage, clock: MovableClock, secret: str) -> str | None:
    """Return the code that a call with the key is refused with, None where it would be let in."""
    caller = await storage.find_caller(hash_key(secret, HASHING_KEY), await storage.load_catalog())
    assert isinstance(caller, Caller)
    refusal = refuse_caller(caller, now_ms=clock.now_ms(), address="203.0.113.7")
    assert refusal is None or isinstance(refusal, Refusal)
    return None if refusal is None else refusal.code


async def test_without_keys_the_page_says_what_to_do(user_page: Client) -> None:
    page = await user_page.get("/keys")
    assert "No API keys yet" in text_of(page)
    assert 'href="/keys/new"' in page.text


async def test_groups_are_chosen_side_by_side_with_what_they_cost_and_allow(
    user_page: Client, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-4o-mini", input="0.15", output="0.6")
    await offer(services, administrator, "gpt-6-sol", input="2", output="10")
    page = await user_page.get("/keys/new")
    text = text_of(page)
    default, rest = text.split("Default 1.0x")[1].split("VIP From 0.8x")
    vip, enterprise = rest.split("Enterprise Custom")
    for said in (
        "Regular users; standard pricing",
        "Open to everyone, default",
        "Requests / minute (RPM) 60",
        "Requests / day (TPD) 1,000",
        "Available models 1 of 2",
        "gpt-4o-mini 0.15 / 0.60",
        "gpt-6-sol Not available",
    ):
        assert said in default
    for said in ("By request", "gpt-4o-mini 0.12 / 0.48", "gpt-6-sol 1.80 / 9.00", "Ask for this group"):
        assert said in vip
    assert "gpt-4o-mini Custom" in enterprise
    # What is not open can be asked for, and not chosen.
    assert re.findall(r'name="group" value="(\w+)"', page.text) == ["default"]
    assert 'href="/upgrade?group=vip"' in page.text


async def test_the_secret_is_shown_once_with_a_first_call_that_is_ready_to_paste(
    user_page: Client, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-4o-mini", input="0.15", output="0.6")
    page = await send_form(user_page, "/keys", on="/keys/new", name="Shop", group="default")
    secret, code = secret_on(page), html.unescape(page.text)
    assert page.headers["cache-control"] == "no-store"
    for snippet in (
        f"export OPENAI_API_KEY={secret}",
        "export OPENAI_BASE_URL=http://localhost/v1",
        f'-H "Authorization: Bearer {secret}"',
        f'api_key="{secret}"',
        f'apiKey: "{secret}"',
    ):
        assert snippet in code
    python = re.search(r"from openai import OpenAI.*?content\)\n", code, re.DOTALL)
    assert python is not None
    compile(python[0], "snippet", "exec")
    for path in ("/keys", re.findall(r'href="(/keys/key_\w+)"', page.text)[0]):
        assert secret not in (await user_page.get(path)).text


async def test_without_a_model_to_call_the_page_says_so(user_page: Client) -> None:
    page = await send_form(user_page, "/keys", on="/keys/new", name="Shop")
    assert "No model that this key may chat with is offered" in text_of(page)


async def test_a_key_says_which_models_it_may_call_and_when_that_is_none(
    user_page: Client, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-4o-mini", input="0.15", output="0.6")
    await offer(services, administrator, "gpt-6-sol", input="2", output="10")
    _, path = await create(user_page)
    assert "Available models: gpt-4o-mini" in text_of(await user_page.get(path))
    _, path = await create(user_page, models="gpt-4O-mini")
    text = text_of(await user_page.get(path))
    assert "This key can call no model" in text
    assert "fits a model that group Default has" in text
    _, path = await create(user_page, models="gpt-6*")
    assert "This key can call no model" in text_of(await user_page.get(path))


async def test_a_key_is_narrowed_by_what_was_typed(
    user_page: Client, user_client: Client, storage: SqliteStorage, clock: MovableClock
) -> None:
    secret, path = await create(
        user_page,
        models="gpt-4o*\n gpt-4.1-mini, gpt-4o*",
        credit_limit="12.5",
        allowed_ips="203.0.113.7",
        expires_at="2026-06-02",
    )
    key = (await user_client.get(f"/api/me{path}")).json()
    assert key["models"] == ["gpt-4o*", "gpt-4.1-mini"]
    assert (key["credit_limit"], key["allowed_ips"]) == ("12.5", ["203.0.113.7/32"])
    assert key["expires_at"] == "2026-06-03T00:00:00Z"
    assert await refused(storage, clock, secret) is None
    page = await user_page.get(path)
    assert 'value="2026-06-02"' in page.text
    assert "gpt-4.1-mini</textarea>" in page.text
    clock.move(seconds=36 * 3600)
    assert await refused(storage, clock, secret) == "api_key_expired"
    assert "Expired" in text_of(await user_page.get("/keys"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 201),
        ("models", "gpt 4o;drop"),
        ("credit_limit", "much"),
        ("credit_limit", "-1"),
        ("expires_at", "2026-05-01"),
        ("expires_at", "soon"),
        ("allowed_ips", "everywhere"),
        ("group", "vip"),
        ("group", "gold"),
    ],
)
async def test_what_is_wrong_is_told_at_its_field_and_nothing_is_created(
    user_page: Client, user_client: Client, field: str, value: str
) -> None:
    fields = {"name": "Shop", "models": "gpt-4o", field: value}
    page = await send_form(user_page, "/keys", on="/keys/new", **fields)
    assert page.status_code in (400, 403)
    assert f'id="error-{field}"' in page.text
    # What was typed is still there, the folded part opened where the error is in it.
    assert (value if field == "models" else "gpt-4o") in html.unescape(page.text)
    assert ('<details class="more" open' in page.text) == (field not in ("name", "group"))
    assert (await user_client.get("/api/me/keys")).json()["data"] == []


async def test_all_that_cannot_be_read_is_told_at_once(user_page: Client) -> None:
    wrong = {"name": "", "models": "a;b", "credit_limit": "much", "expires_at": "soon"}
    page = await send_form(user_page, "/keys", on="/keys/new", **wrong)
    assert [field for field in wrong if f'id="error-{field}"' in page.text] == list(wrong)


async def test_a_key_moves_to_a_group_that_is_open_and_its_secret_stays(
    user_page: Client, storage: SqliteStorage, clock: MovableClock, entitle: Entitle
) -> None:
    secret, path = await create(user_page)
    refusal = await send_form(user_page, f"{path}/group", on=path, group="vip")
    assert refusal.status_code == 403
    assert "VIP is by request" in text_of(refusal, status=403)
    await entitle("vip", requests_per_minute=7)
    page = await user_page.get(path)
    assert "Custom terms" in text_of(page)
    assert "Requests / minute (RPM) 7" in text_of(page)
    answer = await send_form(user_page, f"{path}/group", on=path, group="vip")
    assert answer.headers["location"] == path
    assert "The key is in group VIP." in text_of(await user_page.get(path))
    assert await refused(storage, clock, secret) is None


async def test_a_form_changes_only_what_it_says_anew(
    user_page: Client, user_client: Client, clock: MovableClock
) -> None:
    _, path = await create(user_page, models="gpt-4o")
    await user_client.patch(f"/api/me{path}", json={"expires_at": "2026-06-02T10:30:00Z"})
    answer = await send_form(
        user_page, path, name="Warehouse", models="", credit_limit="3", expires_at="2026-06-02"
    )
    assert answer.status_code == 303
    key = (await user_client.get(f"/api/me{path}")).json()
    assert (key["name"], key["models"], key["credit_limit"]) == ("Warehouse", None, "3")
    # The form shows a day; an end within it stays.
    assert key["expires_at"] == "2026-06-02T10:30:00Z"
    clock.move(seconds=48 * 3600)
    # A key that has expired can still be changed.
    answer = await send_form(user_page, path, name="Store", expires_at="2026-06-02")
    assert answer.status_code == 303
    answer = await send_form(user_page, path, name="Store", expires_at="")
    assert (await user_client.get(f"/api/me{path}")).json()["expires_at"] is None


async def test_a_change_that_is_refused_changes_nothing(user_page: Client, user_client: Client) -> None:
    _, path = await create(user_page, models="gpt-4o")
    page = await send_form(user_page, path, name="Other", credit_limit="x")
    assert page.status_code == 400
    assert 'id="error-credit_limit"' in page.text
    assert (await user_client.get(f"/api/me{path}")).json()["name"] == "Shop"


async def test_a_key_is_switched_off_and_on(
    user_page: Client, storage: SqliteStorage, clock: MovableClock
) -> None:
    secret, path = await create(user_page)
    await send_form(user_page, f"{path}/off", on=path)
    assert await refused(storage, clock, secret) == "api_key_revoked"
    assert "Off" in text_of(await user_page.get("/keys"))
    await send_form(user_page, f"{path}/on", on=path)
    assert await refused(storage, clock, secret) is None


async def test_a_key_is_rotated_and_the_old_secret_works_on_for_as_long_as_was_chosen(
    user_page: Client, storage: SqliteStorage, clock: MovableClock
) -> None:
    former, path = await create(user_page)
    page = await send_form(user_page, f"{path}/rotate", on=path, overlap="hour")
    secret = secret_on(page)
    assert secret != former
    assert "2026-06-01 13:00 UTC" in text_of(page)
    assert "2026-06-01 13:00 UTC" in text_of(await user_page.get(path))
    assert await refused(storage, clock, former) is None
    clock.move(seconds=3600)
    assert await refused(storage, clock, former) == "api_key_expired"
    assert await refused(storage, clock, secret) is None


async def test_a_revoked_key_is_found_among_the_revoked_and_offers_nothing(
    user_page: Client, storage: SqliteStorage, clock: MovableClock
) -> None:
    secret, path = await create(user_page)
    assert 'popovertarget="revoke"' in (await user_page.get(path)).text
    answer = await send_form(user_page, f"{path}/revoke", on=path)
    assert answer.headers["location"] == "/keys"
    page = await user_page.get("/keys")
    assert "Shop is revoked." in text_of(page)
    listed = {
        state: path in (await user_page.get(f"/keys?state={state}")).text for state in ("", "revoked", "all")
    }
    assert listed == {"": False, "revoked": True, "all": True}
    assert await refused(storage, clock, secret) == "api_key_revoked"
    assert "Rotate" not in text_of(await user_page.get(path))
    for change in (path, f"{path}/group", f"{path}/on", f"{path}/rotate"):
        answer = await send_form(user_page, change, on="/profile", name="Again", group="default")
        assert answer.status_code in (303, 409)
    assert await refused(storage, clock, secret) == "api_key_revoked"


async def test_a_key_of_a_group_that_was_taken_away_says_what_to_do(
    user_page: Client, entitle: Entitle, admin_client: Client, user: Actor
) -> None:
    await entitle("vip")
    _, path = await create(user_page, group="vip")
    await admin_client.delete(f"/api/admin/users/{user.user_id}/entitlements/vip")
    assert "Group not open" in text_of(await user_page.get("/keys"))
    assert "Move it to another group" in text_of(await user_page.get(path))


async def test_keys_page_and_names_are_text_whatever_they_hold(user_page: Client) -> None:
    name = '<script>alert("x")</script>' + "long" * 40
    _, path = await create(user_page, name=name)
    for page in (await user_page.get("/keys"), await user_page.get(path)):
        assert "<script>alert" not in page.text
        assert name in html.unescape(page.text)
