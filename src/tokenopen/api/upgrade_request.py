"""Upgrade requests: users ask for a group, administrators decide."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.entitlement import OwnTermsIn
from tokenopen.api.group import Slug
from tokenopen.api.json_types import Body, InstantOut, PageOut, PageQuery, PersonOut, Prose, page_out
from tokenopen.api.services import CurrentServices
from tokenopen.control import upgrade_request as control
from tokenopen.core.errors import InvalidRequest
from tokenopen.core.upgrade_request import UpgradeRequest, UpgradeRequestState

router = APIRouter(tags=["upgrade requests"])


class UpgradeRequestIn(Body):
    """Which group is asked for, and why."""

    group: Slug
    reason: Annotated[Prose, Field(min_length=1)]


class CancelIn(Body):
    """All that a user may change of a request: to take it back."""

    state: Literal["cancelled"]


class DecisionIn(Body):
    """A decision. Own terms and keys to move (``true`` for all) go with an approval only."""

    state: Literal["approved", "declined"]
    answer: Prose | None = None
    terms: OwnTermsIn | None = None
    move_keys: bool | Annotated[list[str], Field(max_length=1_000)] = False


class UpgradeRequestQuery(PageQuery):
    """Which requests are asked for."""

    state: UpgradeRequestState | None = None


class UpgradeRequestGroupOut(BaseModel):
    """The group asked for."""

    slug: str
    name: str


class UpgradeRequestOut(BaseModel):
    """A request and what became of it; ``decided_by`` is a user's id."""

    id: str
    user: PersonOut
    group: UpgradeRequestGroupOut
    reason: str
    state: UpgradeRequestState
    answer: str | None
    decided_by: str | None
    created_at: InstantOut
    decided_at: InstantOut | None


def _show(request: UpgradeRequest) -> UpgradeRequestOut:
    return UpgradeRequestOut(
        id=request.id,
        user=PersonOut(id=request.user_id, email=request.user_email),
        group=UpgradeRequestGroupOut(slug=request.group_slug, name=request.group_name),
        reason=request.reason,
        state=request.state,
        answer=request.answer,
        decided_by=request.decided_by,
        created_at=request.created_at_ms,
        decided_at=request.decided_at_ms,
    )


@router.get("/api/me/upgrade-requests")
async def list_my_upgrade_requests(
    services: CurrentServices, actor: CurrentUser, query: Annotated[UpgradeRequestQuery, Query()]
) -> PageOut[UpgradeRequestOut]:
    """One's own requests, newest first."""
    async with services.storage.read() as tx:
        page = await control.list_my_upgrade_requests(tx, actor, page=query.page(), state=query.state)
    return page_out(page, _show)


@router.post("/api/me/upgrade-requests", status_code=201)
async def create_upgrade_request(
    services: CurrentServices, actor: CurrentUser, body: UpgradeRequestIn
) -> UpgradeRequestOut:
    """Ask for a group that is by request."""
    async with services.storage.write() as tx:
        request = await control.create_upgrade_request(tx, actor, group=body.group, reason=body.reason)
    return _show(request)


@router.patch("/api/me/upgrade-requests/{request_id}")
async def cancel_upgrade_request(
    services: CurrentServices,
    actor: CurrentUser,
    request_id: str,
    body: CancelIn,  # noqa: ARG001 - that it could be read is all there is to it
) -> UpgradeRequestOut:
    """Take back one's own request, while nothing has been decided."""
    async with services.storage.write() as tx:
        request = await control.cancel_upgrade_request(tx, actor, request_id)
    return _show(request)


@router.get("/api/admin/upgrade-requests")
async def list_upgrade_requests(
    services: CurrentServices, actor: Administrator, query: Annotated[UpgradeRequestQuery, Query()]
) -> PageOut[UpgradeRequestOut]:
    """Everybody's requests, newest first."""
    async with services.storage.read() as tx:
        page = await control.list_upgrade_requests(tx, actor, page=query.page(), state=query.state)
    return page_out(page, _show)


@router.patch("/api/admin/upgrade-requests/{request_id}")
async def decide_upgrade_request(
    services: CurrentServices, actor: Administrator, request_id: str, body: DecisionIn
) -> UpgradeRequestOut:
    """Approve a request, on own terms and with keys moved where wanted, or decline it."""
    if body.state == "declined":
        if body.terms is not None or body.move_keys:
            raise InvalidRequest("terms and move_keys go with an approval only.", param="state")
        async with services.storage.write() as tx:
            request = await control.decline_upgrade_request(tx, actor, request_id, answer=body.answer)
        return _show(request)
    async with services.storage.write() as tx:
        request = await control.approve_upgrade_request(
            tx,
            actor,
            request_id,
            answer=body.answer,
            terms=None if body.terms is None else body.terms.own_terms(),
            move_keys=body.move_keys,
        )
    return _show(request)
