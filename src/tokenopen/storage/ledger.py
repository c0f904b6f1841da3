"""Ledger statements: the account's row under its lock, and the entries that explain its balance."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ScalarSelect, Select, and_, insert, select, update

from tokenopen.core.ledger import AccountBook, LedgerEntry
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import accounts, calls, ledger_entries

Row = Mapping[str, Any]


async def find_account_id(tx: Transaction, user_id: str) -> str | None:
    """Return the id of a user's account, or None."""
    row = await tx.fetch_one(select(accounts.c.id).where(accounts.c.user_id == user_id))
    return None if row is None else str(row["id"])


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
    entries = ledger_entries.c
    conditions = []
    if kind is not None:
        conditions.append(entries.kind == kind)
    if call_id is not None:
        conditions.append(entries.call_id == call_id)
    if account_id is not None:
        conditions.append(entries.account_id == account_id)
        if before is not None:
            conditions.append(entries.number < _number_of(account_id, before))
        order = entries.number.desc()
    else:
        if before is not None:
            conditions.append(entries.id < before)
        order = entries.id.desc()
    return await tx.fetch_all(_entries().where(and_(True, *conditions)).order_by(order).limit(limit))
