"""Users, for administrators: looked for, created, suspended, let in again by a one-time link."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from fastapi import APIRouter, Depends, Request, Response

from tokenopen.control import user as control
from tokenopen.control.api_key import ApiKeyView, list_api_keys
from tokenopen.control.entitlement import list_entitlements
from tokenopen.control.group import list_groups
from tokenopen.control.group_terms import list_terms
from tokenopen.control.ledger import Posting, list_entries, top_up
from tokenopen.control.page import PAGE_LIMIT_MAX, Page, PageRequest
from tokenopen.control.services import Services
from tokenopen.control.session import list_sessions, revoke_sessions
from tokenopen.control.sign_in import create_password_link, readable_email
from tokenopen.control.upgrade_request import list_upgrade_requests
from tokenopen.control.usage import Period, UsageSum, UsageWanted, sum_usage
from tokenopen.control.user import UserChanges
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.money import ZERO
from tokenopen.core.one_time_link import path_of_link
from tokenopen.core.upgrade_request import UpgradeRequest
from tokenopen.core.user import Role, User, UserState
from tokenopen.web.admin_entitlement import AccessRow, access_row
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_amount, read_choice
from tokenopen.web.render import render
from tokenopen.web.session import get_site, require_recent_password
from tokenopen.web.sign_up import readable_name
from tokenopen.web.viewer import (
    CurrentAdministrator,
    CurrentServices,
    CurrentVisit,
    Viewer,
    Visit,
    require_administrator,
)

router = APIRouter()

_ROLES: Final = ("user", "administrator")
_STATES: Final = ("active", "suspended")
_NOW: Final = {"active": "admin_user.now_active", "suspended": "admin_user.now_suspended"}
_ENTRIES_SHOWN: Final = 8
_KEYS_SHOWN: Final = 25
_SEARCH_LENGTH_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPage:
    """All that a user's page shows."""

    user: User
    usage: UsageSum
    entries: Sequence[Posting]
    access: Sequence[AccessRow]
    # Those that access can be given to, and those that the user's keys can be in.
    groups: Sequence[GroupRecord]
    open_groups: Sequence[GroupRecord]
    keys: Page[ApiKeyView]
    # Those without an answer yet.
    requests: Sequence[UpgradeRequest]
    session_count: int


def _choice(request: Request, name: str, known: tuple[str, ...]) -> str | None:
    """Return what a filter was set to; anything unknown filters nothing."""
    wanted = request.query_params.get(name)
    return wanted if wanted in known else None


@router.get("/admin/users")
async def list_users(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """Users, newest first, those that fit what is looked for."""
    query = request.query_params
    async with services.storage.read() as tx:
        page = await control.list_users(
            tx,
            administrator.actor,
            page=PageRequest(after=query.get("cursor")),
            search=query.get("q", "").strip()[:_SEARCH_LENGTH_MAX] or None,
            role=cast("Role | None", _choice(request, "role", _ROLES)),
            state=cast("UserState | None", _choice(request, "state", _STATES)),
        )
    return render(request, "admin_user/list.html", users=page.items, next_cursor=page.next_cursor)


@router.get("/admin/users/new", dependencies=[Depends(require_administrator)])
async def show_new_user(request: Request) -> Response:
    """The form to create a user with, behind a recent password."""
    require_recent_password(request)
    return render(request, "admin_user/new.html", form=Form())


@router.post("/admin/users")
async def create_user(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Create a user, with credit where some is named, and a link with which they choose a password."""
    form, actor = await read_form(request), administrator.actor
    try:
        email, name = readable_email(form.text("email")), readable_name(visit, form)
        role = _readable_role(visit, form)
        credit = read_amount(form, visit.text, "credit", at_least_zero=True) if form.text("credit") else ZERO
        async with services.storage.write() as tx:
            user = await control.create_user(tx, actor, email=email, name=name, role=role, password_hash=None)
            if credit:
                reason = visit.text("admin_user.first_credit")
                await top_up(tx, actor, user_id=user.id, amount=credit, reason=reason)
            token, _ = await create_password_link(
                tx, actor, user_id=user.id, hashing_key=services.hashing_key
            )
    except (InvalidRequest, Conflict) as refusal:
        return render(request, "admin_user/new.html", status=refusal.status, form=form.refused(refusal))
    return _show_link(request, user, token, is_new=True)


def _readable_role(visit: Visit, form: Form) -> Role:
    return cast("Role", read_choice(form, visit.text, "role", _ROLES))


def _show_link(request: Request, user: User, token: str, *, is_new: bool) -> Response:
    url = get_site(request).base_url + path_of_link("password", token)
    return render(request, "admin_user/link.html", user=user, url=url, is_new=is_new)


@router.post("/admin/users/{user_id}/password-link")
async def make_password_link(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """Make a link with which a user chooses a new password; it is on this page and nowhere else."""
    async with services.storage.write() as tx:
        user = await control.find_user(tx, administrator.actor, user_id)
        token, _ = await create_password_link(
            tx, administrator.actor, user_id=user_id, hashing_key=services.hashing_key
        )
    return _show_link(request, user, token, is_new=False)


async def _read_user_page(
    services: Services, viewer: Viewer, visit: Visit, user_id: str, *, keys_after: str | None
) -> UserPage:
    actor = viewer.actor
    async with services.storage.read() as tx:
        user = await control.find_user(tx, actor, user_id)
        report = await sum_usage(
            tx, account_id=user.account_id, period=Period(), wanted=UsageWanted(group_by="group")
        )
        entries = await list_entries(
            tx, actor, account_id=user.account_id, page=PageRequest(limit=_ENTRIES_SHOWN)
        )
        entitlements = await list_entitlements(tx, actor, user_id)
        groups = await list_groups(tx, actor, state="active", page=PageRequest(limit=PAGE_LIMIT_MAX))
        requests = await list_upgrade_requests(
            tx, actor, state="pending", account_id=user.account_id, page=PageRequest()
        )
        return UserPage(
            user=user,
            usage=report.total,
            entries=entries.items,
            access=[access_row(view, visit) for view in entitlements],
            groups=groups.items,
            open_groups=[terms.group for terms in await list_terms(tx, user.account_id) if terms.is_open],
            keys=await list_api_keys(
                tx, actor, user_id=user_id, page=PageRequest(limit=_KEYS_SHOWN, after=keys_after)
            ),
            requests=requests.items,
            session_count=len(await list_sessions(tx, actor, user_id=user_id)),
        )


@router.get("/admin/users/{user_id}")
async def show_user(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    user_id: str,
) -> Response:
    """Everything about a user."""
    shown = await _read_user_page(
        services, administrator, visit, user_id, keys_after=request.query_params.get("keys")
    )
    return render(
        request,
        "admin_user/user.html",
        shown=shown,
        user=shown.user,
        is_self=user_id == administrator.actor.user_id,
    )


@router.get("/admin/users/{user_id}/edit")
async def show_edit(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """The form with a user's name and role, behind a recent password."""
    require_recent_password(request)
    async with services.storage.read() as tx:
        user = await control.find_user(tx, administrator.actor, user_id)
    return render(request, "admin_user/edit.html", user=user, form=Form())


@router.post("/admin/users/{user_id}/edit")
async def update_user(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    user_id: str,
) -> Response:
    """Change a user's name and role."""
    form, actor = await read_form(request), administrator.actor
    try:
        changes: UserChanges = {"name": readable_name(visit, form), "role": _readable_role(visit, form)}
        async with services.storage.write() as tx:
            await control.update_user(tx, actor, user_id, changes)
    except (InvalidRequest, Conflict) as refusal:
        async with services.storage.read() as tx:
            user = await control.find_user(tx, actor, user_id)
        return render(
            request, "admin_user/edit.html", status=refusal.status, user=user, form=form.refused(refusal)
        )
    return redirect(f"/admin/users/{user_id}", flash="admin_user.saved")


async def _set_state(services: Services, viewer: Viewer, user_id: str, state: UserState) -> Response:
    try:
        async with services.storage.write() as tx:
            await control.update_user(tx, viewer.actor, user_id, {"state": state})
    except Conflict as refusal:
        return redirect(
            f"/admin/users/{user_id}", flash="admin_user.refused", tone="bad", message=refusal.message
        )
    return redirect(f"/admin/users/{user_id}", flash=_NOW[state])


@router.post("/admin/users/{user_id}/suspend")
async def suspend_user(
    services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """Refuse every call of a user from the next one on; their sessions end."""
    return await _set_state(services, administrator, user_id, "suspended")


@router.post("/admin/users/{user_id}/reactivate")
async def reactivate_user(
    services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """Let a user call and sign in again."""
    return await _set_state(services, administrator, user_id, "active")


@router.post("/admin/users/{user_id}/end-sessions")
async def end_sessions(
    services: CurrentServices, administrator: CurrentAdministrator, user_id: str
) -> Response:
    """Sign a user out of every browser; of one's own all but this one."""
    async with services.storage.write() as tx:
        await revoke_sessions(tx, administrator.actor, user_id=user_id)
    return redirect(f"/admin/users/{user_id}", flash="admin_user.sessions_ended")
