"""Signing up: people become users by themselves, where the operator lets them.

Where mail can be sent, an address is proven first: whoever asks gets a link, and chooses name and password
behind it. So nobody signs up with another's address, and nobody learns which addresses have users. Without
mail they sign up at once, with whatever address they type.
"""

from dataclasses import dataclass

from tokenopen.control.actor import Actor
from tokenopen.control.attempt import Subject, count_attempt
from tokenopen.control.ledger import give_starting_credit
from tokenopen.control.one_time_link import create_link, find_link, use_link
from tokenopen.control.password import hash_new_password
from tokenopen.control.services import Services
from tokenopen.control.session import Browser, open_session
from tokenopen.control.sign_in import readable_email
from tokenopen.control.user import store_user
from tokenopen.core.errors import SignUpClosed
from tokenopen.core.throttle import SIGN_UP_FROM_ADDRESS
from tokenopen.core.user import User
from tokenopen.ports.storage import Transaction
from tokenopen.storage import user as users
from tokenopen.storage.platform import load_platform
from tokenopen.storage.version import lock_catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Who signs up, as they call themselves."""

    email: str
    name: str
    password: str


async def _refuse_unless_open(tx: Transaction, email: str) -> None:
    platform = await load_platform(tx)
    if platform.lets_in(email):
        return
    if platform.sign_up == "open":
        domains = ", ".join(platform.allowed_email_domains)
        raise SignUpClosed(f"Sign up with an e-mail address of {domains}.", param="email")
    raise SignUpClosed("Signing up is closed here. Ask the administrator of this service.")


async def sign_up(services: Services, newcomer: Newcomer, browser: Browser) -> str:
    """Make somebody a user and return the token of the session they then have.

    For platforms without mail. Refuses SignUpClosed, TooManyAttempts, Conflict for an address that is
    taken, and InvalidRequest.
    """
    email = readable_email(newcomer.email)
    async with services.storage.write() as tx:
        await _refuse_unless_open(tx, email)
        from_address = Subject(name=f"sign up from {browser.address}", throttle=SIGN_UP_FROM_ADDRESS)
        await count_attempt(tx, [from_address], services.hashing_key)
    password_hash = await hash_new_password(newcomer.password, email=email)
    async with services.storage.write() as tx:
        user = await _store(tx, email=email, name=newcomer.name, password_hash=password_hash)
        return await open_session(tx, user, browser, hashing_key=services.hashing_key, replaced=None)


async def refuse_unless_open(services: Services, *, email: str) -> None:
    """Refuse SignUpClosed where the holder of an address may not sign up; InvalidRequest where it is none."""
    async with services.storage.read() as tx:
        await _refuse_unless_open(tx, readable_email(email))


async def sign_up_link(services: Services, *, email: str) -> str | None:
    """Return a link to mail to an address; None where a user has it already."""
    email = readable_email(email)
    async with services.storage.write() as tx:
        if await users.find_user_by_email(tx, email) is not None:
            return None
        token, _ = await create_link(
            tx, purpose="sign_up", user_id=None, email=email, hashing_key=services.hashing_key
        )
        return token


async def sign_up_by_link(
    services: Services, *, token: str, name: str, password: str, browser: Browser
) -> str:
    """Make the holder of a mailed link a user and return the token of the session they then have.

    Refuses LinkUnusable, SignUpClosed, Conflict, and InvalidRequest for the password.
    """
    async with services.storage.read() as tx:
        link = await find_link(tx, token, "sign_up", services.hashing_key)
    assert link.email is not None
    password_hash = await hash_new_password(password, email=link.email)
    async with services.storage.write() as tx:
        await use_link(tx, token, "sign_up", services.hashing_key)
        user = await _store(tx, email=link.email, name=name, password_hash=password_hash)
        return await open_session(tx, user, browser, hashing_key=services.hashing_key, replaced=None)


async def _store(tx: Transaction, *, email: str, name: str, password_hash: str) -> User:
    # Of two who sign up with one address at once, the second has to see the first one's.
    await lock_catalog(tx)
    await _refuse_unless_open(tx, email)
    user = await store_user(tx, None, email=email, name=name, role="user", password_hash=password_hash)
    credit = (await load_platform(tx)).starting_credit
    if credit:
        actor = Actor(
            user_id=user.id, email=user.email, role=user.role, account_id=user.account_id, via="sign_up"
        )
        await give_starting_credit(tx, actor, credit)
    return user
