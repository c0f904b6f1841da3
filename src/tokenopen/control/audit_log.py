"""Audit log: who changed what, with the state before and after. Secrets never enter it."""

from collections.abc import Mapping

from tokenopen.control.actor import Actor
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.core.audit_log import AuditEntry, assert_without_secrets
from tokenopen.ports.storage import Transaction
from tokenopen.storage.audit_log import insert_change, list_changes


async def record_change(
    tx: Transaction,
    actor: Actor,
    *,
    action: str,
    subject_kind: str,
    subject_id: str,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    """Append a change to the audit log, in the change's own transaction.

    ``action`` reads ``noun.verb``; ``before`` and ``after`` are JSON values as people read them.
    """
    assert_without_secrets(before)
    assert_without_secrets(after)
    await insert_change(
        tx,
        actor_id=actor.user_id,
        action=action,
        subject_kind=subject_kind,
        subject_id=subject_id,
        before=before,
        after=after,
    )


async def list_audit_log(
    tx: Transaction,
    actor: Actor,
    *,
    page: PageRequest,
    subject_kind: str | None = None,
    subject_id: str | None = None,
    actor_id: str | None = None,
    action: str | None = None,
) -> Page[AuditEntry]:
    """Return entries, newest first. Only administrators read the log."""
    actor.require_administrator()
    filters = {
        "subject_kind": subject_kind,
        "subject_id": subject_id,
        "actor_id": actor_id,
        "action": action,
    }
    entries = await list_changes(tx, filters=filters, before_id=page.after, limit=page.fetch)
    return cut_page(entries, page, cursor_of=lambda entry: entry.id)
