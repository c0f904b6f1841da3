"""Ledger statements: the account's row under its lock, and the entries that explain its balance."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    insert,
    or_,
    select,
    update,
)

from tokenopen.core.identifier import charge_entry_id
from tokenopen.core.ledger import AccountBook, LedgerEntry
from tokenopen.ports.storage import Transaction
from tokenopen.storage.keyset import Stretch, as_indexed
from tokenopen.storage.schema import accounts, calls, ledger_entries
from tokenopen.storage.schema_base import NOT_A_CHARGE

Row = Mapping[str, Any]

_entry = ledger_entries.c


async def find_account_id(tx: Transaction, user_id: str) -> str | None:
    """Return the id of a user's account, or None."""
    row = await tx.fetch_one(select(accounts.c.id).where(accounts.c.user_id == user_id))
    return None if row is None else str(row["id"])


async def find_account_id_of_call(tx: Transaction, call_id: str) -> str | None:
    """Return the id of the account that a call is or was of, also where its record was dropped; or None."""
    for owner in (
        select(calls.c.account_id).where(calls.c.id == call_id),
        select(ledger_entries.c.account_id).where(ledger_entries.c.id == charge_entry_id(call_id)),
    ):
        if (row := await tx.fetch_one(owner)) is not None:
            return str(row["account_id"])
    return None


async def lock_account(tx: Transaction, account_id: str) -> AccountBook:
    """Return the account's money, its row locked until the transaction ends."""
    row = await tx.fetch_one(
        select(accounts).where(accounts.c.id == account_id).with_for_update(key_share=True)
    )
    assert row is not None, f"there is no account {account_id}"
    return AccountBook(
        id=row["id"],
        version=row["version"],
        balance=row["balance"],
        held=row["held"],
        newest_ms=row["newest_ms"],
        entry_count=row["entry_count"],
    )


async def insert_entry(tx: Transaction, book: AccountBook, entry: LedgerEntry) -> None:
    """Write an entry and the balance that it leaves; the book has posted it already."""
    assert entry.number == book.entry_count
    assert entry.balance_after == book.balance
    await tx.execute(
        insert(ledger_entries).values(
            account_id=entry.account_id,
            number=entry.number,
            id=entry.id,
            kind=entry.kind,
            amount=entry.amount,
            balance_after=entry.balance_after,
            call_id=entry.call_id,
            reason=entry.reason,
            actor_id=entry.actor_id,
            created_at_ms=entry.created_at_ms,
        )
    )
    await tx.execute(
        update(accounts)
        .where(accounts.c.id == book.id)
        .values(balance=book.balance, entry_count=book.entry_count, newest_ms=book.newest_ms)
    )


async def add_to_refunded(tx: Transaction, account_id: str, call_id: str, amount: int) -> None:
    """Note on a call that so much more of its charge has been given back."""
    changed = await tx.execute(
        update(calls)
        .where(calls.c.account_id == account_id, calls.c.id == call_id)
        .values(refunded=calls.c.refunded + amount)
    )
    assert changed == 1


def entry_from_row(row: Row) -> LedgerEntry:
    """Return the ledger entry that a row stores."""
    return LedgerEntry(**{name: row[name] for name in LedgerEntry.__dataclass_fields__})


def _entries() -> Select[Any]:
    return select(ledger_entries, accounts.c.user_id).outerjoin(
        accounts, accounts.c.id == ledger_entries.c.account_id
    )


def _number_of(account_id: str, entry_id: str) -> ScalarSelect[Any]:
    seen = ledger_entries.alias("seen")
    return (
        select(seen.c.number).where(seen.c.id == entry_id, seen.c.account_id == account_id).scalar_subquery()
    )


def _stretch(account_id: str | None, kind: str | None, before: str | None) -> Stretch:
    """Return the stretch of an index to read; all but charges are few, and have indexes of their own."""
    prefix: list[tuple[ColumnElement[Any], Any]] = []
    always: list[ColumnElement[bool]] = []
    if account_id is not None:
        prefix.append((_entry.account_id, account_id))
    if kind is not None and kind != "charge":
        prefix.append((_entry.kind, kind))
        always.append(as_indexed(NOT_A_CHARGE))
    if account_id is None:
        return Stretch(by=_entry.id, prefix=prefix, always=always, before=before)
    number = None if before is None else _number_of(account_id, before)
    return Stretch(by=_entry.number, prefix=prefix, always=always, before=number)


async def list_entries(
    tx: Transaction,
    *,
    account_id: str | None,
    kind: str | None,
    call_id: str | None,
    before: str | None,
    limit: int,
) -> Sequence[Row]:
    """Return entries, newest first, with the ``user_id`` they concern.

    One account's are in order of their number, which is how its balances follow each other; those of all
    accounts in order of their id. ``before`` is the id of the last entry seen.
    """
    conditions = [] if kind is None else [_entry.kind == kind]
    if call_id is None:
        stretch = _stretch(account_id, kind, before)
        conditions.append(stretch.where())
        order = stretch.order()
    else:
        # A call has one charge, whose id is made of its own, and few entries besides.
        others = and_(as_indexed(NOT_A_CHARGE), _entry.call_id == call_id)
        conditions.append(or_(_entry.id == charge_entry_id(call_id), others))
        if account_id is not None:
            conditions.append(_entry.account_id == account_id)
        if before is not None:
            conditions.append(_entry.id < before)
        order = [_entry.id.desc()]
    return await tx.fetch_all(_entries().where(*conditions).order_by(*order).limit(limit))
