"""Audit log: what was changed, by whom, from what into what."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. ``before`` is None for what was created, ``after`` for what was removed."""

    id: str
    at_ms: int
    actor_id: str
    # None where the actor is no user (any more).
    actor_email: str | None
    action: str
    subject_kind: str
    subject_id: str
    before: Any
    after: Any
