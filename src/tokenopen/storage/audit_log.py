"""Audit log: the rows of what was changed, by whom. Only ever added to."""

from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select

from tokenopen.core.audit_log import AuditEntry
from tokenopen.core.identifier import new_id
from tokenopen.ports.storage import Transaction
from tokenopen.storage.policy import decode_json, encode_json
from tokenopen.storage.schema import audit_log, users


async def insert_change(
    tx: Transaction,
    *,
    actor_id: str,
    action: str,
    subject_kind: str,
    subject_id: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    """Append one entry, dated now."""
    await tx.execute(
        insert(audit_log).values(
            id=new_id("aud", tx.now_ms),
            at_ms=tx.now_ms,
            actor_id=actor_id,
            action=action,
            subject_kind=subject_kind,
            subject_id=subject_id,
            before=None if before is None else encode_json(before),
            after=None if after is None else encode_json(after),
        )
    )


async def list_changes(
    tx: Transaction, *, filters: Mapping[str, str | None], before_id: str | None, limit: int
) -> Sequence[AuditEntry]:
    """Return entries, newest first, from before an entry's id on; a filter that is None is not one."""
    statement = (
        select(audit_log, users.c.email.label("actor_email"))
        .outerjoin(users, users.c.id == audit_log.c.actor_id)
        .order_by(audit_log.c.id.desc())
        .limit(limit)
    )
    for column, value in filters.items():
        if value is not None:
            statement = statement.where(audit_log.c[column] == value)
    if before_id is not None:
        statement = statement.where(audit_log.c.id < before_id)
    return [
        AuditEntry(
            id=row["id"],
            at_ms=row["at_ms"],
            actor_id=row["actor_id"],
            actor_email=row["actor_email"],
            action=row["action"],
            subject_kind=row["subject_kind"],
            subject_id=row["subject_id"],
            before=None if row["before"] is None else decode_json(row["before"]),
            after=None if row["after"] is None else decode_json(row["after"]),
        )
        for row in await tx.fetch_all(statement)
    ]
