"""Refusal: why a call was refused, as a page explains it: the reason, its numbers, and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from tokenopen.control.refused_call import RefusedRecord
from tokenopen.web import format as as_text
from tokenopen.web.guide_fact import list_refusals
from tokenopen.web.guide_value import with_code
from tokenopen.web.text import Catalogue
from tokenopen.web.viewer import Visit

# Reasons that a higher group may help against.
UPGRADE_HELPS: Final = frozenset(
    {"rpm_exceeded", "tpd_exceeded", "tpm_exceeded", "concurrency_exceeded", "model_not_allowed"}
)
# Facts that are shown as numbers of their own, in this order; all others are in the message.
_NUMBERS: Final = ("limit", "used", "affordable_max_output_tokens")
_AMOUNTS: Final = ("needed", "available", "credit_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalView:
    """What templates/macros/call.html explains a refusal with. ``upgrade_path`` is empty where none helps."""

    code: str
    title: str
    message: str
    why: str
    advice: Markup
    facts: Sequence[tuple[str, str]]
    resets_at_ms: int | None
    upgrade_path: str


def call_refusal_codes() -> Sequence[str]:
    """Return the codes that a call may be refused with and that the call log then keeps."""
    return [refusal.code for refusal in list_refusals() if refusal.code in _OF_CALLS]


_OF_CALLS: Final = UPGRADE_HELPS | {
    "invalid_request",
    "request_too_large",
    "api_key_revoked",
    "api_key_expired",
    "insufficient_credit",
    "key_credit_limit_reached",
    "group_not_available",
    "ip_not_allowed",
    "account_suspended",
    "model_not_found",
    "not_found",
    "idempotency_conflict",
    "call_still_running",
    "reply_not_kept",
}


def explain_refusal(record: RefusedRecord, visit: Visit) -> RefusalView:
    """Return a refused call of the log, explained."""
    refused = record.refused
    return explain(
        visit.text,
        code=refused.code,
        message=refused.message,
        facts=record.facts,
        at_ms=refused.refused_at_ms,
        call_id=refused.id,
        group_slug=record.group_slug,
    )


def explain(
    text: Catalogue,
    *,
    code: str,
    message: str,
    facts: Mapping[str, Any],
    at_ms: int,
    call_id: str,
    group_slug: str | None,
) -> RefusalView:
    """Return a refusal, explained; ``facts`` are what its message is made of, as far as they are known."""
    retry_after_s = facts.get("retry_after_s")
    return RefusalView(
        code=code,
        title=text(f"refusal.{code}.title"),
        message=message,
        why=text(f"refusal.{code}.why"),
        advice=with_code(text(f"refusal.{code}.advice")),
        facts=_fact_texts(text, code, facts),
        resets_at_ms=at_ms + retry_after_s * 1000 if isinstance(retry_after_s, int) else None,
        upgrade_path=upgrade_path(code, call_id=call_id, group_slug=group_slug),
    )


def upgrade_path(code: str, *, call_id: str, group_slug: str | None) -> str:
    """Return where to ask for a higher group with a refused call's numbers filled in, or nothing.

    ``refused`` is the call's id, ``from`` the slug of the group that refused it.
    """
    if code not in UPGRADE_HELPS:
        return ""
    query = {"refused": call_id} | ({} if group_slug is None else {"from": group_slug})
    return f"/upgrade?{urlencode(query)}"


def _fact_texts(text: Catalogue, code: str, facts: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    found = []
    for name in _NUMBERS:
        if isinstance(facts.get(name), int):
            label = f"refusal.{code}.limit" if name == "limit" else f"call.fact.{name}"
            found.append((text(label), as_text.number(facts[name])))
    found += [(text(f"call.fact.{name}"), facts[name]) for name in _AMOUNTS if name in facts]
    groups = facts.get("groups_with_model")
    if groups:
        found.append((text("call.fact.groups_with_model"), ", ".join(groups)))
    return found
