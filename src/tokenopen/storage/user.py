"""Users and their accounts: one of each, made together."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Select, func, insert, or_, select, update

from tokenopen.core.money import ZERO, Nanocredits
from tokenopen.core.user import Role, User, UserState
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import accounts, users

# The password's hash stays in the database: only whether there is one is read.
_COLUMNS: Final = (
    users.c.id,
    users.c.email,
    users.c.name,
    users.c.role,
    users.c.state,
    users.c.password_hash.is_not(None).label("has_password"),
    users.c.created_at_ms,
    accounts.c.id.label("account_id"),
    accounts.c.balance,
    accounts.c.held,
)


def _users() -> Select[Any]:
    return select(*_COLUMNS).join(accounts, accounts.c.user_id == users.c.id)


def _user_from_row(row: Mapping[str, Any]) -> User:
    return User(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        role=row["role"],
        state=row["state"],
        has_password=bool(row["has_password"]),
        account_id=row["account_id"],
        balance=Nanocredits(row["balance"]),
        held=Nanocredits(row["held"]),
        created_at_ms=row["created_at_ms"],
    )


async def insert_user(tx: Transaction, user: User, *, password_hash: str | None) -> None:
    """Store a new user and their account, which is empty."""
    assert user.balance == user.held == ZERO
    await tx.execute(
        insert(users).values(
            id=user.id,
            email=user.email,
            name=user.name,
            role=user.role,
            state=user.state,
            password_hash=password_hash,
            created_at_ms=user.created_at_ms,
        )
    )
    await tx.execute(
        insert(accounts).values(
            id=user.account_id,
            user_id=user.id,
            state=user.state,
            version=1,
            balance=0,
            held=0,
            newest_ms=user.created_at_ms,
            entry_count=0,
            created_at_ms=user.created_at_ms,
        )
    )


async def find_user(tx: Transaction, user_id: str) -> User | None:
    """Return a user, or None."""
    row = await tx.fetch_one(_users().where(users.c.id == user_id))
    return None if row is None else _user_from_row(row)


async def find_user_by_email(tx: Transaction, email: str) -> User | None:
    """Return the user of a mail address, which is stored in lower case, or None."""
    row = await tx.fetch_one(_users().where(users.c.email == email))
    return None if row is None else _user_from_row(row)


async def find_first_administrator(tx: Transaction) -> User | None:
    """Return the active administrator who is longest there, or None."""
    row = await tx.fetch_one(
        _users()
        .where(users.c.role == "administrator", users.c.state == "active")
        .order_by(users.c.id)
        .limit(1)
    )
    return None if row is None else _user_from_row(row)


async def count_active_administrators(tx: Transaction) -> int:
    """Return how many users may administer the platform."""
    row = await tx.fetch_one(
        select(func.count().label("count"))
        .select_from(users)
        .where(users.c.role == "administrator", users.c.state == "active")
    )
    assert row is not None
    return int(row["count"])


async def list_users(
    tx: Transaction,
    *,
    email: str | None,
    search: str | None = None,
    role: Role | None,
    state: UserState | None,
    before_id: str | None,
    limit: int,
) -> Sequence[User]:
    """Return users, newest first; a filter that is None is not one.

    ``search`` is a part of the mail address or the name, whichever its case, or the whole id.
    """
    statement = _users().order_by(users.c.id.desc()).limit(limit)
    if search is not None:
        part = search.lower()
        statement = statement.where(
            or_(
                users.c.email.contains(part, autoescape=True),
                func.lower(users.c.name).contains(part, autoescape=True),
                users.c.id == search,
            )
        )
    for column, value in ((users.c.email, email), (users.c.role, role), (users.c.state, state)):
        if value is not None:
            statement = statement.where(column == value)
    if before_id is not None:
        statement = statement.where(users.c.id < before_id)
    return [_user_from_row(row) for row in await tx.fetch_all(statement)]


async def list_emails(tx: Transaction, user_ids: Sequence[str]) -> Mapping[str, str]:
    """Return the mail addresses of users by their id."""
    rows = await tx.fetch_all(select(users.c.id, users.c.email).where(users.c.id.in_(user_ids)))
    return {row["id"]: row["email"] for row in rows}


async def update_user(tx: Transaction, user: User) -> None:
    """Store a user's name, role and state; the account's state follows the user's."""
    await tx.execute(
        update(users).where(users.c.id == user.id).values(name=user.name, role=user.role, state=user.state)
    )
    await tx.execute(update(accounts).where(accounts.c.id == user.account_id).values(state=user.state))


async def claim_user(tx: Transaction, user_id: str, *, email: str, name: str, password_hash: str) -> None:
    """Store who the administrator of the first start is, once somebody has said so."""
    await tx.execute(
        update(users).where(users.c.id == user_id).values(email=email, name=name, password_hash=password_hash)
    )
