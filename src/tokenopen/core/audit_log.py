"""Audit log: what was changed, by whom, from what into what. Secrets never enter it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SECRET_FIELDS: Final = frozenset(
    {"key", "key_hash", "password", "password_hash", "credential", "token", "token_hash"}
)


def assert_without_secrets(state: Mapping[str, object] | None) -> None:
    """What is described for the log has no field that could hold a secret."""
    found = SECRET_FIELDS & set(state or ())
    assert not found, f"{', '.join(sorted(found))} would enter the audit log"


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
