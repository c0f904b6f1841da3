"""Flagged calls: what an administrator does about a call whose usage is not as it should be.

A flag says that a provider's report cannot be true, has no price here (both: nothing was charged), or lies
beyond the context window (charged). An adjustment corrects what the call has cost its account, up or down; it
names the call, and it is a review. What a key counts as spent stays, as with refunds.
"""

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.call import CallRecord, call_not_found, call_record, list_all_calls
from tokenopen.control.ledger import Posting, Row, post_entry
from tokenopen.control.page import Page, PageRequest
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.core.ledger import adjustable
from tokenopen.core.money import Nanocredits, format_amount
from tokenopen.ports.storage import Transaction
from tokenopen.storage import call as statements
from tokenopen.storage.call_search import CallFilter
from tokenopen.storage.ledger import lock_account


async def list_flagged_calls(
    tx: Transaction, actor: Actor, *, reviewed: bool | None = None, page: PageRequest
) -> Page[CallRecord]:
    """Return flagged calls, newest first: all, or those that were reviewed or were not."""
    wanted = CallFilter(flagged=True, reviewed=reviewed)
    return await list_all_calls(tx, actor, wanted=wanted, group=None, user_id=None, page=page)


async def review_call(tx: Transaction, actor: Actor, *, call_id: str, note: str | None = None) -> CallRecord:
    """Mark a flagged call as looked at, with nothing to be done. Once more changes nothing."""
    actor.require_administrator()
    call = await _lock_flagged(tx, call_id)
    if call["reviewed_at_ms"] is None:
        await _mark_reviewed(tx, actor, call, note=note)
    found = await statements.find_call(tx, call_id, account_id=call["account_id"])
    assert found is not None
    return call_record(found)


async def adjust_call(
    tx: Transaction, actor: Actor, *, call_id: str, amount: Nanocredits, reason: str
) -> Posting:
    """Correct what a flagged call has cost: more than 0 gives credit back, less takes it.

    Refuses what would make the call cost less than nothing, or more than it could have cost when it was
    admitted; and what available credit does not cover.
    """
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    if amount == 0:
        raise InvalidRequest("amount must not be 0; mark the call as reviewed instead.", param="amount")
    call = await _lock_flagged(tx, call_id)
    book = await lock_account(tx, call["account_id"])
    takes_max, gives_max = adjustable(
        hold=call["hold"],
        charge=call["charge"],
        refunded=call["refunded"],
        adjusted=call["adjusted"] or 0,
    )
    if not -takes_max <= amount <= gives_max:
        raise Conflict(
            f"An adjustment of call {call_id} can give back at most {format_amount(gives_max)} credits, all "
            f"that it has cost, and take at most {format_amount(takes_max)}, up to what was reserved for it.",
            gives_max=format_amount(gives_max),
            takes_max=format_amount(takes_max),
        )
    entry = await post_entry(
        tx, actor, book, kind="adjustment", amount=amount, reason=reason, call_id=call_id
    )
    await statements.add_to_adjusted(tx, call["account_id"], call_id, amount)
    if call["reviewed_at_ms"] is None:
        await _mark_reviewed(tx, actor, call, note=reason)
    return Posting(user_id=call["user_id"], entry=entry)


async def _lock_flagged(tx: Transaction, call_id: str) -> Row:
    """Return a flagged call's row, read under its account's lock. Refuses NotFound, Conflict."""
    account_id = await statements.find_account_id(tx, call_id)
    if account_id is None:
        raise await call_not_found(tx, call_id)
    await lock_account(tx, account_id)
    call = await statements.find_call(tx, call_id, account_id=account_id)
    if call is None:
        raise await call_not_found(tx, call_id)
    if call["flag"] is None:
        raise Conflict(
            f"Call {call_id} is not flagged. A charge is given back by a refund; a balance is corrected by "
            "an adjustment of the user's account."
        )
    return call


async def _mark_reviewed(tx: Transaction, actor: Actor, call: Row, *, note: str | None) -> None:
    await statements.mark_reviewed(tx, call["account_id"], call["id"], at_ms=tx.now_ms, by=actor.user_id)
    await record_change(
        tx,
        actor,
        action="call.review",
        subject_kind="call",
        subject_id=call["id"],
        before={"flag": call["flag"]},
        after={"flag": call["flag"], "reviewed": True, "note": note},
    )
