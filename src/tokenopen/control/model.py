"""Models: what is on offer, at which price. Every change of a price is a new revision; none is ever edited.

A model that lacks a price, its context window or its output maximum is *incomplete* and not offered.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.control.price import (
    IMPORT_REASON,
    PriceList,
    PriceRecord,
    describe_prices,
    in_force_at,
    lacks_output_price,
    make_revision,
    named_prices,
    price_record,
)
from tokenopen.core.catalog import Model, ModelState
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.usage import UNITS_MAX
from tokenopen.ports.storage import Transaction
from tokenopen.storage import model as statements
from tokenopen.storage.directory import model_from_row
from tokenopen.storage.model import ListedState, NamedPrices, NamedSteps
from tokenopen.storage.version import bump_catalog_version, lock_catalog

Row = Mapping[str, Any]

MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", re.ASCII)
MAKER_UNNAMED: Final = "custom"


class ModelChanges(TypedDict, total=False):
    """What a PUT says of a model; what is absent stays as it is, None is not known (any more)."""

    maker: str
    context_window: int | None
    max_output_tokens: int | None
    prices: NamedPrices
    steps: NamedSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A model as administrators see it. ``price`` is in force, ``upcoming`` prices are yet to begin."""

    model: Model
    state: ListedState
    missing: Sequence[str]
    price: PriceRecord | None
    upcoming: Sequence[PriceRecord]
    # Names of the enabled upstreams that carry it; a model is offered only while there is one.
    carried_by: Sequence[str]
    created_at_ms: int
    updated_at_ms: int

    @property
    def version(self) -> str:
        """What a change of the model, or a price that begins, makes another."""
        prices = [] if self.price is None else [self.price]
        numbers = [str(record.revision.number) for record in (*prices, *self.upcoming)]
        return ".".join([str(self.updated_at_ms), *numbers])

    @property
    def offered(self) -> bool:
        """Tell whether calls may be made to the model now."""
        return self.state == "active" and bool(self.carried_by)


def check_model_name(name: str, *, param: str = "name") -> None:
    """Refuse what no model can be called: a name is also what groups' patterns are matched with."""
    if not MODEL_NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be a model's name: use up to 200 letters, digits and any of . _ : / @ + -",
            param=param,
        )


def _record(row: Row, revisions: Sequence[Row], carried_by: Sequence[str], now_ms: int) -> ModelRecord:
    model = model_from_row(row, revisions)
    current = in_force_at(revisions, now_ms)
    missing = model.missing(now_ms)
    return ModelRecord(
        model=model,
        state="archived" if model.state == "archived" else "incomplete" if missing else "active",
        missing=missing,
        price=None if current is None else price_record(current),
        upcoming=[price_record(coming) for coming in revisions if coming["effective_from_ms"] > now_ms],
        carried_by=carried_by,
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


async def list_models(
    tx: Transaction, actor: Actor, *, text: str | None, state: ListedState | None, page: PageRequest
) -> Page[ModelRecord]:
    """Return models by name; ``text`` is looked for in name and maker."""
    actor.require_administrator()
    rows = await statements.list_models(tx, text=text, state=state, after=page.after, limit=page.fetch)
    return cut_page(await _records(tx, rows), page, cursor_of=lambda record: record.model.name)


async def _records(tx: Transaction, rows: Sequence[Row]) -> Sequence[ModelRecord]:
    names = [row["name"] for row in rows]
    revisions = await statements.list_price_revisions(tx, names)
    carriers = await statements.list_carriers(tx, names)
    return [
        _record(row, revisions.get(row["name"], ()), carriers.get(row["name"], ()), tx.now_ms) for row in rows
    ]


async def list_by_state(
    tx: Transaction, actor: Actor, *, text: str | None, state: ListedState | None, page: PageRequest
) -> Page[ModelRecord]:
    """Return models as ``list_models`` does, but those first that are carried and lack something.

    Archived ones come last, and before them those that lack something and that no upstream carries.
    """
    actor.require_administrator()
    after_place, _, after = (page.after or "").partition(":")
    known = next((name for name in statements.PLACES if name == after_place), None)
    if page.after is not None and known is None:
        raise InvalidRequest("cursor: send the next_cursor of an earlier answer.", param="cursor")
    rows = await statements.list_models(
        tx,
        text=text,
        state=state,
        after=after if known else None,
        after_place=known,
        limit=page.fetch,
        by_place=True,
    )

    def cursor_of(record: ModelRecord) -> str:
        place = statements.place_of(record.state, carried=bool(record.carried_by))
        return f"{place}:{record.model.name}"

    return cut_page(await _records(tx, rows), page, cursor_of=cursor_of)


async def count_lacking_models(tx: Transaction, actor: Actor) -> int:
    """Return how many models an upstream carries that are not offered, since they lack something."""
    actor.require_administrator()
    return await statements.count_lacking_models(tx)


async def find_model(tx: Transaction, actor: Actor, name: str) -> ModelRecord:
    """Return a model. Refuses NotFound."""
    actor.require_administrator()
    row, revisions = await _find(tx, name)
    carriers = await statements.list_carriers(tx, [name])
    return _record(row, revisions, carriers.get(name, ()), tx.now_ms)


async def list_price_revisions(tx: Transaction, actor: Actor, name: str) -> Sequence[PriceRecord]:
    """Return every price that a model has had or will have, the one written last first."""
    actor.require_administrator()
    _, revisions = await _find(tx, name)
    return sorted(map(price_record, revisions), key=lambda record: -record.revision.number)


async def _find(tx: Transaction, name: str) -> tuple[Row, Sequence[Row]]:
    row = await statements.find_model(tx, name)
    if row is None:
        raise NotFound(f"There is no model {name}.")
    revisions = await statements.list_price_revisions(tx, [name])
    return row, revisions.get(name, ())


async def put_model(
    tx: Transaction,
    actor: Actor,
    name: str,
    changes: ModelChanges,
    *,
    effective_from_ms: int | None = None,
    reason: str | None = None,
    based_on: str | None = None,
) -> tuple[ModelRecord, bool]:
    """Create a model or change it; tell also whether it is new.

    Prices that differ from those in force become a new revision, from now or from an instant to come;
    equal ones change nothing. ``based_on`` is the version of the model that the changes were made to, empty
    for one that is to be new; refuses Conflict where it is at another.
    """
    actor.require_administrator()
    check_model_name(name)
    _check_when_and_why(changes, effective_from_ms, reason, tx.now_ms)
    await lock_catalog(tx)
    row = await statements.find_model(tx, name)
    revisions = (await statements.list_price_revisions(tx, [name])).get(name, ())
    if based_on is not None:
        _check_version(row, revisions, based_on, tx.now_ms)
    values = _values_of(row, changes)
    starts_ms = effective_from_ms or tx.now_ms
    _check_steps_named(changes, in_force_at(revisions, starts_ms))
    if values["max_output_tokens"] != 0:
        _check_output_priced(revisions, tx.now_ms, replaced="prices" in changes and starts_ms == tx.now_ms)
    new_revision = None
    if "prices" in changes:
        new_revision = make_revision(
            name,
            PriceList(named=changes["prices"], steps=changes.get("steps", ())),
            revisions=revisions,
            has_output=values["max_output_tokens"] != 0,
            effective_from_ms=starts_ms,
            actor_id=actor.user_id,
            reason=reason,
            now_ms=tx.now_ms,
        )
    if row is not None and new_revision is None and all(row[key] == value for key, value in values.items()):
        return await find_model(tx, actor, name), False

    if row is None:
        await statements.insert_models(tx, [statements.model_row(name, now_ms=tx.now_ms, **values)])
    else:
        await statements.update_model(tx, name, **values)
    if new_revision is not None:
        await statements.insert_price_revisions(tx, [new_revision])
    current = in_force_at(revisions, tx.now_ms)
    await _record_change(
        tx,
        actor,
        "model.create" if row is None else "model.update",
        name,
        before=None if row is None else _describe(row, current),
        after=_describe(values, new_revision or current),
    )
    return await find_model(tx, actor, name), row is None


def _check_version(row: Row | None, revisions: Sequence[Row], based_on: str, now_ms: int) -> None:
    version = "" if row is None else _record(row, revisions, (), now_ms).version
    if version == based_on:
        return
    if not based_on:
        raise Conflict("There is a model of this name already.", param="name")
    raise Conflict("The model has changed since. Read it anew and try again.", param="version")


def _check_when_and_why(
    changes: ModelChanges, effective_from_ms: int | None, reason: str | None, now_ms: int
) -> None:
    if reason == IMPORT_REASON:
        raise InvalidRequest(
            f'The reason "{IMPORT_REASON}" marks the makers\' own prices. Give another one.', param="reason"
        )
    if "prices" not in changes and "steps" in changes:
        raise InvalidRequest("steps replace the prices above a bound; send prices too.", param="prices")
    if effective_from_ms is None:
        return
    if "prices" not in changes:
        raise InvalidRequest("effective_from says from when prices apply; send prices.", param="prices")
    if effective_from_ms < now_ms:
        raise InvalidRequest(
            "effective_from lies in the past. Leave it out for a price that applies from now on.",
            param="effective_from",
        )


def _values_of(row: Row | None, changes: ModelChanges) -> dict[str, Any]:
    """Return what the model's row shall say. Refuses numbers that cannot be."""
    values: dict[str, Any] = {"maker": MAKER_UNNAMED, "context_window": None, "max_output_tokens": None}
    if row is not None:
        values = {column: row[column] for column in values}
    values |= {column: value for column, value in changes.items() if column in values}
    window, output = values["context_window"], values["max_output_tokens"]
    if window is not None and not 1 <= window <= UNITS_MAX:
        raise InvalidRequest(f"context_window must be between 1 and {UNITS_MAX}.", param="context_window")
    if output is not None and not 0 <= output <= (window or UNITS_MAX):
        raise InvalidRequest(
            "max_output_tokens must be between 0 (a model that gives no output) and the context window, "
            "which counts input and output together.",
            param="max_output_tokens",
        )
    return values


def _check_steps_named(changes: ModelChanges, replaced: Row | None) -> None:
    if "prices" not in changes or "steps" in changes or replaced is None:
        return
    if named_prices(replaced).steps:
        raise InvalidRequest(
            "The model has long-context steps. Send steps too, an empty list to drop them.", param="steps"
        )


def _check_output_priced(revisions: Sequence[Row], now_ms: int, *, replaced: bool) -> None:
    """Refuse a model that gives output while a price in force or coming names none for it."""
    current = in_force_at(revisions, now_ms)
    applying = [row for row in revisions if row["effective_from_ms"] > now_ms]
    if current is not None and not replaced:
        applying.append(current)
    if any(lacks_output_price(named_prices(row)) for row in applying):
        raise InvalidRequest(
            "The model's prices name none for output. Send prices with an output price too.", param="prices"
        )


async def archive_model(tx: Transaction, actor: Actor, name: str) -> ModelRecord:
    """Take a model off the offer; its calls and prices stay. One that is archived stays as it is."""
    return await _set_state(tx, actor, name, "archived", "model.archive")


async def unarchive_model(tx: Transaction, actor: Actor, name: str) -> ModelRecord:
    """Put an archived model back on offer."""
    return await _set_state(tx, actor, name, "active", "model.unarchive")


async def _set_state(tx: Transaction, actor: Actor, name: str, state: ModelState, action: str) -> ModelRecord:
    actor.require_administrator()
    await lock_catalog(tx)
    row, _ = await _find(tx, name)
    if row["state"] != state:
        await statements.update_model(tx, name, state=state)
        await _record_change(tx, actor, action, name, before={"state": row["state"]}, after={"state": state})
    return await find_model(tx, actor, name)


def _describe(values: Mapping[str, Any], revision: Row | None) -> dict[str, object]:
    shown = {column: values[column] for column in ("maker", "context_window", "max_output_tokens")}
    if revision is not None:
        shown |= describe_prices(named_prices(revision))
        shown |= {"price_revision_id": revision["id"], "reason": revision["reason"]}
    return shown


async def _record_change(
    tx: Transaction,
    actor: Actor,
    action: str,
    name: str,
    *,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    await bump_catalog_version(tx)
    await record_change(
        tx, actor, action=action, subject_kind="model", subject_id=name, before=before, after=after
    )
