"""Estimate: a hold covers every bill that the call can come to, and is no larger than it has to be."""

import math
from dataclasses import dataclass
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.strategies import (
    INPUT_CLASSES,
    MULTIPLIERS_PPM,
    OUTPUT_CLASSES,
    PRICES,
    exact_price,
    price_revisions,
    revision_of,
    splits,
)
from tokenopen.core.catalog import PriceRevision, Prices, PriceStep, resolve_prices
from tokenopen.core.charge import charge_for
from tokenopen.core.estimate import MAXIMUM_BYTES, Quote, estimated_usage, input_bound, quote_for
from tokenopen.core.money import Nanocredits, parse_amount, parse_price
from tokenopen.core.usage import Usage

GPT_4O_MINI = revision_of(
    resolve_prices(
        {"input": parse_price("0.15"), "cached_input": parse_price("0.075"), "output": parse_price("0.60")}
    )
)
GPT_4O_MINI_WINDOW = 128_000
GPT_4O_MINI_MAX_OUTPUT = 16_384
ONE_CREDIT = parse_amount("1")


@dataclass(frozen=True, kw_only=True)
class QuotedCall:
    revision: PriceRevision
    multiplier_ppm: int
    input_units: int
    choices: int
    quote: Quote


@st.composite
def quoted_calls(draw: st.DrawFn) -> QuotedCall:
    input_units = draw(st.one_of(st.integers(0, 40), st.integers(0, 2_000_000)))
    revision = draw(price_revisions(input_units_near=input_units))
    multiplier_ppm = draw(MULTIPLIERS_PPM)
    choices = draw(st.one_of(st.integers(1, 5), st.integers(1, 128)))
    model_max = draw(st.one_of(st.integers(0, 40), st.integers(0, 200_000)))
    quote = quote_for(
        revision,
        multiplier_ppm=multiplier_ppm,
        input_units=input_units,
        model_max_output=model_max,
        requested_max_output=draw(st.none() | st.integers(0, 2 * model_max + 1)),
        default_max_output=draw(st.integers(1, 2 * model_max + 1)),
        choices=choices,
    )
    return QuotedCall(
        revision=revision,
        multiplier_ppm=multiplier_ppm,
        input_units=input_units,
        choices=choices,
        quote=quote,
    )


def outputs_of(quote: Quote) -> st.SearchStrategy[int]:
    capped = quote.output_units if quote.capped_output_units is None else quote.capped_output_units
    return st.one_of(st.sampled_from([quote.output_units, capped]), st.integers(0, quote.output_units))


@settings(max_examples=300)
@given(quoted_calls(), st.data())
def test_no_bill_within_the_bounds_is_above_the_hold(call: QuotedCall, data: st.DataObject) -> None:
    """The theorem that billing rests on: whatever the classes and the step, the hold covers the charge."""
    held_for = data.draw(outputs_of(call.quote), label="output units that are held for")
    bounds = [step.above_input_units for step in call.revision.steps]
    edges = [n for bound in bounds for n in (bound, bound + 1) if n <= call.input_units]
    went_in = data.draw(
        st.one_of(
            st.sampled_from([call.input_units, 0, *edges]),
            st.integers(0, call.input_units),
        ),
        label="input units",
    )
    came_out = data.draw(st.one_of(st.just(held_for), st.integers(0, held_for)), label="output units")
    usage = Usage(
        {**data.draw(splits(went_in, INPUT_CLASSES)), **data.draw(splits(came_out, OUTPUT_CLASSES))}
    )
    assert (usage.input_units, usage.output_units) == (went_in, came_out)
    charge = charge_for(
        usage, call.revision.prices_for(usage.input_units), multiplier_ppm=call.multiplier_ppm
    )
    assert charge <= call.quote.hold(held_for)


@given(PRICES, MULTIPLIERS_PPM, st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 8))
def test_the_hold_is_the_dearest_bill_rounded_up_and_not_a_nano_credit_more(
    prices: Prices, multiplier_ppm: int, input_units: int, maximum: int, choices: int
) -> None:
    quote = quote_for(
        revision_of(prices),
        multiplier_ppm=multiplier_ppm,
        input_units=input_units,
        model_max_output=maximum,
        requested_max_output=maximum,
        default_max_output=1,
        choices=choices,
    )
    dearest_in = max(INPUT_CLASSES, key=lambda name: prices.per_million[name])
    dearest_out = max(OUTPUT_CLASSES, key=lambda name: prices.per_million[name])
    for per_choice in {0, 1 if maximum else 0, maximum}:
        dearest = {dearest_in: input_units, dearest_out: per_choice * choices}
        assert quote.hold(per_choice * choices) == math.ceil(exact_price(dearest, prices, multiplier_ppm))


def test_a_step_that_the_input_cannot_reach_is_not_held_for_and_a_cheaper_one_does_not_lower_the_hold() -> (
    None
):
    base = resolve_prices({"input": Nanocredits(5_000_000), "output": Nanocredits(7_000_000)})
    dear = resolve_prices({"input": Nanocredits(9_000_000), "output": Nanocredits(8_000_000)})
    cheap = resolve_prices({"input": Nanocredits(1_000_000), "output": Nanocredits(30_000_000)})
    revision = revision_of(
        base,
        [PriceStep(above_input_units=100, prices=dear), PriceStep(above_input_units=200, prices=cheap)],
    )
    # input bound -> nano-credits held for it and for 10 output units
    for input_units, hold in [
        (100, 100 * 5 + 10 * 7),
        (101, 101 * 9 + 10 * 8),
        (200, 200 * 9 + 10 * 8),
        (201, 201 * 9 + 10 * 30),
    ]:
        quote = quote_for(
            revision,
            multiplier_ppm=1_000_000,
            input_units=input_units,
            model_max_output=10,
            requested_max_output=None,
            default_max_output=10,
            choices=1,
        )
        assert quote.hold(10) == hold


@given(quoted_calls(), st.data())
def test_the_affordable_maximum_is_exactly_the_largest_that_fits(
    call: QuotedCall, data: st.DataObject
) -> None:
    quote, choices = call.quote.changed(naming_scaled=0), call.choices
    most = quote.output_units // choices
    near = data.draw(st.integers(0, most), label="a maximum per choice")
    around = quote.hold(near * choices)
    available = Nanocredits(
        data.draw(
            st.one_of(
                st.sampled_from([max(0, around - 1), around, around + 1]),
                st.integers(0, 2 * quote.hold(quote.output_units) + 1),
            ),
            label="available",
        )
    )
    affordable = quote.affordable_output_tokens(available)
    assert 0 <= affordable <= most
    if quote.hold(affordable * choices) > available:
        assert affordable == 0
    else:
        assert affordable == most or quote.hold((affordable + 1) * choices) > available


def test_the_affordable_maximum_equals_a_search_through_every_maximum() -> None:
    # 3 nano-credits an input unit, 7 an output unit, x 0.85, two choices
    prices = resolve_prices({"input": Nanocredits(3_000_000), "output": Nanocredits(7_000_000)})
    quote = quote_for(
        revision_of(prices),
        multiplier_ppm=850_000,
        input_units=11,
        model_max_output=9,
        requested_max_output=9,
        default_max_output=9,
        choices=2,
    )
    holds = [math.ceil((11 * 3 + 2 * tokens * 7) * 85 / 100) for tokens in range(10)]
    assert [quote.hold(2 * tokens) for tokens in range(10)] == holds
    for available in range(160):
        fitting = [tokens for tokens in range(10) if holds[tokens] <= available]
        assert quote.affordable_output_tokens(Nanocredits(available)) == max(fitting, default=0)


@pytest.mark.parametrize(
    ("requested", "default", "choices", "output_units", "capped_output_units"),
    [
        # the caller names a maximum: it is quoted, capped at the model's, and never cut
        (100, 50, 1, 100, None),
        (1_000, 50, 1, 1_000, None),
        (5_000, 50, 1, 1_000, None),
        (100, 50, 3, 300, None),
        (0, 50, 1, 0, None),
        # none: the model's own, and the group's default to fall back on where it is less
        (None, 50, 1, 1_000, 50),
        (None, 50, 4, 4_000, 200),
        (None, 999, 1, 1_000, 999),
        (None, 1_000, 1, 1_000, None),
        (None, 16_384, 2, 2_000, None),
    ],
)
def test_the_output_that_is_quoted(
    requested: int | None, default: int, choices: int, output_units: int, capped_output_units: int | None
) -> None:
    quote = quote_for(
        GPT_4O_MINI,
        multiplier_ppm=1_000_000,
        input_units=1,
        model_max_output=1_000,
        requested_max_output=requested,
        default_max_output=default,
        choices=choices,
    )
    assert (quote.output_units, quote.capped_output_units) == (output_units, capped_output_units)


@pytest.mark.parametrize(
    ("input_bytes", "attachments", "open_ended", "bound"),
    [
        (0, 0, False, 1_000),
        (200, 0, False, 1_200),
        (200, 1, False, 33_200),
        (200, 3, False, 97_200),
        (200, 4, False, 128_000),
        (127_000, 0, False, 128_000),
        (127_001, 0, False, 128_000),
        (50_000_000, 0, False, 128_000),
        (0, 0, True, 128_000),
        (200, 1, True, 128_000),
    ],
)
def test_the_input_bound_is_bytes_and_1000_and_32000_an_attachment_within_the_context_window(
    input_bytes: int, attachments: int, open_ended: bool, bound: int
) -> None:
    found = input_bound(
        input_bytes=input_bytes,
        attachments=attachments,
        open_ended=open_ended,
        context_window=GPT_4O_MINI_WINDOW,
    )
    assert found == bound


@pytest.mark.parametrize("input_bytes", [200, 4_000_000])
def test_one_credit_covers_a_3_mb_image_on_gpt_4o_mini_without_a_maximum(input_bytes: int) -> None:
    """Whether or not its 4,000,000 base64 characters are left out of the bytes."""
    bound = input_bound(
        input_bytes=input_bytes, attachments=1, open_ended=False, context_window=GPT_4O_MINI_WINDOW
    )
    quote = quote_for(
        GPT_4O_MINI,
        multiplier_ppm=1_000_000,
        input_units=bound,
        model_max_output=GPT_4O_MINI_MAX_OUTPUT,
        requested_max_output=None,
        default_max_output=16_384,
        choices=1,
    )
    # 33,200 or 128,000 x 0.15, and 16,384 x 0.60, a million: nano-credits
    assert quote.hold(quote.output_units) == {200: 4_980_000, 4_000_000: 19_200_000}[input_bytes] + 9_830_400
    assert quote.hold(quote.output_units) <= ONE_CREDIT
    assert quote.capped_output_units is None


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=5))
def test_more_output_never_needs_a_smaller_hold(steps: list[int]) -> None:
    quote = Quote(
        fixed_scaled=1, per_output_unit_scaled=10**11, output_units=10**7, capped_output_units=None, choices=1
    )
    holds = [quote.hold(output_units) for output_units in accumulate(steps)]
    assert holds == sorted(holds)


@pytest.mark.parametrize(
    ("text_bytes", "output_units", "reported", "expected"),
    [
        (0, 0, None, {}),
        (5, 3, None, {"output": 3}),
        (6, 0, None, {"input": 1}),
        (605, 12, None, {"input": 100, "output": 12}),
        (605, 12, 77, {"input": 77, "output": 12}),
        (605, 12, 0, {"output": 12}),
    ],
)
def test_an_interrupted_call_is_estimated_by_a_sixth_of_its_text_unless_its_input_was_reported(
    text_bytes: int, output_units: int, reported: int | None, expected: dict[str, int]
) -> None:
    usage = estimated_usage(text_bytes=text_bytes, output_units=output_units, reported_input_units=reported)
    assert dict(usage) == expected
    assert usage.source == "estimated"


def test_the_affordable_maximum_leaves_room_for_naming_it() -> None:
    """A caller who named none writes it into the body to ask again, which makes the input longer."""
    prices = resolve_prices({"input": Nanocredits(1_000_000), "output": Nanocredits(1_000_000)})

    def quote(requested: int | None, input_units: int) -> Quote:
        return quote_for(
            revision_of(prices),
            multiplier_ppm=1_000_000,
            input_units=input_units,
            model_max_output=1_000,
            requested_max_output=requested,
            default_max_output=1_000,
            choices=1,
        )

    affordable = quote(None, 100).affordable_output_tokens(Nanocredits(500))
    assert affordable == 500 - 100 - MAXIMUM_BYTES
    assert quote(affordable, 100 + MAXIMUM_BYTES).hold(affordable) <= 500
