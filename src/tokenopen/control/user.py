"""Users: created by administrators, each with an account; suspended and made administrators by them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypedDict

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.core.errors import Conflict, NotFound
from tokenopen.core.identifier import new_id
from tokenopen.core.money import ZERO
from tokenopen.core.user import Role, User, UserState
from tokenopen.ports.storage import Transaction
from tokenopen.storage import user as storage
from tokenopen.storage.one_time_link import delete_links_of
from tokenopen.storage.session import delete_sessions_of
from tokenopen.storage.version import bump_account_version, lock_catalog


class UserChanges(TypedDict, total=False):
    """What a PATCH of a user may hold."""

    name: str
    role: Role
    state: UserState


def _describe(user: User) -> dict[str, object]:
    return {
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "state": user.state,
        "account_id": user.account_id,
    }


async def find_user(tx: Transaction, actor: Actor, user_id: str) -> User:
    """Return a user: oneself, or as an administrator anybody. Refuses NotFound."""
    if user_id != actor.user_id:
        actor.require_administrator()
    user = await storage.find_user(tx, user_id)
    if user is None:
        raise NotFound(f"There is no user {user_id}.")
    return user


async def list_users(
    tx: Transaction,
    actor: Actor,
    *,
    page: PageRequest,
    email: str | None = None,
    search: str | None = None,
    role: Role | None = None,
    state: UserState | None = None,
) -> Page[User]:
    """Return users, newest first. ``search`` is a part of their mail address or name, or their id."""
    actor.require_administrator()
    users = await storage.list_users(
        tx,
        email=None if email is None else email.lower(),
        search=search,
        role=role,
        state=state,
        before_id=page.after,
        limit=page.fetch,
    )
    return cut_page(users, page, cursor_of=lambda user: user.id)


async def find_named_user(tx: Transaction, actor: Actor, name: str) -> User | None:
    """Return the user whose id or mail address this is, or None."""
    actor.require_administrator()
    return await storage.find_user(tx, name) or await storage.find_user_by_email(tx, name.strip().lower())


async def list_emails(tx: Transaction, actor: Actor, user_ids: Iterable[str | None]) -> Mapping[str, str]:
    """Return the mail addresses of users by their id; ids that are no user's (any more) are left out."""
    actor.require_administrator()
    wanted = sorted({user_id for user_id in user_ids if user_id is not None})
    return await storage.list_emails(tx, wanted) if wanted else {}


async def create_user(
    tx: Transaction, actor: Actor, *, email: str, name: str, role: Role, password_hash: str | None
) -> User:
    """Create a user and their account, which has no credit yet. Refuses Conflict where the mail is taken."""
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    # Of two who create a user with one mail address at once, the second has to see the first one's.
    await lock_catalog(tx)
    return await store_user(tx, actor, email=email, name=name, role=role, password_hash=password_hash)


async def store_user(
    tx: Transaction, actor: Actor | None, *, email: str, name: str, role: Role, password_hash: str | None
) -> User:
    """Store a new user; at the first start and where people sign up they are their own actor."""
    email = email.lower()
    await refuse_taken_email(tx, email)
    user = User(
        id=new_id("usr", tx.now_ms),
        email=email,
        name=name,
        role=role,
        state="active",
        has_password=password_hash is not None,
        account_id=new_id("acc", tx.now_ms),
        balance=ZERO,
        held=ZERO,
        created_at_ms=tx.now_ms,
    )
    await storage.insert_user(tx, user, password_hash=password_hash)
    await record_change(
        tx,
        actor or actor_at_start(user),
        action="user.create",
        subject_kind="user",
        subject_id=user.id,
        before=None,
        after=_describe(user),
    )
    return user


async def refuse_taken_email(tx: Transaction, email: str) -> None:
    """Refuse Conflict where a user has a mail address already."""
    if await storage.find_user_by_email(tx, email) is not None:
        raise Conflict(f"There is a user {email} already.", param="email")


def actor_at_start(user: User) -> Actor:
    """Return a user as the one who does what the process does by itself when it starts."""
    return Actor(user_id=user.id, email=user.email, role=user.role, account_id=user.account_id, via="start")


async def update_user(tx: Transaction, actor: Actor, user_id: str, changes: UserChanges) -> User:
    """Change a user's name, role or state; suspending binds the very next call of their keys.

    With another role, or suspended, a user's sessions end: what they were opened for no longer holds.
    Refuses NotFound, and Conflict where no active administrator would be left.
    """
    actor.require_administrator()
    # Of two administrators who suspend each other at once, one has to see the other gone.
    await lock_catalog(tx)
    before = await find_user(tx, actor, user_id)
    after = replace(before, **changes)
    if after == before:
        return before
    if after.role != before.role:
        actor.require_recent_password(tx.now_ms)
    await _refuse_last_administrator(tx, before, after)

    await storage.update_user(tx, after)
    if after.role != before.role or after.state == "suspended":
        await delete_sessions_of(tx, user_id)
        await delete_links_of(tx, user_id)
    await bump_account_version(tx, after.account_id)
    await record_change(
        tx,
        actor,
        action="user.update",
        subject_kind="user",
        subject_id=user_id,
        before=_describe(before),
        after=_describe(after),
    )
    return after


async def _refuse_last_administrator(tx: Transaction, before: User, after: User) -> None:
    was = before.role == "administrator" and before.state == "active"
    remains = after.role == "administrator" and after.state == "active"
    if was and not remains and await storage.count_active_administrators(tx) == 1:
        raise Conflict(
            f"{before.email} is the only active administrator. Make another user administrator first."
        )
