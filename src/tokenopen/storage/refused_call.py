"""Refused calls as stored: counts by the hour, and the newest of each account in full.

What the gateway's log of refusals writes, best effort, and the list of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, delete, insert, select, text

from tokenopen.ports.storage import Transaction
from tokenopen.storage.keyset import Stretch
from tokenopen.storage.schema import api_keys, groups, refused_calls, users

Row = Mapping[str, Any]

# Both engines take this as it stands.
_ADD_REFUSED_HOUR: Final = text("""
    INSERT INTO refused_hours (account_id, hour, key_id, group_id, code, calls)
    VALUES (:account_id, :hour, :key_id, :group_id, :code, :calls)
    ON CONFLICT (account_id, hour, key_id, group_id, code)
      DO UPDATE SET calls = refused_hours.calls + excluded.calls""")


async def add_refused_hour(tx: Transaction, row: Mapping[str, Any]) -> None:
    """Add to the count of an (account, key, group, code, hour)."""
    await tx.execute(_ADD_REFUSED_HOUR.bindparams(**row))


async def insert_refused_call(tx: Transaction, row: Mapping[str, Any]) -> None:
    """Keep one refusal in full."""
    await tx.execute(insert(refused_calls).values(**row))


async def trim_refused_calls(tx: Transaction, account_id: str, *, keep: int) -> None:
    """Drop all but the newest refusals of an account."""
    oldest_kept = await tx.fetch_one(
        select(refused_calls.c.id)
        .where(refused_calls.c.account_id == account_id)
        .order_by(refused_calls.c.id.desc())
        .offset(keep - 1)
        .limit(1)
    )
    if oldest_kept is not None:
        await tx.execute(
            delete(refused_calls).where(
                refused_calls.c.account_id == account_id, refused_calls.c.id < oldest_kept["id"]
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFilter:
    """Which refused calls are listed; None leaves a column open. ``until_ms`` is excluded.

    Of everybody's, without an account, only ``code`` has an index; an account has few.
    """

    account_id: str | None = None
    code: str | None = None
    key_id: str | None = None
    group_id: str | None = None
    model: str | None = None
    surface: str | None = None
    from_ms: int | None = None
    until_ms: int | None = None


def _with_names() -> Select[Any]:
    return (
        select(
            refused_calls,
            groups.c.slug.label("group_slug"),
            groups.c.name.label("group_name"),
            api_keys.c.name.label("key_name"),
            api_keys.c.last_four.label("key_last_four"),
            users.c.id.label("user_id"),
            users.c.email.label("user_email"),
        )
        .outerjoin(groups, groups.c.id == refused_calls.c.group_id)
        .outerjoin(api_keys, api_keys.c.id == refused_calls.c.key_id)
        .outerjoin(users, users.c.id == api_keys.c.user_id)
    )


def _conditions(wanted: RefusedFilter) -> list[ColumnElement[bool]]:
    column = refused_calls.c
    found = [
        column[name] == value
        for name in ("code", "key_id", "group_id", "model", "surface")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.from_ms is not None:
        found.append(column.refused_at_ms >= wanted.from_ms)
    if wanted.until_ms is not None:
        found.append(column.refused_at_ms < wanted.until_ms)
    return found


async def list_refused_calls(
    tx: Transaction, *, wanted: RefusedFilter, before_id: str | None, limit: int
) -> Sequence[Row]:
    """Return refused calls, newest first, with the names of key, group and user."""
    column = refused_calls.c
    prefix: list[tuple[ColumnElement[Any], Any]] = []
    if wanted.account_id is not None:
        prefix = [(column.account_id, wanted.account_id)]
    elif wanted.code is not None:
        prefix = [(column.code, wanted.code)]
    stretch = Stretch(by=column.id, prefix=prefix, before=before_id)
    return await tx.fetch_all(
        _with_names().where(stretch.where(), *_conditions(wanted)).order_by(*stretch.order()).limit(limit)
    )


async def find_refused_call(tx: Transaction, call_id: str, *, account_id: str | None) -> Row | None:
    """Return one refused call as ``list_refused_calls`` does, or None where it is not the account's."""
    statement = _with_names().where(refused_calls.c.id == call_id)
    if account_id is not None:
        statement = statement.where(refused_calls.c.account_id == account_id)
    return await tx.fetch_one(statement)
