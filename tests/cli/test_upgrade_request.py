"""``tokenopen requests``."""

from tests.cli.conftest import Cli


async def ask(user_cli: Cli) -> str:
    ran = await user_cli("requests", "create", "vip", "--reason", "We call all day", "--json")
    return str(ran.json["id"])


async def test_a_request_is_listed_for_who_asked_and_who_decides(cli: Cli, user_cli: Cli) -> None:
    request_id = await ask(user_cli)
    for each in (cli, user_cli):
        row = (await each("requests", "list", "--state", "pending")).line(request_id)
        assert "ada@example.com" in row
        assert "We call all day" in row
    assert (await cli("requests", "list", "--state", "approved", "--json")).json["data"] == []


async def test_an_approval_lets_the_user_in_on_the_groups_terms(cli: Cli, user_cli: Cli) -> None:
    request_id = await ask(user_cli)
    ran = await cli("requests", "approve", request_id, "--answer", "Welcome")
    assert ran.line("State") == "approved"
    assert ran.line("Answer") == "Welcome"
    assert (await cli("entitlements", "list", "ada@example.com")).line("vip").split("  ")[-1].strip() == "yes"


async def test_an_approval_may_carry_custom_terms_and_move_keys(cli: Cli, user_cli: Cli) -> None:
    first = (await user_cli("keys", "create", "--name", "a", "--json")).json["id"]
    second = (await user_cli("keys", "create", "--name", "b", "--json")).json["id"]
    request_id = await ask(user_cli)
    await cli(
        *("requests", "approve", request_id, "--multiplier", "0.7", "--requests-per-minute", "unlimited"),
        *("--move-key", first),
    )
    moved = (await user_cli("keys", "show", first, "--json")).json
    assert moved["group"]["slug"] == "vip"
    assert moved["multiplier"] == "0.7"
    assert moved["limits"]["requests_per_minute"] is None
    assert (await user_cli("keys", "show", second, "--json")).json["group"]["slug"] == "default"


async def test_an_approval_can_move_every_key(cli: Cli, user_cli: Cli) -> None:
    key_id = (await user_cli("keys", "create", "--name", "a", "--json")).json["id"]
    await cli("requests", "approve", await ask(user_cli), "--move-keys")
    assert (await user_cli("keys", "show", key_id, "--json")).json["group"]["slug"] == "vip"


async def test_a_declined_request_cannot_be_decided_again(cli: Cli, user_cli: Cli) -> None:
    request_id = await ask(user_cli)
    ran = await cli("requests", "decline", request_id, "--answer", "Not yet")
    assert ran.line("State") == "declined"
    assert (await cli.refused("requests", "approve", request_id)).endswith("[conflict]")
