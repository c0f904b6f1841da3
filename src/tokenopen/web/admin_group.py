"""Groups, for administrators: their list, and the editor with a preview of what it would mean for calls.

Two who edit a group at once: the form carries the version that it was filled from, and whoever saves later is
told what the other one changed, with all that they typed still there; saved again, it is theirs.
"""

from dataclasses import replace
from typing import Any, Final, get_args

from fastapi import APIRouter, Request, Response

from tokenopen.control import group as control
from tokenopen.control.actor import Actor
from tokenopen.control.group_preview import GroupPreview, preview_group
from tokenopen.control.group_use import UNUSED, list_group_use
from tokenopen.control.page import PageRequest
from tokenopen.core.errors import Conflict, InvalidRequest, Refusal
from tokenopen.core.group import DEFAULT_MAX_OUTPUT_TOKENS, READ_ON_SECONDS, GroupState
from tokenopen.core.group_history import GroupRecord, apply_changes
from tokenopen.core.terms import display_multiplier
from tokenopen.ports.storage import Transaction
from tokenopen.storage.offered_model import list_offered_models
from tokenopen.web import format as as_text
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.group_diff import Change, describe_change
from tokenopen.web.group_form import UNLIMITED, TypedGroup, fill_group_form, read_group_form
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Visit

router = APIRouter()

PATH: Final = "/admin/groups"
RATES_SHOWN: Final = 60
# What a new group begins with: nobody is let in, nothing is allowed, and no price is assumed.
_NEW: Final = {
    "visibility": "entitled",
    "requests_per_minute": "",
    "requests_per_day": "",
    "tokens_per_minute": UNLIMITED,
    "concurrent_calls": UNLIMITED,
    "default_max_output_tokens": str(DEFAULT_MAX_OUTPUT_TOKENS),
    "interruption_rule": "read_on",
    "read_on_seconds": str(READ_ON_SECONDS),
}


@router.get(PATH)
async def list_groups(request: Request, services: CurrentServices, viewer: CurrentAdministrator) -> Response:
    """Every group with how much it is used."""
    query = request.query_params
    state = next((state for state in get_args(GroupState) if state == query.get("state", "active")), None)
    async with services.storage.read() as tx:
        page = await control.list_groups(
            tx, viewer.actor, page=PageRequest(after=query.get("cursor")), state=state
        )
        use = await list_group_use(tx, viewer.actor)
    return render(
        request,
        "admin_group/groups.html",
        groups=[(record, _multiplier(record), use.get(record.id, UNUSED)) for record in page.items],
        next_cursor=page.next_cursor,
    )


def _multiplier(record: GroupRecord) -> str:
    return display_multiplier(record.policy, custom=record.description.custom_terms)


async def _preview(
    tx: Transaction, typed: TypedGroup | None, record: GroupRecord | None, *, custom_terms: bool
) -> GroupPreview | None:
    """Return what the group would mean as it was typed, else as it is; None where neither is there."""
    policy = typed.policy if typed is not None else None if record is None else record.policy
    if policy is None:
        return None
    return preview_group(
        policy,
        custom_terms=custom_terms,
        offered=await list_offered_models(tx),
        now_ms=tx.now_ms,
        before=None if record is None else record.policy,
    )


def _changes(typed: TypedGroup | None, record: GroupRecord | None, visit: Visit) -> list[Change]:
    if typed is None or record is None:
        return []
    after = apply_changes(record.content, typed.changes_of(record.content))
    return list(describe_change(record.content, after, visit.text))


async def _show_editor(
    request: Request,
    tx: Transaction,
    visit: Visit,
    form: Form,
    *,
    typed: TypedGroup | None = None,
    record: GroupRecord | None = None,
    status: int = 200,
) -> Response:
    custom_terms = form.has("custom_terms")
    preview = await _preview(tx, typed, record if not form.errors else None, custom_terms=custom_terms)
    context: dict[str, Any] = {
        "form": form,
        "group": record,
        "preview": preview,
        "rates_shown": RATES_SHOWN,
        "changes": _changes(typed, record, visit),
        "zone_name": visit.zone.key,
    }
    return render(request, "admin_group/editor.html", status=status, **context)


@router.get(PATH + "/_new")
async def show_new_group(
    request: Request, services: CurrentServices, _viewer: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """The editor, empty. No slug begins with _, so no group can be in its way."""
    form = Form(values={name: [value] for name, value in _NEW.items()})
    async with services.storage.read() as tx:
        return await _show_editor(request, tx, visit, form)


@router.post(PATH)
async def create_group(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Create a group, or show what it would mean."""
    typed, form = read_group_form(await read_form(request), visit)
    if typed is not None and form.text("action") != "preview":
        try:
            async with services.storage.write() as tx:
                record = await control.create_group(tx, viewer.actor, typed.new_group, reason=typed.reason)
        except (InvalidRequest, Conflict) as refusal:
            return await _refused(request, services, visit, form, refusal, typed=typed)
        return redirect(
            f"{PATH}/{record.description.slug}", flash="admin_group.created", name=record.description.name
        )
    async with services.storage.read() as tx:
        return await _show_editor(request, tx, visit, form, typed=typed, status=_status(form))


def _status(form: Form) -> int:
    """Return the status of a form that is shown again: what is only looked at is never refused."""
    return 200 if form.text("action") == "preview" else InvalidRequest.status


async def _refused(
    request: Request,
    services: CurrentServices,
    visit: Visit,
    form: Form,
    refusal: Refusal,
    *,
    typed: TypedGroup,
    record: GroupRecord | None = None,
) -> Response:
    async with services.storage.read() as tx:
        return await _show_editor(
            request,
            tx,
            visit,
            form.refused(refusal),
            typed=typed,
            record=record,
            status=refusal.status,
        )


@router.get(PATH + "/{slug}")
async def show_group(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit, slug: str
) -> Response:
    """The editor of a group; of an archived one what it said."""
    async with services.storage.read() as tx:
        record = await control.read_group(tx, viewer.actor, slug)
        if record.description.state == "archived":
            facts = describe_change(None, record.content, visit.text)
            return render(request, "admin_group/archived.html", group=record, facts=facts)
        return await _show_editor(request, tx, visit, _filled(record), record=record)


def _filled(record: GroupRecord) -> Form:
    form = fill_group_form(record.content)
    return Form(values={**form.values, "version": [record.version]})


@router.post(PATH + "/{slug}")
async def update_group(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit, slug: str
) -> Response:
    """Change a group, at once or from a coming instant on, or show what the change would mean."""
    typed, form = read_group_form(await read_form(request), visit)
    async with services.storage.read() as tx:
        record = await control.read_group(tx, viewer.actor, slug)
        if typed is None or form.text("action") == "preview":
            return await _show_editor(
                request, tx, visit, form, typed=typed, record=record, status=_status(form)
            )
    try:
        async with services.storage.write() as tx:
            saved = await control.update_group(
                tx,
                viewer.actor,
                slug,
                typed.changes_of(record.content),  # type: ignore[arg-type]
                reason=typed.reason,
                effective_from_ms=typed.effective_from_ms,
                based_on=form.text("version"),
            )
    except (InvalidRequest, Conflict) as refusal:
        if refusal.facts.get("param") == "version":
            return await _show_outdated(request, services, viewer.actor, visit, form, slug, typed=typed)
        return await _refused(request, services, visit, form, refusal, typed=typed, record=record)
    return _saved(record, saved, visit)


def _saved(before: GroupRecord, saved: GroupRecord, visit: Visit) -> Response:
    path = f"{PATH}/{saved.description.slug}"
    written = [
        each for each in (saved.in_force, *saved.coming) if each not in (before.in_force, *before.coming)
    ]
    if not written:
        return redirect(path, flash="admin_group.unchanged", tone="note")
    first = written[0]
    if first.effective_from_ms > visit.now_ms and first is not saved.in_force:
        instant = as_text.instant(first.effective_from_ms, visit.zone)
        return redirect(path, flash="admin_group.scheduled", number=str(first.number), instant=instant)
    return redirect(path, flash="admin_group.saved", number=str(first.number))


async def _show_outdated(
    request: Request,
    services: CurrentServices,
    actor: Actor,
    visit: Visit,
    form: Form,
    slug: str,
    *,
    typed: TypedGroup,
) -> Response:
    """Show the form again with what was typed, who has changed the group meanwhile, and its new version."""
    async with services.storage.read() as tx:
        record = await control.read_group(tx, actor, slug)
        newest = max((record.in_force, *record.coming), key=lambda revision: revision.number)
        message = visit.text(
            "admin_group.outdated",
            who=newest.actor_email or newest.actor_id,
            number=newest.number,
            instant=as_text.instant(newest.created_at_ms, visit.zone),
        )
        values = {**form.values, "version": [record.version]}
        again = replace(form, values=values, message=message)
        return await _show_editor(
            request, tx, visit, again, typed=typed, record=record, status=Conflict.status
        )
