"""A receipt's formula is the charge: whoever types it into a calculator gets what was taken."""

import decimal
import json
import re
from decimal import ROUND_DOWN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.clock import MovableClock
from tests.till_calls import MODEL, TillCalls, start_calls
from tokenopen.control.actor import Actor
from tokenopen.control.model import put_model
from tokenopen.control.receipt import Receipt, explain_charge, get_receipt
from tokenopen.core.catalog import PRICE_NAMES, resolve_prices
from tokenopen.core.charge import charge_for
from tokenopen.core.errors import NotFound
from tokenopen.core.money import MULTIPLIER_PPM_MAX, PRICE_MAX, Nanocredits, format_amount
from tokenopen.core.usage import UNITS_MAX, USAGE_CLASSES, Usage
from tokenopen.storage.sqlite import SqliteStorage


@pytest.fixture
async def till(storage: SqliteStorage, clock: MovableClock, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)


async def _receipt(till: TillCalls, call_id: str, *, account_id: str | None = None) -> Receipt:
    async with till.storage.read() as tx:
        return await get_receipt(tx, account_id, call_id)


def _calculate(formula: str) -> tuple[Decimal, Decimal]:
    """Return what the formula's left side comes to, and the charge that its right side names."""
    left, right = formula.split(" = ")
    exact, _, rounded = right.partition(", rounded down to ")
    assert re.fullmatch(r"[0-9.,()+/x ]+", left)
    numbers = re.sub(r"[0-9][0-9.,]*", lambda match: f"Decimal('{match[0].replace(',', '')}')", left)
    value = eval(numbers.replace("x", "*"), {"Decimal": Decimal})
    assert value == Decimal(exact)
    return Decimal(exact), Decimal(rounded or exact)


def test_the_formula_reads_as_a_person_would_write_it() -> None:
    prices = resolve_prices({"input": Nanocredits(150_000_000), "output": Nanocredits(600_000_000)})
    usage = Usage({"input": 1_234, "output": 56})
    assert (
        explain_charge(usage, prices, multiplier_ppm=800_000)
        == "(1,234 x 0.15 + 56 x 0.6) / 1,000,000 x 0.8 = 0.00017496"
    )


def test_the_formula_says_what_was_rounded_off() -> None:
    prices = resolve_prices({"input": Nanocredits(150_000_000), "output": Nanocredits(600_000_000)})
    usage = Usage({"input": 1, "output": 1})
    assert (
        explain_charge(usage, prices, multiplier_ppm=333_333)
        == "(1 x 0.15 + 1 x 0.6) / 1,000,000 x 0.333333 = 0.00000024999975, rounded down to 0.000000249"
    )


def test_the_formula_names_a_price_per_call() -> None:
    named = {"input": Nanocredits(10**9), "output": Nanocredits(0), "per_call": Nanocredits(10**7)}
    prices = resolve_prices(named)
    assert (
        explain_charge(Usage({"input": 3}), prices, multiplier_ppm=1_000_000)
        == "((3 x 1) / 1,000,000 + 0.01) x 1.0 = 0.010003"
    )
    assert explain_charge(Usage({}), prices, multiplier_ppm=500_000) == "0.01 x 0.5 = 0.005"


def test_the_formula_of_nothing_is_zero() -> None:
    prices = resolve_prices({"input": Nanocredits(1), "output": Nanocredits(1)})
    assert explain_charge(Usage({}), prices, multiplier_ppm=1_000_000) == "0 x 1.0 = 0"


@given(
    units=st.dictionaries(st.sampled_from(USAGE_CLASSES), st.integers(0, UNITS_MAX)),
    named=st.fixed_dictionaries(
        {"input": st.integers(0, PRICE_MAX), "output": st.integers(0, PRICE_MAX)},
        optional={name: st.integers(0, PRICE_MAX) for name in PRICE_NAMES if name not in ("input", "output")},
    ),
    multiplier_ppm=st.integers(0, MULTIPLIER_PPM_MAX),
)
def test_the_formula_recomputes_to_the_charge(
    units: dict[str, int], named: dict[str, int], multiplier_ppm: int
) -> None:
    prices = resolve_prices({name: Nanocredits(price) for name, price in named.items()})
    # What has no price is never charged.
    usage = Usage({name: count for name, count in units.items() if name in prices.per_million})
    with decimal.localcontext(decimal.Context(prec=80)):
        exact, charge = _calculate(explain_charge(usage, prices, multiplier_ppm=multiplier_ppm))
        assert exact.quantize(Decimal("1e-9"), ROUND_DOWN) == charge
    assert charge == Decimal(format_amount(charge_for(usage, prices, multiplier_ppm=multiplier_ppm)))


async def test_a_receipt_says_all_that_a_charge_was_made_of(till: TillCalls) -> None:
    call_id = await till.call(input=1_234, output=56)
    receipt = await _receipt(till, call_id, account_id=till.user.account_id)
    assert receipt.formula == "(1,234 x 0.15 + 56 x 0.6) / 1,000,000 x 1.0 = 0.0002187"
    call = receipt.call
    assert (call.charge, call.list_price, call.absorbed, call.refunded) == (218_700, 218_700, 0, 0)
    assert (call.group_slug, call.multiplier_rule, call.state) == ("default", "group", "settled")
    assert (receipt.group_revision_number, receipt.price_revision_number) == (1, 1)
    assert receipt.step_above_input_units is None


async def test_a_receipt_names_the_long_context_step_that_applied(
    till: TillCalls, administrator: Actor
) -> None:
    async with till.storage.write() as tx:
        await put_model(
            tx,
            administrator,
            MODEL,
            {
                "prices": {"input": Nanocredits(10**9), "output": Nanocredits(10**9)},
                "steps": [(100, {"input": Nanocredits(2 * 10**9), "output": Nanocredits(3 * 10**9)})],
            },
        )
    below = await _receipt(till, await till.call(input=100, output=1))
    above = await _receipt(till, await till.call(input=101, output=1))
    assert (below.step_above_input_units, above.step_above_input_units) == (None, 100)
    assert above.formula == "(101 x 2 + 1 x 3) / 1,000,000 x 1.0 = 0.000205"
    assert above.price_revision_number == 2


async def test_a_renamed_price_keeps_what_was_charged(till: TillCalls, administrator: Actor) -> None:
    call_id = await till.call(input=10)
    before = await _receipt(till, call_id)
    async with till.storage.write() as tx:
        prices = {"input": Nanocredits(1), "output": Nanocredits(1)}
        await put_model(tx, administrator, MODEL, {"prices": prices})
    assert await _receipt(till, call_id) == before


async def test_a_call_that_was_not_charged_has_no_formula(till: TillCalls) -> None:
    admission = await till.admit()
    await till.void(admission)
    receipt = await _receipt(till, admission.facts.call_id)
    assert receipt.formula is None
    assert receipt.call.list_price is None
    assert receipt.call.end_reason == "upstream_failed"


async def test_usage_beyond_credit_is_shown_as_absorbed(till: TillCalls) -> None:
    admission = await till.admit(hold=10 * 10**9)
    await till.settle(admission, {"input": 10**8})
    receipt = await _receipt(till, admission.facts.call_id)
    assert (receipt.call.charge, receipt.call.absorbed) == (10 * 10**9, 5 * 10**9)
    assert receipt.formula is not None
    assert receipt.formula.endswith("= 15")


async def test_a_receipt_is_its_accounts_alone(till: TillCalls, other_user: Actor) -> None:
    call_id = await till.call()
    with pytest.raises(NotFound):
        await _receipt(till, call_id, account_id=other_user.account_id)
    with pytest.raises(NotFound):
        await _receipt(till, "call_none")


async def test_the_tries_of_a_call_are_listed_in_their_order(till: TillCalls) -> None:
    tries = [
        {"upstream_id": "ups_1", "result": "500", "duration_ms": 7},
        {"upstream_id": "ups_2", "result": "200", "duration_ms": 9},
    ]
    admission = await till.admit()
    await till.settle(admission, {"input": 1}, attempts=json.dumps(tries), upstream_id="ups_2")
    receipt = await _receipt(till, admission.facts.call_id)
    assert [(each.upstream_id, each.result, each.duration_ms) for each in receipt.attempts] == [
        ("ups_1", "500", 7),
        ("ups_2", "200", 9),
    ]


async def test_the_one_try_of_a_call_is_made_of_its_own_columns(till: TillCalls) -> None:
    admission = await till.admit()
    await till.settle(admission, {"input": 1}, upstream_id="ups_2")
    receipt = await _receipt(till, admission.facts.call_id)
    assert [(each.upstream_id, each.upstream_name, each.result) for each in receipt.attempts] == [
        ("ups_2", None, "200")
    ]
