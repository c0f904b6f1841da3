"""Hypothesis strategies of the core: prices, usage and multipliers that look for the edges."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from hypothesis import strategies as st

from tokenopen.core.catalog import PriceRevision, Prices, PriceStep
from tokenopen.core.money import Nanocredits
from tokenopen.core.usage import Usage

# Written out here, so that a class which the core forgets is missed.
INPUT_CLASSES: Final = (
    "input",
    "cached_input",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "image_input",
    "cached_audio_input",
    "video_input",
)
OUTPUT_CLASSES: Final = ("output", "reasoning", "audio_output", "image_output")
COUNTED_CLASSES: Final = ("images", "characters", "seconds", "searches", "web_searches", "containers")
UNITS_MAX: Final = 1_000_000_000

MULTIPLIERS_PPM: Final = st.one_of(
    st.sampled_from([0, 1, 333_333, 800_000, 999_999, 1_000_000, 1_000_001, 1_000_000_000]),
    st.integers(0, 2_000_000),
    st.integers(0, 1_000_000_000),
)
# Nano-credits per million units: free, one nano, gpt-4o-mini's 0.15 and 0.60, odd ones, the largest.
PRICES_PER_MILLION: Final = st.one_of(
    st.sampled_from([0, 1, 150_000_000, 600_000_000, 999_999_999, 1_000_001, 10**15]),
    st.integers(0, 10**6),
    st.integers(0, 10**15),
).map(Nanocredits)

PRICES: Final = st.builds(
    Prices,
    per_million=st.fixed_dictionaries(
        dict.fromkeys((*INPUT_CLASSES, *OUTPUT_CLASSES), PRICES_PER_MILLION),
    ),
    per_call=PRICES_PER_MILLION,
)

USAGES: Final = st.builds(
    Usage,
    st.dictionaries(
        st.sampled_from((*INPUT_CLASSES, *OUTPUT_CLASSES)),
        st.one_of(st.integers(0, 20), st.integers(0, UNITS_MAX)),
    ),
)


@st.composite
def splits(draw: st.DrawFn, total: int, classes: Sequence[str]) -> Mapping[str, int]:
    """Units of the classes that together are ``total``; often all of one class, the dearest among them."""
    if draw(st.booleans()):
        return {draw(st.sampled_from(classes)): total}
    cuts = sorted(draw(st.lists(st.integers(0, total), min_size=len(classes) - 1, max_size=len(classes) - 1)))
    return {name: end - start for name, start, end in zip(classes, [0, *cuts], [*cuts, total], strict=True)}


@st.composite
def price_revisions(draw: st.DrawFn, *, input_units_near: int) -> PriceRevision:
    """A revision with up to three steps, some within reach of the input, each dearer or cheaper at will."""
    near = st.integers(max(0, input_units_near - 2), input_units_near + 2)
    above = st.one_of(near, st.integers(0, 2 * input_units_near + 2))
    bounds = sorted(draw(st.lists(above, max_size=3, unique=True)))
    return revision_of(
        draw(PRICES),
        [PriceStep(above_input_units=bound, prices=draw(PRICES)) for bound in bounds],
    )


def revision_of(prices: Prices, steps: Sequence[PriceStep] = ()) -> PriceRevision:
    """Return a price revision that has always been in force."""
    return PriceRevision(id="prv_1", model="m", number=1, prices=prices, steps=steps, effective_from_ms=0)


def exact_price(units: Mapping[str, int], prices: Prices, multiplier_ppm: int) -> Fraction:
    """Return what the units cost in nano-credits, unrounded: the tests' own arithmetic."""
    by_unit = sum(
        (Fraction(count) * Fraction(prices.per_million[name], 1_000_000) for name, count in units.items()),
        start=Fraction(0),
    )
    return (by_unit + prices.per_call) * Fraction(multiplier_ppm, 1_000_000)
