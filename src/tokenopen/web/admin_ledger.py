"""Ledger, for administrators: every change of a balance, and the audit that re-derives them all."""

import asyncio
from typing import Final, cast

from fastapi import APIRouter, Depends, Request, Response

from tokenopen.control.audit import audit
from tokenopen.control.audit_report import INVARIANTS
from tokenopen.control.ledger import Posting, list_entries
from tokenopen.control.page import Page, PageRequest
from tokenopen.control.user import find_named_user, list_emails
from tokenopen.core.ledger import EntryKind
from tokenopen.web.form import Form
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, require_administrator

router = APIRouter()

_KINDS: Final = ("top_up", "charge", "refund", "adjustment")
# A page waits no longer than this for an audit; `tokenopen audit` has no such bound.
AUDIT_SECONDS_MAX: Final = 60
# Every audit of the process, one after the other: each reads all there is.
_auditing = asyncio.Lock()


@router.get("/admin/ledger")
async def list_ledger(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator
) -> Response:
    """Ledger entries, newest first: of a user, of a call, of a kind."""
    query, actor = request.query_params, administrator.actor
    named, kind = query.get("user", "").strip(), query.get("kind", "")
    async with services.storage.read() as tx:
        user = await find_named_user(tx, actor, named) if named else None
        found: Page[Posting] = Page(items=[])
        if user is not None or not named:
            found = await list_entries(
                tx,
                actor,
                user_id=None if user is None else user.id,
                kind=cast("EntryKind", kind) if kind in _KINDS else None,
                call_id=query.get("call", "").strip() or None,
                page=PageRequest(after=query.get("cursor")),
            )
        people = [posting.user_id for posting in found.items]
        emails = await list_emails(tx, actor, [*people, *(posting.entry.actor_id for posting in found.items)])
    return render(
        request,
        "admin_ledger/ledger.html",
        entries=found.items,
        next_cursor=found.next_cursor,
        emails=emails,
        kinds=_KINDS,
        user=user,
        is_narrowed=any(query.get(name) for name in ("user", "kind", "call")),
    )


@router.get("/admin/ledger/audit", dependencies=[Depends(require_administrator)])
async def show_audit(request: Request) -> Response:
    """What an audit looks at, and the button that runs one."""
    return render(request, "admin_ledger/audit.html", report=None, invariants=INVARIANTS, form=Form())


@router.post("/admin/ledger/audit", dependencies=[Depends(require_administrator)])
async def run_audit(request: Request, services: CurrentServices, visit: CurrentVisit) -> Response:
    """Re-derive every invariant from what is stored, on one snapshot, and say what breaks one."""
    try:
        async with asyncio.timeout(AUDIT_SECONDS_MAX), _auditing, services.storage.read() as tx:
            report = await audit(tx)
    except TimeoutError:
        form = Form(message=visit.text("admin_ledger.audit_too_long", seconds=AUDIT_SECONDS_MAX))
        return render(
            request, "admin_ledger/audit.html", status=503, report=None, invariants=INVARIANTS, form=form
        )
    return render(request, "admin_ledger/audit.html", report=report, invariants=INVARIANTS, form=Form())
