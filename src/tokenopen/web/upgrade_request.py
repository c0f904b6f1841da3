"""Upgrade: asking for a group, seeing what became of it, and choosing the keys that move once it is open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request, Response

from tokenopen.control import upgrade_request as control
from tokenopen.control.access_notice import ANNOUNCED_MS, list_access_notices
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import ApiKeyView, list_my_usable_api_keys
from tokenopen.control.group_terms import GroupTerms, list_my_groups
from tokenopen.control.page import PageRequest
from tokenopen.control.refused_call import RefusedRecord, count_refused, find_refused
from tokenopen.control.services import Services
from tokenopen.control.usage import Period, UsageWanted, sum_usage
from tokenopen.core.errors import Conflict, GroupNotAvailable, InvalidRequest, NotFound
from tokenopen.core.upgrade_request import UpgradeRequest
from tokenopen.ports.storage import Transaction
from tokenopen.web import format as as_text
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.group_card import group_cards, list_models_compared
from tokenopen.web.guide_value import support_link
from tokenopen.web.refusal import UPGRADE_HELPS
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit, Viewer, Visit, find_visit

router = APIRouter()

REASON_LENGTH_MAX: Final = 2_000
_DAYS_COUNTED: Final = 7
_DAY_MS: Final = 24 * 3_600_000
_LIMITS: Final = {
    "rpm_exceeded": "requests_per_minute",
    "tpd_exceeded": "requests_per_day",
    "tpm_exceeded": "tokens_per_minute",
    "concurrency_exceeded": "concurrent_calls",
}
_REFUSED: Final = (InvalidRequest, Conflict, NotFound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """What a refused call fills in: the reason with its numbers, and which groups would help.

    ``open_already`` are names of those that the user may use now, ``key_path`` where the call's key is moved.
    """

    reason: str = ""
    helping: frozenset[str] = frozenset()
    open_already: Sequence[str] = ()
    key_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChoice:
    """An approved request, and the keys that may move to its group."""

    request: UpgradeRequest
    keys: Sequence[ApiKeyView]


@router.get("/upgrade")
async def show_upgrade(request: Request, services: CurrentServices, viewer: CurrentViewer) -> Response:
    """What one may ask for, what one has asked for, and what became of it.

    ``?group=`` is the slug of the group that is chosen already. ``?refused=`` is the id of a refused call of
    one's own, as the call log links here: the reason is then filled in with its numbers, and a group that
    would help is chosen. An id that says nothing, or is another user's, fills in nothing.
    """
    return await _show(request, services, viewer, Form())


async def _show(
    request: Request, services: Services, viewer: Viewer, form: Form, *, status: int = 200
) -> Response:
    visit, actor, query = find_visit(request), viewer.actor, request.query_params
    page = PageRequest(after=query.get("cursor") or None)
    async with services.storage.read() as tx:
        choice = await list_my_groups(tx, actor)
        compared = await list_models_compared(tx, actor, choice)
        requests = await control.list_my_upgrade_requests(tx, actor, page=page)
        pending = await control.list_my_upgrade_requests(tx, actor, page=PageRequest(), state="pending")
        filled = await _fill_in(tx, actor, query.get("refused", ""), choice.groups, visit)
        moves = await _key_choices(tx, actor, choice.groups, visit.now_ms)
        notices = await list_access_notices(tx, actor.account_id)
    asked_for = {one.group_id for one in pending.items}
    ending = {notice.terms.group.id for notice in notices if notice.at_ms is not None}
    offered = [terms for terms in choice.groups if not terms.is_open or terms.group.id in ending]
    askable = [terms.group.description.slug for terms in offered if terms.group.id not in asked_for]
    slugs = {terms.group.description.slug for terms in offered}
    contact = visit.platform.support_contact or None if visit.platform else None
    wanted = form.text("group") or query.get("group", "")
    helping = [slug for slug in askable if slug in filled.helping]
    return render(
        request,
        "upgrade_request/upgrade.html",
        status=status,
        form=form,
        cards=[
            card
            for card in group_cards(choice, visit.text, compared=compared, asked_for=asked_for)
            if card.slug in slugs
        ],
        askable=askable,
        chosen=wanted if wanted in askable else next(iter(helping or askable), ""),
        filled=filled,
        requests=requests,
        moves=moves,
        notices=notices,
        support=None if contact is None else support_link(contact).html,
    )


async def _fill_in(
    tx: Transaction, actor: Actor, refused_id: str, groups: Sequence[GroupTerms], visit: Visit
) -> Prefilled:
    if not refused_id:
        return Prefilled()
    try:
        record = await find_refused(tx, actor.account_id, refused_id)
    except NotFound:
        return Prefilled()
    if record.refused.code not in UPGRADE_HELPS:
        return Prefilled()
    helping = [terms for terms in groups if _helps(terms, record, groups)]
    return Prefilled(
        reason=await _reason(tx, actor, record, visit),
        helping=frozenset(terms.group.description.slug for terms in helping),
        open_already=[terms.group.description.name for terms in helping if terms.is_open],
        key_path=f"/keys/{record.refused.key_id}#group",
    )


def _helps(terms: GroupTerms, record: RefusedRecord, groups: Sequence[GroupTerms]) -> bool:
    """Tell whether the call would have been let in with a key of the group."""
    refused = record.refused
    if terms.group.id == refused.group_id:
        return False
    if refused.model is not None and not terms.allows(refused.model):
        return False
    name = _LIMITS.get(refused.code)
    if name is None:
        return True
    before = next((one for one in groups if one.group.id == refused.group_id), None)
    lower = None if before is None else getattr(before.limits, name)
    limit = getattr(terms.limits, name)
    return limit is None or (lower is not None and limit > lower)


async def _reason(tx: Transaction, actor: Actor, record: RefusedRecord, visit: Visit) -> str:
    """Return a reason with the numbers of the last seven days in it, to be changed before it is sent."""
    refused, text = record.refused, visit.text
    period = Period(from_ms=visit.now_ms - _DAYS_COUNTED * _DAY_MS)
    counts = await count_refused(tx, account_id=actor.account_id, period=period)
    report = await sum_usage(
        tx, account_id=actor.account_id, period=period, wanted=UsageWanted(group_by="group")
    )
    return text(
        f"upgrade_request.reason_{'limit' if refused.code in _LIMITS else 'model'}",
        message=refused.message,
        at=as_text.instant(refused.refused_at_ms, visit.zone),
        title=text(f"refusal.{refused.code}.title"),
        model=refused.model or text("upgrade_request.no_model"),
        refused=as_text.number(sum(one.calls for one in counts if one.code == refused.code)),
        calls=as_text.number(report.total.calls),
        days=_DAYS_COUNTED,
    )


async def _key_choices(
    tx: Transaction, actor: Actor, groups: Sequence[GroupTerms], now_ms: int
) -> Sequence[KeyChoice]:
    """Return the approvals of the last 14 days whose group is open, with the keys that are not in it yet."""
    approved = await control.list_my_upgrade_requests(tx, actor, page=PageRequest(), state="approved")
    opened = {terms.group.id for terms in groups if terms.is_open}
    keys = await list_my_usable_api_keys(tx, actor)
    found: dict[str, KeyChoice] = {}
    for one in approved.items:
        assert one.decided_at_ms is not None
        movable = [view for view in keys if view.key.group_id != one.group_id]
        if movable and one.group_id in opened and now_ms - one.decided_at_ms <= ANNOUNCED_MS:
            found.setdefault(one.group_id, KeyChoice(request=one, keys=movable))
    return list(found.values())


@router.post("/upgrade")
async def ask_for_upgrade(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """Ask for a group that is by request, with a reason."""
    form = await read_form(request)
    try:
        group, reason = form.text("group"), form.text("reason")
        if not group:
            raise InvalidRequest(visit.text("upgrade_request.no_group"), param="group")
        if not 0 < len(reason) <= REASON_LENGTH_MAX:
            raise InvalidRequest(visit.text("upgrade_request.no_reason"), param="reason")
        async with services.storage.write() as tx:
            asked = await control.create_upgrade_request(tx, viewer.actor, group=group, reason=reason)
    except _REFUSED as refusal:
        return await _show(request, services, viewer, form.refused(refusal), status=refusal.status)
    return redirect("/upgrade", flash="upgrade_request.sent", group=asked.group_name)


@router.post("/upgrade/{request_id}/withdraw")
async def withdraw_request(services: CurrentServices, viewer: CurrentViewer, request_id: str) -> Response:
    """Take back one's own request, while nothing has been decided."""
    try:
        async with services.storage.write() as tx:
            await control.cancel_upgrade_request(tx, viewer.actor, request_id)
    except Conflict as refusal:
        return redirect(
            "/upgrade", flash="upgrade_request.decided", tone="bad", state=str(refusal.facts["state"])
        )
    return redirect("/upgrade", flash="upgrade_request.withdrawn")


@router.post("/upgrade/{request_id}/keys")
async def move_keys(
    request: Request, services: CurrentServices, viewer: CurrentViewer, request_id: str
) -> Response:
    """Move the keys that were chosen to the group of an approved request, all in one transaction."""
    key_ids = (await read_form(request)).all("key")
    try:
        async with services.storage.write() as tx:
            moved = await control.move_keys_to_approved(tx, viewer.actor, request_id, key_ids=key_ids)
    except (Conflict, GroupNotAvailable):
        return redirect("/upgrade", flash="upgrade_request.not_movable", tone="bad")
    if not key_ids:
        return redirect("/upgrade", flash="upgrade_request.no_key", tone="bad")
    return redirect("/keys", flash="upgrade_request.moved", group=moved.group_name)
