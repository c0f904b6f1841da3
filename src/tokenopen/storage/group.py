"""Groups and their revisions. A group's row is its newest description; a revision is never changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Select, func, insert, or_, select, update

from tokenopen.core.group import GroupPolicy
from tokenopen.core.group_history import (
    DESCRIPTION_FIELDS,
    GroupContent,
    GroupDescription,
    GroupRecord,
    RevisionRecord,
)
from tokenopen.core.identifier import new_id
from tokenopen.ports.storage import Transaction
from tokenopen.storage.policy import decode_json, decode_policy, encode_json, encode_policy
from tokenopen.storage.schema import api_keys, entitlements, group_revisions, groups, users

Row = Mapping[str, Any]


def _revisions() -> Select[Any]:
    return select(group_revisions, users.c.email.label("actor_email")).outerjoin(
        users, users.c.id == group_revisions.c.actor_id
    )


def _revision_from_row(row: Row) -> RevisionRecord:
    return RevisionRecord(
        id=row["id"],
        number=row["number"],
        effective_from_ms=row["effective_from_ms"],
        content=GroupContent(
            description=GroupDescription(**decode_json(row["description"])),
            policy=decode_policy(row["policy"]),
        ),
        actor_id=row["actor_id"],
        actor_email=row["actor_email"],
        reason=row["reason"],
        created_at_ms=row["created_at_ms"],
    )


async def _counts(tx: Transaction, statement: Select[Any]) -> dict[str, int]:
    return {row["group_id"]: row["count"] for row in await tx.fetch_all(statement)}


async def _records(tx: Transaction, rows: Sequence[Row]) -> Sequence[GroupRecord]:
    ids = [row["id"] for row in rows]
    revisions: dict[str, list[RevisionRecord]] = defaultdict(list)
    # By instant, then number: of two that begin together the later written one is in force.
    statement = (
        _revisions()
        .where(group_revisions.c.group_id.in_(ids))
        .order_by(group_revisions.c.effective_from_ms, group_revisions.c.number)
    )
    for row in await tx.fetch_all(statement):
        revisions[row["group_id"]].append(_revision_from_row(row))
    count = func.count().label("count")
    keys = await _counts(
        tx,
        select(api_keys.c.group_id, count)
        .where(api_keys.c.group_id.in_(ids), api_keys.c.state != "revoked")
        .group_by(api_keys.c.group_id),
    )
    entitled = await _counts(
        tx,
        select(entitlements.c.group_id, count)
        .where(
            entitlements.c.group_id.in_(ids),
            or_(entitlements.c.expires_at_ms.is_(None), entitlements.c.expires_at_ms > tx.now_ms),
        )
        .group_by(entitlements.c.group_id),
    )
    return [
        GroupRecord(
            id=row["id"],
            description=GroupDescription(
                **{name: row[name] for name in DESCRIPTION_FIELDS}
                | {"custom_terms": bool(row["custom_terms"])}
            ),
            in_force=[r for r in revisions[row["id"]] if r.effective_from_ms <= tx.now_ms][-1],
            coming=_not_superseded([r for r in revisions[row["id"]] if r.effective_from_ms > tx.now_ms]),
            key_count=keys.get(row["id"], 0),
            entitlement_count=entitled.get(row["id"], 0),
            created_at_ms=row["created_at_ms"],
        )
        for row in rows
    ]


def _not_superseded(records: Sequence[RevisionRecord]) -> Sequence[RevisionRecord]:
    """Return, of records in order of instant and number, the last one of each instant."""
    return list({record.effective_from_ms: record for record in records}.values())


async def get_revision_policy(tx: Transaction, revision_id: str) -> GroupPolicy:
    """Return what a revision says of calls."""
    row = await tx.fetch_one(select(group_revisions.c.policy).where(group_revisions.c.id == revision_id))
    assert row is not None, f"there is no group revision {revision_id}"
    return decode_policy(row["policy"])


async def find_group(tx: Transaction, slug: str) -> GroupRecord | None:
    """Return a group by its slug, or None."""
    row = await tx.fetch_one(select(groups).where(groups.c.slug == slug))
    return None if row is None else (await _records(tx, [row]))[0]


async def get_group(tx: Transaction, group_id: str) -> GroupRecord:
    """Return a group by its id; groups are never deleted."""
    row = await tx.fetch_one(select(groups).where(groups.c.id == group_id))
    assert row is not None, f"no group {group_id}"
    return (await _records(tx, [row]))[0]


async def list_groups(
    tx: Transaction, *, state: str | None = None, after_slug: str | None = None, limit: int | None = None
) -> Sequence[GroupRecord]:
    """Return groups by slug; ``state`` None is every state."""
    statement = select(groups).order_by(groups.c.slug).limit(limit)
    if state is not None:
        statement = statement.where(groups.c.state == state)
    if after_slug is not None:
        statement = statement.where(groups.c.slug > after_slug)
    return await _records(tx, await tx.fetch_all(statement))


async def list_revisions(
    tx: Transaction, group_id: str, *, before_number: int | None, limit: int
) -> Sequence[RevisionRecord]:
    """Return a group's revisions, newest first, those that never came into force too."""
    statement = (
        _revisions()
        .where(group_revisions.c.group_id == group_id)
        .order_by(group_revisions.c.number.desc())
        .limit(limit)
    )
    if before_number is not None:
        statement = statement.where(group_revisions.c.number < before_number)
    return [_revision_from_row(row) for row in await tx.fetch_all(statement)]


async def find_revision_before(
    tx: Transaction, group_id: str, *, number: int, effective_from_ms: int
) -> RevisionRecord | None:
    """Return what a revision was written to follow: of the earlier ones the last to begin by then."""
    row = await tx.fetch_one(
        _revisions()
        .where(
            group_revisions.c.group_id == group_id,
            group_revisions.c.number < number,
            group_revisions.c.effective_from_ms <= effective_from_ms,
        )
        .order_by(group_revisions.c.effective_from_ms.desc(), group_revisions.c.number.desc())
        .limit(1)
    )
    return None if row is None else _revision_from_row(row)


async def count_accounts(tx: Transaction) -> Mapping[str, int]:
    """Return by group how many accounts have keys in it that are not revoked."""
    return await _counts(
        tx,
        select(api_keys.c.group_id, func.count(api_keys.c.account_id.distinct()).label("count"))
        .where(api_keys.c.state != "revoked")
        .group_by(api_keys.c.group_id),
    )


async def insert_group(tx: Transaction, group_id: str, description: GroupDescription) -> None:
    """Store a new group; its first revision has to follow in the same transaction."""
    await tx.execute(insert(groups).values(id=group_id, created_at_ms=tx.now_ms, **asdict(description)))


async def update_description(tx: Transaction, group_id: str, description: GroupDescription) -> None:
    """Store what a group is called and to whom it is open from now on."""
    await tx.execute(update(groups).where(groups.c.id == group_id).values(**asdict(description)))


async def insert_revision(
    tx: Transaction,
    group_id: str,
    content: GroupContent,
    *,
    effective_from_ms: int,
    actor_id: str,
    reason: str | None,
) -> None:
    """Append a revision, numbered after the group's last one."""
    last = await tx.fetch_one(
        select(func.max(group_revisions.c.number).label("number")).where(
            group_revisions.c.group_id == group_id
        )
    )
    assert last is not None
    await tx.execute(
        insert(group_revisions).values(
            id=new_id("grv", tx.now_ms),
            group_id=group_id,
            number=(last["number"] or 0) + 1,
            policy=encode_policy(content.policy),
            description=encode_json(asdict(content.description)),
            effective_from_ms=effective_from_ms,
            actor_id=actor_id,
            reason=reason,
            created_at_ms=tx.now_ms,
        )
    )
