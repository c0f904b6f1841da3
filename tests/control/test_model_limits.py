import datetime

from genai_prices.data_snapshot import get_snapshot

from tokenopen.control.model_limits import load_model_limits
from tokenopen.control.price_import import MAKERS, list_importable_models

TODAY = datetime.date(2026, 11, 23)


def test_every_row_names_a_maker_a_source_and_a_day_and_bounds_that_can_be() -> None:
    rows = load_model_limits().values()
    assert len(rows) >= 80
    for row in rows:
        assert row.maker in MAKERS, row.name
        assert row.source.startswith("https://"), row.name
        assert row.checked_on >= datetime.date(2026, 11, 1), row.name
        assert 0 <= row.max_output_tokens <= row.context_window, row.name
        assert row.context_window >= 2_048, row.name


def test_every_row_is_imported_complete_under_its_maker() -> None:
    imported = {model.name: model for model in list_importable_models(TODAY)}
    for name, row in load_model_limits().items():
        model = imported[name]
        assert model.missing == [], name
        assert (model.maker, model.context_window, model.max_output_tokens) == (
            row.maker,
            row.context_window,
            row.max_output_tokens,
        )


def test_no_row_is_below_the_input_limit_that_the_price_data_knows() -> None:
    known = {
        entry.id: entry.context_window
        for provider in get_snapshot().providers
        if provider.id in MAKERS
        for entry in provider.models
        if entry.context_window is not None
    }
    compared = [row for name, row in load_model_limits().items() if name in known]
    assert len(compared) > 60
    for row in compared:
        assert row.context_window >= known[row.name], row.name


def test_only_models_without_output_have_a_maximum_of_none() -> None:
    without = {row.name for row in load_model_limits().values() if row.max_output_tokens == 0}
    assert all("embed" in name for name in without)
    assert "text-embedding-3-small" in without
