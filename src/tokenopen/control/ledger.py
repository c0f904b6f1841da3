"""Ledger: what administrators do to balances. Top-ups, adjustments and refunds, each with its reason.

The account's row is locked before anything is read that the amount is checked against. A refund gives
back what a call took from the account; it does not change what the call's key counts as spent, so that a
key's credit limit stays a bound on what went through it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.call import call_not_found
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.identifier import new_id
from tokenopen.core.ledger import AccountBook, BalanceOutOfBounds, EntryKind, LedgerEntry
from tokenopen.core.money import Nanocredits, format_amount
from tokenopen.ports.storage import Transaction
from tokenopen.storage import call as call_statements
from tokenopen.storage import ledger as statements

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """A ledger entry and the user whose account it is of."""

    user_id: str
    entry: LedgerEntry


async def top_up(tx: Transaction, actor: Actor, *, user_id: str, amount: Nanocredits, reason: str) -> Posting:
    """Add credit to a user's account. Refuses what is not positive or beyond what an account may hold."""
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    if amount <= 0:
        raise InvalidRequest("amount must be more than 0; use an adjustment to take credit.", param="amount")
    return await _post_to_user(tx, actor, user_id=user_id, kind="top_up", amount=amount, reason=reason)


async def adjust(tx: Transaction, actor: Actor, *, user_id: str, amount: Nanocredits, reason: str) -> Posting:
    """Correct a user's balance, up or down. Refuses what would take available credit below zero."""
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    if amount == 0:
        raise InvalidRequest("amount must not be 0.", param="amount")
    return await _post_to_user(tx, actor, user_id=user_id, kind="adjustment", amount=amount, reason=reason)


async def give_starting_credit(tx: Transaction, actor: Actor, amount: Nanocredits) -> Posting:
    """Add the credit that an account begins with, in the transaction in which the user signs up."""
    assert actor.via == "sign_up", "only who signs up is given credit without an administrator"
    return await _post_to_user(
        tx, actor, user_id=actor.user_id, kind="top_up", amount=amount, reason="Starting credit"
    )


async def _post_to_user(
    tx: Transaction, actor: Actor, *, user_id: str, kind: EntryKind, amount: Nanocredits, reason: str
) -> Posting:
    account_id = await statements.find_account_id(tx, user_id)
    if account_id is None:
        raise NotFound(f"There is no user {user_id}.")
    book = await statements.lock_account(tx, account_id)
    entry = await post_entry(tx, actor, book, kind=kind, amount=amount, reason=reason, call_id=None)
    return Posting(user_id=user_id, entry=entry)


async def refund(
    tx: Transaction, actor: Actor, *, call_id: str, amount: Nanocredits | None, reason: str
) -> Posting:
    """Give back a part of a call's charge, or all that is left of it where no amount is named.

    Refuses what would take the sum of the call's refunds above its charge.
    """
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    account_id = await call_statements.find_account_id(tx, call_id)
    if account_id is None:
        raise await call_not_found(tx, call_id)
    if amount is not None and amount <= 0:
        raise InvalidRequest("amount must be more than 0.", param="amount")
    book = await statements.lock_account(tx, account_id)
    # Read only now: before the lock another refund of the same call could still have been under way.
    call = await call_statements.find_call(tx, call_id, account_id=account_id)
    if call is None:
        raise await call_not_found(tx, call_id)
    if call["state"] != "settled":
        raise Conflict(f"Call {call_id} is {call['state']}: it was not charged, so nothing can be refunded.")
    left = refundable(call)
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise Conflict(
            f"Of the charge of {format_amount(call['charge'])} credits {format_amount(left)} are left "
            "to refund.",
            charge=format_amount(call["charge"]),
            refunded=format_amount(call["refunded"]),
            refundable=format_amount(left),
        )
    entry = await post_entry(tx, actor, book, kind="refund", amount=wanted, reason=reason, call_id=call_id)
    await statements.add_to_refunded(tx, account_id, call_id, wanted)
    return Posting(user_id=call["user_id"], entry=entry)


def refundable(call: Row) -> Nanocredits:
    """Return what is left of a call's charge to refund; an adjustment may have given some back already."""
    return Nanocredits(call["charge"] - call["refunded"] - max(0, call["adjusted"] or 0))


async def post_entry(
    tx: Transaction,
    actor: Actor,
    book: AccountBook,
    *,
    kind: EntryKind,
    amount: Nanocredits,
    reason: str,
    call_id: str | None,
) -> LedgerEntry:
    """Change a locked account's balance, with its entry and the audit log's. Refuses Conflict."""
    before = book.balance
    try:
        balance_after = book.post(amount)
    except BalanceOutOfBounds as error:
        raise Conflict(
            f"A change of {format_amount(amount)} credits is not possible: {error}. "
            f"{format_amount(book.available)} credits are available.",
            available=format_amount(book.available),
            balance=format_amount(book.balance),
        ) from error
    # Time as the account has seen it never runs backwards, whichever clock it was read from.
    book.newest_ms = max(tx.now_ms, book.newest_ms)
    entry = LedgerEntry(
        account_id=book.id,
        number=book.entry_count,
        id=new_id("led", book.newest_ms),
        kind=kind,
        amount=amount,
        balance_after=balance_after,
        call_id=call_id,
        reason=reason,
        actor_id=actor.user_id,
        created_at_ms=book.newest_ms,
    )
    await statements.insert_entry(tx, book, entry)
    await record_change(
        tx,
        actor,
        action=f"ledger.{kind}",
        subject_kind="account",
        subject_id=book.id,
        before={"balance": format_amount(before)},
        after={
            "balance": format_amount(balance_after),
            "amount": format_amount(amount),
            "entry_id": entry.id,
            "call_id": call_id,
            "reason": reason,
        },
    )
    return entry


async def list_my_entries(
    tx: Transaction,
    actor: Actor,
    *,
    kind: EntryKind | None = None,
    call_id: str | None = None,
    page: PageRequest,
) -> Page[LedgerEntry]:
    """Return the entries of the actor's own account, newest first."""
    rows = await statements.list_entries(
        tx,
        account_id=actor.account_id,
        kind=kind,
        call_id=call_id,
        before=page.after,
        limit=page.fetch,
    )
    return cut_page([statements.entry_from_row(row) for row in rows], page, cursor_of=lambda entry: entry.id)


async def list_entries(
    tx: Transaction,
    actor: Actor,
    *,
    user_id: str | None = None,
    account_id: str | None = None,
    kind: EntryKind | None = None,
    call_id: str | None = None,
    page: PageRequest,
) -> Page[Posting]:
    """Return ledger entries, newest first. A user or a call that is not known has none."""
    actor.require_administrator()
    owners = {account_id} if account_id is not None else set()
    if user_id is not None:
        owners.add(await statements.find_account_id(tx, user_id) or "")
    if call_id is not None:
        owners.add(await statements.find_account_id_of_call(tx, call_id) or "")
    if len(owners) > 1:
        return Page(items=[])
    rows = await statements.list_entries(
        tx,
        account_id=next(iter(owners), None),
        kind=kind,
        call_id=call_id,
        before=page.after,
        limit=page.fetch,
    )
    postings = [Posting(user_id=row["user_id"], entry=statements.entry_from_row(row)) for row in rows]
    return cut_page(postings, page, cursor_of=lambda posting: posting.entry.id)
