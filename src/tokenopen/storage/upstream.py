"""Upstream statements: the configured endpoints, and the routes from models to them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import calls, routes, upstreams

Row = Mapping[str, Any]


async def list_upstreams(tx: Transaction, *, after: str | None, limit: int) -> Sequence[Row]:
    """Return upstreams, the oldest first."""
    statement = select(upstreams).order_by(upstreams.c.id).limit(limit)
    if after is not None:
        statement = statement.where(upstreams.c.id > after)
    return await tx.fetch_all(statement)


async def find_upstream(tx: Transaction, upstream_id: str) -> Row | None:
    """Return an upstream's row, or None."""
    return await tx.fetch_one(select(upstreams).where(upstreams.c.id == upstream_id))


async def find_upstream_named(tx: Transaction, name: str) -> Row | None:
    """Return the row of the upstream with a name, or None."""
    return await tx.fetch_one(select(upstreams).where(upstreams.c.name == name))


async def insert_upstream(tx: Transaction, upstream_id: str, **values: object) -> None:
    """Write a new upstream."""
    await tx.execute(
        insert(upstreams).values(id=upstream_id, created_at_ms=tx.now_ms, updated_at_ms=tx.now_ms, **values)
    )


async def update_upstream(tx: Transaction, upstream_id: str, **values: object) -> None:
    """Change what an upstream's row says."""
    changed = await tx.execute(
        update(upstreams).where(upstreams.c.id == upstream_id).values(updated_at_ms=tx.now_ms, **values)
    )
    assert changed == 1


async def list_routes(tx: Transaction, upstream_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Return, by upstream, the map from public model names to the names there."""
    maps: dict[str, dict[str, str]] = defaultdict(dict)
    for row in await tx.fetch_all(
        select(routes).where(routes.c.upstream_id.in_(upstream_ids)).order_by(routes.c.model)
    ):
        maps[row["upstream_id"]][row["model"]] = row["upstream_model"]
    return maps


async def replace_routes(tx: Transaction, upstream_id: str, models: Mapping[str, str]) -> None:
    """Make ``models`` all that an upstream carries."""
    await tx.execute(delete(routes).where(routes.c.upstream_id == upstream_id))
    if models:
        await tx.execute(
            insert(routes).values(
                [
                    {"upstream_id": upstream_id, "model": model, "upstream_model": upstream_model}
                    for model, upstream_model in models.items()
                ]
            )
        )


async def list_recent_calls(tx: Transaction, *, limit: int) -> Sequence[Row]:
    """Return which upstreams the last calls were sent to, and what came of it; the newest first."""
    columns = (calls.c.upstream_id, calls.c.attempts, calls.c.end_reason, calls.c.resolved_at_ms)
    return await tx.fetch_all(select(*columns).order_by(calls.c.id.desc()).limit(limit))


async def list_upstream_names(tx: Transaction, upstream_ids: Sequence[str]) -> Mapping[str, str]:
    """Return the names of the upstreams that there are among the ids."""
    if not upstream_ids:
        return {}
    rows = await tx.fetch_all(
        select(upstreams.c.id, upstreams.c.name).where(upstreams.c.id.in_(upstream_ids))
    )
    return {row["id"]: row["name"] for row in rows}
