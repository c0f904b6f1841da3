"""``tokenopen users``."""

from tests.cli.conftest import Cli
from tokenopen.control.actor import Actor


async def test_a_created_user_is_found_by_address_and_by_id(cli: Cli) -> None:
    ran = await cli("users", "create", "grace@example.com", "--name", "Grace")
    assert ran.line("Name") == "Grace"
    assert ran.line("Role") == "user"
    assert ran.line("May sign in") == "no"
    assert ran.line("Balance") == "0 credits (1 credit = 1 USD)"
    by_email = (await cli("users", "show", "GRACE@example.com", "--json")).json
    assert (await cli("users", "show", by_email["id"], "--json")).json == by_email
    assert by_email["email"] == "grace@example.com"


async def test_a_password_is_asked_for_and_never_an_argument(cli: Cli) -> None:
    ran = await cli(
        *("users", "create", "grace@example.com", "--name", "Grace", "--role", "administrator", "--password"),
        answers="a long enough password\na long enough password\n",
    )
    assert ran.line("May sign in") == "yes"
    assert ran.line("Role") == "administrator"
    assert "long enough" not in ran.out + ran.err


async def test_the_list_shows_credit_and_can_be_narrowed(cli: Cli, user: Actor) -> None:
    await cli("credits", "add", user.user_id, "12.5", "--reason", "Start")
    ran = await cli("users", "list")
    assert "12.5" in ran.line("ada@example.com")
    assert "administrator" in ran.line("admin@localhost")
    found = (await cli("users", "list", "--role", "administrator", "--json")).json["data"]
    assert [each["email"] for each in found] == ["admin@localhost"]
    found = (await cli("users", "list", "--email", "ada@example.com", "--json")).json["data"]
    assert [each["id"] for each in found] == [user.user_id]


async def test_a_suspended_user_is_refused_until_resumed(cli: Cli, user_cli: Cli) -> None:
    ran = await cli("users", "suspend", "ada@example.com")
    assert ran.line("State") == "suspended"
    assert (await user_cli.refused("credits", "show")).endswith("[account_suspended]")
    suspended = (await cli("users", "list", "--state", "suspended", "--json")).json["data"]
    assert [each["email"] for each in suspended] == ["ada@example.com"]
    ran = await cli("users", "resume", "ada@example.com")
    assert ran.line("State") == "active"
    await user_cli("credits", "show")


async def test_an_address_that_nobody_has_is_told(cli: Cli) -> None:
    said = await cli.refused("users", "show", "nobody@example.com")
    assert said == "Error: There is no user nobody@example.com. tokenopen users list shows them."


async def test_an_id_that_nobody_has_is_told(cli: Cli) -> None:
    assert (await cli.refused("users", "suspend", "usr_0")) == "Error: There is no user usr_0. [not_found]"
