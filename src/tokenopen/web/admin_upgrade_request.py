"""Upgrade requests, for administrators: the queue, and each request with all that its answer needs."""

from collections.abc import Awaitable, Callable
from typing import Final, cast

from fastapi import APIRouter, Request, Response
from starlette.background import BackgroundTask

from tokenopen.control import upgrade_request as control
from tokenopen.control.api_key import list_api_keys
from tokenopen.control.entitlement import EntitlementView, find_entitlement
from tokenopen.control.group import find_group
from tokenopen.control.page import PAGE_LIMIT_MAX, PageRequest
from tokenopen.control.services import Services
from tokenopen.control.usage import Period, UsageWanted, sum_usage
from tokenopen.control.user import find_user, list_emails
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.terms import display_multiplier
from tokenopen.core.upgrade_request import UpgradeRequest, UpgradeRequestState
from tokenopen.ports.storage import Transaction
from tokenopen.web.admin_entitlement import access_row
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_prose
from tokenopen.web.mail import send_upgrade_answer
from tokenopen.web.own_terms import group_values, has_typed, own_terms_form, read_own_terms
from tokenopen.web.render import render
from tokenopen.web.session import get_site
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer, Visit

router = APIRouter()

_STATES: Final = ("pending", "approved", "declined", "cancelled")


@router.get("/admin/upgrade-requests")
async def list_upgrade_requests(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """The requests without an answer, or those that were answered."""
    state = request.query_params.get("state", "pending")
    wanted = cast("UpgradeRequestState", state) if state in _STATES else None
    page = PageRequest(after=request.query_params.get("cursor"))
    async with services.storage.read() as tx:
        found = await control.list_upgrade_requests(tx, administrator.actor, state=wanted, page=page)
    return render(
        request,
        "admin_upgrade_request/list.html",
        requests=found.items,
        next_cursor=found.next_cursor,
        state=wanted or "all",
        states=[*_STATES, "all"],
    )


async def _show(
    request: Request,
    services: Services,
    viewer: Viewer,
    visit: Visit,
    request_id: str,
    *,
    form: Form | None = None,
    decline_form: Form | None = None,
    status: int = 200,
) -> Response:
    actor = viewer.actor
    async with services.storage.read() as tx:
        asked = await control.find_upgrade_request(tx, actor, request_id)
        user = await find_user(tx, actor, asked.user_id)
        group = await find_group(tx, asked.group_slug)
        given = await find_entitlement(tx, asked.account_id, group)
        keys = await list_api_keys(tx, actor, user_id=asked.user_id, page=PageRequest(limit=PAGE_LIMIT_MAX))
        usage = await sum_usage(
            tx, account_id=asked.account_id, period=Period(), wanted=UsageWanted(group_by="group")
        )
        emails = await list_emails(tx, actor, [asked.decided_by])
    return render(
        request,
        "admin_upgrade_request/request.html",
        status=status,
        asked=asked,
        user=user,
        group=group,
        group_multiplier=display_multiplier(group.policy, custom=group.description.custom_terms),
        given=None if given is None else access_row(given, visit),
        group_values=group_values(group, visit.text),
        keys=[view for view in keys.items if view.key.state != "revoked" and view.key.group_id != group.id],
        usage=usage,
        decided_by=emails.get(asked.decided_by or ""),
        form=form or _terms_of_now(given, visit),
        decline_form=decline_form or Form(),
    )


def _terms_of_now(given: EntitlementView | None, visit: Visit) -> Form:
    """Return the form as access that is in force fills it, so that only its end need be changed."""
    return own_terms_form(given.entitlement, visit) if given is not None and given.in_force else Form()


@router.get("/admin/upgrade-requests/{request_id}")
async def show_upgrade_request(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    request_id: str,
) -> Response:
    """One request: who asks, why, what they use now, and the two answers."""
    return await _show(request, services, administrator, visit, request_id)


@router.post("/admin/upgrade-requests/{request_id}/approve")
async def approve(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    request_id: str,
) -> Response:
    """Let the user into the group and move the keys that are ticked, all in one."""
    form = await read_form(request)

    async def decide(tx: Transaction, answer: str | None) -> UpgradeRequest:
        # Where the form showed the terms of now, fields that were emptied are meant to be empty.
        are_typed = has_typed(form) or form.has("terms_of_now")
        return await control.approve_upgrade_request(
            tx,
            administrator.actor,
            request_id,
            answer=answer,
            terms=read_own_terms(form, visit) if are_typed else None,
            move_keys=form.all("move_keys"),
        )

    return await _answer(request, services, administrator, visit, request_id, decide, approved=True)


@router.post("/admin/upgrade-requests/{request_id}/decline")
async def decline(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    request_id: str,
) -> Response:
    """Decline a request, with a word to the user."""

    async def decide(tx: Transaction, answer: str | None) -> UpgradeRequest:
        return await control.decline_upgrade_request(tx, administrator.actor, request_id, answer=answer)

    return await _answer(request, services, administrator, visit, request_id, decide, approved=False)


Decide = Callable[[Transaction, str | None], Awaitable[UpgradeRequest]]


async def _answer(
    request: Request,
    services: Services,
    viewer: Viewer,
    visit: Visit,
    request_id: str,
    decide: Decide,
    *,
    approved: bool,
) -> Response:
    """Decide a request with the word that was typed, and tell the user by mail where mail can be sent."""
    form = await read_form(request)
    try:
        answer = read_prose(form, visit.text, "answer")
        async with services.storage.write() as tx:
            asked = await decide(tx, answer or None)
    except (InvalidRequest, Conflict) as refusal:
        which = "form" if approved else "decline_form"
        return await _show(
            request,
            services,
            viewer,
            visit,
            request_id,
            status=refusal.status,
            **{which: form.refused(refusal)},
        )
    response = redirect(
        "/admin/upgrade-requests",
        flash="admin_upgrade_request.approved" if approved else "admin_upgrade_request.declined",
        email=asked.user_email,
        group=asked.group_name,
    )
    response.background = BackgroundTask(
        send_upgrade_answer, services, visit, base_url=get_site(request).base_url, asked=asked
    )
    return response
