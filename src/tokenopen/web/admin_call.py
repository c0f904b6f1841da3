"""Calls, for administrators: everybody's, those to look at, each with its upstreams, and refunds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tokenopen.control import call as calls
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import list_api_keys
from tokenopen.control.call import CallRecord
from tokenopen.control.flagged_call import adjust_call, list_flagged_calls, review_call
from tokenopen.control.group import list_groups
from tokenopen.control.group_terms import list_my_groups
from tokenopen.control.ledger import Posting, list_entries, refund, refundable
from tokenopen.control.page import PAGE_LIMIT_MAX, Page, PageRequest
from tokenopen.control.receipt import Receipt, get_receipt
from tokenopen.control.refused_call import RefusedRecord, find_refused, list_refused
from tokenopen.control.services import Services
from tokenopen.control.user import find_named_user, list_emails
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.ledger import adjustable
from tokenopen.core.money import Nanocredits
from tokenopen.core.user import User
from tokenopen.ports.storage import Transaction
from tokenopen.web import format as as_text
from tokenopen.web.call_query import CallChoices, CallQuery, fixed_choices, read_call_query
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_amount, read_reason
from tokenopen.web.once import do_once
from tokenopen.web.receipt import receipt_view
from tokenopen.web.refusal import call_refusal_codes, explain_refusal
from tokenopen.web.render import render
from tokenopen.web.session import require_recent_password
from tokenopen.web.text import Catalogue
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer, Visit

router = APIRouter()

# What no user's account is: somebody was named who is none.
_NOBODY: Final = ""
# Why a call is flagged, as gateway.settle writes it; anything else is shown as it stands.
FLAGS: Final = ("impossible_usage", "unpriced_usage", "beyond_context_window")


async def _list_choices(tx: Transaction, actor: Actor, text: Catalogue, user: User | None) -> CallChoices:
    """Return what the filters offer: every group and model, and the keys of the user who is looked at."""
    fixed = fixed_choices(text, call_refusal_codes())
    every = PageRequest(limit=PAGE_LIMIT_MAX)
    groups = (await list_groups(tx, actor, page=every)).items
    keys = [] if user is None else (await list_api_keys(tx, actor, user_id=user.id, page=every)).items
    return replace(
        fixed,
        keys=[*fixed.keys, *((view.key.id, f"{view.key.name} …{view.key.last_four}") for view in keys)],
        groups=[*fixed.groups, *((each.description.slug, each.description.name) for each in groups)],
        models=[model.name for model in (await list_my_groups(tx, actor)).offered],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whose:
    """Whose calls the filter asks for: everybody's, or those of somebody who may not be there."""

    is_named: bool
    user: User | None

    @property
    def user_id(self) -> str | None:
        return None if not self.is_named else _NOBODY if self.user is None else self.user.id

    @property
    def account_id(self) -> str | None:
        return None if not self.is_named else _NOBODY if self.user is None else self.user.account_id


ReadList = Callable[[Transaction, CallQuery, _Whose], Awaitable[Page[Any]]]


async def _show_list(
    request: Request, services: Services, viewer: Viewer, visit: Visit, template: str, read: ReadList
) -> Response:
    """Answer with a list of calls as its filters ask."""
    query = read_call_query(request.query_params, now_ms=visit.now_ms, zone=visit.zone)
    name = request.query_params.get("user", "").strip()
    async with services.storage.read() as tx:
        user = await find_named_user(tx, viewer.actor, name) if name else None
        whose = _Whose(is_named=bool(name), user=user)
        page = await read(tx, query, whose)
        choices = await _list_choices(tx, viewer.actor, visit.text, user)
    return render(
        request,
        template,
        choices=choices,
        calls=page,
        is_narrowed=query.is_narrowed or whose.is_named,
    )


@router.get("/admin/calls")
async def list_all_calls(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Everybody's calls, newest first, as the filters ask."""

    async def read(tx: Transaction, query: CallQuery, whose: _Whose) -> Page[Any]:
        return await calls.list_all_calls(
            tx,
            administrator.actor,
            wanted=query.call_filter(),
            group=query.group,
            user_id=whose.user_id,
            page=query.page,
        )

    return await _show_list(request, services, administrator, visit, "admin_call/calls.html", read)


@router.get("/admin/calls/refused")
async def list_all_refused_calls(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Everybody's refused calls, newest first; the last 1,000 of each account are kept."""

    async def read(tx: Transaction, query: CallQuery, whose: _Whose) -> Page[Any]:
        wanted = query.refused_filter(whose.account_id)
        return await list_refused(tx, wanted=wanted, group=query.group, page=query.page)

    return await _show_list(request, services, administrator, visit, "admin_call/refused_calls.html", read)


@router.get("/admin/calls/flagged")
async def show_flagged_calls(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """Calls to look at, newest first, each with what is wrong; or those that were reviewed."""
    reviewed = request.query_params.get("reviewed") == "yes"
    page = PageRequest(after=request.query_params.get("cursor"))
    async with services.storage.read() as tx:
        found = await list_flagged_calls(tx, administrator.actor, reviewed=reviewed, page=page)
    return render(request, "admin_call/flagged_calls.html", calls=found, flags=FLAGS, reviewed=reviewed)


@router.get("/admin/calls/find")
async def find_call(
    services: CurrentServices,
    administrator: CurrentAdministrator,
    id: str = "",  # noqa: A002
) -> Response:
    """Lead to the call that an ``x-request-id`` names."""
    call_id = id.strip()
    administrator.actor.require_administrator()
    async with services.storage.read() as tx:
        try:
            await _find(tx, call_id)
        except NotFound:
            return redirect("/admin/calls", flash="admin_call.not_found", tone="bad", id=call_id[:60])
    return redirect(f"/admin/calls/{quote(call_id, safe='')}")


async def _find(tx: Transaction, call_id: str) -> Receipt | RefusedRecord:
    """Return anybody's call, admitted or refused. Refuses NotFound."""
    try:
        return await get_receipt(tx, None, call_id)
    except NotFound:
        return await find_refused(tx, None, call_id)


@router.get("/admin/calls/{call_id}")
async def show_any_call(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    call_id: str,
) -> Response:
    """Anybody's call with the upstreams that were tried; of a refused one, why."""
    async with services.storage.read() as tx:
        found = await _find(tx, call_id)
        if isinstance(found, RefusedRecord):
            return render(
                request, "admin_call/refused_call.html", record=found, refusal=explain_refusal(found, visit)
            )
        refunds = []
        if found.call.refunded or found.call.adjusted:
            entries = await list_entries(tx, administrator.actor, call_id=call_id, page=PageRequest())
            refunds = [posting.entry for posting in entries.items if posting.entry.kind != "charge"]
    return render(
        request,
        "admin_call/call.html",
        view=receipt_view(found, visit.text, refunds=refunds),
        flags=FLAGS,
        refundable=_refundable(found.call),
        reviewed_by=await _email_of(services, administrator, found.call.reviewed_by),
    )


async def _email_of(services: Services, viewer: Viewer, user_id: str | None) -> str:
    if user_id is None:
        return ""
    async with services.storage.read() as tx:
        return (await list_emails(tx, viewer.actor, [user_id])).get(user_id, user_id)


def _refundable(call: CallRecord) -> Nanocredits:
    return refundable({"charge": call.charge, "refunded": call.refunded, "adjusted": call.adjusted})


@router.post("/admin/calls/{call_id}/review")
async def review_flagged_call(
    services: CurrentServices, administrator: CurrentAdministrator, call_id: str
) -> Response:
    """Mark a flagged call as looked at, with nothing to be done."""
    async with services.storage.write() as tx:
        await review_call(tx, administrator.actor, call_id=call_id)
    return redirect(f"/admin/calls/{quote(call_id, safe='')}", flash="admin_call.reviewed")


async def _show_credit(
    request: Request, services: Services, viewer: Viewer, call_id: str, form: Form, *, status: int = 200
) -> Response:
    """The form to give back a call's charge with, or to correct what a flagged call has cost."""
    viewer.actor.require_administrator()
    async with services.storage.read() as tx:
        call = (await get_receipt(tx, None, call_id)).call
    takes_max, gives_max = adjustable(
        hold=call.hold, charge=call.charge, refunded=call.refunded, adjusted=call.adjusted
    )
    return render(
        request,
        "admin_call/credit.html",
        status=status,
        call=call,
        form=form,
        what=request.url.path.rsplit("/", 1)[1],
        refundable=as_text.credits_exact(_refundable(call)),
        takes_max=as_text.credits_exact(takes_max),
        gives_max=as_text.credits_exact(gives_max),
    )


@router.get("/admin/calls/{call_id}/refund")
async def show_refund(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, call_id: str
) -> Response:
    """The form to give back a call's charge with, behind a recent password."""
    require_recent_password(request)
    return await _show_credit(request, services, administrator, call_id, Form())


@router.get("/admin/calls/{call_id}/adjustment")
async def show_adjustment(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, call_id: str
) -> Response:
    """The form to correct what a flagged call has cost, behind a recent password."""
    require_recent_password(request)
    return await _show_credit(request, services, administrator, call_id, Form())


Post = Callable[[Transaction, str], Awaitable[Posting]]


async def _post_once(
    request: Request, services: Services, viewer: Viewer, visit: Visit, call_id: str, post: Post
) -> Response:
    """Change an account's balance on account of a call, once for each form that was sent."""
    form = await read_form(request)
    try:
        reason = read_reason(form, visit.text)
        async with services.storage.write() as tx:

            async def act() -> str:
                return (await post(tx, reason)).entry.id

            await do_once(tx, viewer.actor, form, path=request.url.path, text=visit.text, act=act)
    except (InvalidRequest, Conflict) as refusal:
        return await _show_credit(
            request, services, viewer, call_id, form.refused(refusal), status=refusal.status
        )
    return redirect(f"/admin/calls/{quote(call_id, safe='')}", flash="admin_call.posted")


@router.post("/admin/calls/{call_id}/refund")
async def refund_call(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    call_id: str,
) -> Response:
    """Give back a part of a call's charge, or all that is left of it where no amount is typed."""
    form = await read_form(request)

    async def post(tx: Transaction, reason: str) -> Posting:
        amount = read_amount(form, visit.text) if form.text("amount") else None
        return await refund(tx, administrator.actor, call_id=call_id, amount=amount, reason=reason)

    return await _post_once(request, services, administrator, visit, call_id, post)


@router.post("/admin/calls/{call_id}/adjustment")
async def adjust_flagged_call(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    call_id: str,
) -> Response:
    """Correct what a flagged call has cost, which is a review of it too."""
    form = await read_form(request)

    async def post(tx: Transaction, reason: str) -> Posting:
        amount = read_amount(form, visit.text)
        return await adjust_call(tx, administrator.actor, call_id=call_id, amount=amount, reason=reason)

    return await _post_once(request, services, administrator, visit, call_id, post)
