"""Calls, for administrators: everybody's, those to look at, each with its upstreams, and refunds."""

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tokenopen.control import call as calls
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import list_api_keys
from tokenopen.control.call import CallRecord
from tokenopen.control.group import list_groups
from tokenopen.control.group_terms import list_my_groups
from tokenopen.control.ledger import list_entries, refund
from tokenopen.control.page import PAGE_LIMIT_MAX, PageRequest
from tokenopen.control.receipt import Receipt, get_receipt
from tokenopen.control.refused_call import RefusedRecord, find_refused, list_refused
from tokenopen.control.user import find_named_user
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.money import Nanocredits
from tokenopen.core.user import User
from tokenopen.ports.storage import Transaction
from tokenopen.storage.call_search import CallFilter
from tokenopen.web import format as as_text
from tokenopen.web.call_query import CallChoices, fixed_choices, read_call_query
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.form_value import read_amount, read_reason
from tokenopen.web.once import do_once
from tokenopen.web.receipt import receipt_view
from tokenopen.web.refusal import call_refusal_codes, explain_refusal
from tokenopen.web.render import render
from tokenopen.web.session import require_recent_password
from tokenopen.web.text import Catalogue
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit

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


async def _find_user(tx: Transaction, actor: Actor, request: Request) -> tuple[User | None, bool]:
    """Return the user that the filter names, and whether it names anybody at all."""
    name = request.query_params.get("user", "").strip()
    return (await find_named_user(tx, actor, name) if name else None), bool(name)


@router.get("/admin/calls")
async def list_all_calls(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Everybody's calls, newest first, as the filters ask."""
    query = read_call_query(request.query_params, now_ms=visit.now_ms, zone=visit.zone)
    actor = administrator.actor
    async with services.storage.read() as tx:
        user, is_named = await _find_user(tx, actor, request)
        page = await calls.list_all_calls(
            tx,
            actor,
            wanted=query.call_filter(),
            group=query.group,
            user_id=None if not is_named else _NOBODY if user is None else user.id,
            page=query.page,
        )
        choices = await _list_choices(tx, actor, visit.text, user)
    return render(
        request,
        "admin_call/calls.html",
        choices=choices,
        calls=page,
        is_narrowed=query.is_narrowed or is_named,
    )


@router.get("/admin/calls/refused")
async def list_all_refused_calls(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Everybody's refused calls, newest first; the last 1,000 of each account are kept."""
    query = read_call_query(request.query_params, now_ms=visit.now_ms, zone=visit.zone)
    actor = administrator.actor
    async with services.storage.read() as tx:
        user, is_named = await _find_user(tx, actor, request)
        account_id = None if not is_named else _NOBODY if user is None else user.account_id
        page = await list_refused(
            tx, wanted=query.refused_filter(account_id), group=query.group, page=query.page
        )
        choices = await _list_choices(tx, actor, visit.text, user)
    return render(
        request,
        "admin_call/refused_calls.html",
        choices=choices,
        refused=page,
        is_narrowed=query.is_narrowed or is_named,
    )


@router.get("/admin/calls/flagged")
async def list_flagged_calls(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """Calls that an administrator should look at, newest first, each with what is wrong."""
    async with services.storage.read() as tx:
        page = await calls.list_all_calls(
            tx,
            administrator.actor,
            wanted=CallFilter(flagged=True),
            group=None,
            user_id=None,
            page=PageRequest(after=request.query_params.get("cursor")),
        )
    return render(request, "admin_call/flagged_calls.html", calls=page, flags=FLAGS)


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
        if found.call.refunded:
            entries = await list_entries(
                tx, administrator.actor, kind="refund", call_id=call_id, page=PageRequest()
            )
            refunds = [posting.entry for posting in entries.items]
    return render(
        request,
        "admin_call/call.html",
        view=receipt_view(found, visit.text, refunds=refunds),
        flags=FLAGS,
        refundable=_refundable(found.call),
    )


def _refundable(call: CallRecord) -> Nanocredits:
    return Nanocredits(call.charge - call.refunded)


@router.get("/admin/calls/{call_id}/refund")
async def show_refund(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, call_id: str
) -> Response:
    """The form to give back a call's charge with, behind a recent password."""
    require_recent_password(request)
    administrator.actor.require_administrator()
    async with services.storage.read() as tx:
        receipt = await get_receipt(tx, None, call_id)
    return _show_refund(request, receipt.call, Form())


def _show_refund(request: Request, call: CallRecord, form: Form, *, status: int = 200) -> Response:
    return render(
        request,
        "admin_call/refund.html",
        status=status,
        call=call,
        form=form,
        refundable=_refundable(call),
        refundable_text=as_text.credits_exact(_refundable(call)),
    )


@router.post("/admin/calls/{call_id}/refund")
async def refund_call(
    request: Request,
    services: CurrentServices,
    administrator: CurrentAdministrator,
    visit: CurrentVisit,
    call_id: str,
) -> Response:
    """Give back a part of a call's charge, or all that is left of it where no amount is typed."""
    form, actor, text = await read_form(request), administrator.actor, visit.text
    try:
        amount = read_amount(form, text) if form.text("amount") else None
        reason = read_reason(form, text)
        async with services.storage.write() as tx:

            async def act() -> str:
                posting = await refund(tx, actor, call_id=call_id, amount=amount, reason=reason)
                return posting.entry.id

            await do_once(tx, actor, form, path=request.url.path, text=text, act=act)
    except (InvalidRequest, Conflict) as refusal:
        async with services.storage.read() as tx:
            receipt = await get_receipt(tx, None, call_id)
        return _show_refund(request, receipt.call, form.refused(refusal), status=refusal.status)
    return redirect(f"/admin/calls/{quote(call_id, safe='')}", flash="admin_call.refunded")
