"""``tokenopen keys``."""

from tests.cli.conftest import Cli, ListModels, Price
from tests.till_calls import TillCalls
from tokenopen.control.actor import Actor

ADA = "ada@example.com"


async def test_a_key_is_printed_once_with_how_to_call(
    cli: Cli, price: Price, provider_lists: ListModels
) -> None:
    await price("gpt-4o", "gpt-4o-mini")
    provider_lists("gpt-4o", "gpt-4o-mini", times=2)
    await cli("upstreams", "add", "openai", OPENAI_API_KEY="sk-provider-credential")
    ran = await cli("keys", "create", "--name", "first", "--credits", "10")
    assert ran.line("Group") == "Default (default)"
    assert ran.line("Multiplier") == "1.0x"
    assert ran.line("User") == "admin@localhost"
    exported = [line.strip() for line in ran.out.splitlines() if line.startswith("  export ")]
    secret = exported[0].removeprefix("export OPENAI_API_KEY=")
    assert secret.startswith("sk-to-")
    assert exported[1] == "export OPENAI_BASE_URL=http://127.0.0.1:8000/v1"
    assert f"curl http://127.0.0.1:8000/v1/chat/completions -H 'Authorization: Bearer {secret}'" in ran.out
    assert '"model": "gpt-4o-mini"' in ran.out
    assert ran.out.endswith("10 credits are available to admin@localhost (1 credit = 1 USD).\n")
    assert secret not in (await cli("keys", "list")).out


async def test_json_is_the_new_key_alone(cli: Cli) -> None:
    created = (await cli("keys", "create", "--name", "first", "--json")).json
    assert created["key"].startswith("sk-to-")
    shown = (await cli("keys", "show", created["id"], "--json")).json
    assert "key" not in shown
    assert shown["name"] == "first"


async def test_without_credit_or_models_the_next_steps_are_told(
    cli: Cli, price: Price, provider_lists: ListModels, user: Actor
) -> None:
    ran = await cli("keys", "create", "--name", "first", "--user", ADA)
    assert "Add a provider: tokenopen upstreams add openai" in ran.out
    await price("gpt-4o")
    provider_lists("gpt-4o", times=2)
    await cli("upstreams", "add", "openai", OPENAI_API_KEY="sk-provider-credential")
    ran = await cli("keys", "create", "--name", "second", "--user", ADA)
    assert '"model": "gpt-4o"' in ran.out
    assert f"tokenopen credits add {ADA} 10" in ran.out


async def test_a_key_can_only_narrow_its_group(cli: Cli, user: Actor) -> None:
    ran = await cli(
        *("keys", "create", "--name", "narrow", "--user", user.user_id, "--group", "default"),
        *("--model", "gpt-4o*", "--allowed-ip", "203.0.113.7", "--credit-limit", "5"),
        *("--expires-at", "2027-01-01T00:00:00Z"),
    )
    assert ran.line("Narrowed to") == "gpt-4o*"
    assert ran.line("Allowed addresses") == "203.0.113.7/32"
    assert ran.line("Credit limit") == "5"
    assert ran.line("Expires") == "2027-01-01 00:00:00 UTC"


async def test_a_group_that_is_not_open_is_refused_and_credit_given_is_told(cli: Cli, user: Actor) -> None:
    create = ("keys", "create", "--name", "x", "--user", ADA, "--group", "vip")
    said = await cli.refused(*create)
    assert "Open to this account: default." in said
    assert said.endswith("[group_not_available]")
    said = await cli.refused(*create, "--credits", "10")
    assert "The 10 credits were added all the same; repeat without --credits." in said
    assert (await cli("credits", "show", ADA)).line("Available") == "10"


async def test_administrators_see_everybodys_keys_and_users_their_own(
    cli: Cli, user_cli: Cli, calls: TillCalls
) -> None:
    await cli("keys", "create", "--name", "mine")
    await calls.call()
    ran = await cli("keys", "list")
    assert {"mine", "Test"} <= set(ran.out.split())
    [ada_key] = (await cli("keys", "list", "--user", ADA, "--json")).json["data"]
    assert ada_key["name"] == "Test"
    assert ada_key["spent"] != "0"
    assert (await cli("keys", "list", "--group", "vip", "--json")).json["data"] == []
    own = (await user_cli("keys", "list", "--json")).json["data"]
    assert [key["id"] for key in own] == [ada_key["id"]]
    shown = await user_cli("keys", "show", ada_key["id"])
    assert shown.line("Spent") == ada_key["spent"]


async def test_a_change_leaves_what_is_not_named_and_clears_what_is_said(cli: Cli, user: Actor) -> None:
    create = ("keys", "create", "--name", "a", "--user", ADA, "--model", "gpt-4o", "--credit-limit", "5")
    key_id = (await cli(*create, "--allowed-ip", "10.0.0.0/8", "--json")).json["id"]
    await cli("entitlements", "put", ADA, "vip")
    ran = await cli("keys", "change", key_id, "--name", "b", "--group", "vip", "--off")
    assert ran.line("Name") == "b"
    assert ran.line("Group") == "VIP (vip)"
    assert ran.line("State") == "disabled"
    assert ran.line("Narrowed to") == "gpt-4o"
    assert ran.line("Credit limit") == "5"
    changed = (
        await cli(
            *("keys", "change", key_id, "--on", "--all-models", "--any-ip", "--no-credit-limit"),
            *("--never-expires", "--json"),
        )
    ).json
    assert changed["state"] == "active"
    for field in ("models", "allowed_ips", "credit_limit", "expires_at"):
        assert changed[field] is None


async def test_a_user_changes_and_revokes_their_own_key(user_cli: Cli, cli: Cli) -> None:
    key_id = (await user_cli("keys", "create", "--name", "own", "--json")).json["id"]
    assert (await user_cli("keys", "change", key_id, "--credit-limit", "1")).line("Credit limit") == "1"
    assert (await user_cli("keys", "revoke", key_id)).line("State") == "revoked"
    others = (await cli("keys", "create", "--name", "other", "--json")).json["id"]
    assert (await user_cli.refused("keys", "revoke", others)).endswith("[not_found]")


async def test_a_user_cannot_give_themselves_credit(user_cli: Cli) -> None:
    said = await user_cli.refused("keys", "create", "--name", "x", "--credits", "10")
    assert said.endswith("[permission_denied]")
    assert (await user_cli("keys", "list", "--json")).json["data"] == []


async def test_the_address_that_was_named_is_the_one_to_call(cli: Cli) -> None:
    ran = await cli("keys", "create", "--name", "x", "--url", "https://ai.example.com")
    assert "export OPENAI_BASE_URL=https://ai.example.com/v1" in ran.out


async def test_a_key_is_rotated_and_its_new_secret_printed_once(cli: Cli) -> None:
    created = (await cli("keys", "create", "--name", "a", "--json")).json
    ran = await cli("keys", "rotate", created["id"], "--overlap-seconds", "60")
    assert ran.line("Former secret works until") == "2026-06-01 12:01:00 UTC"
    assert "export OPENAI_API_KEY=sk-to-" in ran.out
    assert created["key"] not in ran.out
    assert (await cli("keys", "rotate", created["id"], "--json")).json["key"].startswith("sk-to-")


async def test_a_user_moves_their_keys_to_another_group(user_cli: Cli, cli: Cli) -> None:
    await cli("groups", "change", "vip", "--visibility", "public")
    ids = [(await user_cli("keys", "create", "--name", name, "--json")).json["id"] for name in "ab"]
    await user_cli("keys", "move", "vip", "--key", ids[0])
    assert (await user_cli("keys", "show", ids[0])).line("Group") == "VIP (vip)"
    assert (await user_cli("keys", "show", ids[1])).line("Group") == "Default (default)"
    moved = (await user_cli("keys", "move", "vip", "--json")).json["data"]
    assert {key["id"] for key in moved} == set(ids)
