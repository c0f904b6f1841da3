"""``tokenopen calls``."""

from tests.cli.conftest import Cli
from tests.fakes.clock import MovableClock
from tests.till_calls import TillCalls

ADA = "ada@example.com"


async def test_the_list_shows_who_called_what_and_the_charge(cli: Cli, calls: TillCalls) -> None:
    call_id = await calls.call(input=1_234, output=56)
    voided = await calls.admit()
    await calls.void(voided)
    await calls.admit()
    ran = await cli("calls", "list")
    [charged] = [line for line in ran.out.splitlines() if call_id in line]
    for text in (ADA, "default", "gpt-4o-mini", "1,234 input, 56 output", "1.0x", "0.0002187", " charged "):
        assert text in charged
    assert " not charged " in next(line for line in ran.out.splitlines() if voided.facts.call_id in line)
    assert " running " in ran.out
    settled = (await cli("calls", "list", "--state", "settled", "--json")).json["data"]
    assert [call["id"] for call in settled] == [call_id]


async def test_the_list_can_be_narrowed(cli: Cli, calls: TillCalls, clock: MovableClock) -> None:
    await calls.call()
    clock.move(seconds=3_600)
    late = await calls.call()
    filters = (
        "--user",
        ADA,
        "--group",
        "default",
        "--model",
        "gpt-4o-mini",
        "--from",
        "2026-06-01T12:30:00Z",
    )
    found = (await cli("calls", "list", *filters, "--json")).json["data"]
    assert [call["id"] for call in found] == [late]
    assert (await cli("calls", "list", "--to", "2026-06-01T12:00:00Z", "--json")).json["data"] == []
    assert (await cli("calls", "list", "--group", "vip", "--json")).json["data"] == []
    assert (await cli.refused("calls", "list", "--group", "gold")).startswith(
        "Error: There is no group gold."
    )


async def test_the_receipt_is_the_sum_written_out(cli: Cli, calls: TillCalls) -> None:
    call_id = await calls.call(input=1_234, output=56)
    ran = await cli("calls", "show", call_id)
    assert ran.line("Charge") == "0.0002187 credits (1 credit = 1 USD)"
    assert ran.line("Formula") == "(1,234 x 0.15 + 56 x 0.6) / 1,000,000 x 1.0 = 0.0002187"
    assert ran.line("Multiplier") == "1.0x (group)"
    assert ran.line("Not covered by credit (not charged)") == "0"
    assert ran.line("input").split() == ["1,234", "0.15"]
    assert ran.line("Group") == "Default, revision 1"
    receipt = (await cli("calls", "show", call_id, "--json")).json
    assert receipt["charge"] == "0.0002187"


async def test_a_call_that_was_not_charged_has_no_formula(cli: Cli, calls: TillCalls) -> None:
    admission = await calls.admit()
    await calls.void(admission)
    ran = await cli("calls", "show", admission.facts.call_id)
    assert ran.line("State") == "not charged"
    assert ran.line("Ended") == "upstream failed"
    assert ran.line("Formula") == "-"


async def test_the_upstreams_that_were_tried_are_shown(cli: Cli, calls: TillCalls) -> None:
    admission = await calls.admit()
    attempts = '[{"upstream_id": "ups_1", "result": "429", "duration_ms": 7}]'
    await calls.settle(admission, {"input": 1}, attempts=attempts)
    assert (await cli("calls", "show", admission.facts.call_id)).line("ups_1").split() == ["429", "7"]


async def test_a_user_sees_their_own_calls_only(cli: Cli, user_cli: Cli, calls: TillCalls) -> None:
    call_id = await calls.call()
    assert call_id in (await user_cli("calls", "list")).out
    shown = await user_cli("calls", "show", call_id)
    assert shown.line("Charge").startswith("0.0002187")
    assert "Upstream" not in shown.out
    assert (await user_cli.refused("calls", "list", "--user", ADA)).endswith("[permission_denied]")


async def test_a_part_then_the_rest_of_a_charge_is_refunded(cli: Cli, calls: TillCalls) -> None:
    call_id = await calls.call(input=1_234, output=56)
    calls.clock.move(seconds=1)
    ran = await cli("calls", "refund", call_id, "--amount", "0.0001", "--reason", "Slow")
    assert ran.line("Amount") == "0.0001 credits"
    assert ran.line("Kind") == "refund"
    rest = await cli("calls", "refund", call_id, "--reason", "Slow", "--json")
    assert rest.json["amount"] == "0.0001187"
    assert (await cli("calls", "show", call_id)).line("Refunded") == "0.0002187"
    assert (await cli.refused("calls", "refund", call_id, "--reason", "Again")).endswith("[conflict]")
    entries = (await cli("credits", "ledger", "--call", call_id, "--json")).json["data"]
    assert [entry["kind"] for entry in entries] == ["refund", "refund", "charge"]


async def test_a_call_that_is_not_there_is_told(cli: Cli) -> None:
    assert await cli.refused("calls", "show", "call_0") == "Error: There is no call call_0. [not_found]"


async def test_flagged_calls_are_listed_reviewed_and_adjusted(cli: Cli, calls: TillCalls) -> None:
    first, second = await calls.flagged(), await calls.flagged()
    ran = await cli("calls", "flagged")
    assert "impossible usage: -1 units of input" in ran.out
    ran = await cli("calls", "review", first, "--note", "The provider's fault")
    assert ran.line("Look at").endswith("(reviewed 2026-06-01 12:00:00 UTC)")
    left = (await cli("calls", "flagged", "--unreviewed", "--json")).json["data"]
    assert [call["id"] for call in left] == [second]
    ran = await cli("calls", "adjust", second, "-0.0005", "--reason", "12 tokens")
    assert (ran.line("Kind"), ran.line("Amount")) == ("adjustment", "-0.0005 credits")
    assert (await cli("calls", "show", second)).line("Adjusted") == "-0.0005"
    assert (await cli("calls", "flagged", "--unreviewed", "--json")).json["data"] == []
