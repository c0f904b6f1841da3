"""Call statements: lists of calls, one call, and the one row that a receipt is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, select

from tokenopen.core.identifier import new_id
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import (
    api_keys,
    calls,
    group_revisions,
    groups,
    price_revisions,
    refused_calls,
    users,
)

Row = Mapping[str, Any]

# A call's id tells when it arrived, and the list is read by id; it is admitted a little later, at worst
# after the till's retries. Clocks of several machines may differ by some of this too.
_ADMISSION_LAG_MS: Final = 5 * 60 * 1000
_TIME_LENGTH: Final = len("call_") + 10  # ten digits of base 32 hold the id's 48 bits of time


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are listed; None leaves a column open. Instants are of admission, ``until_ms`` excluded."""

    account_id: str | None = None
    key_id: str | None = None
    group_id: str | None = None
    model: str | None = None
    surface: str | None = None
    state: str | None = None
    end_reason: str | None = None
    from_ms: int | None = None
    until_ms: int | None = None


async def find_account_id(tx: Transaction, call_id: str) -> str | None:
    """Return the id of the account that a call is of, or None."""
    row = await tx.fetch_one(select(calls.c.account_id).where(calls.c.id == call_id))
    return None if row is None else str(row["account_id"])


async def get_call(tx: Transaction, account_id: str, call_id: str) -> Row:
    """Return a call's row as it stands."""
    row = await tx.fetch_one(select(calls).where(calls.c.account_id == account_id, calls.c.id == call_id))
    assert row is not None, f"there is no call {call_id}"
    return row


def _first_id(at_ms: int) -> str:
    """Return what no id of a call that arrived at or after the instant sorts before."""
    return new_id("call", at_ms)[:_TIME_LENGTH]


def _conditions(wanted: CallFilter) -> list[ColumnElement[bool]]:
    columns = ("account_id", "key_id", "group_id", "model", "surface", "state", "end_reason")
    conditions: list[ColumnElement[bool]] = [
        calls.c[column] == value for column in columns if (value := getattr(wanted, column)) is not None
    ]
    if wanted.from_ms is not None:
        conditions.append(calls.c.admitted_at_ms >= wanted.from_ms)
        conditions.append(calls.c.id >= _first_id(max(0, wanted.from_ms - _ADMISSION_LAG_MS)))
    if wanted.until_ms is not None:
        conditions.append(calls.c.admitted_at_ms < wanted.until_ms)
        conditions.append(calls.c.id < _first_id(wanted.until_ms + _ADMISSION_LAG_MS))
    return conditions


async def list_calls(
    tx: Transaction, *, wanted: CallFilter, before_id: str | None, limit: int
) -> Sequence[Row]:
    """Return calls, newest first, each with the names its ids stand for."""
    conditions = _conditions(wanted)
    if before_id is not None:
        conditions.append(calls.c.id < before_id)
    return await tx.fetch_all(_with_names().where(*conditions).order_by(calls.c.id.desc()).limit(limit))


async def find_call(tx: Transaction, call_id: str, *, account_id: str | None) -> Row | None:
    """Return one call with the names its ids stand for, or None where it is not the account's."""
    statement = _with_names().where(calls.c.id == call_id)
    if account_id is not None:
        statement = statement.where(calls.c.account_id == account_id)
    return await tx.fetch_one(statement)


def _with_names() -> Any:
    return (
        select(
            calls,
            groups.c.slug.label("group_slug"),
            groups.c.name.label("group_name"),
            group_revisions.c.number.label("group_revision_number"),
            price_revisions.c.number.label("price_revision_number"),
            api_keys.c.name.label("key_name"),
            api_keys.c.last_four.label("key_last_four"),
            users.c.email.label("user_email"),
        )
        .outerjoin(groups, groups.c.id == calls.c.group_id)
        .outerjoin(group_revisions, group_revisions.c.id == calls.c.group_revision_id)
        .outerjoin(price_revisions, price_revisions.c.id == calls.c.price_revision_id)
        .outerjoin(api_keys, api_keys.c.id == calls.c.key_id)
        .outerjoin(users, users.c.id == calls.c.user_id)
    )


async def list_refused_calls(
    tx: Transaction, *, account_id: str | None, code: str | None, before_id: str | None, limit: int
) -> Sequence[Row]:
    """Return refused calls, of one account or of all, newest first, with the names of key and group."""
    conditions: list[ColumnElement[bool]] = []
    if account_id is not None:
        conditions.append(refused_calls.c.account_id == account_id)
    if code is not None:
        conditions.append(refused_calls.c.code == code)
    if before_id is not None:
        conditions.append(refused_calls.c.id < before_id)
    return await tx.fetch_all(
        select(
            refused_calls,
            groups.c.slug.label("group_slug"),
            groups.c.name.label("group_name"),
            api_keys.c.name.label("key_name"),
        )
        .outerjoin(groups, groups.c.id == refused_calls.c.group_id)
        .outerjoin(api_keys, api_keys.c.id == refused_calls.c.key_id)
        .where(*conditions)
        .order_by(refused_calls.c.id.desc())
        .limit(limit)
    )
