import datetime
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.types import Usage as DataUsage

from tokenopen.control.imported_model import ImportedModel, ImportedPrices
from tokenopen.control.price_import import MAKERS, list_importable_models
from tokenopen.core.catalog import Model, PriceRevision
from tokenopen.core.charge import charge_for
from tokenopen.core.money import NANO_PER_CREDIT, PPM_ONE, InvalidAmount, parse_price
from tokenopen.core.usage import INPUT_CLASSES, OUTPUT_CLASSES, Usage

TODAY = datetime.date(2026, 11, 23)


@pytest.fixture(scope="module")
def models() -> Sequence[ImportedModel]:
    return list_importable_models(TODAY)


@pytest.fixture(scope="module")
def by_name(models: Sequence[ImportedModel]) -> Mapping[str, ImportedModel]:
    return {model.name: model for model in models}


@pytest.fixture
def price_data() -> Iterator[Provider]:
    """A maker of its own data, in place of what the wheel holds."""
    provider = Provider(id="openai", name="OpenAI", api_pattern="")
    set_custom_snapshot(DataSnapshot(providers=[provider], from_auto_update=False))
    yield provider
    set_custom_snapshot(None)


def entry_of(
    name: str, prices: ModelPrice | list[ConditionalPrice], *, deprecated: bool = False
) -> ModelInfo:
    return ModelInfo(id=name, match=ClauseEquals(name), prices=prices, deprecated=deprecated)


def import_one(provider: Provider, prices: ModelPrice | list[ConditionalPrice]) -> ImportedModel:
    provider.models = [entry_of("model-under-test", prices)]
    [model] = list_importable_models(TODAY)
    return model


def revision_of(changes: ImportedPrices) -> PriceRevision:
    return PriceRevision(
        id="prc_1", model="", number=1, prices=changes.prices, steps=changes.steps, effective_from_ms=0
    )


def usages(input_units: int) -> Sequence[Usage]:
    """Calls with so many input units in all: plain ones, and ones with units of every class."""
    parts = {
        name: input_units // divisor
        for name, divisor in zip(INPUT_CLASSES[1:], (3, 7, 11, 13, 17, 19, 23), strict=True)
    }
    outputs = dict(zip(OUTPUT_CLASSES, (1_201, 353, 29, 17), strict=True))
    return [
        Usage({"input": input_units, "output": 777}),
        Usage({"input": input_units - sum(parts.values()), **parts, **outputs}),
    ]


def as_data_usage(usage: Usage) -> DataUsage:
    """Say the same usage in genai-prices' words, where totals contain the special units."""
    units = {name: usage.units.get(name, 0) for name in (*INPUT_CLASSES, *OUTPUT_CLASSES)}
    return DataUsage(
        input_tokens=usage.input_units,
        cache_read_tokens=units["cached_input"] + units["cached_audio_input"],
        cache_write_tokens=units["cache_write"] + units["cache_write_1h"],
        cache_write_1h_tokens=units["cache_write_1h"],
        input_audio_tokens=units["audio_input"] + units["cached_audio_input"],
        input_video_tokens=units["video_input"],
        input_image_tokens=units["image_input"],
        output_tokens=usage.output_units,
        output_reasoning_tokens=units["reasoning"],
        output_audio_tokens=units["audio_output"],
        output_image_tokens=units["image_output"],
        # Of cached units our classes keep those of sound apart.
        cache_audio_read_tokens=units["cached_audio_input"],
        cache_image_read_tokens=0,
    )


def data_price(provider: Provider, entry: ModelInfo, usage: Usage, day: datetime.date) -> int:
    """Return the nano-credits of genai-prices' own calculation, floored, at the dearest hour of the day."""
    by_hour = isinstance(entry.prices, list) and any(
        isinstance(condition.constraint, TimeOfDateConstraint) for condition in entry.prices
    )
    times = [datetime.time(hour, 30) for hour in range(24)] if by_hour else [datetime.time(12)]
    instants = [datetime.datetime.combine(day, time, datetime.UTC) for time in times]
    said = as_data_usage(usage)
    totals = [entry.calc_price(said, provider, genai_request_timestamp=at).total_price for at in instants]
    return int(max(totals) * NANO_PER_CREDIT)


def test_every_charge_equals_the_price_datas_own_calculation_below_at_and_above_each_tier(
    models: Sequence[ImportedModel],
) -> None:
    providers = {provider.id: provider for provider in get_snapshot().providers}
    compared = 0
    for model in models:
        provider = providers[model.maker]
        entry = provider.find_model(model.name)
        assert entry is not None
        for change in model.price_changes:
            revision = revision_of(change)
            bounds = [step.above_input_units for step in change.steps]
            for input_units in (0, 1, 1_000_003, *(bound + by for bound in bounds for by in (-1, 0, 1))):
                for usage in usages(input_units):
                    charge = charge_for(usage, revision.prices_for(usage.input_units), multiplier_ppm=PPM_ONE)
                    expected = data_price(provider, entry, usage, change.starts_on or TODAY)
                    assert charge == expected, (model.name, change.starts_on, usage)
                    compared += 1
    assert compared > 1_500


def test_every_maker_is_in_the_price_data_and_names_are_unique(models: Sequence[ImportedModel]) -> None:
    assert {model.maker for model in models} == set(MAKERS)
    assert len({model.name for model in models}) == len(models)


def test_only_makers_own_models_are_imported_under_their_own_names(models: Sequence[ImportedModel]) -> None:
    for model in models:
        assert not any(mark in model.name for mark in ":/"), model.name
        assert not model.name.endswith("-"), model.name
        assert model.name.startswith("claude-") == (model.maker == "anthropic"), model.name
        assert model.name.startswith("deepseek-") == (model.maker == "deepseek"), model.name


def test_nothing_is_free_unless_it_is_output_that_a_model_does_not_give(
    models: Sequence[ImportedModel],
) -> None:
    for model in models:
        for change in model.price_changes:
            for prices in revision_of(change).price_lists:
                free = {name for name, price in prices.per_million.items() if price == 0}
                assert free == (set(OUTPUT_CLASSES) if free else set()), model.name
                assert not free or model.max_output_tokens == 0, model.name


def test_a_model_that_lacks_something_says_what_in_the_catalogs_words(
    models: Sequence[ImportedModel],
) -> None:
    for model in models:
        catalog_model = Model(
            name=model.name,
            maker=model.maker,
            context_window=model.context_window,
            max_output_tokens=model.max_output_tokens,
            price_revisions=[revision_of(change) for change in model.price_changes[:1]],
        )
        assert model.missing == catalog_model.missing(now_ms=0)


def test_gpt_4o_mini_is_complete_with_its_known_figures(by_name: Mapping[str, ImportedModel]) -> None:
    model = by_name["gpt-4o-mini"]
    assert (model.maker, model.context_window, model.max_output_tokens) == ("openai", 128_000, 16_384)
    [change] = model.price_changes
    assert change.prices.per_million["input"] == parse_price("0.15")
    assert change.prices.per_million["cached_input"] == parse_price("0.075")
    assert change.prices.per_million["audio_input"] == parse_price("0.15")
    assert change.prices.per_million["reasoning"] == parse_price("0.6")
    assert change.steps == []


def test_a_snapshot_that_only_the_limits_table_names_has_its_models_prices(
    by_name: Mapping[str, ImportedModel],
) -> None:
    assert by_name["claude-sonnet-4-5-20250929"].price_changes == by_name["claude-sonnet-4-5"].price_changes


def test_a_model_that_the_data_marks_free_is_imported_without_prices(
    by_name: Mapping[str, ImportedModel],
) -> None:
    model = by_name["gemma-4-31b-it"]
    assert model.price_changes == []
    assert "prices" in model.missing
    assert model.notes == ["no prices: the price data names none; set a price of zero to give the model away"]


def test_a_price_of_zero_that_the_data_names_is_one(price_data: Provider) -> None:
    model = import_one(price_data, ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal("0.5")))
    [change] = model.price_changes
    assert change.prices.per_million["input"] == 0
    assert change.prices.per_million["cached_input"] == 0
    assert change.prices.per_million["output"] == parse_price("0.5")


def test_a_model_without_an_output_price_is_imported_without_prices(price_data: Provider) -> None:
    model = import_one(price_data, ModelPrice(input_mtok=Decimal(1)))
    assert model.missing == ["prices", "context_window", "max_output_tokens"]


def test_a_model_billed_in_units_of_no_usage_class_is_imported_without_prices(price_data: Provider) -> None:
    prices = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), output_video_mtok=Decimal(12))
    model = import_one(price_data, prices)
    assert model.price_changes == []
    assert model.notes == ["no prices: output_video_mtok is for units that no usage class covers"]


def test_each_price_of_the_data_becomes_that_of_its_usage_class(price_data: Provider) -> None:
    keys = {
        "input_mtok": "input",
        "cache_read_mtok": "cached_input",
        "cache_write_mtok": "cache_write",
        "cache_write_1h_mtok": "cache_write_1h",
        "input_audio_mtok": "audio_input",
        "input_image_mtok": "image_input",
        "output_mtok": "output",
        "output_reasoning_mtok": "reasoning",
        "output_audio_mtok": "audio_output",
        "output_image_mtok": "image_output",
        "cache_audio_read_mtok": "cached_audio_input",
        "input_video_mtok": "video_input",
    }
    prices = {key: Decimal(number) for number, key in enumerate(keys, start=1)}
    [change] = import_one(price_data, ModelPrice(**prices)).price_changes
    assert change.prices.per_million == {keys[key]: price * NANO_PER_CREDIT for key, price in prices.items()}


def test_searches_are_imported_at_their_price_for_every_length_of_input(price_data: Provider) -> None:
    tiered = TieredPrices(base=Decimal(1), tiers=[Tier(100, Decimal(2))])
    prices = ModelPrice(input_mtok=tiered, output_mtok=Decimal(2), web_searches_kcount=Decimal("12.5"))
    imported = import_one(price_data, prices)
    [change] = imported.price_changes
    for found in (change.prices, change.steps[0].prices):
        assert found.per_million["web_searches"] == parse_price("12500")
    assert imported.notes == []


def test_other_paid_tools_are_no_part_of_a_models_price(price_data: Provider) -> None:
    prices = {"input_mtok": Decimal(1), "output_mtok": Decimal(2)}
    with_tool = import_one(price_data, ModelPrice(**prices, storage_searches_kcount=Decimal(10)))
    assert with_tool == import_one(price_data, ModelPrice(**prices))
    assert with_tool.notes == []


def test_a_price_per_thousand_requests_becomes_one_per_call(price_data: Provider) -> None:
    prices = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1), requests_kcount=Decimal("12.5"))
    [change] = import_one(price_data, prices).price_changes
    assert change.prices.per_call == parse_price("0.0125")


@pytest.mark.parametrize("price", ["0.0000000001", "0.1234567891", "-1"])
def test_a_price_that_cannot_be_kept_exactly_is_refused(price_data: Provider, price: str) -> None:
    with pytest.raises(InvalidAmount):
        import_one(price_data, ModelPrice(input_mtok=Decimal(price), output_mtok=Decimal(1)))


def test_classes_with_different_tiers_step_at_each_of_them(price_data: Provider) -> None:
    prices = ModelPrice(
        input_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(200, Decimal(3)), Tier(100, Decimal(2))]),
        output_mtok=TieredPrices(base=Decimal(10), tiers=[Tier(150, Decimal(20))]),
    )
    [change] = import_one(price_data, prices).price_changes
    revision = revision_of(change)
    assert [step.above_input_units for step in change.steps] == [100, 150, 200]
    for input_units, expected in {
        100: (1, 10),
        101: (2, 10),
        150: (2, 10),
        151: (2, 20),
        201: (3, 20),
    }.items():
        per_million = revision.prices_for(input_units).per_million
        assert (per_million["input"], per_million["output"]) == tuple(
            price * NANO_PER_CREDIT for price in expected
        )


def on_and_after(day: datetime.date, price: int) -> ConditionalPrice:
    return ConditionalPrice(StartDateConstraint(day), prices=plain_prices(price))


def plain_prices(price: int) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(price), output_mtok=Decimal(price))


def input_prices(model: ImportedModel) -> Sequence[tuple[datetime.date | None, int]]:
    return [
        (change.starts_on, change.prices.per_million["input"] // NANO_PER_CREDIT)
        for change in model.price_changes
    ]


def test_of_dated_prices_those_in_force_today_and_the_coming_ones_are_imported(price_data: Provider) -> None:
    tomorrow = TODAY + datetime.timedelta(days=1)
    next_year = datetime.date(2027, 1, 1)
    prices = [
        ConditionalPrice(prices=plain_prices(1)),
        on_and_after(datetime.date(2026, 8, 1), 2),
        on_and_after(TODAY, 3),
        on_and_after(tomorrow, 4),
        on_and_after(next_year, 5),
    ]
    assert input_prices(import_one(price_data, prices)) == [(None, 3), (tomorrow, 4), (next_year, 5)]


def test_a_dated_entry_that_changes_no_price_of_ours_is_no_change(price_data: Provider) -> None:
    tomorrow = TODAY + datetime.timedelta(days=1)
    prices = [ConditionalPrice(prices=plain_prices(1)), on_and_after(tomorrow, 1)]
    assert input_prices(import_one(price_data, prices)) == [(None, 1)]


def test_of_prices_by_time_of_day_the_dearest_is_taken_and_said_so(price_data: Provider) -> None:
    tomorrow = TODAY + datetime.timedelta(days=1)
    across_midnight = TimeOfDateConstraint(datetime.time(23), datetime.time(1))
    prices = [
        ConditionalPrice(prices=plain_prices(1)),
        on_and_after(tomorrow, 9),
        ConditionalPrice(
            across_midnight, prices=ModelPrice(input_mtok=Decimal(5), output_mtok=Decimal("0.5"))
        ),
    ]
    model = import_one(price_data, prices)
    assert input_prices(model) == [(None, 5), (tomorrow, 9)]
    assert model.price_changes[0].prices.per_million["output"] == parse_price("1")
    assert model.notes == ["the price varies by time of day; the dearest is taken"]


def test_deprecated_models_and_families_of_models_are_left_out(price_data: Provider) -> None:
    family = ModelInfo(id="family", match=ClauseStartsWith("family-2"), prices=plain_prices(1))
    price_data.models = [
        entry_of("kept", plain_prices(1)),
        entry_of("old", plain_prices(1), deprecated=True),
        entry_of("gpt-4o", plain_prices(1), deprecated=True),
        entry_of("tuned-", plain_prices(1)),
        entry_of("kept:free", plain_prices(1)),
        family,
    ]
    assert [model.name for model in list_importable_models(TODAY)] == ["kept"]
