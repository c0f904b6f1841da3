"""API keys of users, for administrators: created for them, moved between groups, switched off, revoked."""

from typing import Final

from fastapi import APIRouter, Request, Response

from tokenopen.control import api_key as control
from tokenopen.control.api_key import ApiKeyChanges, Narrowing
from tokenopen.control.group_terms import list_terms
from tokenopen.control.services import Services
from tokenopen.control.user import find_user
from tokenopen.core.errors import Conflict, GroupNotAvailable, InvalidRequest
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.render import render
from tokenopen.web.sign_up import readable_name
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer

router = APIRouter()

_STATES: Final = {"active": "admin_user.key_switched_on", "disabled": "admin_user.key_switched_off"}


async def _show_form(
    request: Request, services: Services, viewer: Viewer, user_id: str, form: Form, *, status: int = 200
) -> Response:
    async with services.storage.read() as tx:
        user = await find_user(tx, viewer.actor, user_id)
        terms = [each for each in await list_terms(tx, user.account_id) if each.is_open]
    return render(
        request, "admin_user/new_key.html", status=status, user=user, terms=terms, form=form, key=None
    )


@router.get("/admin/users/{user_id}/keys/new")
async def show_new_key(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """The form to create a key for a user with."""
    return await _show_form(request, services, administrator, user_id, Form())


@router.post("/admin/users/{user_id}/keys")
async def create_key(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    user_id: str,
) -> Response:
    """Create a key for a user; its secret is on this page and nowhere else."""
    form = await read_form(request)
    try:
        name = readable_name(visit, form, otherwise="admin_user.no_key_name")
        async with services.storage.write() as tx:
            secret, view = await control.create_api_key(
                tx,
                administrator.actor,
                user_id=user_id,
                name=name,
                group=form.text("group") or None,
                narrowing=Narrowing(),
                hashing_key=services.hashing_key,
            )
            user = await find_user(tx, administrator.actor, user_id)
    except (InvalidRequest, GroupNotAvailable) as refusal:
        return await _show_form(
            request, services, administrator, user_id, form.refused(refusal), status=refusal.status
        )
    return render(request, "admin_user/new_key.html", user=user, terms=[view.terms], form=Form(), key=secret)


async def _change(
    services: Services, viewer: Viewer, user_id: str, key_id: str, changes: ApiKeyChanges
) -> None:
    async with services.storage.write() as tx:
        user = await find_user(tx, viewer.actor, user_id)
        await control.update_api_key(tx, viewer.actor, key_id, changes, account_id=user.account_id)


@router.post("/admin/users/{user_id}/keys/{key_id}/group")
async def move_key(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    user_id: str,
    key_id: str,
) -> Response:
    """Move a user's key to another group that is open to them; its secret stays."""
    form = await read_form(request)
    try:
        await _change(services, administrator, user_id, key_id, {"group": form.text("group")})
    except (Conflict, GroupNotAvailable) as refusal:
        return _back(user_id, refusal.message)
    return redirect(f"/admin/users/{user_id}#keys", flash="admin_user.key_moved")


@router.post("/admin/users/{user_id}/keys/{key_id}/state")
async def switch_key(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    user_id: str,
    key_id: str,
) -> Response:
    """Switch a user's key off, or on again."""
    state = (await read_form(request)).text("state")
    if state not in _STATES:
        raise InvalidRequest("state must be active or disabled.", param="state")
    try:
        await _change(
            services, administrator, user_id, key_id, {"state": "active" if state == "active" else "disabled"}
        )
    except Conflict as refusal:
        return _back(user_id, refusal.message)
    return redirect(f"/admin/users/{user_id}#keys", flash=_STATES[state])


def _back(user_id: str, message: str) -> Response:
    return redirect(f"/admin/users/{user_id}", flash="admin_user.refused", tone="bad", message=message)


@router.post("/admin/users/{user_id}/keys/{key_id}/revoke")
async def revoke_key(
    services: CurrentServices, administrator: CurrentAdministrator, user_id: str, key_id: str
) -> Response:
    """Make a user's key useless for good."""
    async with services.storage.write() as tx:
        user = await find_user(tx, administrator.actor, user_id)
        await control.revoke_api_key(tx, administrator.actor, key_id, account_id=user.account_id)
    return redirect(f"/admin/users/{user_id}#keys", flash="admin_user.key_revoked")
