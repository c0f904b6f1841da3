"""Models and prices: every change of a price is a new revision, and nothing becomes free unsaid."""

from typing import Any

import pytest
from sqlalchemy import select

from tests.fakes.clock import MovableClock
from tokenopen.control.actor import Actor
from tokenopen.control.model import (
    ModelChanges,
    ModelRecord,
    archive_model,
    find_model,
    list_models,
    list_price_revisions,
    put_model,
    unarchive_model,
)
from tokenopen.control.page import PageRequest
from tokenopen.core.errors import InvalidRequest, NotFound, PermissionDenied
from tokenopen.core.money import Nanocredits
from tokenopen.storage import schema
from tokenopen.storage.model import NamedPrices
from tokenopen.storage.sqlite import SqliteStorage

CHEAP: NamedPrices = {"input": Nanocredits(1), "output": Nanocredits(2)}
DEAR: NamedPrices = {"input": Nanocredits(10), "output": Nanocredits(20)}
WHOLE: ModelChanges = {"context_window": 1_000, "max_output_tokens": 100, "prices": CHEAP}


class Models:
    """What one administrator does with models."""

    def __init__(self, storage: SqliteStorage, actor: Actor, clock: MovableClock) -> None:
        self.storage = storage
        self.actor = actor
        self.clock = clock

    async def put(self, name: str, changes: ModelChanges, **when: Any) -> tuple[ModelRecord, bool]:
        async with self.storage.write() as tx:
            return await put_model(tx, self.actor, name, changes, **when)

    async def find(self, name: str) -> ModelRecord:
        async with self.storage.read() as tx:
            return await find_model(tx, self.actor, name)

    async def numbers(self, name: str) -> list[int]:
        async with self.storage.read() as tx:
            records = await list_price_revisions(tx, self.actor, name)
        return [record.revision.number for record in records]

    async def names(self, **wanted: Any) -> list[str]:
        async with self.storage.read() as tx:
            page = await list_models(
                tx, self.actor, **{"text": None, "state": None, "page": PageRequest(), **wanted}
            )
        return [record.model.name for record in page.items]

    async def version(self) -> int:
        return (await self.storage.find_versions(None)).catalog

    async def audit_actions(self) -> list[str]:
        async with self.storage.read() as tx:
            rows = await tx.fetch_all(
                select(schema.audit_log.c.action)
                .where(schema.audit_log.c.subject_kind == "model")
                .order_by(schema.audit_log.c.id)
            )
        return [row["action"] for row in rows]


@pytest.fixture
def models(storage: SqliteStorage, administrator: Actor, clock: MovableClock) -> Models:
    return Models(storage, administrator, clock)


async def test_a_model_is_created_whole_and_its_classes_are_resolved_by_rule(models: Models) -> None:
    version = await models.version()
    record, created = await models.put("acme/fast:v1", {"maker": "acme", **WHOLE}, reason="New")
    assert created
    assert (record.state, record.missing, record.offered) == ("active", [], False)
    assert record.price is not None
    assert record.price.named.named == CHEAP
    assert record.price.revision.prices.per_million["cached_input"] == 1
    assert record.price.revision.prices.per_million["reasoning"] == 2
    assert (record.price.actor_id, record.price.reason) == (models.actor.user_id, "New")
    assert await models.version() == version + 1
    assert await models.audit_actions() == ["model.create"]


async def test_a_changed_price_is_a_new_revision_and_an_equal_one_none(models: Models) -> None:
    await models.put("m", WHOLE)
    version = await models.version()
    _, created = await models.put("m", {"prices": {**CHEAP, "cached_input": Nanocredits(1)}})
    assert not created
    assert await models.numbers("m") == [1]
    assert await models.version() == version
    models.clock.move(seconds=1)
    record, _ = await models.put("m", {"prices": DEAR})
    assert record.price is not None
    assert record.price.named.named == DEAR
    assert await models.numbers("m") == [2, 1]
    assert await models.version() == version + 1


async def test_a_price_to_come_begins_at_its_instant(models: Models) -> None:
    await models.put("m", WHOLE)
    starts_ms = models.clock.now_ms() + 60_000
    record, _ = await models.put("m", {"prices": DEAR}, effective_from_ms=starts_ms)
    assert record.price is not None
    assert record.price.named.named == CHEAP
    assert [coming.revision.effective_from_ms for coming in record.upcoming] == [starts_ms]
    # The same once more changes nothing.
    await models.put("m", {"prices": DEAR}, effective_from_ms=starts_ms + 1)
    assert await models.numbers("m") == [2, 1]
    models.clock.move(seconds=60)
    record = await models.find("m")
    assert record.price is not None
    assert record.price.named.named == DEAR
    assert record.upcoming == []


async def test_a_price_cannot_begin_in_the_past(models: Models) -> None:
    await models.put("m", WHOLE)
    with pytest.raises(InvalidRequest, match="past"):
        await models.put("m", {"prices": DEAR}, effective_from_ms=models.clock.now_ms() - 1)
    with pytest.raises(InvalidRequest):
        await models.put("m", {"maker": "x"}, effective_from_ms=models.clock.now_ms() + 1)


async def test_what_is_left_out_stays_as_it_is(models: Models) -> None:
    await models.put("m", {"maker": "acme", **WHOLE})
    record, _ = await models.put("m", {"context_window": 2_000})
    assert (record.model.maker, record.model.context_window) == ("acme", 2_000)
    assert record.model.max_output_tokens == 100
    assert await models.numbers("m") == [1]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, ["prices", "context_window", "max_output_tokens"]),
        ({"prices": CHEAP}, ["context_window", "max_output_tokens"]),
        ({"prices": CHEAP, "context_window": 10}, ["max_output_tokens"]),
        ({"context_window": 10, "max_output_tokens": 5}, ["prices"]),
    ],
)
async def test_an_incomplete_model_says_what_to_fill_in(
    models: Models, changes: ModelChanges, missing: list[str]
) -> None:
    record, _ = await models.put("m", changes)
    assert (record.state, record.missing, record.offered) == ("incomplete", missing, False)


async def test_a_model_whose_price_is_yet_to_come_is_incomplete(models: Models) -> None:
    later = models.clock.now_ms() + 1_000
    record, _ = await models.put("m", WHOLE, effective_from_ms=later)
    assert record.missing == ["prices"]
    assert await models.names(state="incomplete") == ["m"]
    models.clock.move(seconds=1)
    assert await models.names(state="incomplete") == []
    assert await models.names(state="active") == ["m"]


@pytest.mark.parametrize(
    "prices",
    [
        {},
        {"input": Nanocredits(1)},
        {"output": Nanocredits(1)},
        {"input": Nanocredits(1), "output": Nanocredits(1), "video": Nanocredits(1)},
    ],
)
async def test_prices_that_leave_a_class_without_one_are_refused(models: Models, prices: NamedPrices) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await models.put("m", {**WHOLE, "prices": prices})
    assert refused.value.facts["param"] == "prices"
    with pytest.raises(NotFound):
        await models.find("m")


async def test_a_model_without_output_needs_no_price_for_it(models: Models) -> None:
    record, _ = await models.put(
        "embed", {"context_window": 8_000, "max_output_tokens": 0, "prices": {"input": Nanocredits(5)}}
    )
    assert record.state == "active"
    # Once it gives output, output must have a price, in a price that is yet to come too.
    with pytest.raises(InvalidRequest, match="output"):
        await models.put("embed", {"max_output_tokens": 10})
    with pytest.raises(InvalidRequest, match="output"):
        await models.put("embed", {"max_output_tokens": None})
    later = models.clock.now_ms() + 1_000
    with pytest.raises(InvalidRequest, match="output"):
        await models.put("embed", {"max_output_tokens": 10, "prices": DEAR}, effective_from_ms=later)
    await models.put("embed", {"prices": {"input": Nanocredits(6)}}, effective_from_ms=later)
    with pytest.raises(InvalidRequest, match="output"):
        await models.put("embed", {"max_output_tokens": 10, "prices": DEAR})
    await models.put("embed", {"prices": DEAR}, effective_from_ms=later)


async def test_long_context_steps_are_never_dropped_unsaid(models: Models) -> None:
    await models.put("m", {**WHOLE, "steps": [(100, DEAR)]})
    with pytest.raises(InvalidRequest) as refused:
        await models.put("m", {"prices": DEAR})
    assert refused.value.facts["param"] == "steps"
    record, _ = await models.put("m", {"prices": DEAR, "steps": []})
    assert record.price is not None
    assert record.price.named.steps == []
    with pytest.raises(InvalidRequest):
        await models.put("m", {"steps": [(5, DEAR)]})


@pytest.mark.parametrize(
    "steps",
    [
        [(0, DEAR)],
        [(100, DEAR), (100, DEAR)],
        [(200, DEAR), (100, DEAR)],
        [(100, {"input": Nanocredits(1)})],
        [(bound, DEAR) for bound in range(1, 12)],
    ],
)
async def test_steps_that_cannot_be_are_refused(models: Models, steps: list[tuple[int, NamedPrices]]) -> None:
    with pytest.raises(InvalidRequest):
        await models.put("m", {**WHOLE, "steps": steps})


@pytest.mark.parametrize(
    "changes",
    [
        {"context_window": 0},
        {"context_window": 10**9 + 1},
        {"max_output_tokens": -1},
        {"context_window": 10, "max_output_tokens": 11},
    ],
)
async def test_bounds_that_cannot_be_are_refused(models: Models, changes: ModelChanges) -> None:
    with pytest.raises(InvalidRequest):
        await models.put("m", changes)


@pytest.mark.parametrize("name", ["", "gpt-*", "a b", "x" * 201, "-m", "mödel"])
async def test_a_name_that_no_model_can_have_is_refused(models: Models, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await models.put(name, WHOLE)


async def test_the_reason_of_imports_is_theirs(models: Models) -> None:
    with pytest.raises(InvalidRequest):
        await models.put("m", WHOLE, reason="import")


async def test_an_archived_model_keeps_its_history_and_comes_back(models: Models) -> None:
    await models.put("m", WHOLE)
    version = await models.version()
    models.clock.move(seconds=1)
    async with models.storage.write() as tx:
        record = await archive_model(tx, models.actor, "m")
        await archive_model(tx, models.actor, "m")
    assert record.state == "archived"
    assert await models.version() == version + 1
    assert await models.names(state="archived") == ["m"]
    assert await models.names(state="active") == []
    assert await models.numbers("m") == [1]
    models.clock.move(seconds=1)
    async with models.storage.write() as tx:
        assert (await unarchive_model(tx, models.actor, "m")).state == "active"
    assert await models.audit_actions() == ["model.create", "model.archive", "model.unarchive"]


async def test_models_are_found_by_name_and_maker_and_paged(models: Models) -> None:
    for name, maker in (("b-1", "acme"), ("a-1", "acme"), ("c_1", "Zeta"), ("cx1", "other")):
        await models.put(name, {"maker": maker, **WHOLE})
    assert await models.names() == ["a-1", "b-1", "c_1", "cx1"]
    assert await models.names(text="ACME") == ["a-1", "b-1"]
    assert await models.names(text="zet") == ["c_1"]
    # No wildcard: the underscore is itself.
    assert await models.names(text="c_") == ["c_1"]
    async with models.storage.read() as tx:
        first = await list_models(tx, models.actor, text=None, state=None, page=PageRequest(limit=3))
        rest = PageRequest(limit=3, after=first.next_cursor)
        second = await list_models(tx, models.actor, text=None, state=None, page=rest)
    assert [record.model.name for record in second.items] == ["cx1"]
    assert second.next_cursor is None


async def test_only_administrators_see_and_change_models(models: Models, user: Actor) -> None:
    await models.put("m", WHOLE)
    async with models.storage.write() as tx:
        for attempt in (
            put_model(tx, user, "m", {"maker": "x"}),
            find_model(tx, user, "m"),
            list_models(tx, user, text=None, state=None, page=PageRequest()),
            list_price_revisions(tx, user, "m"),
            archive_model(tx, user, "m"),
        ):
            with pytest.raises(PermissionDenied):
                await attempt


async def test_a_model_that_is_not_there_is_not_found(models: Models) -> None:
    async with models.storage.write() as tx:
        for attempt in (
            find_model(tx, models.actor, "m"),
            list_price_revisions(tx, models.actor, "m"),
            archive_model(tx, models.actor, "m"),
        ):
            with pytest.raises(NotFound):
                await attempt
