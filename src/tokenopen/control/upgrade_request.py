"""Upgrade requests: a user asks for a group, an administrator approves or declines, once."""

from collections.abc import Sequence
from typing import Final

from tokenopen.control.actor import Actor
from tokenopen.control.api_key import move_api_keys
from tokenopen.control.audit_log import record_change
from tokenopen.control.entitlement import OwnTerms, find_entitlement, put_entitlement
from tokenopen.control.group import find_group
from tokenopen.control.group_terms import list_terms
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.core.errors import Conflict, NotFound
from tokenopen.core.identifier import new_id
from tokenopen.core.upgrade_request import TRANSITIONS, UpgradeRequest, UpgradeRequestState
from tokenopen.ports.storage import Transaction
from tokenopen.storage import upgrade_request as storage
from tokenopen.storage.version import lock_account

_ACTIONS: Final = {"approved": "approve", "declined": "decline", "cancelled": "cancel"}


def _describe(request: UpgradeRequest) -> dict[str, object]:
    return {
        "user_id": request.user_id,
        "group": request.group_slug,
        "reason": request.reason,
        "state": request.state,
        "answer": request.answer,
    }


async def _get(tx: Transaction, request_id: str) -> UpgradeRequest:
    request = await storage.find_upgrade_request(tx, request_id)
    assert request is not None, f"no upgrade request {request_id}"
    return request


async def create_upgrade_request(tx: Transaction, actor: Actor, *, group: str, reason: str) -> UpgradeRequest:
    """Ask for a group that is by request, or for longer access or terms where they end.

    Refuses NotFound, and Conflict where the group is open to the user without an end, is archived, or has
    been asked for before without an answer yet.
    """
    wanted = await find_group(tx, group)
    if wanted.description.state == "archived":
        raise Conflict(f"Group {wanted.description.name} is no longer offered.", param="group")
    await lock_account(tx, actor.account_id)
    for terms in await list_terms(tx, actor.account_id):
        if terms.group.id == wanted.id and terms.is_open and terms.ends_ms is None:
            raise Conflict(
                f"Group {wanted.description.name} is open to you already: choose it for a key.",
                param="group",
            )
    pending = await storage.find_pending(tx, account_id=actor.account_id, group_id=wanted.id)
    if pending is not None:
        raise Conflict(
            f"You have asked for group {wanted.description.name} already; there is no answer yet.",
            param="group",
            request=pending.id,
        )
    request_id = new_id("upg", tx.now_ms)
    await storage.insert_upgrade_request(
        tx, request_id, account_id=actor.account_id, group_id=wanted.id, reason=reason
    )
    request = await _get(tx, request_id)
    await record_change(
        tx,
        actor,
        action="upgrade_request.create",
        subject_kind="upgrade_request",
        subject_id=request_id,
        before=None,
        after=_describe(request),
    )
    return request


async def list_my_upgrade_requests(
    tx: Transaction, actor: Actor, *, page: PageRequest, state: UpgradeRequestState | None = None
) -> Page[UpgradeRequest]:
    """Return the actor's own requests, newest first."""
    requests = await storage.list_upgrade_requests(
        tx, account_id=actor.account_id, state=state, before_id=page.after, limit=page.fetch
    )
    return cut_page(requests, page, cursor_of=lambda request: request.id)


async def find_upgrade_request(tx: Transaction, actor: Actor, request_id: str) -> UpgradeRequest:
    """Return anybody's request. Refuses NotFound."""
    actor.require_administrator()
    request = await storage.find_upgrade_request(tx, request_id)
    if request is None:
        raise NotFound(f"There is no upgrade request {request_id}.")
    return request


async def list_upgrade_requests(
    tx: Transaction,
    actor: Actor,
    *,
    page: PageRequest,
    state: UpgradeRequestState | None = None,
    account_id: str | None = None,
) -> Page[UpgradeRequest]:
    """Return everybody's requests, newest first, or those of one account."""
    actor.require_administrator()
    requests = await storage.list_upgrade_requests(
        tx, account_id=account_id, state=state, before_id=page.after, limit=page.fetch
    )
    return cut_page(requests, page, cursor_of=lambda request: request.id)


async def _find_mine(tx: Transaction, actor: Actor, request_id: str) -> UpgradeRequest:
    request = await storage.find_upgrade_request(tx, request_id)
    if request is None or request.account_id != actor.account_id:
        raise NotFound(f"There is no upgrade request {request_id}.")
    return request


async def move_keys_to_approved(
    tx: Transaction, actor: Actor, request_id: str, *, key_ids: Sequence[str]
) -> UpgradeRequest:
    """Move keys of one's own to the group that one's request was approved for, all or none; secrets stay.

    Refuses NotFound, GroupNotAvailable where access has ended since, and Conflict without an approval.
    """
    request = await _find_mine(tx, actor, request_id)
    if request.state != "approved":
        raise Conflict("This request has not been approved, so no key can be moved.", state=request.state)
    await move_api_keys(tx, actor, account_id=actor.account_id, group=request.group_slug, key_ids=key_ids)
    return request


async def cancel_upgrade_request(tx: Transaction, actor: Actor, request_id: str) -> UpgradeRequest:
    """Take back one's own request. Refuses NotFound, and Conflict where it has been decided."""
    await _find_mine(tx, actor, request_id)
    return await _decide(tx, actor, request_id, state="cancelled", answer=None)


async def decline_upgrade_request(
    tx: Transaction, actor: Actor, request_id: str, *, answer: str | None
) -> UpgradeRequest:
    """Decline a request. Refuses NotFound, and Conflict where it has been decided."""
    actor.require_administrator()
    return await _decide(tx, actor, request_id, state="declined", answer=answer)


async def approve_upgrade_request(
    tx: Transaction,
    actor: Actor,
    request_id: str,
    *,
    answer: str | None,
    terms: OwnTerms | None,
    move_keys: bool | Sequence[str] = False,
) -> UpgradeRequest:
    """Let the user into the group, on own terms where some are given, and move their keys there.

    ``move_keys`` are the ids of the keys to move, or True for all that are not revoked. Without terms an
    access that an administrator has given meanwhile stays as it is. Refuses NotFound, InvalidRequest, and
    Conflict where the request has been decided or the group is archived; then nothing is changed.
    """
    actor.require_administrator()
    request = await _decide(tx, actor, request_id, state="approved", answer=answer)
    group = await find_group(tx, request.group_slug)
    given = await find_entitlement(tx, request.account_id, group)
    if terms is not None or given is None or not given.in_force:
        await put_entitlement(tx, actor, request.user_id, request.group_slug, terms or OwnTerms())
    if move_keys:
        await move_api_keys(
            tx,
            actor,
            account_id=request.account_id,
            group=request.group_slug,
            key_ids=None if move_keys is True else move_keys,
        )
    return request


async def _decide(
    tx: Transaction, actor: Actor, request_id: str, *, state: UpgradeRequestState, answer: str | None
) -> UpgradeRequest:
    found = await storage.find_upgrade_request(tx, request_id)
    if found is None:
        raise NotFound(f"There is no upgrade request {request_id}.")
    # Of two who decide at once, the second has to see what the first one decided.
    await lock_account(tx, found.account_id)
    before = await _get(tx, request_id)
    if state not in TRANSITIONS[before.state]:
        raise Conflict(f"This request has been {before.state} already.", state=before.state)
    await storage.decide(tx, request_id, state=state, answer=answer, decided_by=actor.user_id)
    after = await _get(tx, request_id)
    await record_change(
        tx,
        actor,
        action=f"upgrade_request.{_ACTIONS[state]}",
        subject_kind="upgrade_request",
        subject_id=request_id,
        before=_describe(before),
        after=_describe(after),
    )
    return after
