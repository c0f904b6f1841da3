"""Importing the makers' models: their prices follow, what people decided stays."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from tests.fakes.clock import START_MS, MovableClock
from tokenopen.control import price_import
from tokenopen.control.actor import Actor
from tokenopen.control.imported_model import ImportedModel, ImportedPrices
from tokenopen.control.model import ModelRecord, archive_model, find_model, put_model
from tokenopen.control.model_import import ImportReport, import_models, list_importable_models
from tokenopen.core.catalog import PriceStep, resolve_prices
from tokenopen.core.errors import InvalidRequest, PermissionDenied
from tokenopen.core.money import Nanocredits
from tokenopen.storage import schema
from tokenopen.storage.sqlite import SqliteStorage

CHEAP = resolve_prices({"input": Nanocredits(1), "output": Nanocredits(2), "cached_input": Nanocredits(0)})
DEAR = resolve_prices({"input": Nanocredits(10), "output": Nanocredits(20)})
IN_FORCE = ImportedPrices(starts_on=None, prices=CHEAP, steps=[PriceStep(above_input_units=100, prices=DEAR)])
TOMORROW = ImportedPrices(starts_on=datetime.date(2026, 6, 2), prices=DEAR, steps=[])
MODEL = ImportedModel(
    name="m",
    maker="acme",
    description=None,
    context_window=1_000,
    max_output_tokens=100,
    price_changes=[IN_FORCE],
    notes=[],
)


class Importing:
    """What one administrator imports."""

    def __init__(self, storage: SqliteStorage, actor: Actor) -> None:
        self.storage = storage
        self.actor = actor

    async def run(self, *models: ImportedModel, **options: Any) -> ImportReport:
        async with self.storage.write() as tx:
            return await import_models(tx, self.actor, models, **options)

    async def changes(self, *models: ImportedModel) -> list[str]:
        return [found.change for found in (await self.run(*models)).changes]

    async def find(self, name: str = "m") -> ModelRecord:
        async with self.storage.read() as tx:
            return await find_model(tx, self.actor, name)

    async def prices(self) -> Sequence[int]:
        """The input price now, then those to come."""
        record = await self.find()
        assert record.price is not None
        return [price.revision.prices.per_million["input"] for price in (record.price, *record.upcoming)]

    async def put(self, **changes: Any) -> None:
        async with self.storage.write() as tx:
            await put_model(tx, self.actor, "m", changes)  # type: ignore[arg-type]


@pytest.fixture
def importing(storage: SqliteStorage, administrator: Actor) -> Importing:
    return Importing(storage, administrator)


async def test_a_model_is_created_with_exactly_the_makers_prices(importing: Importing) -> None:
    assert await importing.changes(MODEL) == ["created"]
    record = await importing.find()
    assert record.price is not None
    assert (record.price.revision.prices, record.price.revision.steps) == (CHEAP, tuple(IN_FORCE.steps))
    assert record.price.named.named == {"input": 1, "output": 2, "cached_input": 0}
    assert record.price.reason == "import"
    assert record.state == "active"


async def test_importing_again_changes_nothing(importing: Importing, clock: MovableClock) -> None:
    await importing.run(MODEL)
    version = (await importing.storage.find_versions(None)).catalog
    clock.move(seconds=60)
    assert await importing.changes(MODEL) == ["unchanged"]
    assert (await importing.storage.find_versions(None)).catalog == version


async def test_the_makers_new_price_follows_as_a_new_revision(
    importing: Importing, clock: MovableClock
) -> None:
    await importing.run(MODEL)
    clock.move(seconds=60)
    dearer = replace(MODEL, price_changes=[replace(IN_FORCE, prices=DEAR, steps=[])])
    assert await importing.changes(dearer) == ["changed"]
    assert await importing.prices() == [10]


async def test_an_administrators_price_is_kept(importing: Importing, clock: MovableClock) -> None:
    await importing.run(MODEL)
    clock.move(seconds=60)
    await importing.put(prices={"input": Nanocredits(7), "output": Nanocredits(8)}, steps=[])
    clock.move(seconds=60)
    dearer = replace(MODEL, price_changes=[replace(IN_FORCE, prices=DEAR)])
    assert await importing.changes(dearer) == ["own_price"]
    assert await importing.prices() == [7]


async def test_a_price_to_come_is_scheduled_and_one_that_was_taken_back_is_followed_by_what_holds(
    importing: Importing, clock: MovableClock
) -> None:
    await importing.run(replace(MODEL, price_changes=[IN_FORCE, TOMORROW]))
    assert await importing.prices() == [1, 10]
    assert await importing.changes(replace(MODEL, price_changes=[IN_FORCE, TOMORROW])) == ["unchanged"]
    assert await importing.changes(MODEL) == ["changed"]
    clock.move(seconds=24 * 3600)
    assert await importing.prices() == [1]


async def test_numbers_that_are_there_already_are_not_written_over(importing: Importing) -> None:
    await importing.put(context_window=500)
    assert await importing.changes(MODEL) == ["changed"]
    record = await importing.find()
    assert (record.model.context_window, record.model.max_output_tokens) == (500, 100)


async def test_an_incomplete_model_is_imported_and_says_what_it_lacks(importing: Importing) -> None:
    report = await importing.run(
        replace(MODEL, max_output_tokens=None, price_changes=[], notes=["no prices"])
    )
    assert report.incomplete == 1
    assert report.changes[0].missing == ["prices", "max_output_tokens"]
    assert report.changes[0].notes == ["no prices"]
    assert (await importing.find()).state == "incomplete"


async def test_a_model_that_gives_output_here_never_gets_prices_without_one(importing: Importing) -> None:
    await importing.put(context_window=10, max_output_tokens=5)
    embedding = ImportedPrices(
        starts_on=None, prices=resolve_prices({"input": Nanocredits(1)}, has_output=False), steps=[]
    )
    report = await importing.run(replace(MODEL, max_output_tokens=0, price_changes=[embedding]))
    assert report.changes[0].missing == ["prices"]


async def test_an_archived_model_stays_archived(importing: Importing) -> None:
    await importing.run(MODEL)
    async with importing.storage.write() as tx:
        await archive_model(tx, importing.actor, "m")
    await importing.run(replace(MODEL, price_changes=[replace(IN_FORCE, prices=DEAR)]))
    assert (await importing.find()).state == "archived"


async def test_a_dry_run_tells_and_writes_nothing(importing: Importing, administrator: Actor) -> None:
    async with importing.storage.read() as tx:
        report = await import_models(tx, administrator, [MODEL], dry_run=True)
    assert report.count("created") == 1
    async with importing.storage.read() as tx:
        assert await tx.fetch_all(select(schema.models)) == []


async def test_makers_are_picked_by_name(importing: Importing) -> None:
    other = replace(MODEL, name="n", maker="zeta")
    report = await importing.run(MODEL, other, makers=["zeta"])
    assert [found.name for found in report.changes] == ["n"]
    with pytest.raises(InvalidRequest, match=r"acme, zeta"):
        await importing.run(MODEL, other, makers=["nobody"])


async def test_only_administrators_import(importing: Importing, user: Actor) -> None:
    async with importing.storage.write() as tx:
        with pytest.raises(PermissionDenied):
            await import_models(tx, user, [MODEL])


async def test_all_that_the_price_data_has_is_imported_at_once_and_only_once(
    importing: Importing, administrator: Actor
) -> None:
    today = datetime.date(2026, 6, 1)
    models = await list_importable_models(today)
    # From another process as they are there.
    assert models == price_import.list_importable_models(today)
    report = await importing.run(*models)
    assert report.count("created") == len(models) > 100
    again = await importing.run(*models)
    assert again.count("unchanged") == len(models)
    catalog = await importing.storage.load_catalog()
    for model in models:
        if model.price_changes:
            price = catalog.models[model.name].price_at(START_MS)
            assert price is not None
            assert price.prices == model.price_changes[0].prices
            assert list(price.steps) == list(model.price_changes[0].steps)
