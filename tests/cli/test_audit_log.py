"""``tokenopen audit-log``."""

from tests.cli.conftest import Cli


async def test_a_change_is_shown_as_old_and_new(cli: Cli) -> None:
    await cli("groups", "change", "vip", "--requests-per-day", "5000")
    ran = await cli("audit-log", "--action", "group.update", "--actor", "admin@localhost")
    [row] = [line for line in ran.out.splitlines() if "group.update" in line]
    assert "admin@localhost" in row
    assert row.endswith("requests_per_day: 20,000 -> 5,000")


async def test_what_was_created_is_shown_whole_and_can_be_narrowed_to(cli: Cli) -> None:
    user_id = (await cli("users", "create", "grace@example.com", "--name", "Grace", "--json")).json["id"]
    ran = await cli("audit-log", "--subject-kind", "user", "--subject", user_id)
    [row] = [line for line in ran.out.splitlines() if "user.create" in line]
    assert "email: grace@example.com" in row
    entries = (await cli("audit-log", "--subject", user_id, "--json")).json["data"]
    assert [entry["action"] for entry in entries] == ["user.create"]


async def test_a_change_of_hundreds_of_models_is_cut_short(cli: Cli) -> None:
    await cli("prices", "import", "--maker", "openai")
    [row] = [line for line in (await cli("audit-log")).out.splitlines() if "model.import" in line]
    assert len(row) < 600
    assert row.endswith(" …")


async def test_the_audit_log_is_for_administrators(user_cli: Cli) -> None:
    assert (await user_cli.refused("audit-log")).endswith("[permission_denied]")
