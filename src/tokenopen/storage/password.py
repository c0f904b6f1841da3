"""Passwords: the only statements that read or write their hashes."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select, update

from tokenopen.core.user import UserState
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import users


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPassword:
    """A user's password as it is kept; ``hash`` is None where they have none."""

    user_id: str
    email: str
    user_state: UserState
    hash: str | None


async def _find(tx: Transaction, condition: ColumnElement[Any]) -> StoredPassword | None:
    row = await tx.fetch_one(
        select(users.c.id, users.c.email, users.c.state, users.c.password_hash).where(condition)
    )
    if row is None:
        return None
    return StoredPassword(
        user_id=row["id"], email=row["email"], user_state=row["state"], hash=row["password_hash"]
    )


async def find_password(tx: Transaction, user_id: str) -> StoredPassword | None:
    """Return a user's password, or None where there is no such user."""
    return await _find(tx, users.c.id == user_id)


async def find_password_by_email(tx: Transaction, email: str) -> StoredPassword | None:
    """Return the password of the user with a mail address, in lower case, or None."""
    return await _find(tx, users.c.email == email)


async def update_password(tx: Transaction, user_id: str, password_hash: str) -> None:
    """Store a user's new password."""
    await tx.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))


async def replace_hash(tx: Transaction, user_id: str, *, old: str, new: str) -> None:
    """Store the same password hashed anew, unless it was changed meanwhile."""
    await tx.execute(
        update(users).where(users.c.id == user_id, users.c.password_hash == old).values(password_hash=new)
    )


async def count_administrators_with_password(tx: Transaction) -> int:
    """Return how many active administrators can sign in."""
    row = await tx.fetch_one(
        select(func.count().label("count"))
        .select_from(users)
        .where(users.c.role == "administrator", users.c.state == "active", users.c.password_hash.is_not(None))
    )
    assert row is not None
    return int(row["count"])
