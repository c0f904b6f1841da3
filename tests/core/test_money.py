"""Money: decimal strings in, integers inside, the same decimal strings out."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.money import (
    AMOUNT_MAX,
    MULTIPLIER_PPM_MAX,
    PRICE_MAX,
    InvalidAmount,
    Nanocredits,
    ceil_div,
    format_amount,
    format_multiplier,
    parse_amount,
    parse_multiplier,
    parse_price,
)

NOT_DECIMAL = [
    "",
    "-",
    "--1",
    "+1",
    " 1",
    "1 ",
    "1\n",
    "\t1",
    "1 000",
    "1_000",
    "1,000",
    "1,5",
    "1.",
    ".5",
    "-.5",
    "1.2.3",
    "1e3",
    "1E-3",
    "0x10",
    "1f",
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "$1",
    "1/2",
    "\u0661",  # Arabic-Indic one
    "\uff11",  # full-width one
    "\u00b2",  # superscript two
    "\u22121",  # a minus sign that is not a hyphen
    "1\u00a0",
    "1\x00",
]


@given(st.integers(-AMOUNT_MAX, AMOUNT_MAX))
def test_every_amount_survives_being_written_and_read(amount: int) -> None:
    assert parse_amount(format_amount(Nanocredits(amount))) == amount


@given(st.integers(-AMOUNT_MAX, AMOUNT_MAX))
def test_an_amount_is_written_as_the_shortest_exact_decimal(amount: int) -> None:
    text = format_amount(Nanocredits(amount))
    assert Decimal(text) == Decimal(amount) / 10**9
    assert "e" not in text.lower()
    assert text != "-0"
    assert "." not in text or text[-1] not in "0."


@given(
    st.integers(0, 10**9 - 1),
    st.text("0123456789", min_size=1, max_size=9),
    st.sampled_from(["", "-"]),
    st.sampled_from(["", "0", "00"]),
)
def test_a_decimal_string_is_read_as_decimal_reads_it(
    whole: int, fraction: str, sign: str, zeros: str
) -> None:
    text = f"{sign}{zeros}{whole}.{fraction}"
    assert parse_amount(text) == Decimal(text) * 10**9


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("-0", 0),
        ("3", 3_000_000_000),
        ("12.5", 12_500_000_000),
        ("0.000123", 123_000),
        ("0.000000001", 1),
        ("-3", -3_000_000_000),
        ("-0.000000001", -1),
        ("0.1", 100_000_000),
        ("1000000000", 10**18),
        ("-1000000000", -(10**18)),
    ],
)
def test_amounts_by_hand(text: str, amount: int) -> None:
    assert parse_amount(text) == amount
    assert format_amount(Nanocredits(amount)) == (text if text != "-0" else "0")


@pytest.mark.parametrize(
    ("multiplier_ppm", "text"),
    [
        (0, "0.0"),
        (1, "0.000001"),
        (800_000, "0.8"),
        (850_000, "0.85"),
        (1_000_000, "1.0"),
        (1_100_000, "1.1"),
        (10_000_000, "10.0"),
        (1_000_000_000, "1000.0"),
    ],
)
def test_multipliers_by_hand(multiplier_ppm: int, text: str) -> None:
    assert format_multiplier(multiplier_ppm) == text
    assert parse_multiplier(text) == multiplier_ppm


@given(st.integers(0, MULTIPLIER_PPM_MAX))
def test_every_multiplier_survives_being_written_and_read(multiplier_ppm: int) -> None:
    text = format_multiplier(multiplier_ppm)
    assert Decimal(text) == Decimal(multiplier_ppm) / 10**6
    assert parse_multiplier(text) == multiplier_ppm


@given(st.integers(0, PRICE_MAX))
def test_every_price_survives_being_written_and_read(price: int) -> None:
    assert parse_price(format_amount(Nanocredits(price))) == price


def test_bounds_are_those_that_storage_can_hold() -> None:
    assert AMOUNT_MAX == 10**18 < 2**63
    assert PRICE_MAX == 10**15
    assert MULTIPLIER_PPM_MAX == 10**9


@pytest.mark.parametrize("parse", [parse_amount, parse_price, parse_multiplier])
@pytest.mark.parametrize("text", NOT_DECIMAL)
def test_only_plain_digits_are_a_number(parse: type[int], text: str) -> None:
    with pytest.raises(InvalidAmount):
        parse(text)


@given(st.text(max_size=12))
def test_any_text_is_a_bounded_integer_or_refused(text: str) -> None:
    try:
        amount = parse_amount(text)
    except InvalidAmount:
        return
    assert type(amount) is int
    assert -(10**18) <= amount <= 10**18
    assert set(text) <= set("-.0123456789")


@pytest.mark.parametrize(
    "text",
    [
        "1000000000.000000001",
        "-1000000000.000000001",
        "1000000001",
        "999999999999",
        "9" * 13,
        "9" * 5_000,
        "0.0000000001",
        "0." + "1" * 5_000,
    ],
)
def test_an_amount_beyond_the_bounds_or_finer_than_a_nano_credit_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_amount(text)


@pytest.mark.parametrize("text", ["-0.000000001", "-1", "1000000.000000001", "1000001"])
def test_a_price_is_never_negative_nor_beyond_its_bound(text: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_price(text)


@pytest.mark.parametrize("text", ["-0.000001", "-1", "1000.000001", "1001", "0.8000001", "0.00000001"])
def test_a_multiplier_is_never_negative_nor_too_fine_nor_beyond_1000(text: str) -> None:
    with pytest.raises(InvalidAmount):
        parse_multiplier(text)


def test_zeros_behind_the_places_of_a_multiplier_are_no_more_places() -> None:
    assert parse_multiplier("0.8000000") == 800_000


@pytest.mark.parametrize("parse", [parse_amount, parse_price, parse_multiplier])
def test_a_refused_number_is_named_in_the_message(parse: type[int]) -> None:
    with pytest.raises(InvalidAmount, match="'12,5'"):
        parse("12,5")


@given(st.integers(-(10**40), 10**40), st.integers(1, 10**20))
def test_ceil_div_is_the_least_integer_not_below_the_quotient(dividend: int, divisor: int) -> None:
    quotient = ceil_div(dividend, divisor)
    assert (quotient - 1) * divisor < dividend <= quotient * divisor
