"""What an upstream carries: fetched from the provider and picked, added by hand, or taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from tokenopen.control import upstream as control
from tokenopen.control.model_access import GroupAccess, groups_letting_in, list_active_groups
from tokenopen.control.services import Services
from tokenopen.control.upstream import UpstreamRecord
from tokenopen.control.upstream_probe import (
    AvailableModel,
    Probe,
    match_available,
    probe_upstream,
    suggest_public_name,
)
from tokenopen.core.errors import InvalidRequest
from tokenopen.storage.model import list_model_states
from tokenopen.web.admin_upstream import PATH, sealing_of
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.render import render
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer

router = APIRouter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model that the provider has, as what callers would know it, and which groups would let it in."""

    found: AvailableModel
    public_name: str
    access: Sequence[GroupAccess]


async def _choices(
    services: Services, viewer: Viewer, record: UpstreamRecord, probe: Probe
) -> Sequence[Choice]:
    async with services.storage.read() as tx:
        states = await list_model_states(tx)
        groups = await list_active_groups(tx, viewer.actor)
    found = match_available(probe, mapped=record.models, states=states)
    choices = []
    for each in found:
        name = suggest_public_name(each.upstream_model, states)
        choices.append(Choice(found=each, public_name=name, access=groups_letting_in(groups, name)))
    return choices


async def _show(
    request: Request,
    services: Services,
    viewer: Viewer,
    upstream_id: str,
    *,
    form: Form,
    status: int = 200,
) -> Response:
    async with services.storage.read() as tx:
        record = await control.find_upstream(tx, viewer.actor, upstream_id)
    probe = None
    choices: Sequence[Choice] = ()
    if request.query_params.get("fetch") == "yes":
        probe = await probe_upstream(
            services.upstream, services.clock, record.endpoint, sealing_key=services.sealing_key
        )
        if probe.error is None:
            choices = await _choices(services, viewer, record, probe)
    return render(
        request,
        "admin_upstream/models.html",
        status=status,
        upstream=record,
        probe=probe,
        priced=[choice for choice in choices if choice.found.state == "active"],
        others=[choice for choice in choices if choice.found.state != "active"],
        form=form,
    )


@router.get(PATH + "/{upstream_id}/models")
async def show_models(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, upstream_id: str
) -> Response:
    """What can be added: what the provider lists once it is asked, and fields for anything else."""
    return await _show(request, services, viewer, upstream_id, form=Form())


@router.post(PATH + "/{upstream_id}/models")
async def add_models(
    request: Request,
    services: CurrentServices,
    viewer: CurrentAdministrator,
    visit: CurrentVisit,
    upstream_id: str,
) -> Response:
    """Have the upstream carry what was ticked, or what was typed."""
    form = await read_form(request)
    async with services.storage.read() as tx:
        states = await list_model_states(tx)
    add: Mapping[str, str] = {suggest_public_name(there, states): there for there in form.all("pick")}
    if form.has("name"):
        add = {form.text("name"): form.text("upstream_model") or form.text("name")}
    if not add:
        form = form.wrong(pick=visit.text("admin_upstream.nothing_picked"))
        return await _show(request, services, viewer, upstream_id, form=form, status=InvalidRequest.status)
    try:
        async with services.storage.write() as tx:
            await control.change_models(tx, viewer.actor, upstream_id, add=add, sealing=sealing_of(services))
    except InvalidRequest as refusal:
        return await _show(
            request, services, viewer, upstream_id, form=form.refused(refusal), status=refusal.status
        )
    return redirect(f"{PATH}/{upstream_id}#models", flash="admin_upstream.models_added", number=str(len(add)))


@router.post(PATH + "/{upstream_id}/models/remove")
async def remove_model(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, upstream_id: str
) -> Response:
    """Have the upstream carry a model no more; binds the very next call."""
    name = (await read_form(request)).text("name")
    async with services.storage.write() as tx:
        await control.change_models(
            tx, viewer.actor, upstream_id, add={}, remove=[name], sealing=sealing_of(services)
        )
    return redirect(f"{PATH}/{upstream_id}#models", flash="admin_upstream.model_removed", name=name)
