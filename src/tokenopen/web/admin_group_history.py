"""A group's history as readable differences, and archiving it, with what that would break."""

from fastapi import APIRouter, Request, Response

from tokenopen.control import group as control
from tokenopen.control.group_archive import read_archive_effect
from tokenopen.control.page import PageRequest
from tokenopen.core.errors import Conflict, InvalidRequest, Refusal
from tokenopen.core.group_history import GroupRecord, RevisionRecord
from tokenopen.web.admin_group import PATH
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_prose
from tokenopen.web.group_diff import describe_change
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer

router = APIRouter()

REVISIONS_SHOWN = 20


@router.get(PATH + "/{slug}/history")
async def show_history(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit, slug: str
) -> Response:
    """A group's revisions, newest first, each as what it changed."""
    page = PageRequest(limit=REVISIONS_SHOWN, after=request.query_params.get("cursor"))
    async with services.storage.read() as tx:
        record = await control.read_group(tx, viewer.actor, slug)
        changes = await control.list_changes(tx, viewer.actor, slug, page=page)
    revisions = [
        (
            change.revision,
            _place(change.revision, record, visit.now_ms),
            describe_change(change.before, change.revision.content, visit.text),
            change.before is None,
        )
        for change in changes.items
    ]
    return render(
        request,
        "admin_group/history.html",
        group=record,
        revisions=revisions,
        next_cursor=changes.next_cursor,
    )


def _place(revision: RevisionRecord, record: GroupRecord, now_ms: int) -> str:
    """Return where a revision stands: in force, scheduled, replaced before it began, or past."""
    if revision.id == record.in_force.id:
        return "in_force"
    if revision.id in {coming.id for coming in record.coming}:
        return "scheduled"
    return "replaced" if revision.effective_from_ms > now_ms else "past"


@router.get(PATH + "/{slug}/archive")
async def show_archive(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, slug: str
) -> Response:
    """What archiving a group would break."""
    return await _show_archive(request, services, viewer, slug, Form())


async def _show_archive(
    request: Request, services: CurrentServices, viewer: Viewer, slug: str, form: Form, *, status: int = 200
) -> Response:
    async with services.storage.read() as tx:
        effect = await read_archive_effect(tx, viewer.actor, slug)
    if effect.group.description.state == "archived":
        return redirect(f"{PATH}/{slug}")
    return render(request, "admin_group/archive.html", status=status, form=form, effect=effect)


@router.post(PATH + "/{slug}/archive")
async def archive_group(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit, slug: str
) -> Response:
    """Archive a group; its keys are refused from the very next call on."""
    form = await read_form(request)
    try:
        reason = read_prose(form, visit.text, "reason") or None
        async with services.storage.write() as tx:
            record = await control.archive_group(tx, viewer.actor, slug, reason=reason)
    except (InvalidRequest, Conflict) as refusal:
        return await _refuse_archive(request, services, viewer, slug, form, refusal)
    return redirect(f"{PATH}/{slug}", flash="admin_group.archived", name=record.description.name)


async def _refuse_archive(
    request: Request, services: CurrentServices, viewer: Viewer, slug: str, form: Form, refusal: Refusal
) -> Response:
    return await _show_archive(request, services, viewer, slug, form.refused(refusal), status=refusal.status)
