"""The demo, run as a newcomer does: what it promises to print, and that it ends well."""

import re
import subprocess
import sys
from fractions import Fraction

import pytest

from tokenopen.settings import child_environment

# Of a range that nothing else here listens in.
PORT_FIRST = 18_700


@pytest.fixture(scope="module")
def printed() -> str:
    """What ``tokenopen demo --once`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tokenopen.cli.main", "demo", "--once"],
        # Wide enough that no cell of a table is broken over lines.
        env=child_environment({"COLUMNS": "200", "TOKENOPEN_PORT": str(PORT_FIRST)}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_it_shows_the_three_groups_that_a_user_may_pick(printed: str) -> None:
    for name, multiplier, per_minute, per_day in (
        ("Default", "1.0x", "60", "1,000"),
        ("VIP", "From 0.8x", "600", "20,000"),
        ("Enterprise", "0.65x", "2,000", "unlimited"),
    ):
        assert re.search(rf"{name} .*{re.escape(multiplier)} .* {per_minute} .* {per_day} ", printed), name


def test_it_makes_one_call_per_group_whose_table_can_be_recomputed(printed: str) -> None:
    cell = r" +│ (\S+)"
    prices, multiplier, tokens = r" +│ (\S+) / (\S+)", r" +│ (\S+)x \(([^)]+)\)", r" +│ (\d+) / (\d+)"
    rows = re.findall(
        r"(default|vip|enterprise)" + cell + prices + multiplier + tokens + cell + cell, printed
    )
    assert [(slug, model, factor, rule) for slug, model, _, _, factor, rule, *_ in rows] == [
        ("default", "gpt-4o-mini", "1.0", "group"),
        ("vip", "gpt-6-luna", "0.9", "group model gpt-6*"),
        ("enterprise", "gpt-4.1", "0.65", "entitlement"),
    ]
    before = re.search(r"One call per group, from a balance of (\S+) \(1 credit = 1 USD\)", printed)
    assert before is not None
    balance = Fraction(before[1])
    for _, _, input_price, output_price, factor, _, words_in, words_out, charge, shown in rows:
        list_price = (int(words_in) * Fraction(input_price) + int(words_out) * Fraction(output_price)) / 10**6
        assert Fraction(charge) == list_price * Fraction(factor)
        balance -= Fraction(charge)
        assert Fraction(shown) == balance


def test_it_writes_out_the_sum_of_one_receipt(printed: str) -> None:
    formula = re.search(
        r"The last receipt's formula:  \((\d+) x (\S+) \+ (\d+) x (\S+)\) / 1,000,000 x (\S+) = (\S+)",
        printed,
    )
    assert formula is not None
    units_in, price_in, units_out, price_out, multiplier, charge = map(Fraction, formula.groups())
    assert (units_in * price_in + units_out * price_out) / 10**6 * multiplier == charge


def test_it_shows_one_call_over_a_limit_and_one_to_a_model_that_the_group_lacks(printed: str) -> None:
    over_limit, lacking = printed.split("A model that the group lacks: 403 Forbidden")
    assert "429 Too Many Requests" in over_limit
    assert re.search(r"Retry-After: \d+", over_limit)
    assert '"code": "rpm_exceeded"' in over_limit
    assert "allows 1 request per minute; 1 used." in over_limit
    assert '"code": "model_not_allowed"' in lacking
    assert '"groups_with_model"' in lacking


def test_it_replays_300_calls_whose_charges_equal_the_recomputation(printed: str) -> None:
    assert re.search(r"Trace: 300 calls over 3 groups, \d+ of them as SSE, all answered\.", printed)
    assert re.search(r"^sum of charges = recomputation \(\d+\.\d+ credits\)$", printed, re.MULTILINE)
    assert re.search(r"^audit: 0 drift \(.*\d calls, ", printed, re.MULTILINE)


def test_it_prints_what_to_try_at_the_first_port_that_is_free_from_the_one_named_on(printed: str) -> None:
    address = re.search(r"export OPENAI_BASE_URL=http://127\.0\.0\.1:(\d+)/v1", printed)
    assert address is not None
    assert PORT_FIRST <= int(address[1]) < PORT_FIRST + 100
    assert re.search(r"export OPENAI_API_KEY=sk-to-\w+", printed)
    assert re.search(r"curl http://127\.0\.0\.1:\d+/v1/chat/completions ", printed)


def test_it_opens_onto_a_month_of_calls_and_says_how_to_sign_in(printed: str) -> None:
    lived = re.search(r"The past month: ([\d,]+) calls by 5 people", printed)
    assert lived is not None
    assert int(lived[1].replace(",", "")) > 1_000
    assert re.search(r"^ +http://localhost:\d+$", printed, re.MULTILINE)
    for role, email in (("a user", "ada@example.com"), ("an administrator", "admin@example.com")):
        assert re.search(rf"as {role}: +{email} +password \S{{12,}}", printed)
