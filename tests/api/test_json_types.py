"""Amounts, multipliers and instants in JSON: exact or refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tokenopen.api.json_types import (
    UNCHANGED,
    AmountIn,
    AmountOut,
    Body,
    InstantIn,
    InstantOut,
    Label,
    MultiplierIn,
    MultiplierOut,
    PatchBody,
    PriceIn,
    format_instant,
    parse_instant,
)
from tokenopen.core.money import AMOUNT_MAX, MULTIPLIER_PPM_MAX, Nanocredits

YEAR_9999_MS = 253_402_300_799_999


NOT_EXACT: list[Any] = [0.5, 1.0, True, None, [], {}, "", "0,5", "1e3", " 1", "NaN"]


class _In(Body):
    amount: AmountIn = Nanocredits(0)
    price: PriceIn = Nanocredits(0)
    multiplier: MultiplierIn = 0
    at: InstantIn = 0


class _Out(BaseModel):
    amount: AmountOut
    multiplier: MultiplierOut
    at: InstantOut


@given(st.integers(-AMOUNT_MAX, AMOUNT_MAX), st.integers(0, MULTIPLIER_PPM_MAX), st.integers(0, YEAR_9999_MS))
def test_what_is_shown_is_read_back_exactly(amount: int, multiplier_ppm: int, at_ms: int) -> None:
    shown = _Out(amount=Nanocredits(amount), multiplier=multiplier_ppm, at=at_ms).model_dump(mode="json")
    read = _In(**shown)
    assert (read.amount, read.multiplier, read.at) == (amount, multiplier_ppm, at_ms)


def test_a_whole_json_number_is_taken_a_float_never() -> None:
    read: dict[str, Any] = {"amount": 12, "price": 3, "multiplier": 2}
    taken = _In(**read)
    assert (taken.amount, taken.price, taken.multiplier) == (12 * 10**9, 3 * 10**9, 2 * 10**6)
    for field in read:
        for value in NOT_EXACT:
            with pytest.raises(ValidationError):
                _In.model_validate({field: value})


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-12-01T00:00:00Z", 1_796_083_200_000),
        ("2026-12-01t01:00:00+01:00", 1_796_083_200_000),
        ("2026-11-30 19:00:00-05:00", 1_796_083_200_000),
        ("2026-12-01T00:00:00.1Z", 1_796_083_200_100),
        ("2026-12-01T00:00:00.123999z", 1_796_083_200_123),
    ],
)
def test_an_instant_is_read_in_every_zone(text: str, at_ms: int) -> None:
    assert parse_instant(text) == at_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-12-01",
        "2026-12-01T00:00:00",
        "2026-12-01T24:00:01Z",
        "2026-02-30T00:00:00Z",
        "2026-12-01T00:00Z",
        "2026-12-01T00:00:00+0100",
        "2026-12-01T00:00:00+99:00",
        "0000-12-01T00:00:00Z",
        "20261201T000000Z",
        1_796_083_200_000,
        None,
    ],
)
def test_what_names_no_instant_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)


def test_milliseconds_are_shown_only_where_there_are_any() -> None:
    assert format_instant(1_796_083_200_000) == "2026-12-01T00:00:00Z"
    assert format_instant(1_796_083_200_007) == "2026-12-01T00:00:00.007Z"
    # RFC 3339, 5.6: four digits of the year, whichever it is.
    assert format_instant(-46_899_907_200_000) == "0483-10-20T00:00:00Z"


class _Patch(PatchBody):
    name: Label = UNCHANGED
    limit_ppm: MultiplierIn | None = UNCHANGED


def test_a_patch_tells_absent_from_null() -> None:
    assert _Patch().changes() == {}
    assert _Patch(limit_ppm=None).changes() == {"limit_ppm": None}
    with pytest.raises(ValidationError):
        _Patch.model_validate({"name": None})


def test_a_patch_s_schema_promises_no_default() -> None:
    fields = _Patch.model_json_schema()["properties"]
    assert all("default" not in field for field in fields.values())
