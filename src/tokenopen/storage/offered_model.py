"""Offered models: those that calls may be made to now, for showing people what a group is worth."""

from collections.abc import Sequence

from sqlalchemy import select

from tokenopen.core.catalog import Model
from tokenopen.ports.storage import Transaction
from tokenopen.storage.directory import model_from_row
from tokenopen.storage.model import is_carried, list_price_revisions
from tokenopen.storage.schema import models


async def list_offered_models(tx: Transaction) -> Sequence[Model]:
    """Return every model that is active, complete and carried by an enabled upstream, by name."""
    rows = await tx.fetch_all(
        select(models).where(models.c.state == "active", is_carried()).order_by(models.c.name)
    )
    revisions = await list_price_revisions(tx, [row["name"] for row in rows])
    found = [model_from_row(row, revisions.get(row["name"], ())) for row in rows]
    return [model for model in found if not model.missing(tx.now_ms)]
