"""How amounts, limits and times are read."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenopen.core.money import Nanocredits, parse_amount
from tokenopen.web import format as as_text


@pytest.mark.parametrize(
    ("amount", "exact", "short"),
    [
        ("0", "0.00", "0.00"),
        ("1234.5", "1,234.50", "1,234.50"),
        ("0.000123456", "0.000123456", "0.0001"),
        ("0.000000004", "0.000000004", "<0.0001"),
        ("19.999999999", "19.999999999", "19.99"),
        ("-3.456", "\N{MINUS SIGN}3.456", "\N{MINUS SIGN}3.45"),
        ("-0.5", "\N{MINUS SIGN}0.50", "\N{MINUS SIGN}0.50"),
    ],
)
def test_credits_are_exact_or_cut_but_never_rounded_up(amount: str, exact: str, short: str) -> None:
    assert as_text.credits_exact(parse_amount(amount)) == exact
    assert as_text.credits_short(parse_amount(amount)) == short


@given(st.integers(0, 10**18))
def test_what_a_tile_shows_is_never_more_than_there_is(amount: int) -> None:
    short = as_text.credits_short(Nanocredits(amount)).replace(",", "")
    if not short.startswith("<"):
        assert parse_amount(short) <= amount


@pytest.mark.parametrize(
    ("value", "short"),
    [(0, "0"), (950, "950"), (1_000, "1k"), (12_345, "12.3k"), (999_999, "999k"), (1_050_000, "1.05M")],
)
def test_numbers_are_cut_to_fit_a_column(value: int, short: str) -> None:
    assert as_text.number_short(value) == short


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, "0.0%"), (1, "<0.1%"), (10, "0.1%"), (8_129, "81.2%"), (9_999, "99.9%"), (10_000, "100.0%")],
)
def test_shares_are_cut_and_what_is_there_is_never_nothing(part: int, text: str) -> None:
    assert as_text.share(part, 10_000) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_349, "1.3 s"),
        (125_000, "2 min 5 s"),
        (12_000_000, "3 h 20 min"),
        (439_200_000, "5 d 2 h"),
    ],
)
def test_durations_have_their_units(milliseconds: int, text: str) -> None:
    assert as_text.duration(milliseconds) == text


def test_an_instant_names_its_zone() -> None:
    instant_ms = 1_796_083_200_000
    assert as_text.instant(instant_ms, ZoneInfo("UTC")) == "2026-12-01 00:00 UTC"
    assert as_text.instant(instant_ms, ZoneInfo("Europe/Berlin")) == "2026-12-01 01:00 CET"
    assert as_text.machine_instant(instant_ms) == "2026-12-01T00:00:00Z"
