"""Management keys: the rows behind the control API's credentials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from tokenopen.core.management_key import ManagementKey
from tokenopen.core.user import Role, UserState
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import accounts, management_keys, users


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOwner:
    """A management key with the user it belongs to."""

    key: ManagementKey
    email: str
    role: Role
    user_state: UserState
    account_id: str


def _key_from_row(row: Mapping[str, Any]) -> ManagementKey:
    return ManagementKey(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        last_four=row["last_four"],
        state=row["state"],
        created_at_ms=row["created_at_ms"],
        revoked_at_ms=row["revoked_at_ms"],
    )


async def insert_management_key(tx: Transaction, key: ManagementKey, key_hash: bytes) -> None:
    """Store a new key under its keyed hash."""
    await tx.execute(
        insert(management_keys).values(
            id=key.id,
            user_id=key.user_id,
            key_hash=key_hash,
            last_four=key.last_four,
            name=key.name,
            state=key.state,
            created_at_ms=key.created_at_ms,
            revoked_at_ms=key.revoked_at_ms,
        )
    )


async def find_key_owner(tx: Transaction, key_hash: bytes) -> KeyOwner | None:
    """Return the key under a keyed hash, with its user, or None."""
    row = await tx.fetch_one(
        select(
            management_keys,
            users.c.email,
            users.c.role,
            users.c.state.label("user_state"),
            accounts.c.id.label("account_id"),
        )
        .join(users, users.c.id == management_keys.c.user_id)
        .join(accounts, accounts.c.user_id == users.c.id)
        .where(management_keys.c.key_hash == key_hash)
    )
    if row is None:
        return None
    return KeyOwner(
        key=_key_from_row(row),
        email=row["email"],
        role=row["role"],
        user_state=row["user_state"],
        account_id=row["account_id"],
    )


async def find_management_key(tx: Transaction, key_id: str, *, user_id: str) -> ManagementKey | None:
    """Return a user's key, or None where there is none of that id or it is another user's."""
    row = await tx.fetch_one(
        select(management_keys).where(management_keys.c.id == key_id, management_keys.c.user_id == user_id)
    )
    return None if row is None else _key_from_row(row)


async def list_management_keys(
    tx: Transaction, *, user_id: str, before_id: str | None, limit: int
) -> Sequence[ManagementKey]:
    """Return a user's keys, newest first, revoked ones too."""
    statement = (
        select(management_keys)
        .where(management_keys.c.user_id == user_id)
        .order_by(management_keys.c.id.desc())
        .limit(limit)
    )
    if before_id is not None:
        statement = statement.where(management_keys.c.id < before_id)
    return [_key_from_row(row) for row in await tx.fetch_all(statement)]


async def list_active_management_keys(
    tx: Transaction, *, before_id: str | None, limit: int
) -> Sequence[ManagementKey]:
    """Return everybody's keys that are not revoked, newest first."""
    statement = (
        select(management_keys)
        .where(management_keys.c.state == "active")
        .order_by(management_keys.c.id.desc())
        .limit(limit)
    )
    if before_id is not None:
        statement = statement.where(management_keys.c.id < before_id)
    return [_key_from_row(row) for row in await tx.fetch_all(statement)]


async def list_active_named(tx: Transaction, *, user_id: str, name: str) -> Sequence[ManagementKey]:
    """Return a user's active keys of a name."""
    rows = await tx.fetch_all(
        select(management_keys).where(
            management_keys.c.user_id == user_id,
            management_keys.c.name == name,
            management_keys.c.state == "active",
        )
    )
    return [_key_from_row(row) for row in rows]


async def mark_management_key_revoked(tx: Transaction, key: ManagementKey) -> None:
    """Store that a key has been revoked, and when."""
    await tx.execute(
        update(management_keys)
        .where(management_keys.c.id == key.id)
        .values(state=key.state, revoked_at_ms=key.revoked_at_ms)
    )
