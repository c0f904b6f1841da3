"""Passwords: the only statements that read or write their hashes."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, select, update

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


async def _find(
    tx: Transaction, condition: ColumnElement[bool], *, lock: bool = False
) -> StoredPassword | None:
    statement = select(users.c.id, users.c.email, users.c.state, users.c.password_hash).where(condition)
    row = await tx.fetch_one(statement.with_for_update(key_share=True) if lock else statement)
    if row is None:
        return None
    return StoredPassword(
        user_id=row["id"], email=row["email"], user_state=row["state"], hash=row["password_hash"]
    )


async def lock_password(tx: Transaction, user_id: str) -> StoredPassword | None:
    """Return a user's password, their row locked until the transaction ends; None without such a user."""
    return await _find(tx, users.c.id == user_id, lock=True)


async def find_password_by_email(tx: Transaction, email: str) -> StoredPassword | None:
    """Return the password of the user with a mail address, in lower case, or None."""
    return await _find(tx, users.c.email == email)


async def update_password(tx: Transaction, user_id: str, password_hash: str) -> None:
    """Store a user's new password."""
    await tx.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))
