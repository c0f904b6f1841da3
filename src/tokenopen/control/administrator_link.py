"""Administrator link: what the first start prints, so that a person gets in with a password of their own.

The first one to use such a link becomes the administrator in whose name the process acts; later ones become
further administrators.
"""

from dataclasses import replace

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.one_time_link import create_link, find_link, use_link
from tokenopen.control.password import hash_new_password
from tokenopen.control.services import Services
from tokenopen.control.session import Browser, open_session
from tokenopen.control.setup import ADMINISTRATOR_EMAIL
from tokenopen.control.sign_in import readable_email
from tokenopen.control.user import refuse_taken_email, store_user
from tokenopen.core.one_time_link import OneTimeLink
from tokenopen.core.user import User
from tokenopen.ports.storage import Transaction
from tokenopen.storage import user as users
from tokenopen.storage.version import lock_catalog


async def create_administrator_link(
    tx: Transaction, actor: Actor, *, hashing_key: bytes
) -> tuple[str, OneTimeLink]:
    """Return a link, this once, that makes whoever opens it an administrator. Refuses PasswordRequired."""
    actor.require_administrator()
    actor.require_recent_password(tx.now_ms)
    token, link = await create_link(
        tx, purpose="administrator", user_id=None, email=None, hashing_key=hashing_key
    )
    await record_change(
        tx,
        actor,
        action="administrator_link.create",
        subject_kind="administrator_link",
        subject_id=link.id,
        before=None,
        after={"expires_at_ms": link.expires_at_ms},
    )
    return token, link


async def become_administrator(
    services: Services, *, token: str, email: str, name: str, password: str, browser: Browser
) -> str:
    """Make whoever holds a link an administrator, and return the token of the session they then have.

    Refuses LinkUnusable; InvalidRequest and Conflict for an address that is taken, which
    leave the link as it is.
    """
    email = readable_email(email)
    async with services.storage.read() as tx:
        await find_link(tx, token, "administrator", services.hashing_key)
    password_hash = await hash_new_password(password, email=email)
    async with services.storage.write() as tx:
        # Of two who use links at once, the second has to see that the first administrator is taken.
        await lock_catalog(tx)
        await use_link(tx, token, "administrator", services.hashing_key)
        user = await _store_administrator(tx, email=email, name=name, password_hash=password_hash)
        return await open_session(tx, user, browser, hashing_key=services.hashing_key, replaced=None)


async def _store_administrator(tx: Transaction, *, email: str, name: str, password_hash: str) -> User:
    first = await users.find_user_by_email(tx, ADMINISTRATOR_EMAIL)
    if first is None or first.has_password or first.role != "administrator" or first.state != "active":
        return await store_user(
            tx, None, email=email, name=name, role="administrator", password_hash=password_hash
        )
    if email != ADMINISTRATOR_EMAIL:
        await refuse_taken_email(tx, email)
    await users.claim_user(tx, first.id, email=email, name=name, password_hash=password_hash)
    claimed = replace(first, email=email, name=name, has_password=True)
    await record_change(
        tx,
        Actor(user_id=first.id, email=email, role=first.role, account_id=first.account_id, via="link"),
        action="user.claim",
        subject_kind="user",
        subject_id=first.id,
        before={"email": first.email, "name": first.name},
        after={"email": email, "name": name},
    )
    return claimed
