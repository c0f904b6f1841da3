"""Catalog: no class is ever free by omission, steps replace the whole list, and what is offered."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.strategies import (
    COUNTED_CLASSES,
    INPUT_CLASSES,
    OUTPUT_CLASSES,
    PRICES_PER_MILLION,
    revision_of,
)
from tokenopen.core.catalog import (
    Catalog,
    Endpoint,
    InvalidPrices,
    Model,
    PriceRevision,
    Prices,
    PriceStep,
    Route,
    resolve_prices,
)
from tokenopen.core.money import Nanocredits
from tokenopen.core.platform import Platform

# Which named price a class takes when it has none of its own, the first that is named (DESIGN: Money).
FALLBACKS = {
    "input": ["input"],
    "cached_input": ["cached_input", "input"],
    "cache_write": ["cache_write", "input"],
    "cache_write_1h": ["cache_write_1h", "cache_write", "input"],
    "audio_input": ["audio_input", "input"],
    "image_input": ["image_input", "input"],
    "cached_audio_input": ["cached_audio_input", "cached_input", "audio_input", "input"],
    "video_input": ["video_input", "input"],
    "output": ["output"],
    "reasoning": ["reasoning", "output"],
    "audio_output": ["audio_output", "output"],
    "image_output": ["image_output", "output"],
}
OPTIONAL = sorted({*INPUT_CLASSES, *OUTPUT_CLASSES, "per_call"} - {"input", "output"})


def priced(**named: int) -> Prices:
    return resolve_prices({name: Nanocredits(price) for name, price in named.items()})


@given(
    st.fixed_dictionaries(
        {"input": PRICES_PER_MILLION, "output": PRICES_PER_MILLION},
        optional=dict.fromkeys(OPTIONAL, PRICES_PER_MILLION),
    )
)
def test_every_class_has_the_price_of_the_nearest_one_that_is_named(named: Mapping[str, Nanocredits]) -> None:
    prices = resolve_prices(named)
    assert prices.per_million == {
        name: next(named[fallback] for fallback in chain if fallback in named)
        for name, chain in FALLBACKS.items()
    }
    assert prices.per_call == named.get("per_call", 0)


@pytest.mark.parametrize("named", [{}, {"output": 1}, {"cached_input": 1, "output": 1}])
def test_a_price_for_input_is_needed(named: dict[str, int]) -> None:
    with pytest.raises(InvalidPrices, match="input"):
        priced(**named)


def test_a_price_for_output_is_needed_unless_the_model_gives_none() -> None:
    with pytest.raises(InvalidPrices, match="output"):
        priced(input=1, reasoning=5)
    embedding = resolve_prices({"input": Nanocredits(20)}, has_output=False)
    assert {embedding.per_million[name] for name in INPUT_CLASSES} == {20}


@pytest.mark.parametrize("name", ["tokens", "Input", "cache-write", "prompt"])
def test_a_price_name_that_is_not_known_is_refused_and_named(name: str) -> None:
    with pytest.raises(InvalidPrices, match=name):
        priced(input=1, output=1, **{name: 1})


def test_a_price_of_zero_is_one_that_is_named() -> None:
    free = priced(input=0, output=0)
    assert set(free.per_million.values()) == {0}


@pytest.mark.parametrize("missing", [*INPUT_CLASSES, *OUTPUT_CLASSES])
def test_a_price_list_without_some_class_is_our_mistake(missing: str) -> None:
    per_million = {name: Nanocredits(1) for name in (*INPUT_CLASSES, *OUTPUT_CLASSES) if name != missing}
    with pytest.raises(AssertionError):
        Prices(per_million=per_million, per_call=Nanocredits(0))


def test_a_counted_class_has_the_price_that_names_it_and_no_other() -> None:
    prices = priced(input=1, output=1, images=40)
    assert prices.per_million["images"] == 40
    assert prices.unpriced(COUNTED_CLASSES) == [
        "characters",
        "seconds",
        "searches",
        "web_searches",
        "containers",
    ]
    assert prices.unpriced(["input", "images"]) == []


def test_what_a_call_may_not_have_units_of_is_found() -> None:
    named = frozenset({"input", "output", "images", "audio_output"})
    revision = replace(revision_of(priced(input=1, output=1, images=40)), named=named)
    assert revision.find_unpriced([]) is None
    assert revision.find_unpriced([["images", "image_output"], ["audio_output"]]) is None
    assert revision.find_unpriced([["images"], ["seconds", "audio_input"]]) == ["seconds", "audio_input"]


def test_a_price_per_call_is_one_only_where_every_length_of_input_has_it() -> None:
    with_price, without = priced(input=1, output=1, per_call=5), priced(input=1, output=1)
    for base, step, unpriced in (
        (with_price, with_price, None),
        (with_price, without, ["per_call"]),
        (without, with_price, ["per_call"]),
    ):
        steps = [PriceStep(above_input_units=10, prices=step)]
        revision = replace(revision_of(base, steps), named=frozenset({"input", "output", "per_call"}))
        assert revision.find_unpriced([["per_call"]]) == unpriced


def test_a_negative_price_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        priced(input=-1, output=1)
    with pytest.raises(AssertionError):
        priced(input=1, output=1, per_call=-1)


@given(
    st.lists(st.integers(0, 30), unique=True, max_size=4).map(sorted),
    st.integers(0, 32),
)
def test_the_highest_step_that_the_input_lies_above_replaces_the_list(
    bounds: list[int], input_units: int
) -> None:
    base = priced(input=1, output=1)
    steps = [PriceStep(above_input_units=bound, prices=priced(input=2 + bound, output=1)) for bound in bounds]
    below = [bound for bound in bounds if bound < input_units]
    found = revision_of(base, steps).prices_for(input_units)
    assert found.per_million["input"] == (2 + max(below) if below else 1)


def test_a_step_begins_one_unit_above_its_bound() -> None:
    revision = revision_of(
        priced(input=1, output=1), [PriceStep(above_input_units=200_000, prices=priced(input=2, output=3))]
    )
    assert revision.prices_for(200_000) == revision.prices
    assert revision.prices_for(200_001) == revision.steps[0].prices
    assert list(revision.price_lists) == [revision.prices, revision.steps[0].prices]


def revision_from(effective_from_ms: int, number: int = 1) -> PriceRevision:
    return PriceRevision(
        id=f"prv_{number}",
        model="m",
        number=number,
        prices=priced(input=number, output=number),
        steps=(),
        effective_from_ms=effective_from_ms,
    )


def model_of(
    *,
    revisions: tuple[PriceRevision, ...] = (),
    context_window: int | None = 128_000,
    max_output_tokens: int | None = 16_384,
    state: str = "active",
    name: str = "m",
) -> Model:
    return Model(
        name=name,
        maker="maker",
        context_window=context_window,
        max_output_tokens=max_output_tokens,
        state="active" if state == "active" else "archived",
        price_revisions=revisions,
    )


def test_the_price_in_force_is_the_last_that_has_begun_to_the_millisecond() -> None:
    first, second = revision_from(1_000), revision_from(2_000, number=2)
    model = model_of(revisions=(first, second))
    found = [model.price_at(now_ms) for now_ms in (999, 1_000, 1_999, 2_000, 10**15)]
    assert found == [None, first, first, second, second]


@pytest.mark.parametrize(("has_price", "has_window", "has_maximum"), list(product([False, True], repeat=3)))
def test_a_model_names_exactly_what_it_lacks(has_price: bool, has_window: bool, has_maximum: bool) -> None:
    model = model_of(
        revisions=(revision_from(0),) if has_price else (),
        context_window=8_192 if has_window else None,
        max_output_tokens=4_096 if has_maximum else None,
    )
    named = {"prices": has_price, "context_window": has_window, "max_output_tokens": has_maximum}
    assert set(model.missing(5)) == {name for name, there in named.items() if not there}


def test_a_model_that_gives_no_output_lacks_nothing_and_one_whose_price_is_to_come_lacks_it() -> None:
    assert not model_of(revisions=(revision_from(0),), max_output_tokens=0).missing(0)
    assert list(model_of(revisions=(revision_from(10),)).missing(9)) == ["prices"]


ENDPOINT = Endpoint(
    id="ups_1",
    name="one",
    provider="openai",
    base_url="https://api.example.com/v1",
    credential_sealed=b"",
    enabled=True,
    connect_timeout_ms=1,
    first_byte_timeout_ms=1,
    idle_timeout_ms=1,
)


def catalog_of(*models: Model, routed: tuple[str, ...]) -> Catalog:
    route = Route(model="m", endpoint=ENDPOINT, upstream_model="m", priority=1, weight=1)
    return Catalog(
        version=1,
        models={model.name: model for model in models},
        routes={name: [route] for name in routed},
        groups={},
        platform=Platform(name="p", zone=ZoneInfo("UTC"), default_group="grp_1", support_contact=""),
    )


def test_only_an_active_complete_routed_model_is_offered() -> None:
    whole = (revision_from(10),)
    models = [
        model_of(name="b", revisions=whole),
        model_of(name="a", revisions=whole),
        model_of(name="archived", revisions=whole, state="archived"),
        model_of(name="unpriced"),
        model_of(name="unrouted", revisions=whole),
        model_of(name="windowless", revisions=whole, context_window=None),
    ]
    catalog = catalog_of(*models, routed=("a", "b", "archived", "unpriced", "windowless", "unknown"))
    assert [model.name for model in catalog.list_offered(10)] == ["a", "b"]
    assert catalog.list_offered(9) == []
    for name in ("archived", "unpriced", "unrouted", "windowless", "unknown", "A", ""):
        assert catalog.find_offered(name, 10) is None


def test_a_model_whose_routes_are_gone_is_not_offered() -> None:
    catalog = catalog_of(model_of(revisions=(revision_from(0),)), routed=())
    gone = Catalog(
        version=2,
        models=catalog.models,
        routes={"m": []},
        groups={},
        platform=catalog.platform,
    )
    assert gone.find_offered("m", 0) is None


def test_the_next_change_is_the_earliest_price_that_has_not_begun() -> None:
    catalog = catalog_of(
        model_of(name="a", revisions=(revision_from(0), revision_from(50, 2), revision_from(90, 3))),
        model_of(name="b", revisions=(revision_from(70),)),
        routed=(),
    )
    assert [catalog.next_change_ms(now_ms) for now_ms in (-1, 0, 49, 50, 69, 70, 89, 90)] == [
        0, 50, 50, 70, 70, 90, 90, None,
    ]  # fmt: skip
