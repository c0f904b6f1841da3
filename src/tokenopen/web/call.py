"""Call log: one's own calls and refused calls, and each of them on a page of its own."""

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tokenopen.control import call as calls
from tokenopen.control.actor import Actor
from tokenopen.control.ledger import list_my_entries
from tokenopen.control.page import PageRequest
from tokenopen.control.receipt import Receipt, get_receipt
from tokenopen.control.refused_call import RefusedRecord, find_refused, list_refused
from tokenopen.core.errors import NotFound
from tokenopen.ports.storage import Transaction
from tokenopen.web.call_query import list_my_choices, read_call_query
from tokenopen.web.flash import redirect
from tokenopen.web.receipt import receipt_view
from tokenopen.web.refusal import call_refusal_codes, explain_refusal
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit

router = APIRouter()

REFUNDS_SHOWN = 100


@router.get("/calls")
async def list_calls(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """One's own calls, newest first, as the filters ask."""
    query = read_call_query(request.query_params, now_ms=visit.now_ms, zone=visit.zone)
    async with services.storage.read() as tx:
        choices = await list_my_choices(tx, viewer.actor, visit.text, call_refusal_codes())
        page = await calls.list_calls(
            tx, viewer.actor, wanted=query.call_filter(), group=query.group, page=query.page
        )
    return render(request, "call/calls.html", choices=choices, call_query=query, calls=page)


@router.get("/calls/refused")
async def list_refused_calls(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """One's own refused calls, newest first; the last 1,000 are kept."""
    query = read_call_query(request.query_params, now_ms=visit.now_ms, zone=visit.zone)
    async with services.storage.read() as tx:
        choices = await list_my_choices(tx, viewer.actor, visit.text, call_refusal_codes())
        page = await list_refused(
            tx,
            wanted=query.refused_filter(viewer.actor.account_id),
            group=query.group,
            page=query.page,
        )
    return render(request, "call/refused_calls.html", choices=choices, call_query=query, refused=page)


@router.get("/calls/find")
async def find_call(services: CurrentServices, viewer: CurrentViewer, id: str = "") -> Response:  # noqa: A002
    """Lead to the call that an ``x-request-id`` names."""
    call_id = id.strip()
    async with services.storage.read() as tx:
        try:
            await _find(tx, viewer.actor, call_id)
        except NotFound:
            return redirect("/calls", flash="call.not_found", tone="bad", id=call_id[:60])
    return redirect(f"/calls/{quote(call_id, safe='')}")


@router.get("/calls/{call_id}")
async def show_call(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit, call_id: str
) -> Response:
    """The receipt of one of one's own calls; of a refused one, why."""
    async with services.storage.read() as tx:
        found = await _find(tx, viewer.actor, call_id)
        if isinstance(found, RefusedRecord):
            return render(
                request, "call/refused_call.html", record=found, refusal=explain_refusal(found, visit)
            )
        refunds = []
        if found.call.refunded:
            page = PageRequest(limit=REFUNDS_SHOWN)
            entries = await list_my_entries(tx, viewer.actor, kind="refund", call_id=call_id, page=page)
            refunds = list(entries.items)
    return render(request, "call/call.html", view=receipt_view(found, visit.text, refunds=refunds))


async def _find(tx: Transaction, actor: Actor, call_id: str) -> Receipt | RefusedRecord:
    """Return the actor's own call, admitted or refused. Refuses NotFound."""
    try:
        return await get_receipt(tx, actor.account_id, call_id)
    except NotFound:
        return await find_refused(tx, actor.account_id, call_id)
