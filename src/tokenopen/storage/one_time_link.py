"""One-time links: stored under keyed hashes of their tokens, and deleted by their use."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, insert, select

from tokenopen.core.one_time_link import LinkPurpose, OneTimeLink
from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import one_time_links


def _link_from_row(row: Mapping[str, Any]) -> OneTimeLink:
    return OneTimeLink(
        id=row["id"],
        purpose=row["purpose"],
        user_id=row["user_id"],
        email=row["email"],
        created_at_ms=row["created_at_ms"],
        expires_at_ms=row["expires_at_ms"],
    )


async def insert_link(tx: Transaction, link: OneTimeLink, token_hash: bytes) -> None:
    """Store a new link under its token's keyed hash."""
    await tx.execute(insert(one_time_links).values(**asdict(link), token_hash=token_hash))


async def find_link(tx: Transaction, token_hash: bytes, purpose: LinkPurpose) -> OneTimeLink | None:
    """Return the link under a keyed hash, expired or not, or None where there is none for this purpose."""
    row = await tx.fetch_one(
        select(one_time_links).where(
            one_time_links.c.token_hash == token_hash, one_time_links.c.purpose == purpose
        )
    )
    return None if row is None else _link_from_row(row)


async def take_link(tx: Transaction, link_id: str) -> bool:
    """Delete a link; False where another transaction, which uses it at the same time, was first."""
    return await tx.execute(delete(one_time_links).where(one_time_links.c.id == link_id)) == 1


async def delete_links_of(tx: Transaction, user_id: str) -> None:
    """Make every link that is for a user useless."""
    await tx.execute(delete(one_time_links).where(one_time_links.c.user_id == user_id))


async def delete_expired_links(tx: Transaction) -> None:
    """Forget links that nobody can use any more."""
    await tx.execute(delete(one_time_links).where(one_time_links.c.expires_at_ms <= tx.now_ms))
