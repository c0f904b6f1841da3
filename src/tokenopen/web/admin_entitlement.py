"""Group access: administrators let a user into a group, on the group's terms or custom ones, until a date."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from tokenopen.control import entitlement as control
from tokenopen.control.entitlement import EntitlementView
from tokenopen.control.group import find_group
from tokenopen.control.services import Services
from tokenopen.control.user import find_user
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.terms import display_multiplier
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.own_terms import group_values, own_terms_facts, own_terms_form, read_own_terms
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer, Visit

router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRow:
    """An entitlement as a list shows it."""

    view: EntitlementView
    multiplier: str
    facts: Sequence[tuple[str, str]]


def access_row(view: EntitlementView, visit: Visit) -> AccessRow:
    """Return an entitlement with what its list says of it."""
    group = view.group
    return AccessRow(
        view=view,
        multiplier=display_multiplier(group.policy, view.entitlement, custom=group.description.custom_terms),
        facts=own_terms_facts(view.entitlement, visit.text),
    )


@router.get("/admin/users/{user_id}/access")
async def choose_group(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """Lead from the list of groups on a user's page to the form for the one that was chosen."""
    slug = request.query_params.get("group", "")
    async with services.storage.read() as tx:
        user = await find_user(tx, administrator.actor, user_id)
        group = await find_group(tx, slug)
    return redirect(f"/admin/users/{user.id}/access/{group.description.slug}")


async def _show(
    request: Request,
    services: Services,
    viewer: Viewer,
    visit: Visit,
    user_id: str,
    slug: str,
    *,
    form: Form | None = None,
    status: int = 200,
) -> Response:
    async with services.storage.read() as tx:
        user = await find_user(tx, viewer.actor, user_id)
        group = await find_group(tx, slug)
        given = await control.find_entitlement(tx, user.account_id, group)
    if form is None:
        form = Form() if given is None else own_terms_form(given.entitlement, visit)
    return render(
        request,
        "admin_user/access.html",
        status=status,
        user=user,
        group=group,
        given=given,
        group_values=group_values(group, visit.text),
        form=form,
    )


@router.get("/admin/users/{user_id}/access/{slug}")
async def show_access(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    user_id: str,
    slug: str,
) -> Response:
    """The form with a user's terms within a group."""
    return await _show(request, services, administrator, visit, user_id, slug)


@router.post("/admin/users/{user_id}/access/{slug}")
async def give_access(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    user_id: str,
    slug: str,
) -> Response:
    """Let a user into a group on exactly these terms, from their very next call on."""
    form = await read_form(request)
    try:
        terms = read_own_terms(form, visit)
        async with services.storage.write() as tx:
            view = await control.put_entitlement(tx, administrator.actor, user_id, slug, terms)
    except (InvalidRequest, Conflict) as refusal:
        return await _show(
            request,
            services,
            administrator,
            visit,
            user_id,
            slug,
            form=form.refused(refusal),
            status=refusal.status,
        )
    return redirect(
        f"/admin/users/{user_id}#access",
        flash="admin_user.access_given",
        group=view.group.description.name,
    )


@router.post("/admin/users/{user_id}/access/{slug}/end")
async def end_access(
    services: CurrentServices, administrator: CurrentAdministrator, user_id: str, slug: str
) -> Response:
    """End a user's access to a group, from their very next call on."""
    async with services.storage.write() as tx:
        group = await find_group(tx, slug)
        await control.delete_entitlement(tx, administrator.actor, user_id, slug)
    return redirect(
        f"/admin/users/{user_id}#access", flash="admin_user.access_ended", group=group.description.name
    )
