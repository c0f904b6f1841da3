"""Calls: one's own, and everybody's for administrators; one call is its receipt."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.json_types import Body, InstantIn, PageOut, PageQuery, page_out
from tokenopen.api.receipt import (
    AdminCallOut,
    AdminReceiptOut,
    CallOut,
    ReceiptOut,
    show_admin_call,
    show_admin_receipt,
    show_call,
    show_receipt,
)
from tokenopen.api.services import CurrentServices
from tokenopen.control import call as control
from tokenopen.control import flagged_call
from tokenopen.control.receipt import get_receipt
from tokenopen.core.call import CallState, EndReason
from tokenopen.storage.call_search import CallFilter

router = APIRouter(tags=["calls"])


class CallQuery(PageQuery):
    """Which calls are asked for: admitted from an instant until before another; ``group`` is a slug.

    ``absorbed`` asks for calls that credit did not cover, or for all others.
    """

    from_: InstantIn | None = Field(default=None, alias="from")
    to: InstantIn | None = None
    key: str | None = None
    group: str | None = None
    model: str | None = None
    surface: str | None = None
    state: CallState | None = None
    end_reason: EndReason | None = None
    absorbed: bool | None = None

    def wanted(self) -> CallFilter:
        """Return the filter that this asks for."""
        return CallFilter(
            key_id=self.key,
            model=self.model,
            surface=self.surface,
            state=self.state,
            end_reason=self.end_reason,
            absorbed=self.absorbed,
            from_ms=self.from_,
            until_ms=self.to,
        )


class AdminCallQuery(CallQuery):
    """As for one's own calls; ``user`` is an id, ``flagged`` what an administrator should look at and
    ``reviewed`` what one has looked at."""

    user: str | None = None
    flagged: bool | None = None
    reviewed: bool | None = None

    def wanted(self) -> CallFilter:
        """Return the filter that this asks for."""
        return replace(super().wanted(), flagged=self.flagged, reviewed=self.reviewed)


class ReviewIn(Body):
    """What an administrator has found about a flagged call; kept in the audit log."""

    note: Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)] | None = None


@router.get("/api/me/calls")
async def list_my_calls(
    services: CurrentServices, actor: CurrentUser, query: Annotated[CallQuery, Query()]
) -> PageOut[CallOut]:
    """One's own calls, newest first. A page may be short, or empty, and yet have a `next_cursor`: the search
    goes on there."""
    async with services.storage.read() as tx:
        page = await control.list_calls(
            tx, actor, wanted=query.wanted(), group=query.group, page=query.page()
        )
    return page_out(page, show_call)


@router.get("/api/me/calls/{call_id}")
async def find_my_receipt(services: CurrentServices, actor: CurrentUser, call_id: str) -> ReceiptOut:
    """One of one's own calls with everything that its charge is recomputed from."""
    async with services.storage.read() as tx:
        receipt = await get_receipt(tx, actor.account_id, call_id)
    return show_receipt(receipt)


@router.get("/api/admin/calls")
async def list_all_calls(
    services: CurrentServices, actor: Administrator, query: Annotated[AdminCallQuery, Query()]
) -> PageOut[AdminCallOut]:
    """Everybody's calls, newest first; pages as for one's own."""
    async with services.storage.read() as tx:
        page = await control.list_all_calls(
            tx,
            actor,
            wanted=query.wanted(),
            group=query.group,
            user_id=query.user,
            page=query.page(),
        )
    return page_out(page, show_admin_call)


@router.post("/api/admin/calls/{call_id}/review")
async def review_call(
    services: CurrentServices, actor: Administrator, call_id: str, body: ReviewIn
) -> AdminCallOut:
    """Mark a flagged call as looked at; once more changes nothing."""
    async with services.storage.write() as tx:
        call = await flagged_call.review_call(tx, actor, call_id=call_id, note=body.note)
    return show_admin_call(call)


@router.get("/api/admin/calls/{call_id}")
async def find_receipt(services: CurrentServices, actor: Administrator, call_id: str) -> AdminReceiptOut:
    """Anybody's call, with the upstreams that were tried."""
    actor.require_administrator()
    async with services.storage.read() as tx:
        receipt = await get_receipt(tx, None, call_id)
    return show_admin_receipt(receipt)
