"""``tokenopen credits``."""

import httpx
import pytest
from fastapi import FastAPI

from tests.cli.conftest import Cli, LoopTransport
from tokenopen.control.actor import Actor

ADA = "ada@example.com"


async def test_added_credit_is_on_the_balance_and_in_the_ledger(cli: Cli, user: Actor) -> None:
    ran = await cli("credits", "add", ADA, "10", "--reason", "Invoice 7")
    assert ran.line("Amount") == "10 credits"
    assert ran.line("Balance after") == "10 credits (1 credit = 1 USD)"
    shown = await cli("credits", "show", ADA)
    assert shown.line("Balance") == "10 credits (1 credit = 1 USD)"
    assert shown.line("Reserved for running calls") == "0"
    assert shown.line("Available") == "10"
    ledger = await cli("credits", "ledger", ADA)
    assert "Invoice 7" in ledger.out
    assert "top_up" in ledger.out


async def test_a_balance_can_be_corrected_downwards(cli: Cli, user: Actor) -> None:
    await cli("credits", "add", ADA, "10", "--reason", "Start")
    ran = await cli("credits", "adjust", ADA, "-2.5", "--reason", "Typing error")
    assert ran.line("Amount") == "-2.5 credits"
    assert ran.line("Balance after") == "7.5 credits (1 credit = 1 USD)"
    entries = (await cli("credits", "ledger", ADA, "--kind", "adjustment", "--json")).json["data"]
    assert [entry["amount"] for entry in entries] == ["-2.5"]


async def test_more_than_is_available_cannot_be_taken(cli: Cli, user: Actor) -> None:
    assert (await cli.refused("credits", "adjust", ADA, "-1", "--reason", "x")).endswith("[conflict]")


async def test_a_mistyped_option_of_adjust_is_told(cli: Cli, user: Actor) -> None:
    ran = await cli.run("credits", "adjust", ADA, "1", "--reson", "x", "--reason", "y")
    assert ran.exit_code == 2
    assert "--reson" in ran.err


async def test_the_same_idempotency_key_adds_credit_once(cli: Cli, user: Actor) -> None:
    add = ("credits", "add", ADA, "10", "--reason", "Start", "--idempotency-key", "start-1", "--json")
    assert (await cli(*add)).json == (await cli(*add)).json
    assert (await cli("credits", "show", ADA)).line("Available") == "10"


async def test_a_command_that_is_repeated_on_purpose_adds_twice(cli: Cli, user: Actor) -> None:
    for _ in range(2):
        await cli("credits", "add", ADA, "10", "--reason", "Start")
    assert (await cli("credits", "show", ADA)).line("Available") == "20"


class LosesAnswers(LoopTransport):
    """Carries requests out, and loses the answers to the first POSTs."""

    lose = 1

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.method == "POST" and self.lose:
            self.lose -= 1
            raise httpx.ReadError("connection reset")
        return response


@pytest.fixture
async def losing(cli: Cli, control_app: FastAPI) -> LosesAnswers:
    """The administrator's connection, which loses answers."""
    assert isinstance(cli.transport, LoopTransport)
    cli.transport = LosesAnswers(control_app, cli.transport.loop)
    return cli.transport


async def test_credit_whose_answer_was_lost_is_added_once(
    cli: Cli, losing: LosesAnswers, user: Actor
) -> None:
    ran = await cli("credits", "add", ADA, "10", "--reason", "Start")
    assert ran.line("Balance after") == "10 credits (1 credit = 1 USD)"
    sent = [request.headers["idempotency-key"] for request in losing.requests if request.method == "POST"]
    assert len(sent) == 2
    assert sent[0] == sent[1]


async def test_where_every_answer_is_lost_the_command_says_how_to_repeat_it_safely(
    cli: Cli, losing: LosesAnswers, user: Actor
) -> None:
    losing.lose = 2
    said = await cli.refused("credits", "add", ADA, "10", "--reason", "Start")
    key = said.rpartition(" --idempotency-key ")[2]
    assert "Whether the credit was moved is not known" in said
    await cli("credits", "add", ADA, "10", "--reason", "Start", "--idempotency-key", key)
    assert (await cli("credits", "show", ADA)).line("Available") == "10"


async def test_a_user_sees_their_own_credit(cli: Cli, user_cli: Cli) -> None:
    await cli("credits", "add", ADA, "3", "--reason", "Start")
    ran = await user_cli("credits", "show")
    assert ran.line("User") == ADA
    assert ran.line("Available") == "3"
    assert (await user_cli("credits", "show", "--json")).json["available"] == "3"


async def test_everybodys_ledger_is_for_administrators(cli: Cli, user_cli: Cli) -> None:
    assert (await cli("credits", "ledger", "--json")).json["data"] == []
    assert (await user_cli.refused("credits", "ledger")).endswith("[permission_denied]")
