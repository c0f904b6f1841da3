"""``tokenopen entitlements``."""

from tests.cli.conftest import Cli
from tokenopen.control.actor import Actor

ADA = "ada@example.com"


async def test_access_on_the_groups_own_terms(cli: Cli, user_cli: Cli) -> None:
    ran = await cli("entitlements", "put", ADA, "vip")
    assert ran.line("Group") == "VIP (vip)"
    assert ran.line("Custom terms") == "the group's"
    assert ran.line("Multiplier") == "From 0.8x"
    assert ran.line("Requests / minute (RPM)") == "600"
    assert "yes" in (await user_cli("groups", "mine")).line("vip")


async def test_custom_terms_are_exactly_those_that_were_named(cli: Cli, user: Actor) -> None:
    put = ("entitlements", "put", ADA, "enterprise", "--multiplier", "0.65")
    ran = await cli(
        *put,
        *("--model-multiplier", "gpt-6*=0.7", "--extra-model", "llama-*", "--requests-per-minute", "2000"),
        *("--requests-per-day", "unlimited", "--expires-at", "2027-01-01T00:00:00Z"),
    )
    terms = ran.line("Custom terms")
    assert terms == (
        "0.65x; gpt-6* 0.7x; Requests / minute (RPM) 2,000; Requests / day (TPD) unlimited; also llama-*"
    )
    assert ran.line("Until") == "2027-01-01 00:00:00 UTC"
    assert (await cli("entitlements", "list", ADA)).line("enterprise").startswith("Enterprise  From 0.65x")
    # A second put says everything anew.
    terms_after = (await cli(*put, "--json")).json
    assert "requests_per_minute" not in terms_after
    assert terms_after["model_multipliers"] == {}
    assert terms_after["expires_at"] is None


async def test_deleted_access_is_gone(cli: Cli, user: Actor) -> None:
    await cli("entitlements", "put", ADA, "vip")
    ran = await cli("entitlements", "delete", ADA, "vip")
    assert ran.out == f"{ADA} has no access of their own to group vip any more.\n"
    assert (await cli("entitlements", "list", ADA, "--json")).json["data"] == []
    said = await cli.refused("entitlements", "delete", ADA, "vip")
    assert said == f"Error: {ADA} has no entitlement to group VIP. [not_found]"


async def test_the_apis_refusal_of_a_multiplier_is_told(cli: Cli, user: Actor) -> None:
    said = await cli.refused("entitlements", "put", ADA, "vip", "--multiplier", "cheap")
    assert said == "Error: multiplier: 'cheap' is not a decimal number such as 12.5 [invalid_request]"
