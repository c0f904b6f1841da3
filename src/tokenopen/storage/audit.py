"""Audit statements: everything that was ever written, read once in pages of bounded size.

All of one audit runs in one read-only transaction and so on one snapshot, beside a busy server.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Subquery, Table, case, func, literal, null, or_, select, text

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import (
    accounts,
    api_keys,
    calls,
    dropped_calls,
    entitlements,
    group_revisions,
    groups,
    ledger_entries,
    price_revisions,
)

Row = Mapping[str, Any]

# Small, so that a page of an audit inside the server delays no call by more than some milliseconds.
PAGE: Final = 250
_MINUTE_MS: Final = 60_000
# Sorts after every limit that there can be.
_NO_LIMIT: Final = 2**62


async def _page(
    tx: Transaction, table: Table, key: Column[Any], after: Any, *conditions: ColumnElement[bool]
) -> Sequence[Row]:
    statement = select(table).where(*conditions).order_by(key).limit(PAGE)
    if after is not None:
        statement = statement.where(key > after)
    return await tx.fetch_all(statement)


async def list_price_revisions(tx: Transaction, after: str | None) -> Sequence[Row]:
    """Return a page of price revisions by id."""
    return await _page(tx, price_revisions, price_revisions.c.id, after)


async def list_group_revisions(tx: Transaction, after: str | None) -> Sequence[Row]:
    """Return a page of group revisions by id."""
    return await _page(tx, group_revisions, group_revisions.c.id, after)


async def list_entitlements(tx: Transaction, after: str | None) -> Sequence[Row]:
    """Return a page of entitlements by id."""
    return await _page(tx, entitlements, entitlements.c.id, after)


async def list_accounts(tx: Transaction, after: str | None) -> Sequence[Row]:
    """Return a page of accounts by id."""
    return await _page(tx, accounts, accounts.c.id, after)


async def list_keys(tx: Transaction, account_id: str, after: str | None) -> Sequence[Row]:
    """Return a page of an account's API keys by id."""
    return await _page(tx, api_keys, api_keys.c.id, after, api_keys.c.account_id == account_id)


async def list_groups_without_revision(tx: Transaction) -> Sequence[str]:
    """Return groups that have never said anything, ids only."""
    revised = select(group_revisions.c.id).where(group_revisions.c.group_id == groups.c.id).exists()
    return [row["id"] for row in await tx.fetch_all(select(groups.c.id).where(~revised))]


async def list_entries(tx: Transaction, account_id: str, after_number: int | None) -> Sequence[Row]:
    """Return a page of an account's ledger entries by number, each with its call's state and charge."""
    statement = (
        select(
            ledger_entries,
            calls.c.state.label("call_state"),
            calls.c.charge.label("call_charge"),
        )
        .outerjoin(
            calls,
            (calls.c.account_id == ledger_entries.c.account_id) & (calls.c.id == ledger_entries.c.call_id),
        )
        .where(ledger_entries.c.account_id == account_id)
        .order_by(ledger_entries.c.number)
        .limit(PAGE)
    )
    if after_number is not None:
        statement = statement.where(ledger_entries.c.number > after_number)
    return await tx.fetch_all(statement)


async def list_over_refunded(tx: Transaction, account_id: str, *, limit: int) -> Sequence[Row]:
    """Return calls of an account whose refund entries come to more than their charge entry took (I5).

    Of a call that was dropped its entries are all that is left.
    """
    refund, charge = ledger_entries.alias("refund"), ledger_entries.alias("charge")
    taken = (
        select(-charge.c.amount)
        .where(charge.c.id == _charge_entry_id(refund.c.call_id), charge.c.account_id == account_id)
        .scalar_subquery()
    )
    refunded = func.sum(refund.c.amount)
    of_calls = (
        select(refund.c.call_id, refunded.label("refunded"), func.coalesce(taken, 0).label("charge"))
        .where(refund.c.account_id == account_id, refund.c.kind == "refund")
        .group_by(refund.c.call_id)
        .subquery()
    )
    return await tx.fetch_all(select(of_calls).where(of_calls.c.refunded > of_calls.c.charge).limit(limit))


async def list_dropped_sums(tx: Transaction, account_id: str) -> Sequence[Row]:
    """Return what retention has dropped of an account's calls, by key."""
    return await tx.fetch_all(select(dropped_calls).where(dropped_calls.c.account_id == account_id))


def _charge_entry_id(call_id: ColumnElement[str]) -> ColumnElement[str]:
    """core.identifier.charge_entry_id, as both engines say it."""
    return literal("led_").concat(func.substr(call_id, len("call_") + 1))


async def list_calls(tx: Transaction, account_id: str, after_id: str | None) -> Sequence[Row]:
    """Return a page of an account's calls by id, each with the id of its charge entry where there is one."""
    statement = (
        select(calls, ledger_entries.c.id.label("charge_entry_id"))
        .outerjoin(
            ledger_entries,
            (ledger_entries.c.id == _charge_entry_id(calls.c.id))
            & (ledger_entries.c.account_id == calls.c.account_id),
        )
        .where(calls.c.account_id == account_id)
        .order_by(calls.c.id)
        .limit(PAGE)
    )
    if after_id is not None:
        statement = statement.where(calls.c.id > after_id)
    return await tx.fetch_all(statement)


async def sum_adjustments(tx: Transaction, account_id: str) -> Mapping[str, int]:
    """Return the sums of an account's adjustments that name a call, by call."""
    entry = ledger_entries.c
    amount = func.sum(entry.amount).label("amount")
    rows = await tx.fetch_all(
        select(entry.call_id, amount)
        .where(entry.account_id == account_id, entry.kind == "adjustment", entry.call_id.is_not(None))
        .group_by(entry.call_id)
    )
    return {row["call_id"]: int(row["amount"]) for row in rows}


async def list_over_limit(tx: Transaction, account_id: str, *, limit: int) -> Sequence[Row]:
    """Return calls of an account that were one too many for their own terms (I9).

    ``in_minute`` and ``in_day`` count the admissions of the call's group up to it: in the 60 s before,
    and on its day. Of calls admitted within the same millisecond no order is known; they are taken in the
    order of their limits, which is the one that excuses most.
    """
    group, at_ms = calls.c.group_id, calls.c.admitted_at_ms
    per_minute = func.coalesce(calls.c.requests_per_minute, _NO_LIMIT)
    per_day = func.coalesce(calls.c.requests_per_day, _NO_LIMIT)
    same_instant = [group, at_ms]
    up_to = func.count().over(partition_by=group, order_by=at_ms, range_=(-_MINUTE_MS, 0))
    at_once = func.count().over(partition_by=same_instant)
    place_at_once = func.row_number().over(partition_by=same_instant, order_by=[per_minute, calls.c.id])
    of_day = func.row_number().over(
        partition_by=[group, calls.c.day_ordinal], order_by=[at_ms, per_day, calls.c.id]
    )
    limited = or_(calls.c.requests_per_minute.is_not(None), calls.c.requests_per_day.is_not(None))
    limited_groups = select(group).where(calls.c.account_id == account_id, limited).distinct()
    counted = (
        select(
            calls.c.id,
            group,
            calls.c.requests_per_minute,
            calls.c.requests_per_day,
            (up_to - at_once + place_at_once).label("in_minute"),
            of_day.label("in_day"),
        )
        .where(calls.c.account_id == account_id, group.in_(limited_groups))
        .subquery()
    )
    return await tx.fetch_all(
        select(counted)
        .where(
            or_(
                counted.c.in_minute > counted.c.requests_per_minute,
                counted.c.in_day > counted.c.requests_per_day,
            )
        )
        .limit(limit)
    )


def _events(account_id: str, limit: Any) -> Subquery:
    """Return the beginnings and ends of an account's calls, where its groups have had a limit.

    Of what happened within the same millisecond no order is known: ends come first, then beginnings in the
    order of their limits, which is the order that excuses most.
    """
    of_limited = calls.c.group_id.in_(
        select(calls.c.group_id).where(calls.c.account_id == account_id, limit.is_not(None)).distinct()
    )
    units = case((calls.c.state == "settled", calls.c.input_units + calls.c.output_units), else_=0)
    begun = select(
        calls.c.id,
        calls.c.group_id,
        calls.c.admitted_at_ms.label("at_ms"),
        literal(1).label("opened"),
        literal(0).label("tokens"),
        limit.label("allowed"),
    ).where(calls.c.account_id == account_id, of_limited)
    ended = select(
        calls.c.id,
        calls.c.group_id,
        calls.c.resolved_at_ms.label("at_ms"),
        literal(-1).label("opened"),
        case((calls.c.tokens_per_minute.is_not(None), units), else_=0).label("tokens"),
        null().label("allowed"),
    ).where(calls.c.account_id == account_id, of_limited, calls.c.resolved_at_ms.is_not(None))
    return begun.union_all(ended).subquery()


async def list_over_crowd(tx: Transaction, account_id: str, *, limit: int) -> Sequence[Row]:
    """Return calls of an account that were admitted beside too many open ones for their own terms (I9)."""
    event = _events(account_id, calls.c.concurrent_calls).c
    order = [event.at_ms, event.opened, func.coalesce(event.allowed, _NO_LIMIT), event.id]
    open_calls = func.sum(event.opened).over(partition_by=event.group_id, order_by=order, rows=(None, 0))
    counted = select(event.id, event.allowed, open_calls.label("open_calls")).subquery()
    return await tx.fetch_all(select(counted).where(counted.c.open_calls > counted.c.allowed).limit(limit))


async def list_over_tokens(tx: Transaction, account_id: str, *, limit: int) -> Sequence[Row]:
    """Return calls of an account that were admitted although the 60 s before held their tokens (I9)."""
    event = _events(account_id, calls.c.tokens_per_minute).c
    before = func.sum(event.tokens).over(
        partition_by=event.group_id, order_by=event.at_ms, range_=(-_MINUTE_MS, -1)
    )
    counted = select(event.id, event.allowed, func.coalesce(before, 0).label("tokens")).subquery()
    return await tx.fetch_all(select(counted).where(counted.c.tokens >= counted.c.allowed).limit(limit))


# Skips from account to account by the primary key instead of reading every row; both engines take it.
_OWNERLESS: Final = """
    WITH RECURSIVE owners(id) AS (
      SELECT MIN(account_id) FROM {table}
      UNION ALL
      SELECT (SELECT MIN(account_id) FROM {table} WHERE account_id > owners.id) FROM owners
      WHERE owners.id IS NOT NULL)
    SELECT id FROM owners WHERE id IS NOT NULL AND id NOT IN (SELECT id FROM accounts)"""
_CALLS_WITHOUT_ACCOUNT: Final = text(_OWNERLESS.format(table="calls"))
_ENTRIES_WITHOUT_ACCOUNT: Final = text(_OWNERLESS.format(table="ledger_entries"))


async def list_owners_unknown(tx: Transaction) -> tuple[Sequence[str], Sequence[str]]:
    """Return account ids that calls name, and that ledger entries name, though there are no such accounts."""
    return (
        [row["id"] for row in await tx.fetch_all(_CALLS_WITHOUT_ACCOUNT)],
        [row["id"] for row in await tx.fetch_all(_ENTRIES_WITHOUT_ACCOUNT)],
    )
