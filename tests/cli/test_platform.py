"""``tokenopen settings``."""

from tests.cli.conftest import Cli


async def test_settings_are_shown_and_changed(cli: Cli) -> None:
    shown = await cli("settings", "show")
    assert shown.line("Name") == "TokenOpen"
    assert shown.line("Time zone") == "UTC"
    assert shown.line("Default group") == "default"
    assert shown.line("Support contact") == "-"
    changed = await cli(
        *("settings", "set", "--name", "Acme AI", "--time-zone", "Europe/Berlin"),
        *("--support-contact", "help@example.com"),
    )
    assert changed.line("Name") == "Acme AI"
    after = (await cli("settings", "show", "--json")).json
    assert after == {
        "name": "Acme AI",
        "time_zone": "Europe/Berlin",
        "default_group": "default",
        "support_contact": "help@example.com",
        "sign_up": "closed",
        "starting_credit": "0",
        "allowed_email_domains": [],
        "public_prices": False,
        "call_retention_days": None,
    }
    assert (await cli("settings", "set", "--public-prices")).line("Prices") == "public"
    assert (await cli("settings", "set", "--no-public-prices")).line("Prices") == "after signing in"


async def test_records_of_calls_are_kept_for_ever_or_for_so_many_days(cli: Cli) -> None:
    assert (await cli("settings", "show")).line("Records of calls") == "kept for ever"
    changed = await cli("settings", "set", "--call-retention-days", "90")
    assert changed.line("Records of calls") == "dropped after 90 days"
    changed = await cli("settings", "set", "--call-retention-days", "forever")
    assert changed.line("Records of calls") == "kept for ever"


async def test_a_default_group_that_is_by_request_is_refused(cli: Cli) -> None:
    assert (await cli.refused("settings", "set", "--default-group", "vip")).endswith("[conflict]")
