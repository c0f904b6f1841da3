"""Ledger: credit given, corrected and refunded by administrators, and the entries that say so."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, StringConstraints

from tokenopen.api.authentication import Administrator
from tokenopen.api.json_types import AmountIn, AmountOut, Body, InstantOut, PageOut, PageQuery, page_out
from tokenopen.api.services import CurrentServices
from tokenopen.control import flagged_call, ledger
from tokenopen.control.actor import Actor
from tokenopen.control.idempotency import Answer, answer_once
from tokenopen.control.services import Services
from tokenopen.core.ledger import EntryKind
from tokenopen.ports.storage import Transaction

router = APIRouter(tags=["ledger"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", description="The same key and request again: answered again, not done again"
    ),
]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]


class CreditIn(Body):
    """Credit for an account; ``amount`` is more than 0."""

    amount: AmountIn
    reason: Reason


class AdjustmentIn(Body):
    """A correction of a balance, up or down."""

    amount: AmountIn
    reason: Reason


class RefundIn(Body):
    """A refund of a call; without ``amount`` all that is left of its charge."""

    amount: AmountIn | None = None
    reason: Reason


class CallAdjustmentIn(Body):
    """A correction of what a flagged call has cost: more than 0 gives credit back, less takes it."""

    amount: AmountIn
    reason: Reason


class LedgerEntryOut(BaseModel):
    """One immutable change of a balance; ``amount`` is negative where the balance fell.

    ``number`` counts the account's entries; each ``balance_after`` is the one before plus ``amount``.
    """

    id: str
    user_id: str | None
    account_id: str
    number: int
    kind: EntryKind
    amount: AmountOut
    balance_after: AmountOut
    call_id: str | None
    reason: str | None
    actor_id: str | None
    created_at: InstantOut


class LedgerQuery(PageQuery):
    """Which entries are asked for; ``user``, ``account`` and ``call`` are ids."""

    user: str | None = None
    account: str | None = None
    kind: EntryKind | None = None
    call: str | None = None


def _show(posting: ledger.Posting) -> LedgerEntryOut:
    entry = posting.entry
    return LedgerEntryOut(
        id=entry.id,
        user_id=posting.user_id,
        account_id=entry.account_id,
        number=entry.number,
        kind=entry.kind,
        amount=entry.amount,
        balance_after=entry.balance_after,
        call_id=entry.call_id,
        reason=entry.reason,
        actor_id=entry.actor_id,
        created_at=entry.created_at_ms,
    )


async def _post_once(
    request: Request,
    services: Services,
    actor: Actor,
    key: str | None,
    body: Body,
    post: Callable[[Transaction], Awaitable[ledger.Posting]],
) -> Response:
    """Do what a money POST asks, once per Idempotency-Key, and answer it."""
    asked = {"path": request.url.path, "body": body.model_dump(mode="json")}
    async with services.storage.write() as tx:

        async def act() -> Answer:
            posting = await post(tx)
            return Answer(status=201, body=_show(posting).model_dump_json().encode())

        answer = await answer_once(tx, actor, key=key, request=asked, act=act)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.post("/api/admin/users/{user_id}/credits", status_code=201, response_model=LedgerEntryOut)
async def top_up_user(
    request: Request,
    services: CurrentServices,
    actor: Administrator,
    user_id: str,
    body: CreditIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Add credit to a user's account."""

    async def post(tx: Transaction) -> ledger.Posting:
        return await ledger.top_up(tx, actor, user_id=user_id, amount=body.amount, reason=body.reason)

    return await _post_once(request, services, actor, idempotency_key, body, post)


@router.post("/api/admin/users/{user_id}/adjustments", status_code=201, response_model=LedgerEntryOut)
async def adjust_user(
    request: Request,
    services: CurrentServices,
    actor: Administrator,
    user_id: str,
    body: AdjustmentIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Correct a user's balance; never takes available credit below zero."""

    async def post(tx: Transaction) -> ledger.Posting:
        return await ledger.adjust(tx, actor, user_id=user_id, amount=body.amount, reason=body.reason)

    return await _post_once(request, services, actor, idempotency_key, body, post)


@router.post("/api/admin/calls/{call_id}/refunds", status_code=201, response_model=LedgerEntryOut)
async def refund_call(
    request: Request,
    services: CurrentServices,
    actor: Administrator,
    call_id: str,
    body: RefundIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Give back a part of a call's charge or all of it; what the call's key has spent stays as it is."""

    async def post(tx: Transaction) -> ledger.Posting:
        return await ledger.refund(tx, actor, call_id=call_id, amount=body.amount, reason=body.reason)

    return await _post_once(request, services, actor, idempotency_key, body, post)


@router.post("/api/admin/calls/{call_id}/adjustments", status_code=201, response_model=LedgerEntryOut)
async def adjust_call(
    request: Request,
    services: CurrentServices,
    actor: Administrator,
    call_id: str,
    body: CallAdjustmentIn,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Correct what a flagged call has cost, between nothing and what was reserved for it; reviews it too."""

    async def post(tx: Transaction) -> ledger.Posting:
        return await flagged_call.adjust_call(
            tx, actor, call_id=call_id, amount=body.amount, reason=body.reason
        )

    return await _post_once(request, services, actor, idempotency_key, body, post)


@router.get("/api/admin/ledger")
async def list_ledger(
    services: CurrentServices, actor: Administrator, query: Annotated[LedgerQuery, Query()]
) -> PageOut[LedgerEntryOut]:
    """Ledger entries, newest first; of one account in the order in which its balance changed."""
    async with services.storage.read() as tx:
        page = await ledger.list_entries(
            tx,
            actor,
            user_id=query.user,
            account_id=query.account,
            kind=query.kind,
            call_id=query.call,
            page=query.page(),
        )
    return page_out(page, _show)
