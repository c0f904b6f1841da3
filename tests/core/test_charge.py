"""Charge: the product in exact fractions, rounded once, downwards; a hold upwards."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.strategies import (
    INPUT_CLASSES,
    MULTIPLIERS_PPM,
    OUTPUT_CLASSES,
    PRICES,
    PRICES_PER_MILLION,
    USAGES,
    exact_price,
)
from tokenopen.core.catalog import Prices, resolve_prices
from tokenopen.core.charge import charge_for
from tokenopen.core.money import MULTIPLIER_PPM_MAX, parse_price
from tokenopen.core.usage import UNITS_MAX, Usage, usage_of

GPT_4O_MINI = resolve_prices(
    {"input": parse_price("0.15"), "cached_input": parse_price("0.075"), "output": parse_price("0.60")}
)


@given(USAGES, PRICES, MULTIPLIERS_PPM)
def test_the_charge_is_the_exact_product_rounded_once_downwards(
    usage: Usage, prices: Prices, multiplier_ppm: int
) -> None:
    charge = charge_for(usage, prices, multiplier_ppm=multiplier_ppm)
    assert charge == math.floor(exact_price(usage.units, prices, multiplier_ppm))
    assert type(charge) is int


@given(USAGES, PRICES, MULTIPLIERS_PPM, st.sampled_from((*INPUT_CLASSES, *OUTPUT_CLASSES)), st.data())
def test_more_units_dearer_prices_and_a_higher_multiplier_never_cost_less(
    usage: Usage, prices: Prices, multiplier_ppm: int, name: str, data: st.DataObject
) -> None:
    charge = charge_for(usage, prices, multiplier_ppm=multiplier_ppm)
    had = usage.units.get(name, 0)
    more = Usage({**usage.units, name: data.draw(st.integers(had, UNITS_MAX))})
    assert charge_for(more, prices, multiplier_ppm=multiplier_ppm) >= charge
    dearer = Prices(
        per_million={
            **prices.per_million,
            name: data.draw(PRICES_PER_MILLION.filter(lambda p: p >= prices.per_million[name])),
        },
        per_call=prices.per_call,
    )
    assert charge_for(usage, dearer, multiplier_ppm=multiplier_ppm) >= charge
    higher = data.draw(st.integers(multiplier_ppm, MULTIPLIER_PPM_MAX))
    assert charge_for(usage, prices, multiplier_ppm=higher) >= charge


@pytest.mark.parametrize(
    ("usage", "multiplier_ppm", "nano_credits"),
    [
        # 1,000 x 0.15 + 500 x 0.60 credits a million = 0.00045 credits
        (usage_of(input=1_000, output=500), 1_000_000, 450_000),
        (usage_of(input=1_000, output=500), 800_000, 360_000),
        # 1 x 150 nano x 0.333333 = 49.99995
        (usage_of(input=1), 333_333, 49),
        # 75 + 600 = 675 nano, x 0.000001
        (usage_of(cached_input=1, output=1), 1, 0),
        # reasoning is priced as output, a cache write as input
        (usage_of(reasoning=10, cache_write=10, cache_write_1h=10), 1_000_000, 9_000),
        (usage_of(), 1_000_000, 0),
        (usage_of(input=1_000_000, output=1_000_000), 0, 0),
        (usage_of(input=1_000_000, output=1_000_000), 1_000_000, 750_000_000),
    ],
)
def test_charges_of_gpt_4o_mini_by_hand(usage: Usage, multiplier_ppm: int, nano_credits: int) -> None:
    assert charge_for(usage, GPT_4O_MINI, multiplier_ppm=multiplier_ppm) == nano_credits


def test_a_price_per_call_is_charged_once_and_under_the_multiplier() -> None:
    prices = resolve_prices(
        {"input": parse_price("1"), "output": parse_price("2"), "per_call": parse_price("0.01")}
    )
    assert charge_for(usage_of(), prices, multiplier_ppm=1_000_000) == 10_000_000
    # (7 x 1,000 + 3 x 2,000 + 10,000,000) x 0.8
    assert charge_for(usage_of(input=7, output=3), prices, multiplier_ppm=800_000) == 8_010_400


def test_rounding_happens_once_over_all_classes_and_not_once_per_class() -> None:
    third = parse_price("0.0003")  # 0.3 nano-credits a unit
    prices = resolve_prices({"input": third, "output": third})
    # Four classes of 0.9: 3.6 together, 0 if each were rounded, 4 if rounded to the nearest.
    usage = usage_of(input=3, cached_input=3, output=3, reasoning=3)
    assert charge_for(usage, prices, multiplier_ppm=1_000_000) == 3


def test_a_negative_multiplier_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        charge_for(usage_of(input=1), GPT_4O_MINI, multiplier_ppm=-1)
