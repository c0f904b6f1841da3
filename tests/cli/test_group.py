"""``tokenopen groups``."""

from tests.cli.conftest import Cli


async def test_the_list_shows_multiplier_limits_and_access_of_each_group(cli: Cli) -> None:
    ran = await cli("groups", "list")
    header = ran.out.splitlines()[0]
    for label in ("Multiplier", "Requests / minute (RPM)", "Requests / day (TPD)", "Access"):
        assert label in header
    assert "1.0x" in ran.line("default")
    assert "Open to everyone" in ran.line("default")
    vip = ran.line("vip")
    assert "From 0.8x" in vip
    assert "600" in vip
    assert "20,000" in vip
    assert "By request" in vip
    assert "unlimited" in ran.line("enterprise")


async def test_json_is_the_apis_own_answer(cli: Cli) -> None:
    ran = await cli("groups", "list", "--json")
    assert [group["slug"] for group in ran.json["data"]] == ["default", "enterprise", "vip"]
    assert ran.json["next_cursor"] is None


async def test_a_list_says_how_to_go_on_where_its_page_ended(cli: Cli) -> None:
    first = await cli("groups", "list", "--limit", "2")
    assert first.out.splitlines()[-1] == "More: repeat with --cursor enterprise"
    second = await cli("groups", "list", "--cursor", "enterprise")
    assert "vip" in second.out
    assert "enterprise" not in second.out
    assert "More" not in second.out


async def test_a_group_is_created_as_the_options_say(cli: Cli) -> None:
    ran = await cli(
        *("groups", "create", "night", "--name", "Night", "--multiplier", "0.5"),
        *("--model", "gpt-4o*", "--model", "o3", "--model-multiplier", "o3=0.75"),
        *("--requests-per-minute", "1,000", "--requests-per-day", "unlimited"),
        *("--visibility", "public", "--suitable-for", "Night owls", "--reason", "Trial"),
    )
    assert ran.line("Multiplier") == "0.5x"
    assert ran.line("Multiplier by model") == "o3 0.75x"
    assert ran.line("Requests / minute (RPM)") == "1,000"
    assert ran.line("Requests / day (TPD)") == "unlimited"
    assert ran.line("Access") == "Open to everyone"
    assert ran.line("Available models") == "gpt-4o*, o3"
    assert ran.line("Reason") == "Trial"
    group = (await cli("groups", "show", "night", "--json")).json
    assert group["allowed_models"] == ["gpt-4o*", "o3"]
    assert (group["requests_per_minute"], group["requests_per_day"]) == (1_000, None)
    assert group["suitable_for"] == "Night owls"


async def test_a_change_leaves_what_is_not_named(cli: Cli) -> None:
    before = (await cli("groups", "show", "vip", "--json")).json
    after = (
        await cli(
            "groups", "change", "vip", "--multiplier", "0.7", "--requests-per-day", "unlimited", "--json"
        )
    ).json
    assert after["multiplier"] == "0.7"
    assert after["requests_per_day"] is None
    assert after["revision"]["number"] == 2
    for field in ("allowed_models", "model_multipliers", "requests_per_minute", "visibility", "name"):
        assert after[field] == before[field]


async def test_models_are_added_and_removed_without_naming_all_others(cli: Cli) -> None:
    before = (await cli("groups", "show", "default", "--json")).json["allowed_models"]
    after = (
        await cli(
            *("groups", "change", "default", "--add-model", "o3", "--remove-model", "gpt-4o", "--json"),
        )
    ).json["allowed_models"]
    assert after == [model for model in before if model != "gpt-4o"] + ["o3"]


async def test_removing_a_model_that_is_not_there_is_told(cli: Cli) -> None:
    said = await cli.refused("groups", "change", "default", "--remove-model", "gpt-9")
    assert said.startswith("Error: gpt-9 is not among the group's available models: ")


async def test_model_multipliers_can_be_dropped(cli: Cli) -> None:
    ran = await cli("groups", "change", "vip", "--no-model-multipliers")
    assert ran.line("Multiplier by model") == "-"


async def test_a_scheduled_change_is_shown_as_upcoming(cli: Cli) -> None:
    ran = await cli(
        *("groups", "change", "vip", "--multiplier", "0.75"),
        *("--effective-from", "2026-12-01T00:00:00Z", "--reason", "December"),
    )
    assert ran.line("Multiplier") == "0.8x"
    upcoming = ran.line("2")
    assert "2026-12-01 00:00:00 UTC" in upcoming
    assert "0.75x" in upcoming
    assert "December" in upcoming


async def test_a_renamed_group_is_found_under_its_new_slug_only(cli: Cli) -> None:
    await cli("groups", "rename", "vip", "gold", "--name", "Gold")
    assert (await cli("groups", "show", "gold", "--json")).json["name"] == "Gold"
    assert await cli.refused("groups", "show", "vip") == "Error: There is no group vip. [not_found]"


async def test_an_archived_group_says_so(cli: Cli) -> None:
    ran = await cli("groups", "archive", "vip", "--reason", "No more")
    assert ran.line("State") == "archived"
    assert "vip" not in (await cli("groups", "list", "--state", "active")).out


async def test_revisions_tell_who_changed_what_and_why(cli: Cli) -> None:
    await cli("groups", "change", "default", "--requests-per-minute", "90", "--reason", "Spring")
    ran = await cli("groups", "revisions", "default")
    newest = ran.line("2")
    assert "admin@localhost" in newest
    assert "Spring" in newest
    assert "90" in newest
    assert "First start" in ran.line("1")
    revisions = (await cli("groups", "revisions", "default", "--json")).json["data"]
    assert [revision["number"] for revision in revisions] == [2, 1]


async def test_a_user_sees_which_groups_are_open_to_them(user_cli: Cli) -> None:
    ran = await user_cli("groups", "mine")
    assert "yes" in ran.line("default")
    assert "by request" in ran.line("vip")
    mine = (await user_cli("groups", "mine", "--json")).json
    assert [group["slug"] for group in mine["data"]] == ["default"]


async def test_a_user_may_not_change_groups(user_cli: Cli) -> None:
    said = await user_cli.refused("groups", "change", "default", "--multiplier", "0.1")
    assert said.endswith("[permission_denied]")


async def test_the_apis_refusal_is_told_with_its_code(cli: Cli) -> None:
    arguments = ("--name", "Vip", "--multiplier", "1", "--model", "o3")
    said = await cli.refused("groups", "create", "vip", *arguments)
    assert said == "Error: There is a group vip already. Choose another slug. [conflict]"


async def test_a_limit_that_is_no_number_is_told_before_anything_is_sent(cli: Cli) -> None:
    ran = await cli.run("groups", "change", "vip", "--requests-per-minute", "many")
    assert ran.exit_code == 2
    assert "--requests-per-minute takes a whole number, or unlimited" in " ".join(ran.err.split())


async def test_a_pair_without_a_value_is_told(cli: Cli) -> None:
    ran = await cli.run("groups", "change", "vip", "--model-multiplier", "gpt-5*")
    assert ran.exit_code == 2
    assert "--model-multiplier takes NAME=VALUE" in " ".join(ran.err.split())
