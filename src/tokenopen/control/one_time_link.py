"""One-time links: made, looked at as often as one likes, used once."""

import secrets

from tokenopen.core.errors import LinkUnusable
from tokenopen.core.identifier import new_id
from tokenopen.core.one_time_link import LINK_LIFE_MS, LinkPurpose, OneTimeLink, hash_link_token
from tokenopen.ports.storage import Transaction
from tokenopen.storage import one_time_link as storage


async def create_link(
    tx: Transaction,
    *,
    purpose: LinkPurpose,
    user_id: str | None,
    email: str | None,
    hashing_key: bytes,
) -> tuple[str, OneTimeLink]:
    """Create a link and return its token, this once, with what is kept of it."""
    token = secrets.token_urlsafe(32)
    link = OneTimeLink(
        id=new_id("otl", tx.now_ms),
        purpose=purpose,
        user_id=user_id,
        email=email,
        created_at_ms=tx.now_ms,
        expires_at_ms=tx.now_ms + LINK_LIFE_MS,
    )
    await storage.insert_link(tx, link, hash_link_token(token, hashing_key))
    return token, link


async def find_link(tx: Transaction, token: str, purpose: LinkPurpose, hashing_key: bytes) -> OneTimeLink:
    """Return the link of a token without using it: mail programs open links too. Refuses LinkUnusable."""
    link = await storage.find_link(tx, hash_link_token(token, hashing_key), purpose)
    if link is None or tx.now_ms >= link.expires_at_ms:
        raise LinkUnusable
    return link


async def use_link(tx: Transaction, token: str, purpose: LinkPurpose, hashing_key: bytes) -> OneTimeLink:
    """Use a link up and return it. Refuses LinkUnusable.

    In the transaction that does what it is for, so that a link is used up only where that was done.
    """
    link = await find_link(tx, token, purpose, hashing_key)
    if not await storage.take_link(tx, link.id):
        raise LinkUnusable
    return link
