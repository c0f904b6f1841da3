"""API keys: one's own, each in a group that was chosen side by side; created, changed, rotated, revoked.

A secret is on the page that answers its creation or rotation, and nowhere else.
"""

from typing import Final

from fastapi import APIRouter, Request, Response

from tokenopen.control import api_key as control
from tokenopen.control.api_key import ApiKeyView
from tokenopen.control.group_terms import list_my_groups
from tokenopen.control.page import PageRequest
from tokenopen.control.services import Services
from tokenopen.core.errors import Conflict, GroupNotAvailable, InvalidRequest
from tokenopen.web.api_key_form import (
    key_fields,
    note_unreadable,
    read_changes,
    read_name,
    read_narrowing,
)
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.group_card import group_cards, list_models_compared
from tokenopen.web.render import render
from tokenopen.web.session import get_site
from tokenopen.web.snippet import call_snippets, find_example_model, list_callable
from tokenopen.web.viewer import CurrentServices, CurrentViewer, CurrentVisit, Viewer, find_visit

router = APIRouter()

HOUR_S: Final = 3600
# For how long the former secret may work on after a rotation; the choices of the form, by their string.
OVERLAPS: Final = {"none": 0, "hour": HOUR_S, "day": 24 * HOUR_S, "week": 7 * 24 * HOUR_S}
_REFUSED: Final = (InvalidRequest, Conflict, GroupNotAvailable)


def _path(key_id: str) -> str:
    return f"/keys/{key_id}"


@router.get("/keys")
async def list_keys(request: Request, services: CurrentServices, viewer: CurrentViewer) -> Response:
    """One's own keys, newest first: those that are not revoked, or ``?state=revoked`` or ``all``."""
    page = PageRequest(after=request.query_params.get("cursor") or None)
    state = request.query_params.get("state", "")
    async with services.storage.read() as tx:
        keys = await control.list_my_api_keys(
            tx, viewer.actor, page=page, revoked=None if state == "all" else state == "revoked"
        )
    return render(request, "api_key/api_keys.html", keys=keys, state=state)


@router.get("/keys/new")
async def show_new_key(request: Request, services: CurrentServices, viewer: CurrentViewer) -> Response:
    """The form to create a key with; ``?group=`` names the group that is chosen already."""
    return await _show_new(request, services, viewer, Form(), chosen=request.query_params.get("group", ""))


async def _show_new(
    request: Request, services: Services, viewer: Viewer, form: Form, *, chosen: str, status: int = 200
) -> Response:
    text = find_visit(request).text
    async with services.storage.read() as tx:
        choice = await list_my_groups(tx, viewer.actor)
        compared = await list_models_compared(tx, viewer.actor, choice)
    cards = group_cards(choice, text, compared=compared)
    usable = {card.slug for card in cards if card.is_open}
    default = next(card.slug for card in cards if card.is_default)
    return render(
        request,
        "api_key/new.html",
        status=status,
        form=form,
        cards=cards,
        chosen=chosen if chosen in usable else default,
        models=[model.name for model in choice.offered],
    )


@router.post("/keys")
async def create_key(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit
) -> Response:
    """Create a key in a group that is open to its owner, and show its secret, this once."""
    form, actor = await read_form(request), viewer.actor
    try:
        name, narrowing = read_name(form, visit), read_narrowing(form, visit)
        async with services.storage.write() as tx:
            secret, view = await control.create_api_key(
                tx,
                actor,
                user_id=actor.user_id,
                name=name,
                group=form.text("group") or None,
                narrowing=narrowing,
                hashing_key=services.hashing_key,
            )
    except _REFUSED as refusal:
        refused = note_unreadable(form, visit).refused(refusal)
        return await _show_new(
            request, services, viewer, refused, chosen=form.text("group"), status=refusal.status
        )
    return await _show_secret(request, services, viewer, secret, view, is_new=True)


async def _show_secret(
    request: Request, services: Services, viewer: Viewer, secret: str, view: ApiKeyView, *, is_new: bool
) -> Response:
    """Answer with a secret, copied by one click, and with a first call that is ready to paste."""
    async with services.storage.read() as tx:
        choice = await list_my_groups(tx, viewer.actor)
    model = find_example_model(choice, view.terms, view.key)
    text = find_visit(request).text
    snippets = (
        []
        if model is None
        else call_snippets(text, base_url=get_site(request).base_url, key=secret, model=model)
    )
    return render(request, "api_key/secret.html", key=view, secret=secret, snippets=snippets, is_new=is_new)


@router.get("/keys/{key_id}")
async def show_key(
    request: Request, services: CurrentServices, viewer: CurrentViewer, key_id: str
) -> Response:
    """One of one's own keys: what it may do, what it spent, and everything that can be changed of it."""
    return await _show(request, services, viewer, key_id)


async def _show(
    request: Request,
    services: Services,
    viewer: Viewer,
    key_id: str,
    *,
    form: Form | None = None,
    group_form: Form | None = None,
    status: int = 200,
) -> Response:
    visit, actor = find_visit(request), viewer.actor
    async with services.storage.read() as tx:
        view = await control.find_api_key(tx, actor, key_id, account_id=actor.account_id)
        choice = await list_my_groups(tx, actor)
        compared = await list_models_compared(tx, actor, choice)
    return render(
        request,
        "api_key/api_key.html",
        status=status,
        key=view,
        cards=[card for card in group_cards(choice, visit.text, compared=compared) if card.is_open],
        fields=key_fields(view.key, visit.zone),
        models=[model.name for model in choice.offered],
        may_call=list_callable(choice, view.terms, view.key),
        overlaps=[(name, visit.text(f"api_key.overlap.{name}")) for name in OVERLAPS],
        form=form or Form(),
        group_form=group_form or Form(),
    )


@router.post("/keys/{key_id}")
async def update_key(
    request: Request, services: CurrentServices, viewer: CurrentViewer, visit: CurrentVisit, key_id: str
) -> Response:
    """Change a key's name and how it narrows its group; its secret stays."""
    form, actor = await read_form(request), viewer.actor
    try:
        async with services.storage.write() as tx:
            view = await control.find_api_key(tx, actor, key_id, account_id=actor.account_id)
            await control.update_api_key(
                tx, actor, key_id, read_changes(form, visit, view), account_id=actor.account_id
            )
    except _REFUSED as refusal:
        refused = note_unreadable(form, visit).refused(refusal)
        return await _show(request, services, viewer, key_id, form=refused, status=refusal.status)
    return redirect(_path(key_id), flash="api_key.saved")


@router.post("/keys/{key_id}/group")
async def move_key(
    request: Request, services: CurrentServices, viewer: CurrentViewer, key_id: str
) -> Response:
    """Move a key to another group that is open to its owner; the very next call is bound."""
    form, actor = await read_form(request), viewer.actor
    changes = control.ApiKeyChanges(group=form.text("group")) if form.text("group") else {}
    try:
        async with services.storage.write() as tx:
            view = await control.update_api_key(tx, actor, key_id, changes, account_id=actor.account_id)
    except _REFUSED as refusal:
        refused = form.refused(refusal)
        return await _show(request, services, viewer, key_id, group_form=refused, status=refusal.status)
    return redirect(_path(key_id), flash="api_key.moved", group=view.terms.group.description.name)


@router.post("/keys/{key_id}/on")
@router.post("/keys/{key_id}/off")
async def switch_key(
    request: Request, services: CurrentServices, viewer: CurrentViewer, key_id: str
) -> Response:
    """Switch a key off, or on again; calls with one that is off are refused."""
    off = request.url.path.endswith("/off")
    changes = control.ApiKeyChanges(state="disabled" if off else "active")
    try:
        async with services.storage.write() as tx:
            await control.update_api_key(
                tx, viewer.actor, key_id, changes, account_id=viewer.actor.account_id
            )
    except Conflict as refusal:
        return await _show(
            request, services, viewer, key_id, form=Form().refused(refusal), status=refusal.status
        )
    return redirect(_path(key_id), flash="api_key.switched_off" if off else "api_key.switched_on")


@router.post("/keys/{key_id}/rotate")
async def rotate_key(
    request: Request, services: CurrentServices, viewer: CurrentViewer, key_id: str
) -> Response:
    """Give a key a new secret and show it, this once; the one it had works on for as long as was chosen."""
    form, actor = await read_form(request), viewer.actor
    try:
        async with services.storage.write() as tx:
            secret, view = await control.rotate_api_key(
                tx,
                actor,
                key_id,
                account_id=actor.account_id,
                overlap_seconds=OVERLAPS.get(form.text("overlap"), OVERLAPS["day"]),
                hashing_key=services.hashing_key,
            )
    except Conflict as refusal:
        refused = form.refused(refusal)
        return await _show(request, services, viewer, key_id, form=refused, status=refusal.status)
    return await _show_secret(request, services, viewer, secret, view, is_new=False)


@router.post("/keys/{key_id}/revoke")
async def revoke_key(services: CurrentServices, viewer: CurrentViewer, key_id: str) -> Response:
    """Make a key useless for good, from the very next call on."""
    async with services.storage.write() as tx:
        view = await control.revoke_api_key(tx, viewer.actor, key_id, account_id=viewer.actor.account_id)
    return redirect("/keys", flash="api_key.revoked", name=view.key.name)
