"""``tokenopen upstreams``."""

import pytest

from tests.cli.conftest import Cli, ListModels, Price
from tests.fakes.upstream import FakeReply, FakeUpstream

CREDENTIAL = "sk-provider-credential-1234"
ADD = ("upstreams", "add", "openai")


def sent_credentials(upstream: FakeUpstream) -> set[bytes]:
    return {dict(request.headers)[b"authorization"] for request in upstream.requests}


async def test_adding_a_provider_maps_what_has_a_price_and_names_what_lacks_one(
    cli: Cli, price: Price, provider_lists: ListModels, upstream: FakeUpstream
) -> None:
    await price("gpt-4o", "gpt-4o-mini", "o3")
    await cli("models", "set-price", "gpt-5", "--input", "1", "--output", "8")
    await cli("models", "archive", "o3")
    provider_lists("gpt-4o", "openai/gpt-4o-mini", "o3", "gpt-5", "whisper-1", times=2)
    ran = await cli(*ADD, OPENAI_API_KEY=CREDENTIAL)
    assert ran.out.startswith(
        "Using the credential in OPENAI_API_KEY.\nhttps://api.openai.com/v1 answered in "
    )
    assert ran.line("gpt-4o") == "gpt-4o"
    assert ran.line("gpt-4o-mini") == "openai/gpt-4o-mini"
    assert "2 of 5 models have a price here and are mapped." in ran.out
    assert "fill in): gpt-5\n" in ran.out
    assert "Archived here: o3\n" in ran.out
    assert "Without a price here (tokenopen models set-price): whisper-1\n" in ran.out
    assert sent_credentials(upstream) == {f"Bearer {CREDENTIAL}".encode()}
    assert CREDENTIAL not in ran.out + ran.err
    models = (await cli("models", "list", "--json")).json["data"]
    assert [model["name"] for model in models if model["offered"]] == ["gpt-4o", "gpt-4o-mini"]


async def test_a_model_under_its_own_name_goes_before_a_resellers(
    cli: Cli, price: Price, provider_lists: ListModels
) -> None:
    await price("gpt-4o")
    provider_lists("gpt-4o", "openai/gpt-4o", "zed/gpt-4o", times=2)
    ran = await cli(*ADD, "--json", OPENAI_API_KEY=CREDENTIAL)
    assert ran.json["models"] == {"gpt-4o": "gpt-4o"}
    assert ran.json["credential_last_four"] == "1234"


async def test_the_credential_can_be_in_any_variable(
    cli: Cli, provider_lists: ListModels, upstream: FakeUpstream
) -> None:
    provider_lists("gpt-4o", times=2)
    named = ("--credential-env", "TEAM_KEY", "--name", "team", "--base-url", "https://ai.example.com/v1")
    ran = await cli(
        *ADD, *named, "--priority", "3", "--weight", "5", TEAM_KEY="k" * 20, OPENAI_API_KEY="other"
    )
    assert "0 of 1 models" in ran.out
    assert sent_credentials(upstream) == {b"Bearer " + b"k" * 20}
    assert {request.url for request in upstream.requests} == {"https://ai.example.com/v1/models"}
    shown = await cli("upstreams", "show", "team")
    assert shown.line("Priority, weight") == "3, 5"
    assert shown.line("Credential") == "…kkkk"


async def test_a_variable_that_is_not_set_is_told(cli: Cli) -> None:
    said = await cli.refused(*ADD, "--credential-env", "TEAM_KEY")
    assert said == "Error: The variable TEAM_KEY is not set, or is empty."


async def test_without_a_variable_or_anybody_to_ask_the_variable_is_named(cli: Cli) -> None:
    said = await cli.refused("upstreams", "add", "openrouter")
    assert said.startswith("Error: A credential is needed. Set OPENROUTER_API_KEY, or name another variable")


async def test_a_person_is_asked_for_the_credential_without_echo(
    cli: Cli, provider_lists: ListModels, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenopen.cli.upstream.somebody_can_answer", lambda: True)
    provider_lists("gpt-4o", times=2)
    ran = await cli(*ADD, answers=f"{CREDENTIAL}\n")
    assert "Credential of OpenAI" in ran.err
    assert CREDENTIAL not in ran.out + ran.err
    assert sent_credentials(upstream) == {f"Bearer {CREDENTIAL}".encode()}


async def test_after_a_failed_test_the_command_is_simply_repeated(
    cli: Cli, price: Price, provider_lists: ListModels, upstream: FakeUpstream
) -> None:
    await price("gpt-4o")
    upstream.replies.append(FakeReply(401, b"{}"))
    ran = await cli.run(*ADD, OPENAI_API_KEY="sk-mistyped-credential")
    assert ran.exit_code == 1
    assert "The provider refused the credential (its status 401). Enter it again." in ran.err
    assert "repeat the command to try again" in ran.err
    provider_lists("gpt-4o", times=2)
    ran = await cli(*ADD, OPENAI_API_KEY=CREDENTIAL)
    assert ran.line("gpt-4o") == "gpt-4o"
    [kept] = (await cli("upstreams", "list", "--json")).json["data"]
    assert kept["credential_last_four"] == "1234"


async def test_a_second_upstream_of_a_provider_needs_a_name(
    cli: Cli, price: Price, provider_lists: ListModels
) -> None:
    await price("gpt-4o")
    provider_lists("gpt-4o", times=4)
    await cli(*ADD, OPENAI_API_KEY=CREDENTIAL)
    ran = await cli.run(*ADD, OPENAI_API_KEY=CREDENTIAL)
    assert ran.exit_code == 1
    assert "There is an upstream openai already." in ran.err
    await cli(*ADD, "--name", "second", OPENAI_API_KEY=CREDENTIAL)
    ran = await cli("upstreams", "list")
    assert ran.line("openai").split()[:2] == ["openai", "https://api.openai.com/v1"]
    assert ran.line("second")


async def test_what_is_no_provider_or_has_no_address_is_told(cli: Cli) -> None:
    assert (await cli.refused("upstreams", "add", "acme")).startswith(
        "Error: acme is not a provider that is known here: openai, "
    )
    assert (await cli.refused("upstreams", "add", "vllm")) == (
        "Error: Provider vllm has no address of its own: name it with --base-url URL"
    )


@pytest.fixture
async def openai(cli: Cli, price: Price, provider_lists: ListModels) -> None:
    """An upstream that carries gpt-4o."""
    await price("gpt-4o")
    provider_lists("gpt-4o", times=2)
    await cli(*ADD, OPENAI_API_KEY=CREDENTIAL)


async def test_testing_tells_whether_the_provider_answers(
    cli: Cli, openai: None, provider_lists: ListModels
) -> None:
    provider_lists("gpt-4o", "o3")
    ran = await cli("upstreams", "test", "openai")
    assert ran.line("Answers") == "yes"
    assert ran.line("Models") == "2"
    failed = await cli.run("upstreams", "test", "openai")
    assert failed.exit_code == 1
    assert failed.line("Answers") == "no"
    assert failed.line("What to do") == "The provider could not be reached: nothing is there."
    failed = await cli.run("upstreams", "test", "openai", "--json")
    assert failed.exit_code == 1
    assert failed.json["ok"] is False


async def test_mapping_again_adds_what_has_a_price_by_now(
    cli: Cli, openai: None, price: Price, provider_lists: ListModels
) -> None:
    await cli("upstreams", "change", "openai", "--map", "mine=gpt-4o-2024")
    await price("o3")
    provider_lists("gpt-4o", "o3")
    ran = await cli("upstreams", "map", "openai", "--json")
    assert ran.json["models"] == {"gpt-4o": "gpt-4o", "mine": "gpt-4o-2024", "o3": "o3"}


async def test_a_change_leaves_what_is_not_named(cli: Cli, openai: None) -> None:
    ran = await cli(
        *("upstreams", "change", "openai", "--name", "main", "--priority", "2", "--weight", "9"),
        *("--map", "gpt-4o-mini=gpt-4o-mini", "--unmap", "gpt-4o"),
        *("--connect-timeout-ms", "1000", "--first-byte-timeout-ms", "2000", "--idle-timeout-ms", "3000"),
    )
    assert ran.line("Name") == "main"
    assert ran.line("Models (1)") == "gpt-4o-mini"
    assert ran.line("Timeouts (ms)") == "connect 1,000, first byte 2,000, idle 3,000"
    assert ran.line("Warnings").startswith("Model gpt-4o-mini is not known here")
    assert ran.line("Credential") == "…1234"
    said = await cli.refused("upstreams", "change", "main", "--unmap", "o3")
    assert said == "Error: The upstream does not carry o3."


async def test_another_address_needs_its_credential_too(cli: Cli, openai: None) -> None:
    move = ("upstreams", "change", "openai", "--base-url", "https://other.example.com/v1")
    assert (await cli.refused(*move)).endswith("[invalid_request]")
    ran = await cli(*move, "--credential-env", "OTHER", OTHER="other-credential-5678")
    assert ran.line("Base URL") == "https://other.example.com/v1"
    assert ran.line("Credential") == "…5678"


async def test_a_disabled_upstream_offers_nothing(cli: Cli, openai: None) -> None:
    assert (await cli("upstreams", "disable", "openai")).line("Enabled") == "no"
    assert (await cli("models", "show", "gpt-4o")).line("Offered") == "no"
    assert (await cli("upstreams", "enable", "openai")).line("Enabled") == "yes"
    assert (await cli("models", "show", "gpt-4o")).line("Offered") == "yes"


async def test_an_upstream_that_is_not_there_is_told_with_those_that_are(cli: Cli, openai: None) -> None:
    said = await cli.refused("upstreams", "show", "azure")
    assert said == "Error: There is no upstream azure. There are: openai."
