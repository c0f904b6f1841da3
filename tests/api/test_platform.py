"""Platform settings through the control API."""

import httpx
import pytest
from sqlalchemy import delete

from tests.api.conftest import refusal
from tokenopen.storage.schema import platform_settings
from tokenopen.storage.sqlite import SqliteStorage

Client = httpx.AsyncClient


async def test_settings_change_one_by_one_and_bind_the_next_call(
    admin_client: Client, storage: SqliteStorage
) -> None:
    assert (await admin_client.get("/api/admin/settings")).json() == {
        "name": "TokenOpen",
        "time_zone": "UTC",
        "default_group": "default",
        "support_contact": "",
        "sign_up": "closed",
        "starting_credit": "0",
        "allowed_email_domains": [],
        "public_prices": False,
        "call_retention_days": None,
    }
    for change in (
        {"time_zone": "America/New_York"},
        {"name": "House"},
        {"support_contact": "help@example.com"},
        {"sign_up": "open"},
        {"starting_credit": "2.5"},
        {"allowed_email_domains": ["example.com", "example.org"]},
        {"public_prices": True},
        {"call_retention_days": 90},
    ):
        settings = (await admin_client.patch("/api/admin/settings", json=change)).json()
        assert settings | change == settings
    assert (await admin_client.get("/api/admin/settings")).json() == settings
    platform = (await storage.load_catalog()).platform
    assert (platform.zone.key, platform.name) == ("America/New_York", "House")
    assert platform.support_contact == "help@example.com"
    assert platform.public_prices


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", ""),
        ("time_zone", None),
        ("sign_up", "invited"),
        ("starting_credit", "-1"),
        ("starting_credit", 0.5),
        ("public_prices", "yes"),
        ("public_prices", None),
        ("allowed_email_domains", ["no domain"]),
        ("allowed_email_domains", ["localhost"]),
        ("call_retention_days", 1),
        ("call_retention_days", 36_501),
        ("call_retention_days", "90"),
        ("call_retention_days", 90.5),
        ("default_group", "gold"),
        ("default_group", None),
        ("name", ""),
        ("support_contact", "x" * 201),
        ("version", 5),
    ],
)
async def test_a_setting_that_cannot_be_is_refused_by_name(
    admin_client: Client, field: str, value: object
) -> None:
    before = (await admin_client.get("/api/admin/settings")).json()
    answer = await admin_client.patch("/api/admin/settings", json={field: value})
    assert refusal(answer, 400, "invalid_request")["param"] == field
    assert (await admin_client.get("/api/admin/settings")).json() == before


async def test_the_default_group_is_open_to_everyone(admin_client: Client) -> None:
    error = refusal(
        await admin_client.patch("/api/admin/settings", json={"default_group": "vip"}), 409, "conflict"
    )
    assert error["param"] == "default_group"
    await admin_client.patch("/api/admin/groups/vip", json={"visibility": "public"})
    settings = (await admin_client.patch("/api/admin/settings", json={"default_group": "vip"})).json()
    assert settings["default_group"] == "vip"
    assert (await admin_client.post("/api/admin/groups/default/archive")).json()["state"] == "archived"
    refusal(
        await admin_client.patch("/api/admin/settings", json={"default_group": "default"}), 409, "conflict"
    )


async def test_a_database_that_knew_no_retention_keeps_calls_and_learns_it(
    admin_client: Client, storage: SqliteStorage
) -> None:
    async with storage.write() as tx:
        await tx.execute(delete(platform_settings).where(platform_settings.c.name == "call_retention_days"))
    assert (await admin_client.get("/api/admin/settings")).json()["call_retention_days"] is None
    await admin_client.patch("/api/admin/settings", json={"call_retention_days": 7})
    assert (await admin_client.get("/api/admin/settings")).json()["call_retention_days"] == 7
    assert (await storage.load_catalog()).platform.call_retention_days == 7
