"""Groups in the administrators' pages: the list, the editor with its preview, the history, archiving."""

import re
from html import unescape
from typing import Any

import httpx
import pytest

from tests.conftest import make_user
from tests.fakes.clock import MovableClock
from tests.web.catalog import offer
from tests.web.forms import FROM_OUR_PAGE, form_token, send_form
from tests.web.page_text import words
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import Narrowing, create_api_key
from tokenopen.control.entitlement import OwnTerms, put_entitlement
from tokenopen.control.group import find_group, update_group
from tokenopen.control.group_archive import read_archive_effect
from tokenopen.control.group_use import UNUSED, list_group_use
from tokenopen.control.services import Services
from tokenopen.core.errors import PermissionDenied
from tokenopen.core.group_history import GroupRecord
from tokenopen.ports.storage import Storage, Transaction
from tokenopen.web.group_form import fill_group_form

pytestmark = pytest.mark.usefixtures("cheap_passwords")

Client = httpx.AsyncClient
VIP = "/admin/groups/vip"


async def read(storage: Storage, slug: str = "vip") -> GroupRecord:
    async with storage.read() as tx:
        return await find_group(tx, slug)


async def filled(storage: Storage, of: str = "vip", /, **changes: Any) -> dict[str, Any]:
    """Return the editor's fields as a browser would send them, with some of them typed over."""
    record = await read(storage, of)
    form = fill_group_form(record.content)
    fields = {name: values[0] for name, values in form.values.items()}
    return {**fields, "version": record.version, **changes}


async def make_key(
    tx: Transaction, services: Services, user: Actor, name: str, *, group: str | None = None
) -> None:
    await create_api_key(
        tx,
        user,
        user_id=user.user_id,
        name=name,
        group=group,
        narrowing=Narrowing(),
        hashing_key=services.hashing_key,
    )


async def test_the_list_says_how_much_each_group_is_used(
    administrator_page: Client, storage: Storage, services: Services, user: Actor
) -> None:
    async with storage.write() as tx:
        for name in ("one", "two"):
            await make_key(tx, services, user, name)
    text = words(await administrator_page.get("/admin/groups"))
    assert re.search(
        r"Default Default group default · .* Open to everyone 1\.0x 60 requests / minute "
        r"1,000 requests / day 2 of 1 account 0 0 refused",
        text,
    )
    assert re.search(r"Enterprise .* By request Custom Unlimited requests / minute", text)


async def test_archived_groups_are_shown_where_they_are_asked_for(
    administrator_page: Client,
) -> None:
    await send_form(administrator_page, f"{VIP}/archive", reason="")
    assert "/admin/groups/vip" not in (await administrator_page.get("/admin/groups")).text
    for state in ("archived", "all"):
        answer = await administrator_page.get("/admin/groups", params={"state": state})
        assert "/admin/groups/vip" in answer.text


async def test_a_list_with_nothing_in_it_says_why(administrator_page: Client) -> None:
    answer = await administrator_page.get("/admin/groups", params={"state": "archived"})
    assert "No groups here" in answer.text


async def test_a_new_group_is_created_as_it_was_typed(administrator_page: Client, storage: Storage) -> None:
    answer = await send_form(
        administrator_page,
        "/admin/groups",
        on="/admin/groups/_new",
        slug="nightly",
        name="Nightly <jobs>",
        suitable_for="Batches",
        visibility="public",
        allowed_models="gpt-4o*\ngpt-5",
        multiplier="0.85",
        model_multipliers="gpt-5 0.9",
        requests_per_minute="1,200",
        requests_per_day="unlimited",
        tokens_per_minute="unlimited",
        concurrent_calls="4",
        default_max_output_tokens="1000",
        interruption_rule="delivered_only",
        read_on_seconds="30",
        reason="For the nights",
    )
    assert answer.headers["location"] == "/admin/groups/nightly"
    record = await read(storage, "nightly")
    assert record.policy.multiplier_ppm == 850_000
    assert record.policy.model_multipliers == {"gpt-5": 900_000}
    assert record.policy.allowed_models == ["gpt-4o*", "gpt-5"]
    assert (record.policy.limits.requests_per_minute, record.policy.limits.requests_per_day) == (1_200, None)
    assert record.policy.limits.concurrent_calls == 4
    assert record.in_force.reason == "For the nights"
    page = await administrator_page.get("/admin/groups/nightly")
    assert "Nightly &lt;jobs&gt;" in page.text


async def test_nothing_about_a_new_group_is_assumed(administrator_page: Client, storage: Storage) -> None:
    """Invariant I8: no multiplier, no limit and no model is filled in for whoever leaves it out."""
    answer = await send_form(
        administrator_page, "/admin/groups", on="/admin/groups/_new", slug="bare", name="Bare"
    )
    assert answer.status_code == 400
    for field in ("multiplier", "requests_per_minute", "requests_per_day", "visibility", "interruption_rule"):
        assert f'id="error-{field}"' in answer.text, field
    assert 'value="bare"' in answer.text
    blank = await administrator_page.get("/admin/groups/_new")
    assert re.search(r'id="field-requests_per_minute"[^>]*value=""', blank.text)
    assert re.search(r'id="field-multiplier"[^>]*value=""', blank.text)


REFUSED = [
    ("multiplier", "1.0000001"),
    ("multiplier", ""),
    ("multiplier", "-1"),
    ("requests_per_minute", "ten"),
    ("requests_per_day", ""),
    ("tokens_per_minute", "1000000001"),
    ("allowed_models", "gpt-4o*\n?x"),
    ("model_multipliers", "gpt-5*"),
    ("model_multipliers", "gpt-5* 0,9"),
    ("default_max_output_tokens", "0"),
    ("read_on_seconds", "601"),
    ("name", ""),
    ("name", "x" * 201),
    ("slug", "Not A Slug"),
    ("slug", "default"),
    ("effective_from", "tomorrow"),
    ("effective_from", "2020-01-01T00:00"),
]


async def test_a_refusal_stands_at_its_field_and_what_was_typed_stays(
    administrator_page: Client, storage: Storage
) -> None:
    before = await read(storage)
    fields = await filled(storage, multiplier="0.7", reason="A reason")
    fields["form_token"] = form_token(await administrator_page.get(VIP))
    for field, typed in REFUSED:
        data = {**fields, field: typed}
        answer = await administrator_page.post(VIP, data=data, headers=FROM_OUR_PAGE)
        assert answer.status_code in (400, 409), field
        assert f'id="error-{field}"' in answer.text, field
        assert re.search(rf'<(input|textarea) id="field-{field}"[^>]*aria-invalid="true"', answer.text)
        shown = re.search(rf'id="field-{field}"(?:[^>]*value="([^"]*)"|[^>]*>([^<]*)<)', answer.text)
        assert shown is not None
        assert unescape(shown[1] or shown[2] or "") == typed
        assert 'value="A reason"' in answer.text
    assert await read(storage) == before


async def test_a_change_is_a_new_revision_of_just_that(
    administrator_page: Client, storage: Storage, clock: MovableClock
) -> None:
    before = await read(storage)
    clock.move(seconds=60)
    fields = await filled(storage, multiplier="0.75", tokens_per_minute="90000", reason="Autumn")
    answer = await send_form(administrator_page, VIP, **fields)
    assert answer.headers["location"] == VIP
    after = await read(storage)
    assert after.in_force.number == 2
    assert after.policy.multiplier_ppm == 750_000
    assert after.policy.limits.tokens_per_minute == 90_000
    assert after.policy.allowed_models == before.policy.allowed_models
    assert "Saved as revision 2." in words(await administrator_page.get(VIP))
    # Sent as it stands it changes nothing.
    await send_form(administrator_page, VIP, **await filled(storage))
    assert (await read(storage)).in_force.number == 2
    assert "Nothing was changed" in words(await administrator_page.get(VIP))


async def test_every_field_comes_back_as_it_is_stored(administrator_page: Client, storage: Storage) -> None:
    """A form that loses a field would change it at the next save."""
    for slug in ("default", "vip", "enterprise"):
        record = await read(storage, slug)
        page = await administrator_page.get(f"/admin/groups/{slug}")
        fields: dict[str, Any] = dict(re.findall(r'<input [^>]*name="(\w+)"[^>]*value="([^"]*)"', page.text))
        areas = re.findall(r'<textarea [^>]*name="(\w+)"[^>]*>([^<]*)<', page.text)
        fields |= {name: unescape(text) for name, text in areas}
        selects = re.findall(
            r'<select [^>]*name="(\w+)".*?<option value="(\w+)" selected', page.text, re.DOTALL
        )
        fields |= dict(selects)
        if not re.search(r'name="custom_terms"[^>]* checked', page.text):
            fields.pop("custom_terms", None)
        fields |= {"name": unescape(fields["name"]), "action": "save"}
        answer = await send_form(administrator_page, f"/admin/groups/{slug}", **fields)
        assert answer.status_code == 303
        assert await read(storage, slug) == record


async def test_a_change_can_be_scheduled_in_the_platform_s_time_zone(
    administrator_page: Client, storage: Storage, admin_client: Client
) -> None:
    await admin_client.patch("/api/admin/settings", json={"time_zone": "Asia/Tokyo"})
    fields = await filled(storage, multiplier="0.7", effective_from="2026-07-01T09:00")
    assert (await send_form(administrator_page, VIP, **fields)).status_code == 303
    record = await read(storage)
    assert record.policy.multiplier_ppm == 800_000
    assert record.coming[0].effective_from_ms == 1_782_864_000_000
    page = words(await administrator_page.get(VIP))
    assert "Revision 2 takes effect 2026-07-01 09:00 JST" in page
    assert "Scheduled" in words(await administrator_page.get(f"{VIP}/history"))
    # What describes a group changes at once, and says so where the instant was typed.
    fields = await filled(storage, name="Very important", effective_from="2026-08-01T00:00")
    answer = await send_form(administrator_page, VIP, **fields)
    assert 'id="error-effective_from"' in answer.text


async def test_nobody_overwrites_what_another_administrator_changed_meanwhile(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    mine = await filled(storage, multiplier="0.5")
    other = await make_user(storage, administrator, "bea@example.com", role="administrator")
    async with storage.write() as tx:
        await update_group(tx, other, "vip", {"requests_per_minute": 999})
    answer = await send_form(administrator_page, VIP, **mine)
    assert answer.status_code == 409
    text = words(answer)
    assert "bea@example.com changed this group while you had it open (revision 2" in text
    # The preview shows how what I typed differs from theirs, and the form carries their version.
    assert re.search(r"Requests / minute \(RPM\) Before: 999 After: 600", text)
    assert (await read(storage)).policy.multiplier_ppm == 800_000
    again = {**mine, "version": "2"}
    assert 'name="version" value="2"' in answer.text
    assert (await send_form(administrator_page, VIP, **again)).status_code == 303
    assert (await read(storage)).policy.multiplier_ppm == 500_000


async def test_a_scheduled_revision_that_begins_while_the_form_is_open_is_not_undone(
    administrator_page: Client, storage: Storage, administrator: Actor, clock: MovableClock
) -> None:
    async with storage.write() as tx:
        at_ms = tx.now_ms + 60_000
        await update_group(tx, administrator, "vip", {"multiplier_ppm": 700_000}, effective_from_ms=at_ms)
    mine = await filled(storage, name="Very important")
    clock.move(seconds=61)
    assert (await send_form(administrator_page, VIP, **mine)).status_code == 409
    assert (await read(storage)).policy.multiplier_ppm == 700_000


async def test_the_preview_shows_rates_and_what_each_pattern_lets_in_and_saves_nothing(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-4.1", "gpt-5", "gpt-6", "o-other")
    before = await read(storage)
    fields = await filled(
        storage,
        allowed_models="gpt-4.1\ngpt-5*\ngrok*",
        multiplier="0.5",
        model_multipliers="gpt-5* 0.25\nclaude* 0.9",
        action="preview",
    )
    answer = await send_form(administrator_page, VIP, **fields)
    assert answer.status_code == 200
    text = words(answer)
    preview = text[text.index("Save changes") :]
    assert "From 0.25x" in preview
    assert "2 of the models on offer" in preview
    assert "Keys lose 1 model gpt-6" in preview
    assert re.search(r"gpt-5\* gpt-5 grok\* Nothing that is on offer now", preview)
    assert "comes under these multipliers: claude*" in preview
    assert re.search(r"gpt-4.1 0\.5x 1\.00 list 2\.00 4\.00 list 8\.00", preview)
    assert re.search(r"gpt-5 0\.25x gpt-5\* 0\.50 list 2\.00 2\.00 list 8\.00", preview)
    assert re.search(r"Price multiplier Before: 0\.8x After: 0\.5x", preview)
    assert await read(storage) == before
    # What cannot be read is said in the preview, which is never refused itself.
    answer = await send_form(administrator_page, VIP, **{**fields, "multiplier": "free"})
    assert answer.status_code == 200
    assert "Type a multiplier" in words(answer)


async def test_a_group_that_is_not_there_yet_is_previewed_too(
    administrator_page: Client, storage: Storage, services: Services, administrator: Actor
) -> None:
    await offer(services, administrator, "gpt-4.1")
    fields = await filled(storage, slug="fresh", allowed_models="gpt*", action="preview")
    answer = await send_form(administrator_page, "/admin/groups", on="/admin/groups/_new", **fields)
    assert answer.status_code == 200
    assert "1 of the models on offer" in words(answer)
    assert (await administrator_page.get("/admin/groups/fresh")).status_code == 404


async def test_the_history_tells_what_each_revision_changed(
    administrator_page: Client, storage: Storage
) -> None:
    await send_form(administrator_page, VIP, **await filled(storage, multiplier="0.75", reason="<b>Sale</b>"))
    models = "\n".join([*(await read(storage)).policy.allowed_models[1:], "new-model"])
    await send_form(
        administrator_page, VIP, **await filled(storage, allowed_models=models, concurrent_calls="9")
    )
    answer = await administrator_page.get(f"{VIP}/history")
    text = words(answer)
    newest, second = text[text.index("Revision 3") :].split("Revision 2")
    assert "In force" in newest
    assert re.search(r"Available models Before: claude-haiku-4-5 After: new-model", newest)
    assert re.search(r"Calls at the same time Before: Unlimited After: 9", newest)
    assert "Price multiplier" not in newest
    assert re.search(r"Past .* by admin@localhost", second)
    assert re.search(r"Price multiplier Before: 0\.8x After: 0\.75x", second)
    assert "&lt;b&gt;Sale&lt;/b&gt;" in answer.text
    assert "The group's first state" in second


async def test_archiving_shows_first_what_it_would_break(
    administrator_page: Client,
    storage: Storage,
    services: Services,
    administrator: Actor,
    user: Actor,
) -> None:
    await offer(services, administrator, "gpt-6", "gpt-4o-mini")
    async with storage.write() as tx:
        await put_entitlement(tx, administrator, user.user_id, "vip", OwnTerms())
        await make_key(tx, services, user, "Nightly", group="vip")
        await update_group(tx, administrator, "enterprise", {"allowed_models": ["gpt-4o*"]})
    text = words(await administrator_page.get(f"{VIP}/archive"))
    assert "API keys refused 1 of 1 account" in text
    assert re.search(r"Nightly …\S{4} ada@example.com never", text)
    assert "Models that no other group allows gpt-6 " in text
    assert "gpt-4o-mini" not in text
    assert "Archive this group" in text
    answer = await send_form(administrator_page, f"{VIP}/archive", reason="No longer sold")
    assert answer.headers["location"] == VIP
    record = await read(storage)
    assert (record.description.state, record.in_force.reason) == ("archived", "No longer sold")
    page = words(await administrator_page.get(VIP))
    assert "This group is archived" in page
    assert "Save changes" not in page
    assert (await administrator_page.get(f"{VIP}/archive")).headers["location"] == VIP


async def test_the_default_group_cannot_be_archived_and_the_page_says_why(
    administrator_page: Client, storage: Storage
) -> None:
    page = await administrator_page.get("/admin/groups/default/archive")
    assert "This is the default group" in page.text
    assert "Archive this group" not in page.text
    answer = await send_form(
        administrator_page, "/admin/groups/default/archive", on="/admin/groups/default/archive"
    )
    assert answer.status_code == 409
    assert "is the default for new API keys" in answer.text
    assert (await read(storage, "default")).description.state == "active"


async def test_a_slug_that_is_no_group_is_not_there(administrator_page: Client) -> None:
    for path in ("/admin/groups/none", "/admin/groups/none/history", "/admin/groups/none/archive"):
        assert (await administrator_page.get(path)).status_code == 404


async def test_a_group_may_be_called_what_pages_are(administrator_page: Client, storage: Storage) -> None:
    await send_form(administrator_page, VIP, **await filled(storage, slug="new"))
    page = await administrator_page.get("/admin/groups/new")
    assert page.status_code == 200
    assert "VIP" in page.text


async def test_use_cases_are_the_administrators(storage: Storage, user: Actor) -> None:
    async with storage.read() as tx:
        with pytest.raises(PermissionDenied):
            await list_group_use(tx, user)
        with pytest.raises(PermissionDenied):
            await read_archive_effect(tx, user, "vip")


async def test_a_group_that_nobody_used_has_no_use(storage: Storage, administrator: Actor) -> None:
    async with storage.read() as tx:
        use = await list_group_use(tx, administrator)
    assert use.get((await read(storage)).id, UNUSED) == UNUSED
