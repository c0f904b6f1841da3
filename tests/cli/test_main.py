"""``tokenopen`` itself: help, version, connection, and what goes wrong before anything is asked."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.main import get_command

from tests.cli.conftest import Cli
from tokenopen import __version__
from tokenopen.cli.main import app
from tokenopen.cli.output import cell, plain


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with its path."""
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from commands(command.get_command(None, name), (*path, name))
    else:
        yield path, command


COMMANDS = dict(commands(get_command(app)))
OVER_THE_API = [
    path for path, command in COMMANDS.items() if any(p.name == "as_json" for p in command.params)
]


def test_every_command_says_what_it_does() -> None:
    silent = [path for path, command in COMMANDS.items() if not (command.help or "").strip()]
    assert not silent


def test_a_command_over_the_api_starts_without_importing_the_platform() -> None:
    """Completing a word in a shell starts us each time."""
    program = "import sys, tokenopen.cli.main; print('tokenopen.bootstrap' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_runs_here_stands_beside_what_asks_a_server() -> None:
    assert {("serve",), ("demo",), ("audit",), ("replay",), ("upstream-simulator",)} <= set(COMMANDS)
    assert ("groups", "list") in COMMANDS


async def test_a_misspelt_command_is_told_the_one_that_was_meant(cli: Cli) -> None:
    assert "Did you mean 'serve'" in (await cli.run("serv")).err
    assert "Did you mean 'keys'" in (await cli.run("key")).err


def test_every_command_over_the_api_has_json_and_says_where_and_as_whom() -> None:
    assert len(OVER_THE_API) > 40
    for path in OVER_THE_API:
        assert {"as_json", "url", "admin_key"} <= {parameter.name for parameter in COMMANDS[path].params}


async def test_the_version_is_printed(cli: Cli) -> None:
    assert (await cli("--version")).out == f"tokenopen {__version__}\n"


async def test_help_uses_the_labels_of_the_pages(cli: Cli) -> None:
    text = " ".join((await cli("groups", "create", "--help", COLUMNS="200")).out.split())
    for label in ("Requests / minute (RPM)", "Requests / day (TPD)", "open to everyone", "by request"):
        assert label in text


async def test_without_a_key_the_variable_to_set_is_named(cli: Cli) -> None:
    ran = await cli.run("groups", "list", TOKENOPEN_ADMIN_KEY=None)
    assert ran.exit_code == 1
    assert ran.err.startswith("Error: A management key is needed. Set TOKENOPEN_ADMIN_KEY ")


async def test_a_person_is_asked_for_the_key(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenopen.cli.command.somebody_can_answer", lambda: True)
    key = cli.environment["TOKENOPEN_ADMIN_KEY"]
    ran = await cli("groups", "list", "--json", answers=f"{key}\n", TOKENOPEN_ADMIN_KEY=None)
    assert ran.json["data"]
    assert "Management key" in ran.err
    assert str(key) not in ran.err


async def test_a_key_that_is_not_known_is_refused_naming_the_variable(cli: Cli) -> None:
    ran = await cli.run("groups", "list", "--admin-key", "sk-mgmt-" + "0" * 50)
    assert ran.exit_code == 1
    assert "Set TOKENOPEN_ADMIN_KEY to a management key" in ran.err
    assert ran.err.endswith("[invalid_api_key]\n")


async def test_an_api_key_is_told_to_be_of_the_wrong_kind(cli: Cli) -> None:
    key = (await cli("keys", "create", "--name", "x", "--json")).json["key"]
    ran = await cli.run("groups", "list", "--admin-key", key)
    assert ran.exit_code == 1
    assert "management key" in ran.err


async def test_a_key_on_the_command_line_goes_before_the_variable(cli: Cli) -> None:
    key = str(cli.environment["TOKENOPEN_ADMIN_KEY"])
    ran = await cli("groups", "list", "--admin-key", key, "--json", TOKENOPEN_ADMIN_KEY="x" * 40)
    assert ran.json["data"]


async def test_a_key_that_no_header_can_carry_is_told(cli: Cli) -> None:
    ran = await cli.run("groups", "list", "--admin-key", "schlüssel" * 5)
    assert ran.exit_code == 1
    assert "holds characters that no key has" in ran.err


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://localhost", "http://", "http://[::1"])
async def test_what_is_no_address_is_told(cli: Cli, address: str) -> None:
    said = await cli.refused("groups", "list", "--url", address)
    assert said.endswith("Write --url http://HOST:PORT")


async def test_a_variable_that_cannot_be_read_is_named(cli: Cli) -> None:
    ran = await cli.run("groups", "list", TOKENOPEN_PORT="eight thousand")
    assert ran.exit_code == 1
    assert ran.err.startswith("Error: TOKENOPEN_PORT cannot be used: ")
    ran = await cli.run("groups", "list", TOKENOPEN_ADMIN_KEY="short")
    assert ran.err.startswith("Error: TOKENOPEN_ADMIN_KEY cannot be used: ")
    assert "short" not in ran.err.replace("too short", "")


async def test_where_nothing_listens_the_way_to_start_it_is_told(cli: Cli) -> None:
    cli.transport = None
    ran = await cli.run("groups", "list", TOKENOPEN_HOST="0.0.0.0", TOKENOPEN_PORT="1")
    assert ran.exit_code == 1
    assert ran.err.startswith("Error: No TokenOpen at http://127.0.0.1:1. Start it with: tokenopen serve")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("ai.example.com", "http://ai.example.com:8000"),
    ],
)
async def test_the_server_is_looked_for_where_its_settings_say(cli: Cli, host: str, url: str) -> None:
    ran = await cli("keys", "create", "--name", "x", TOKENOPEN_HOST=host)
    assert f"export OPENAI_BASE_URL={url}/v1" in ran.out


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, text="<html>It works!</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(502, text="Bad Gateway"),
    ],
)
async def test_another_server_at_the_address_is_told(cli: Cli, response: httpx.Response) -> None:
    cli.transport = httpx.MockTransport(lambda _request: response)
    said = await cli.refused("groups", "list")
    assert "does not answer as TokenOpen's control API does" in said
    assert str(response.status_code) in said


async def test_a_server_that_does_not_answer_is_told(cli: Cli) -> None:
    def hang_up(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow")

    cli.transport = httpx.MockTransport(hang_up)
    assert (
        await cli.refused("groups", "list")
    ) == "Error: http://127.0.0.1:8000 gave no answer (ReadTimeout)."


async def test_json_of_a_refusal_leaves_stdout_empty(cli: Cli) -> None:
    assert (await cli.refused("groups", "show", "gold", "--json")).endswith("[not_found]")


def test_control_characters_of_others_never_reach_the_terminal() -> None:
    assert plain("a\x1b[31mb\x07\n") == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}\n"
    assert cell({"note": "\x1b"}) == "note: \N{REPLACEMENT CHARACTER}"


async def test_markup_in_a_name_is_shown_as_it_is(cli: Cli) -> None:
    await cli("users", "create", "grace@example.com", "--name", "[bold]Grace[/bold]")
    assert "[bold]Grace[/bold]" in (await cli("users", "list")).out


async def test_completion_knows_the_commands_and_choices(cli: Cli) -> None:
    environment = {"_TOKENOPEN_COMPLETE": "complete_bash", "COMP_WORDS": "tokenopen gro", "COMP_CWORD": "1"}
    ran = await cli.run(**environment)
    assert ran.out.split() == ["groups"]
    environment = {
        "_TOKENOPEN_COMPLETE": "complete_bash",
        "COMP_WORDS": "tokenopen upstreams add open",
        "COMP_CWORD": "3",
    }
    ran = await cli.run(**environment)
    assert ran.out.split() == ["openai", "openrouter", "openai-compatible"]
