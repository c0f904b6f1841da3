"""``tokenopen admin`` and the passwords of users."""

import re

import pytest

from tests.cli.conftest import Cli
from tests.sessions import PASSWORD, cheap_hashing
from tokenopen.control.actor import Actor


async def test_a_link_makes_an_administrator_and_says_until_when(cli: Cli) -> None:
    ran = await cli("admin", "link")
    assert re.search(r"/administrator-link/[A-Za-z0-9_-]{43}$", ran.line("Link"))
    assert ran.line("Works").startswith("once, until 2026-06-01 13:00")


async def test_a_password_is_set_without_showing_it(cli: Cli, user: Actor) -> None:
    with cheap_hashing():
        ran = await cli("users", "password", "ada@example.com", answers=f"{PASSWORD}\n{PASSWORD}\n")
    assert "every session" in ran.out
    assert PASSWORD not in ran.out + ran.err
    assert (await cli("users", "show", "ada@example.com")).line("May sign in") == "yes"


async def test_a_link_for_a_password_is_printed_instead(cli: Cli, user: Actor) -> None:
    ran = await cli("users", "password", "ada@example.com", "--link")
    assert re.search(r"/new-password/[A-Za-z0-9_-]{43}$", ran.line("Link"))


@pytest.mark.parametrize("arguments", [("admin", "link"), ("users", "password", "usr_x", "--link")])
async def test_users_make_no_links(user_cli: Cli, arguments: tuple[str, ...]) -> None:
    assert "permission_denied" in await user_cli.refused(*arguments)


async def test_signing_up_is_opened_and_closed(cli: Cli) -> None:
    ran = await cli(
        *("settings", "set", "--sign-up", "open", "--starting-credit", "2.5"),
        *("--email-domain", "example.com", "--email-domain", "example.org"),
    )
    assert ran.line("Signing up") == "open"
    assert ran.line("Starting credit") == "2.5"
    assert ran.line("Allowed e-mail domains") == "example.com, example.org"
    assert (await cli("settings", "set", "--email-domain", "")).line("Allowed e-mail domains") == "-"
