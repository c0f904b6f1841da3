"""``tokenopen models`` and ``tokenopen prices``."""

from tests.cli.conftest import Cli, Price


async def test_a_model_is_created_with_its_price_and_named_incomplete(cli: Cli) -> None:
    ran = await cli("models", "set-price", "llama-x", "--input", "0.2", "--output", "0.8", "--maker", "meta")
    assert ran.line("State") == "incomplete"
    assert ran.line("Missing") == "context window, max output tokens"
    assert ran.line("Prices per 1M tokens") == "input 0.2, output 0.8"
    listed = await cli("models", "list", "--incomplete")
    assert "context window, max output tokens" in listed.line("llama-x")
    ran = await cli(
        "models", "set-limits", "llama-x", "--context-window", "128,000", "--max-output-tokens", "8192"
    )
    assert ran.line("State") == "active"
    assert ran.line("Offered") == "no"
    assert (await cli("models", "list", "--incomplete", "--json")).json["data"] == []


async def test_every_part_of_a_price_can_be_named(cli: Cli) -> None:
    ran = await cli(
        *("models", "set-price", "long", "--input", "1", "--output", "4", "--cached-input", "0.1"),
        *("--price", "audio_input=9", "--price", "per_call=0.01"),
        *("--above", "200000:input=2,output=6", "--reason", "Contract"),
    )
    assert ran.line("Above 200,000 input tokens") == "input 2, output 6"
    model = (await cli("models", "show", "long", "--json")).json
    assert model["prices"] == {
        "input": "1",
        "output": "4",
        "cached_input": "0.1",
        "audio_input": "9",
        "per_call": "0.01",
    }
    assert model["steps"] == [{"above_input_tokens": 200_000, "prices": {"input": "2", "output": "6"}}]
    revisions = await cli("models", "revisions", "long")
    assert "above 200,000: input 2, output 6" in revisions.line("1")
    assert "Contract" in revisions.line("1")


async def test_steps_are_dropped_only_when_that_is_said(cli: Cli) -> None:
    prices = ("models", "set-price", "long", "--input", "1", "--output", "4")
    await cli(*prices, "--above", "200000:input=2,output=6")
    assert (await cli.refused(*prices)).endswith("[invalid_request]")
    assert (await cli(*prices, "--no-steps", "--json")).json["steps"] == []


async def test_a_price_to_come_is_shown_beside_the_one_in_force(cli: Cli, price: Price) -> None:
    await price("gpt-4o-mini")
    ran = await cli(
        *("models", "set-price", "gpt-4o-mini", "--input", "0.3", "--output", "1.2"),
        *("--effective-from", "2026-12-01T00:00:00Z"),
    )
    assert ran.out.count("Prices per 1M tokens") == 2
    assert ran.line("From") == "2026-12-01 00:00:00 UTC"
    revisions = (await cli("models", "revisions", "gpt-4o-mini", "--json")).json["data"]
    assert [revision["prices"]["input"] for revision in revisions] == ["0.3", "0.15"]


async def test_the_list_shows_prices_and_can_be_searched(cli: Cli, price: Price) -> None:
    await price("gpt-4o-mini", "other/maker-model")
    ran = await cli("models", "list", "--search", "MINI")
    assert "0.15" in ran.line("gpt-4o-mini")
    assert "other/maker-model" not in ran.out
    active = (await cli("models", "list", "--state", "active", "--json")).json["data"]
    assert [model["name"] for model in active] == ["gpt-4o-mini", "other/maker-model"]


async def test_a_name_with_a_slash_is_one_name(cli: Cli, price: Price) -> None:
    await price("other/maker-model")
    assert (await cli("models", "show", "other/maker-model")).line("Model") == "other/maker-model"
    assert (await cli("models", "archive", "other/maker-model")).line("State") == "archived"
    assert (await cli("models", "unarchive", "other/maker-model")).line("State") == "active"


async def test_what_cannot_be_a_price_is_told(cli: Cli) -> None:
    said = await cli.refused("models", "set-price", "m", "--input", "free", "--output", "1")
    assert said.startswith("Error: prices.input: 'free' is not a decimal number")
    said = await cli.refused("models", "set-price", "m", "--input", "1", "--price", "outputs=2")
    assert said.startswith("Error: prices: unknown price 'outputs'")


async def test_a_malformed_step_or_count_is_told_before_anything_is_sent(cli: Cli) -> None:
    ran = await cli.run("models", "set-price", "m", "--input", "1", "--above", "200000")
    assert ran.exit_code == 2
    assert "--above takes TOKENS:CLASS=PRICE" in " ".join(ran.err.split())
    ran = await cli.run("models", "set-limits", "m", "--context-window", "128k")
    assert ran.exit_code == 2
    assert "--context-window takes a whole number" in " ".join(ran.err.split())


async def test_an_import_tells_what_it_would_do_then_does_it(cli: Cli) -> None:
    dry = await cli("prices", "import", "--maker", "mistral", "--dry-run")
    created = dry.line("Created")
    assert int(created) > 5
    assert dry.line("Dry run") == "yes"
    assert (await cli("models", "list", "--json")).json["data"] == []
    ran = await cli("prices", "import", "--maker", "mistral")
    assert ran.line("Created") == created
    assert "mistral-large" in ran.out
    again = (await cli("prices", "import", "--maker", "mistral", "--json")).json
    assert again["unchanged"] == int(created)
    assert again["created"] == 0


async def test_an_import_keeps_prices_that_were_set_here(cli: Cli) -> None:
    imported = (await cli("prices", "import", "--maker", "mistral", "--json")).json["models"]
    name = next(model["name"] for model in imported if not model["missing"])
    await cli("models", "set-price", name, "--input", "7", "--output", "8", "--no-steps")
    ran = await cli("prices", "import", "--maker", "mistral")
    assert ran.line("Your own price kept") == "1"
    assert "own price" in ran.line(name)


async def test_an_unknown_maker_is_told(cli: Cli) -> None:
    assert (await cli.refused("prices", "import", "--maker", "acme")).endswith("[invalid_request]")
