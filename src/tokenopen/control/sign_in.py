"""Signing in and passwords: each story in one function.

They open their transactions themselves, since hashing must not be inside one. An attempt is counted before
it is made; what is found out about an address takes as long, and reads the same, whether a user has it.
"""

import secrets
from typing import Final

from tokenopen.control.actor import Actor
from tokenopen.control.attempt import Subject, count_attempt, forget_attempts
from tokenopen.control.audit_log import record_change
from tokenopen.control.one_time_link import create_link, find_link, use_link
from tokenopen.control.password import Verified, hash_new_password, verify_password
from tokenopen.control.services import Services
from tokenopen.control.session import Browser, open_session
from tokenopen.control.user import find_user
from tokenopen.core.errors import (
    AccountSuspended,
    InvalidRequest,
    LinkUnusable,
    SessionEnded,
    SignInFailed,
)
from tokenopen.core.one_time_link import OneTimeLink
from tokenopen.core.session import hash_session_token
from tokenopen.core.throttle import (
    MAIL_TO_ADDRESS,
    SIGN_IN_FROM_ADDRESS,
    SIGN_IN_OF_USER,
    SIGN_UP_FROM_ADDRESS,
)
from tokenopen.core.user import EMAIL, User
from tokenopen.ports.storage import Transaction
from tokenopen.storage import password as passwords
from tokenopen.storage import user as users
from tokenopen.storage.one_time_link import delete_links_of
from tokenopen.storage.password import StoredPassword
from tokenopen.storage.session import delete_sessions_of, replace_token

EMAIL_LENGTH_MAX: Final = 320


def normal_email(email: str) -> str:
    """Return a mail address as users are found by it."""
    return email.strip().lower()[:EMAIL_LENGTH_MAX]


def readable_email(email: str) -> str:
    """Return a mail address that a new user may have. Refuses InvalidRequest for anything else."""
    email = normal_email(email)
    if not EMAIL.fullmatch(email):
        raise InvalidRequest("Type an e-mail address such as ada@example.com.", param="email")
    return email


def _sign_in_of(email: str, address: str) -> Subject:
    return Subject(name=f"sign in of {email} from {address}", throttle=SIGN_IN_OF_USER)


async def sign_in(
    services: Services, *, email: str, password: str, browser: Browser, replaced: str | None
) -> str:
    """Open a session for whoever knows the password, and return its token.

    Refuses SignInFailed, TooManyAttempts, and AccountSuspended where the password is right.
    """
    email = normal_email(email)
    subject = _sign_in_of(email, browser.address)
    stored, verified = await _verify(
        services, subject, email=email, password=password, address=browser.address
    )
    if stored is None or not verified.is_right:
        raise SignInFailed
    async with services.storage.write() as tx:
        user = await _lock_unchanged(tx, stored)
        await forget_attempts(tx, subject, services.hashing_key)
        if verified.rehashed is not None:
            await passwords.update_password(tx, user.id, verified.rehashed)
        return await open_session(tx, user, browser, hashing_key=services.hashing_key, replaced=replaced)


async def _verify(
    services: Services, subject: Subject, *, email: str, password: str, address: str
) -> tuple[StoredPassword | None, Verified]:
    """Count the attempt and make it."""
    from_address = Subject(name=f"sign in from {address}", throttle=SIGN_IN_FROM_ADDRESS)
    async with services.storage.write() as tx:
        await count_attempt(tx, [subject, from_address], services.hashing_key)
        stored = await passwords.find_password_by_email(tx, email)
    return stored, await verify_password(None if stored is None else stored.hash, password)


async def _lock_unchanged(tx: Transaction, stored: StoredPassword) -> User:
    """Return the user, locked; refuses where the password or the user's state has changed meanwhile."""
    now = await passwords.lock_password(tx, stored.user_id)
    if now is None or now.hash != stored.hash:
        raise SignInFailed
    if now.user_state == "suspended":
        raise AccountSuspended("This user is suspended. Ask the administrator of this service.")
    user = await users.find_user(tx, stored.user_id)
    assert user is not None
    return user


async def confirm_password(services: Services, actor: Actor, *, password: str, address: str) -> str:
    """Take a session's password anew, for what needs a recent one, and return the token that it now has.

    Refuses SignInFailed, TooManyAttempts, SessionEnded.
    """
    stored = await _verify_own(services, actor, password=password, address=address)
    async with services.storage.write() as tx:
        await _lock_unchanged(tx, stored)
        assert actor.session_id is not None, "only a session gives its password anew"
        token = secrets.token_urlsafe(32)
        token_hash = hash_session_token(token, services.hashing_key)
        if not await replace_token(tx, actor.session_id, token_hash):
            raise SessionEnded
        return token


async def _verify_own(services: Services, actor: Actor, *, password: str, address: str) -> StoredPassword:
    subject = _sign_in_of(actor.email, address)
    stored, verified = await _verify(services, subject, email=actor.email, password=password, address=address)
    if stored is None or stored.user_id != actor.user_id or not verified.is_right:
        raise SignInFailed
    async with services.storage.write() as tx:
        await forget_attempts(tx, subject, services.hashing_key)
    return stored


async def change_password(
    services: Services, actor: Actor, *, password: str, new_password: str, browser: Browser
) -> str:
    """Change one's own password: every session ends but this one, which goes on under the returned token.

    Refuses SignInFailed where the old one is wrong, and InvalidRequest for the new one.
    """
    stored = await _verify_own(services, actor, password=password, address=browser.address)
    new_hash = await hash_new_password(new_password, email=actor.email)
    async with services.storage.write() as tx:
        user = await _lock_unchanged(tx, stored)
        await store_password(tx, actor, user, new_hash)
        return await open_session(tx, user, browser, hashing_key=services.hashing_key, replaced=None)


async def store_password(tx: Transaction, actor: Actor, user: User, password_hash: str) -> None:
    """Store a user's new password; their sessions and one-time links end."""
    await passwords.update_password(tx, user.id, password_hash)
    await delete_sessions_of(tx, user.id)
    await delete_links_of(tx, user.id)
    await record_change(
        tx,
        actor,
        action="user.set_password",
        subject_kind="user",
        subject_id=user.id,
        before={"has_password": user.has_password},
        after={"has_password": True},
    )


async def set_password(services: Services, actor: Actor, *, user_id: str, password: str) -> User:
    """Set a user's password, as an administrator; all their sessions end.

    Refuses NotFound, PasswordRequired, and InvalidRequest for the password.
    """
    async with services.storage.read() as tx:
        actor.require_administrator()
        actor.require_recent_password(tx.now_ms)
        user = await find_user(tx, actor, user_id)
    new_hash = await hash_new_password(password, email=user.email)
    async with services.storage.write() as tx:
        await passwords.lock_password(tx, user_id)
        await store_password(tx, actor, user, new_hash)
        return await find_user(tx, actor, user_id)


async def create_password_link(
    tx: Transaction, actor: Actor, *, user_id: str, hashing_key: bytes
) -> tuple[str, OneTimeLink]:
    """Return a link, this once, with which a user chooses a new password. For administrators.

    Refuses NotFound, PasswordRequired.
    """
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    user = await find_user(tx, actor, user_id)
    token, link = await create_link(
        tx, purpose="password", user_id=user.id, email=user.email, hashing_key=hashing_key
    )
    await record_change(
        tx,
        actor,
        action="user.create_password_link",
        subject_kind="user",
        subject_id=user.id,
        before=None,
        after={"link_id": link.id},
    )
    return token, link


async def count_mail(services: Services, *, email: str, address: str) -> None:
    """Count a mail that a stranger asks for, before it is known whether a user has the address.

    Refuses TooManyAttempts, and InvalidRequest for what is no address.
    """
    to_address = Subject(name=f"mail to {readable_email(email)}", throttle=MAIL_TO_ADDRESS)
    from_address = Subject(name=f"mail from {address}", throttle=SIGN_UP_FROM_ADDRESS)
    async with services.storage.write() as tx:
        await count_attempt(tx, [to_address, from_address], services.hashing_key)


async def forgotten_password_link(services: Services, *, email: str) -> tuple[str, User] | None:
    """Return a link to mail to the user of an address; None where nobody active has it."""
    async with services.storage.write() as tx:
        user = await users.find_user_by_email(tx, normal_email(email))
        if user is None or user.state != "active":
            return None
        token, _ = await create_link(
            tx, purpose="password", user_id=user.id, email=user.email, hashing_key=services.hashing_key
        )
        return token, user


async def choose_password(services: Services, *, token: str, password: str) -> User:
    """Set a user's password with the link that they were given; all their sessions end.

    Refuses LinkUnusable, and InvalidRequest for the password, which leaves the link as it is.
    """
    async with services.storage.read() as tx:
        link = await find_link(tx, token, "password", services.hashing_key)
        user = await _user_of_link(tx, link)
    new_hash = await hash_new_password(password, email=user.email)
    async with services.storage.write() as tx:
        # Before the link: whoever suspends the user locks them in this order too.
        await passwords.lock_password(tx, user.id)
        await use_link(tx, token, "password", services.hashing_key)
        user = await _user_of_link(tx, link)
        actor = Actor(
            user_id=user.id, email=user.email, role=user.role, account_id=user.account_id, via="link"
        )
        await store_password(tx, actor, user, new_hash)
    return user


async def _user_of_link(tx: Transaction, link: OneTimeLink) -> User:
    assert link.user_id is not None
    user = await users.find_user(tx, link.user_id)
    if user is None or user.state != "active":
        raise LinkUnusable
    return user
