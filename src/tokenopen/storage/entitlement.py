"""Entitlements: which accounts may use groups that are not public, and on which own terms."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, delete, insert, select, update

from tokenopen.core.terms import Entitlement
from tokenopen.ports.storage import Transaction
from tokenopen.storage.policy import decode_entitlement, encode_entitlement_terms
from tokenopen.storage.schema import entitlements, users

Row = Mapping[str, Any]


async def list_entitlements(tx: Transaction, account_ids: Sequence[str]) -> Sequence[Entitlement]:
    """Return the entitlements of some accounts, ended ones too."""
    rows = await tx.fetch_all(select(entitlements).where(entitlements.c.account_id.in_(account_ids)))
    return [decode_entitlement(row) for row in rows]


def _rows(account_id: str) -> Select[Any]:
    return (
        select(entitlements, users.c.email.label("actor_email"))
        .outerjoin(users, users.c.id == entitlements.c.actor_id)
        .where(entitlements.c.account_id == account_id)
        .order_by(entitlements.c.id)
    )


async def list_entitlement_rows(tx: Transaction, account_id: str) -> Sequence[Row]:
    """Return an account's entitlements with who wrote each and when, oldest first."""
    return await tx.fetch_all(_rows(account_id))


async def find_entitlement_row(tx: Transaction, account_id: str, group_id: str) -> Row | None:
    """Return an account's entitlement to a group with who wrote it and when, or None."""
    return await tx.fetch_one(_rows(account_id).where(entitlements.c.group_id == group_id))


async def insert_entitlement(tx: Transaction, entitlement: Entitlement, *, actor_id: str) -> None:
    """Store an account's first entitlement to a group."""
    await tx.execute(
        insert(entitlements).values(
            account_id=entitlement.account_id,
            group_id=entitlement.group_id,
            id=entitlement.id,
            terms=encode_entitlement_terms(entitlement),
            expires_at_ms=entitlement.expires_at_ms,
            actor_id=actor_id,
            created_at_ms=tx.now_ms,
            updated_at_ms=tx.now_ms,
        )
    )


async def update_entitlement(tx: Transaction, entitlement: Entitlement, *, actor_id: str) -> None:
    """Store other terms or another end of an entitlement."""
    await tx.execute(
        update(entitlements)
        .where(entitlements.c.id == entitlement.id)
        .values(
            terms=encode_entitlement_terms(entitlement),
            expires_at_ms=entitlement.expires_at_ms,
            actor_id=actor_id,
            updated_at_ms=tx.now_ms,
        )
    )


async def delete_entitlement(tx: Transaction, entitlement_id: str) -> None:
    """Remove an entitlement; calls keep the terms they were admitted under."""
    await tx.execute(delete(entitlements).where(entitlements.c.id == entitlement_id))
