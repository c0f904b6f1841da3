"""Audit log, as administrators read it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from tokenopen.api.authentication import Administrator
from tokenopen.api.json_types import InstantOut, PageOut, PageQuery, PersonOut, page_out
from tokenopen.api.services import CurrentServices
from tokenopen.control import audit_log
from tokenopen.core.audit_log import AuditEntry

router = APIRouter(tags=["audit log"])


class AuditLogQuery(PageQuery):
    """Which entries are asked for; ``actor`` is a user's id."""

    subject_kind: str | None = None
    subject: str | None = None
    actor: str | None = None
    action: str | None = None


class AuditEntryOut(BaseModel):
    """One change; ``before`` is null for what was created, ``after`` for what was removed."""

    id: str
    at: InstantOut
    actor: PersonOut
    action: str
    subject_kind: str
    subject_id: str
    before: Any
    after: Any


def _show(entry: AuditEntry) -> AuditEntryOut:
    return AuditEntryOut(
        id=entry.id,
        at=entry.at_ms,
        actor=PersonOut(id=entry.actor_id, email=entry.actor_email),
        action=entry.action,
        subject_kind=entry.subject_kind,
        subject_id=entry.subject_id,
        before=entry.before,
        after=entry.after,
    )


@router.get("/api/admin/audit-log")
async def list_audit_log(
    services: CurrentServices, actor: Administrator, query: Annotated[AuditLogQuery, Query()]
) -> PageOut[AuditEntryOut]:
    """Every change of groups, prices, keys, credit and settings, newest first."""
    async with services.storage.read() as tx:
        page = await audit_log.list_audit_log(
            tx,
            actor,
            page=query.page(),
            subject_kind=query.subject_kind,
            subject_id=query.subject,
            actor_id=query.actor,
            action=query.action,
        )
    return page_out(page, _show)
