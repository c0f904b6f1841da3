"""What people type into fields: amounts, limits, multipliers and instants."""

from zoneinfo import ZoneInfo

import pytest

from tokenopen.core.errors import InvalidRequest
from tokenopen.core.group import LIMIT_MAX
from tokenopen.core.money import Nanocredits
from tokenopen.web.form import Form
from tokenopen.web.form_value import (
    instant_field,
    read_amount,
    read_instant,
    read_limit,
    read_model_multipliers,
    read_multiplier,
    read_patterns,
    read_prose,
    read_reason,
)
from tokenopen.web.text import Languages

TEXT = Languages().choose("en")
BERLIN = ZoneInfo("Europe/Berlin")


def form(**fields: str) -> Form:
    return Form(values={name: [value] for name, value in fields.items()})


@pytest.mark.parametrize(
    ("typed", "nano"),
    [("12.5", 12_500_000_000), (" -3 ", -3_000_000_000), ("\u22120.000000001", -1), ("0", 0)],
)
def test_an_amount_is_taken_to_the_last_digit(typed: str, nano: int) -> None:
    assert read_amount(form(amount=typed), TEXT) == Nanocredits(nano)


@pytest.mark.parametrize(
    "typed", ["", "12,5", "1,000", "1e3", "0x10", "1 000", "ten", "1.0000000001", "9" * 13]
)
def test_what_could_be_read_in_two_ways_is_no_amount(typed: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_amount(form(amount=typed), TEXT)
    assert refused.value.facts["param"] == "amount"


def test_an_amount_below_zero_is_refused_where_none_makes_sense() -> None:
    with pytest.raises(InvalidRequest):
        read_amount(form(credit="-1"), TEXT, "credit", at_least_zero=True)


@pytest.mark.parametrize(
    ("typed", "limit"),
    [
        ("600", 600),
        ("20,000", 20_000),
        ("0", 0),
        ("Unlimited", None),
        ("unlimited", None),
        ("1,000,000,000", LIMIT_MAX),
    ],
)
def test_a_limit_is_a_whole_number_or_none(typed: str, limit: int | None) -> None:
    assert read_limit(form(rpm=typed), TEXT, "rpm") == limit


@pytest.mark.parametrize(
    "typed", ["-1", "1.5", "6,00", "1,0000", "none", "1000000001", "\u0663", "9" * 5_000]
)
def test_anything_else_is_no_limit(typed: str) -> None:
    with pytest.raises(InvalidRequest):
        read_limit(form(rpm=typed), TEXT, "rpm")


def test_an_empty_multiplier_is_the_group_s() -> None:
    assert read_multiplier(form(multiplier=""), TEXT, "multiplier") is None
    assert read_multiplier(form(multiplier="0.8x"), TEXT, "multiplier") == 800_000
    for typed in ("-1", "1001", "0,8", "x"):
        with pytest.raises(InvalidRequest):
            read_multiplier(form(multiplier=typed), TEXT, "multiplier")


def test_multipliers_of_models_stand_one_on_each_line() -> None:
    typed = "gpt-5* 0.9\r\n\r\n claude-haiku-4-5 = 1.25x\norg/model:free 0"
    assert read_model_multipliers(form(own=typed), TEXT, "own") == {
        "gpt-5*": 900_000,
        "claude-haiku-4-5": 1_250_000,
        "org/model:free": 0,
    }
    for wrong in ("gpt-5*", "gpt 5 0.9", "gpt-5* much"):
        with pytest.raises(InvalidRequest):
            read_model_multipliers(form(own=wrong), TEXT, "own")


def test_patterns_stand_on_lines_or_with_commas_between() -> None:
    assert read_patterns(form(models="gpt-5*, o3\no3\n"), TEXT, "models") == ["gpt-5*", "o3"]
    with pytest.raises(InvalidRequest):
        read_patterns(form(models="<b>"), TEXT, "models")


def test_an_instant_is_read_on_the_platform_s_clock_and_shown_on_it_again() -> None:
    at_ms = read_instant(form(at="2026-07-01T00:00"), TEXT, "at", BERLIN)
    assert at_ms == 1_782_856_800_000
    assert instant_field(at_ms, BERLIN) == "2026-07-01T00:00"
    assert (
        read_instant(form(at="2026-07-01T02:00:05+02:00"), TEXT, "at", ZoneInfo("UTC")) == at_ms + 7_205_000
    )
    assert read_instant(form(), TEXT, "at", BERLIN) is None
    assert instant_field(None, BERLIN) == ""
    for typed in ("soon", "2026-13-01T00:00", "0001-01-01T00:00"):
        with pytest.raises(InvalidRequest):
            read_instant(form(at=typed), TEXT, "at", BERLIN)


def test_a_reason_has_to_be_given() -> None:
    assert read_reason(form(reason=" Invoice 7 "), TEXT) == "Invoice 7"
    for typed in ("", "   ", "x" * 501):
        with pytest.raises(InvalidRequest):
            read_reason(form(reason=typed), TEXT)


def test_prose_is_plain_text() -> None:
    assert read_prose(form(answer="a\r\nb"), TEXT, "answer") == "a\nb"
    assert read_prose(form(), TEXT, "answer") == ""
    for typed in ("x" * 2_001, "\x1b[2J"):
        with pytest.raises(InvalidRequest):
            read_prose(form(answer=typed), TEXT, "answer")
