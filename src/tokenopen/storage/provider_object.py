"""Statements about what providers keep from replies. Rows are written by the till, with the settlement."""

from collections.abc import Mapping, Sequence

from sqlalchemy import select

from tokenopen.core.provider_object import ProviderObject
from tokenopen.ports.storage import Transaction
from tokenopen.storage import schema


async def find_provider_objects(
    tx: Transaction, account_id: str, ids: Sequence[str]
) -> Mapping[str, ProviderObject]:
    """Return those of the objects that the account's calls made, by id."""
    objects = schema.provider_objects
    rows = await tx.fetch_all(
        select(objects).where(objects.c.account_id == account_id, objects.c.id.in_(ids))
    )
    return {
        row["id"]: ProviderObject(id=row["id"], upstream_id=row["upstream_id"], model=row["model"])
        for row in rows
    }
