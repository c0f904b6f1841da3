"""Importing the makers' models at their list prices: what it would do, then doing it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from tokenopen.control.imported_model import ImportedModel
from tokenopen.control.model_access import GroupAccess, groups_letting_in, list_active_groups
from tokenopen.control.model_import import ImportedChange, import_models, list_importable_models
from tokenopen.control.services import Services
from tokenopen.core.errors import InvalidRequest
from tokenopen.web.admin_model import PATH
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer

router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class MakerPlan:
    """What the import would do with one maker's models, those that it would write with who is let in."""

    maker: str
    changes: Sequence[ImportedChange]
    written: Sequence[tuple[ImportedChange, Sequence[GroupAccess]]]

    def count(self, change: str) -> int:
        """Return how many models would come out so."""
        return sum(found.change == change for found in self.changes)

    @property
    def incomplete(self) -> int:
        """How many of the models would still lack something."""
        return sum(bool(found.missing) for found in self.changes)


async def _list_importable(services: Services) -> Sequence[ImportedModel]:
    today = datetime.fromtimestamp(services.clock.now_ms() // 1000, UTC).date()
    return await list_importable_models(today)


async def _show(
    request: Request, services: Services, viewer: Viewer, form: Form, *, status: int = 200
) -> Response:
    imported = await _list_importable(services)
    async with services.storage.read() as tx:
        report = await import_models(tx, viewer.actor, imported, dry_run=True)
        groups = await list_active_groups(tx, viewer.actor)
    plans = []
    for maker in dict.fromkeys(found.maker for found in report.changes):
        changes = [found for found in report.changes if found.maker == maker]
        written = [
            (found, groups_letting_in(groups, found.name))
            for found in changes
            if found.change in ("created", "changed")
        ]
        plans.append(MakerPlan(maker=maker, changes=changes, written=written))
    return render(request, "admin_model/import.html", status=status, form=form, plans=plans)


@router.get(PATH + "/_import")
async def show_import(request: Request, services: CurrentServices, viewer: CurrentAdministrator) -> Response:
    """What importing each maker's models would do."""
    return await _show(request, services, viewer, Form())


@router.post(PATH + "/_import")
async def import_maker_models(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Import the models of the makers that were ticked; a price that an administrator has set stays."""
    form = await read_form(request)
    makers = form.all("makers")
    if not makers:
        wrong = form.wrong(makers=visit.text("admin_model.no_maker"))
        return await _show(request, services, viewer, wrong, status=InvalidRequest.status)
    imported = await _list_importable(services)
    try:
        async with services.storage.write() as tx:
            report = await import_models(tx, viewer.actor, imported, makers=makers)
    except InvalidRequest as refusal:
        return await _show(request, services, viewer, form.refused(refusal), status=refusal.status)
    return redirect(
        PATH,
        flash="admin_model.imported",
        created=str(report.count("created")),
        changed=str(report.count("changed")),
        own_price=str(report.count("own_price")),
    )
