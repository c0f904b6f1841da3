"""Sessions: the rows behind signed-in browsers, under keyed hashes of their tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, insert, or_, select, update

from tokenopen.core.session import SESSION_IDLE_MS, Session
from tokenopen.core.user import Role, UserState
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import accounts, sessions, users


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOwner:
    """A session with the user it belongs to."""

    session: Session
    email: str
    name: str
    role: Role
    user_state: UserState
    account_id: str


def _session_from_row(row: Mapping[str, Any]) -> Session:
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        user_agent=row["user_agent"],
        address=row["address"],
        created_at_ms=row["created_at_ms"],
        last_used_at_ms=row["last_used_at_ms"],
        expires_at_ms=row["expires_at_ms"],
        password_at_ms=row["password_at_ms"],
    )


async def insert_session(tx: Transaction, session: Session, token_hash: bytes) -> None:
    """Store a new session under its token's keyed hash."""
    await tx.execute(insert(sessions).values(**asdict(session), token_hash=token_hash))


async def find_session_owner(tx: Transaction, token_hash: bytes) -> SessionOwner | None:
    """Return the session under a keyed hash, with its user, or None."""
    row = await tx.fetch_one(
        select(
            sessions,
            users.c.email,
            users.c.name,
            users.c.role,
            users.c.state.label("user_state"),
            accounts.c.id.label("account_id"),
        )
        .join(users, users.c.id == sessions.c.user_id)
        .join(accounts, accounts.c.user_id == users.c.id)
        .where(sessions.c.token_hash == token_hash)
    )
    if row is None:
        return None
    return SessionOwner(
        session=_session_from_row(row),
        email=row["email"],
        name=row["name"],
        role=row["role"],
        user_state=row["user_state"],
        account_id=row["account_id"],
    )


async def find_session(tx: Transaction, session_id: str, *, user_id: str) -> Session | None:
    """Return a user's session, or None where there is none of that id or it is another user's."""
    row = await tx.fetch_one(
        select(sessions).where(sessions.c.id == session_id, sessions.c.user_id == user_id)
    )
    return None if row is None else _session_from_row(row)


async def list_sessions(tx: Transaction, *, user_id: str) -> Sequence[Session]:
    """Return a user's sessions, the one used last first; some may have ended by themselves."""
    rows = await tx.fetch_all(
        select(sessions)
        .where(sessions.c.user_id == user_id)
        .order_by(sessions.c.last_used_at_ms.desc(), sessions.c.id.desc())
    )
    return [_session_from_row(row) for row in rows]


async def note_use(tx: Transaction, session_id: str) -> None:
    """Store that a session is used now."""
    await tx.execute(update(sessions).where(sessions.c.id == session_id).values(last_used_at_ms=tx.now_ms))


async def replace_token(tx: Transaction, session_id: str, token_hash: bytes) -> bool:
    """Give a session another token, its password given now; False where the session has ended meanwhile."""
    statement = (
        update(sessions)
        .where(sessions.c.id == session_id)
        .values(token_hash=token_hash, last_used_at_ms=tx.now_ms, password_at_ms=tx.now_ms)
    )
    return await tx.execute(statement) == 1


async def delete_session(tx: Transaction, session_id: str) -> None:
    """Make a session's token useless."""
    await tx.execute(delete(sessions).where(sessions.c.id == session_id))


async def delete_sessions_of(tx: Transaction, user_id: str, *, keep: str | None = None) -> int:
    """Make the tokens of a user's sessions useless, but for one to keep; return how many there were."""
    statement = delete(sessions).where(sessions.c.user_id == user_id)
    if keep is not None:
        statement = statement.where(sessions.c.id != keep)
    return await tx.execute(statement)


async def delete_ended_sessions(tx: Transaction) -> None:
    """Forget sessions that have ended by themselves."""
    await tx.execute(
        delete(sessions).where(
            or_(
                sessions.c.expires_at_ms <= tx.now_ms,
                sessions.c.last_used_at_ms <= tx.now_ms - SESSION_IDLE_MS,
            )
        )
    )
