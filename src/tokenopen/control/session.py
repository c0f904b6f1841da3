"""Sessions: opened by a password, looked up at every request, listed and revoked by their user."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.user import find_user
from tokenopen.core.errors import AccountSuspended, NotFound, SessionEnded
from tokenopen.core.identifier import new_id
from tokenopen.core.session import (
    SESSION_LONGEST_MS,
    Session,
    hash_session_token,
    readable_user_agent,
)
from tokenopen.core.user import User
from tokenopen.ports.storage import Storage, Transaction
from tokenopen.storage import session as storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """What a session is opened from, as its user will see it listed."""

    user_agent: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """The user behind a request, what they are called, and the session that it came with."""

    actor: Actor
    name: str
    session: Session


async def open_session(
    tx: Transaction, user: User, browser: Browser, *, hashing_key: bytes, replaced: str | None
) -> str:
    """Open a session for a user who has just given their password, and return its token, this once.

    ``replaced`` is the token that the browser came with: it ends, so that nobody who planted or copied it
    is signed in with it.
    """
    if replaced is not None:
        await _end_replaced(tx, hash_session_token(replaced, hashing_key))
    token = secrets.token_urlsafe(32)
    session = Session(
        id=new_id("ses", tx.now_ms),
        user_id=user.id,
        user_agent=readable_user_agent(browser.user_agent),
        address=browser.address,
        created_at_ms=tx.now_ms,
        last_used_at_ms=tx.now_ms,
        expires_at_ms=tx.now_ms + SESSION_LONGEST_MS,
        password_at_ms=tx.now_ms,
    )
    await storage.insert_session(tx, session, hash_session_token(token, hashing_key))
    await record_change(
        tx,
        _actor_of(user, session),
        action="session.create",
        subject_kind="session",
        subject_id=session.id,
        before=None,
        after=_describe(session),
    )
    return token


async def _end_replaced(tx: Transaction, token_hash: bytes) -> None:
    owner = await storage.find_session_owner(tx, token_hash)
    if owner is not None:
        await storage.delete_session(tx, owner.session.id)


def _actor_of(user: User, session: Session) -> Actor:
    return Actor(
        user_id=user.id,
        email=user.email,
        role=user.role,
        account_id=user.account_id,
        via="session",
        session_id=session.id,
        password_at_ms=session.password_at_ms,
    )


def _describe(session: Session) -> dict[str, object]:
    return {"user_id": session.user_id, "user_agent": session.user_agent, "address": session.address}


async def authenticate(tx: Transaction, token: str, hashing_key: bytes) -> SignedIn:
    """Return the user behind a session's token. Refuses SessionEnded, AccountSuspended."""
    owner = await storage.find_session_owner(tx, hash_session_token(token, hashing_key))
    if owner is None or owner.session.is_over(tx.now_ms):
        raise SessionEnded
    if owner.user_state == "suspended":
        raise AccountSuspended("This user is suspended. Ask the administrator of this service.")
    actor = Actor(
        user_id=owner.session.user_id,
        email=owner.email,
        role=owner.role,
        account_id=owner.account_id,
        via="session",
        session_id=owner.session.id,
        password_at_ms=owner.session.password_at_ms,
    )
    return SignedIn(actor=actor, name=owner.name, session=owner.session)


async def find_signed_in(storage_port: Storage, token: str, hashing_key: bytes) -> SignedIn:
    """Return the user behind a session's token, as of now; every few minutes its use is written down.

    Refuses SessionEnded, AccountSuspended.
    """
    async with storage_port.read() as tx:
        signed_in = await authenticate(tx, token, hashing_key)
        worth_noting = signed_in.session.use_is_worth_noting(tx.now_ms)
    if worth_noting:
        async with storage_port.write() as tx:
            await storage.note_use(tx, signed_in.session.id)
    return signed_in


async def end_session(tx: Transaction, actor: Actor) -> None:
    """Sign out: the session that asks ends."""
    assert actor.session_id is not None, "only a session can sign out"
    await storage.delete_session(tx, actor.session_id)


async def list_sessions(tx: Transaction, actor: Actor, *, user_id: str) -> Sequence[Session]:
    """Return a user's sessions that have not ended, the one used last first. Refuses NotFound."""
    await find_user(tx, actor, user_id)
    sessions = await storage.list_sessions(tx, user_id=user_id)
    return [session for session in sessions if not session.is_over(tx.now_ms)]


async def revoke_session(tx: Transaction, actor: Actor, session_id: str, *, user_id: str) -> None:
    """End one of a user's sessions, from their very next request on. Refuses NotFound."""
    await find_user(tx, actor, user_id)
    session = await storage.find_session(tx, session_id, user_id=user_id)
    if session is None:
        raise NotFound(f"There is no session {session_id}.")
    await storage.delete_session(tx, session_id)
    await record_change(
        tx,
        actor,
        action="session.revoke",
        subject_kind="session",
        subject_id=session_id,
        before=_describe(session),
        after=None,
    )


async def revoke_sessions(tx: Transaction, actor: Actor, *, user_id: str) -> int:
    """End all of a user's sessions but the one that asks; return how many there were. Refuses NotFound."""
    await find_user(tx, actor, user_id)
    ended = await storage.delete_sessions_of(tx, user_id, keep=actor.session_id)
    if ended:
        await record_change(
            tx,
            actor,
            action="session.revoke_all",
            subject_kind="user",
            subject_id=user_id,
            before={"sessions": ended},
            after=None,
        )
    return ended
