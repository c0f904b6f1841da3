"""Audit log, for administrators: who changed what, each change as a difference that people can read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tokenopen.control.audit_log import list_audit_log
from tokenopen.control.page import Page, PageRequest
from tokenopen.control.user import find_named_user
from tokenopen.core.audit_log import AuditEntry
from tokenopen.core.group import LIMIT_NAMES
from tokenopen.web import format as as_text
from tokenopen.web.render import render
from tokenopen.web.text import UnknownText
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Visit

router = APIRouter()

SUBJECT_KINDS: Final = (
    "account",
    "administrator_link",
    "api_key",
    "call",
    "catalog",
    "entitlement",
    "group",
    "management_key",
    "model",
    "platform",
    "session",
    "upgrade_request",
    "upstream",
    "user",
)
# Fields that have a name of their own on other pages; all others are named by their words.
_NAMED: Final = {
    "multiplier": "own_terms.multiplier",
    "requests_per_minute": "own_terms.requests_per_minute",
    "requests_per_day": "own_terms.requests_per_day",
    "tokens_per_minute": "own_terms.tokens_per_minute",
    "concurrent_calls": "own_terms.concurrent_calls",
    "model_multipliers": "own_terms.model_multipliers",
    "extra_models": "own_terms.extra_models",
    "allowed_models": "admin_audit_log.allowed_models",
}
_PATHS: Final = {
    "user": "/admin/users/{}",
    "call": "/admin/calls/{}",
    "upgrade_request": "/admin/upgrade-requests/{}",
}
_VALUE_LENGTH_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """An entry as the page shows it: ``changes`` are name, before, after; None stands for nothing there."""

    entry: AuditEntry
    title: str
    subject_path: str
    changes: Sequence[tuple[str, str | None, str | None]]


def change_row(entry: AuditEntry, visit: Visit) -> ChangeRow:
    """Return an entry of the log with what differs between its two states."""
    try:
        title = visit.text(f"admin_audit_log.action.{entry.action}")
    except UnknownText:
        # Of a version that knew of something else.
        title = entry.action
    return ChangeRow(
        entry=entry,
        title=title,
        subject_path=_PATHS.get(entry.subject_kind, "").format(entry.subject_id),
        changes=_changes(_fields(entry.before), _fields(entry.after), visit),
    )


def _fields(state: Any) -> Mapping[str, Any]:
    if state is None:
        return {}
    return state if isinstance(state, dict) else {"": state}


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], visit: Visit
) -> Sequence[tuple[str, str | None, str | None]]:
    names = dict.fromkeys((*before, *after))
    return [
        (_name(name, visit), _value(name, before, visit), _value(name, after, visit))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _name(field: str, visit: Visit) -> str:
    if field in _NAMED:
        return visit.text(_NAMED[field])
    words = field.removesuffix("_ms").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _value(field: str, state: Mapping[str, Any], visit: Visit) -> str | None:
    """Return a stored value as people read it, cut where it is very long; None where there is none."""
    value = state.get(field)
    if field in state and value is None and field in LIMIT_NAMES:
        return visit.text("common.unlimited")
    if value is None or value in ("", [], {}):
        return None
    if field.endswith(("_at_ms", "until_ms", "from_ms")):
        return as_text.instant(value, visit.zone)
    text = _plain(value, visit)
    return text if len(text) <= _VALUE_LENGTH_MAX else text[:_VALUE_LENGTH_MAX] + "…"


def _plain(value: Any, visit: Visit) -> str:
    if isinstance(value, bool):
        return visit.text("admin_audit_log.yes" if value else "admin_audit_log.no")
    if isinstance(value, int):
        return as_text.number(value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(inner, visit)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(inner, visit) for inner in value)
    return "-" if value is None else str(value)


@router.get("/admin/audit-log")
async def show_audit_log(
    request: Request, services: CurrentServices, administrator: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Every change, newest first: of a kind of thing, of one thing, by somebody."""
    query, actor = request.query_params, administrator.actor
    kind, named = query.get("kind", ""), query.get("who", "").strip()
    subject = query.get("subject", "").strip()
    found: Page[AuditEntry] = Page(items=[])
    async with services.storage.read() as tx:
        user = await find_named_user(tx, actor, named) if named else None
        if user is not None or not named:
            found = await list_audit_log(
                tx,
                actor,
                page=PageRequest(after=query.get("cursor")),
                subject_kind=kind if kind in SUBJECT_KINDS else None,
                subject_id=subject or None,
                actor_id=None if user is None else user.id,
            )
    return render(
        request,
        "admin_audit_log/audit_log.html",
        rows=[change_row(entry, visit) for entry in found.items],
        next_cursor=found.next_cursor,
        kinds=SUBJECT_KINDS,
        is_narrowed=bool(kind or named or subject),
    )
