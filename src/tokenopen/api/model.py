"""Models and their prices, as administrators see and set them."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, StringConstraints

from tokenopen.api.authentication import Administrator
from tokenopen.api.json_types import (
    UNCHANGED,
    AmountOut,
    Body,
    InstantIn,
    InstantOut,
    Label,
    PageOut,
    PageQuery,
    PatchBody,
    PriceIn,
    Prose,
    page_out,
)
from tokenopen.api.services import CurrentServices
from tokenopen.control import model as control
from tokenopen.control.model_import import Change, ImportReport, import_models, list_importable_models
from tokenopen.control.price import PriceList, PriceRecord
from tokenopen.core.money import Nanocredits
from tokenopen.storage.model import ListedState

router = APIRouter(tags=["models"])


class StepIn(Body):
    """The price list of a call whose input tokens are more than ``above_input_tokens``."""

    above_input_tokens: int
    prices: dict[str, PriceIn]


class ModelIn(PatchBody):
    """A model; what is left out stays as it is.

    Prices are credits per million units by usage class, ``per_call`` credits per call. A class that is not
    named costs what ``input`` or ``output`` does; a price of zero has to be named.
    """

    maker: Label = UNCHANGED
    prices: dict[str, PriceIn] = UNCHANGED
    steps: list[StepIn] = UNCHANGED
    context_window: int | None = UNCHANGED
    max_output_tokens: int | None = UNCHANGED
    effective_from: InstantIn | None = None
    reason: Prose | None = None


class ImportIn(Body):
    """Which makers' models are imported, all of them by default; a dry run only tells what it would do."""

    makers: list[Annotated[str, StringConstraints(max_length=100)]] | None = None
    dry_run: bool = False


class ModelQuery(PageQuery):
    """Which models are asked for; ``q`` is looked for in name and maker."""

    q: Annotated[str, Field(max_length=200)] | None = None
    state: ListedState | None = None


class StepOut(BaseModel):
    """The price list of a call whose input tokens are more than ``above_input_tokens``."""

    above_input_tokens: int
    prices: dict[str, AmountOut]


class RevisionActorOut(BaseModel):
    """Who wrote a price revision."""

    id: str
    email: str | None


class PriceRevisionOut(BaseModel):
    """Prices from an instant on: as they were named, and resolved for every usage class."""

    id: str
    number: int
    prices: dict[str, AmountOut]
    resolved_prices: dict[str, AmountOut]
    steps: list[StepOut]
    effective_from: InstantOut
    by: RevisionActorOut
    reason: str | None
    created_at: InstantOut


class ModelOut(BaseModel):
    """A model. ``missing`` is what has to be filled in before it can be offered.

    ``offered``: calls may be made to it now, since it is complete and ``carried_by`` an enabled upstream.
    """

    name: str
    maker: str
    state: ListedState
    missing: list[str]
    offered: bool
    carried_by: list[str]
    context_window: int | None
    max_output_tokens: int | None
    prices: dict[str, AmountOut] | None
    steps: list[StepOut]
    revision: PriceRevisionOut | None
    upcoming: list[PriceRevisionOut]
    created_at: InstantOut
    updated_at: InstantOut


class PriceRevisionsOut(BaseModel):
    """Every price that a model has had or will have, the one written last first."""

    data: list[PriceRevisionOut]
    next_cursor: None = None


class ImportedModelOut(BaseModel):
    """What the import did with one model; ``own_price`` says that an administrator's price was kept."""

    name: str
    maker: str
    change: Change
    missing: list[str]
    notes: list[str]


class ImportOut(BaseModel):
    """Counts of what the import did, or would do; ``incomplete`` ones still lack something."""

    dry_run: bool
    created: int
    changed: int
    unchanged: int
    own_price: int
    incomplete: int
    models: list[ImportedModelOut]


def _show_steps(prices: PriceList) -> list[StepOut]:
    return [StepOut(above_input_tokens=above, prices=dict(named)) for above, named in prices.steps]


def _show_revision(record: PriceRecord) -> PriceRevisionOut:
    revision = record.revision
    resolved: dict[str, Nanocredits] = dict(revision.prices.per_million)
    return PriceRevisionOut(
        id=revision.id,
        number=revision.number,
        prices=dict(record.named.named),
        resolved_prices=resolved | {"per_call": revision.prices.per_call},
        steps=_show_steps(record.named),
        effective_from=revision.effective_from_ms,
        by=RevisionActorOut(id=record.actor_id, email=record.actor_email),
        reason=record.reason,
        created_at=record.created_at_ms,
    )


def _show(record: control.ModelRecord) -> ModelOut:
    model, price = record.model, record.price
    return ModelOut(
        name=model.name,
        maker=model.maker,
        state=record.state,
        missing=list(record.missing),
        offered=record.offered,
        carried_by=list(record.carried_by),
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        prices=None if price is None else dict(price.named.named),
        steps=[] if price is None else _show_steps(price.named),
        revision=None if price is None else _show_revision(price),
        upcoming=[_show_revision(coming) for coming in record.upcoming],
        created_at=record.created_at_ms,
        updated_at=record.updated_at_ms,
    )


def _show_import(report: ImportReport, *, dry_run: bool) -> ImportOut:
    return ImportOut(
        dry_run=dry_run,
        created=report.count("created"),
        changed=report.count("changed"),
        unchanged=report.count("unchanged"),
        own_price=report.count("own_price"),
        incomplete=report.incomplete,
        models=[
            ImportedModelOut(
                name=found.name,
                maker=found.maker,
                change=found.change,
                missing=list(found.missing),
                notes=list(found.notes),
            )
            for found in report.changes
        ],
    )


@router.get("/api/admin/models")
async def list_models(
    services: CurrentServices, actor: Administrator, query: Annotated[ModelQuery, Query()]
) -> PageOut[ModelOut]:
    """Models by name, incomplete and archived ones too."""
    async with services.storage.read() as tx:
        page = await control.list_models(tx, actor, text=query.q, state=query.state, page=query.page())
    return page_out(page, _show)


@router.post("/api/admin/models/import")
async def import_maker_models(services: CurrentServices, actor: Administrator, body: ImportIn) -> ImportOut:
    """Import the makers' own models at their list prices; a price that an administrator has set stays."""
    today = datetime.fromtimestamp(services.clock.now_ms() // 1000, UTC).date()
    imported = await list_importable_models(today)
    transaction = services.storage.read() if body.dry_run else services.storage.write()
    async with transaction as tx:
        report = await import_models(tx, actor, imported, makers=body.makers, dry_run=body.dry_run)
    return _show_import(report, dry_run=body.dry_run)


# A model's name may hold slashes, so the longer paths come first.
@router.get("/api/admin/models/{name:path}/revisions")
async def list_price_revisions(
    services: CurrentServices, actor: Administrator, name: str
) -> PriceRevisionsOut:
    """Every price that a model has had or will have."""
    async with services.storage.read() as tx:
        records = await control.list_price_revisions(tx, actor, name)
    return PriceRevisionsOut(data=[_show_revision(record) for record in records])


@router.post("/api/admin/models/{name:path}/archive")
async def archive_model(services: CurrentServices, actor: Administrator, name: str) -> ModelOut:
    """Take a model off the offer."""
    async with services.storage.write() as tx:
        record = await control.archive_model(tx, actor, name)
    return _show(record)


@router.post("/api/admin/models/{name:path}/unarchive")
async def unarchive_model(services: CurrentServices, actor: Administrator, name: str) -> ModelOut:
    """Put an archived model back on offer."""
    async with services.storage.write() as tx:
        record = await control.unarchive_model(tx, actor, name)
    return _show(record)


@router.get("/api/admin/models/{name:path}")
async def find_model(services: CurrentServices, actor: Administrator, name: str) -> ModelOut:
    """One model."""
    async with services.storage.read() as tx:
        record = await control.find_model(tx, actor, name)
    return _show(record)


@router.put("/api/admin/models/{name:path}")
async def put_model(
    services: CurrentServices, actor: Administrator, name: str, body: ModelIn, response: Response
) -> ModelOut:
    """Create a model or change it; prices that differ become a new revision, now or from a coming instant."""
    changes = body.changes()
    effective_from_ms, reason = changes.pop("effective_from", None), changes.pop("reason", None)
    if "steps" in changes:
        changes["steps"] = [(step.above_input_tokens, step.prices) for step in body.steps]
    async with services.storage.write() as tx:
        record, created = await control.put_model(
            tx, actor, name, changes, effective_from_ms=effective_from_ms, reason=reason
        )
    response.status_code = 201 if created else 200
    return _show(record)
