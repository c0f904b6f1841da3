"""Models and prices, for administrators: the list, those first that wait for prices, and the editor.

As with groups, whoever saves later than another is told so and keeps what they typed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from fastapi import APIRouter, Request, Response

from tokenopen.control import model as control
from tokenopen.control.model_access import GroupAccess, groups_letting_in, list_active_groups
from tokenopen.control.page import PageRequest
from tokenopen.control.price import PriceRecord
from tokenopen.core.catalog import InvalidPrices, Prices, resolve_prices
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound, Refusal
from tokenopen.core.usage import COUNTED_CLASSES
from tokenopen.ports.storage import Transaction
from tokenopen.storage.model import ListedState, list_model_states
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.group_diff import Change
from tokenopen.web.model_form import (
    COMMON_PRICES,
    OTHER_PRICES,
    TypedModel,
    fill_model_form,
    read_model_form,
    step_fields,
)
from tokenopen.web.price_diff import describe_prices, price_before
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer, Visit

router = APIRouter()

PATH: Final = "/admin/models"
TEXT_LENGTH_MAX: Final = 200


@router.get(PATH)
async def list_models(request: Request, services: CurrentServices, viewer: CurrentAdministrator) -> Response:
    """Every model, those first that an upstream carries and that lack something."""
    query = request.query_params
    state = next((state for state in get_args(ListedState) if state == query.get("state")), None)
    async with services.storage.read() as tx:
        page = await control.list_by_state(
            tx,
            viewer.actor,
            text=query.get("q", "").strip()[:TEXT_LENGTH_MAX] or None,
            state=state,
            page=PageRequest(after=query.get("cursor")),
        )
        groups = await list_active_groups(tx, viewer.actor)
        states = await list_model_states(tx)
        lacking = await control.count_lacking_models(tx, viewer.actor)
    return render(
        request,
        "admin_model/models.html",
        models=[(record, groups_letting_in(groups, record.model.name)) for record in page.items],
        next_cursor=page.next_cursor,
        lacking=lacking,
        any_models=bool(states),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRevision:
    """A price revision with where it stands and what it changed."""

    record: PriceRecord
    place: str
    changes: Sequence[Change]
    is_first: bool


def _revisions(
    records: Sequence[PriceRecord], record: control.ModelRecord, visit: Visit
) -> Sequence[ShownRevision]:
    shown = []
    for revision in records:
        before = price_before(revision, records)
        shown.append(
            ShownRevision(
                record=revision,
                place=_place(revision, record, visit.now_ms),
                changes=describe_prices(None if before is None else before.named, revision.named, visit.text),
                is_first=before is None,
            )
        )
    return shown


def _place(revision: PriceRecord, record: control.ModelRecord, now_ms: int) -> str:
    if record.price is not None and revision.revision.id == record.price.revision.id:
        return "in_force"
    return "scheduled" if revision.revision.effective_from_ms > now_ms else "past"


def _resolved(typed: TypedModel | None, record: control.ModelRecord | None) -> Prices | None:
    """Return the prices as typed, else those in force; None where there are none that can be resolved."""
    if typed is None:
        return None if record is None or record.price is None else record.price.revision.prices
    try:
        return resolve_prices(typed.prices, has_output=typed.changes.get("max_output_tokens") != 0)
    except InvalidPrices:
        return None


async def _show_editor(
    request: Request,
    tx: Transaction,
    viewer: Viewer,
    visit: Visit,
    form: Form,
    *,
    typed: TypedModel | None = None,
    record: control.ModelRecord | None = None,
    status: int = 200,
) -> Response:
    name = form.text("name") if record is None else record.model.name
    records: Sequence[PriceRecord] = ()
    if record is not None:
        records = await control.list_price_revisions(tx, viewer.actor, name)
    access: Sequence[GroupAccess] = ()
    if control.MODEL_NAME.fullmatch(name):
        access = groups_letting_in(await list_active_groups(tx, viewer.actor), name)
    context: dict[str, Any] = {
        "form": form,
        "model": record,
        "revisions": [] if record is None else _revisions(records, record, visit),
        "access": access,
        "prices": _resolved(typed, record),
        "common_prices": COMMON_PRICES,
        "other_prices": OTHER_PRICES,
        "counted_prices": COUNTED_CLASSES,
        "steps": step_fields(form),
        "typed_name": name,
        "zone_name": visit.zone.key,
    }
    return render(request, "admin_model/editor.html", status=status, **context)


@router.get(PATH + "/_new")
async def show_new_model(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """The editor, empty but for a name that a link brings along. No model's name begins with _."""
    form = Form(values={"name": [request.query_params.get("name", "")]})
    async with services.storage.read() as tx:
        return await _show_editor(request, tx, viewer, visit, form)


@router.post(PATH)
async def save_model(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Create a model or change it, or show what it would mean."""
    sent = await read_form(request)
    typed, form = read_model_form(sent, visit)
    if typed is None or form.text("action") == "preview":
        status = 200 if form.text("action") == "preview" else InvalidRequest.status
        return await _show_again(request, services, viewer, visit, form, typed=typed, status=status)
    try:
        async with services.storage.write() as tx:
            record, created = await control.put_model(
                tx,
                viewer.actor,
                typed.name,
                typed.changes,
                effective_from_ms=typed.effective_from_ms,
                reason=typed.reason,
                based_on=form.text("version"),
            )
    except (InvalidRequest, Conflict) as refusal:
        return await _show_refused(request, services, viewer, visit, form, refusal, typed=typed)
    flash = "admin_model.created" if created else "admin_model.saved"
    return redirect(f"{PATH}/{record.model.name}", flash=flash, name=record.model.name)


async def _show_again(
    request: Request,
    services: CurrentServices,
    viewer: Viewer,
    visit: Visit,
    form: Form,
    *,
    typed: TypedModel | None,
    status: int,
) -> Response:
    async with services.storage.read() as tx:
        record = await _find(tx, viewer, form)
        return await _show_editor(request, tx, viewer, visit, form, typed=typed, record=record, status=status)


async def _find(tx: Transaction, viewer: Viewer, form: Form) -> control.ModelRecord | None:
    """Return the model that a form is of; None of a new one, which has no version yet."""
    if not form.text("version"):
        return None
    try:
        return await control.find_model(tx, viewer.actor, form.text("name"))
    except NotFound:
        return None


async def _show_refused(
    request: Request,
    services: CurrentServices,
    viewer: Viewer,
    visit: Visit,
    form: Form,
    refusal: Refusal,
    *,
    typed: TypedModel,
) -> Response:
    again = form.refused(refusal)
    if refusal.facts.get("param") == "version":
        async with services.storage.read() as tx:
            record = await control.find_model(tx, viewer.actor, typed.name)
        values = {**form.values, "version": [record.version]}
        again = replace(form, values=values, message=visit.text("admin_model.outdated"))
    return await _show_again(request, services, viewer, visit, again, typed=typed, status=refusal.status)


async def _set_state(
    request: Request, services: CurrentServices, viewer: Viewer, *, archive: bool
) -> Response:
    name = (await read_form(request)).text("name")
    change = control.archive_model if archive else control.unarchive_model
    async with services.storage.write() as tx:
        record = await change(tx, viewer.actor, name)
    flash = "admin_model.archived" if archive else "admin_model.unarchived"
    return redirect(f"{PATH}/{record.model.name}", flash=flash, name=record.model.name)


@router.post(PATH + "/_archive")
async def archive_model(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator
) -> Response:
    """Take a model off the offer."""
    return await _set_state(request, services, viewer, archive=True)


@router.post(PATH + "/_unarchive")
async def unarchive_model(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator
) -> Response:
    """Put an archived model back on offer."""
    return await _set_state(request, services, viewer, archive=False)


# A model's name may hold slashes, so every other path below this one begins with _, as no name does, and its
# route is matched before.
@router.get(PATH + "/{name:path}")
async def show_model(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit, name: str
) -> Response:
    """The editor of a model, with the revisions of its prices."""
    async with services.storage.read() as tx:
        record = await control.find_model(tx, viewer.actor, name)
        return await _show_editor(request, tx, viewer, visit, fill_model_form(record), record=record)
