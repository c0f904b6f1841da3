"""Provider objects: what providers keep from replies (responses, items, sounds), by the ids they gave them.

Providers tell our operator's account apart, not ours from each other: whoever knew an id could read it. So
the till records an id with the account that made it, in the settlement's transaction and so before the reply
is whole, and nobody else may name it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from tokenopen.ports.storage import Transaction
from tokenopen.storage import schema


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderObject:
    """Where an object lives: the upstream that holds it, and the model that wrote it."""

    id: str
    upstream_id: str
    model: str


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
