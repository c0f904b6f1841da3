"""Upstreams, for administrators: their list with health, adding one from the list of providers, its settings.

A credential goes in and never comes out. Whoever saves settings later than another is told so.
"""

from dataclasses import replace
from typing import Final

from fastapi import APIRouter, Request, Response

from tokenopen.control import upstream as control
from tokenopen.control.model_access import groups_letting_in, list_active_groups
from tokenopen.control.page import PageRequest
from tokenopen.control.services import Services
from tokenopen.control.upstream import Sealing, UpstreamRecord, warn_of_origin
from tokenopen.control.upstream_health import list_health
from tokenopen.control.upstream_probe import probe_upstream
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.storage.model import list_model_states
from tokenopen.upstream.providers import PROVIDERS
from tokenopen.web.flash import redirect
from tokenopen.web.form import Form, read_form
from tokenopen.web.render import render
from tokenopen.web.session import require_recent_password
from tokenopen.web.upstream_form import fill_settings, read_address, read_new_upstream, read_settings
from tokenopen.web.viewer import CurrentAdministrator, CurrentServices, CurrentVisit, Viewer

router = APIRouter()

PATH: Final = "/admin/upstreams"
_ERROR_LENGTH_MAX: Final = 600


def sealing_of(services: Services) -> Sealing:
    """Return what credentials are sealed with, and where upstreams may lie."""
    return Sealing(key=services.sealing_key, allowed_networks=services.allowed_networks)


@router.get(PATH)
async def list_upstreams(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator
) -> Response:
    """Every upstream with what came of the last calls that were sent to it."""
    async with services.storage.read() as tx:
        page = await control.list_upstreams(
            tx, viewer.actor, page=PageRequest(after=request.query_params.get("cursor"))
        )
        health = await list_health(tx, viewer.actor)
        states = await list_model_states(tx)
    upstreams = [
        (
            record,
            PROVIDERS[record.endpoint.provider].label,
            health.get(record.endpoint.id),
            sum(states.get(name) != "active" for name in record.models),
        )
        for record in page.items
    ]
    return render(request, "admin_upstream/upstreams.html", upstreams=upstreams, next_cursor=page.next_cursor)


@router.get(PATH + "/new")
async def show_new_upstream(request: Request, _viewer: CurrentAdministrator) -> Response:
    """The list of providers; of the one that was picked what it takes to reach it."""
    require_recent_password(request)
    provider = PROVIDERS.get(request.query_params.get("provider", ""))
    if provider is None:
        return render(request, "admin_upstream/providers.html", providers=list(PROVIDERS.values()))
    form = Form(
        values={
            "name": [provider.label],
            "provider": [provider.name],
            "base_url": [provider.base_url or ""],
        }
    )
    return render(request, "admin_upstream/new.html", form=form, provider=provider)


@router.post(PATH)
async def create_upstream(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, visit: CurrentVisit
) -> Response:
    """Add an upstream, then show what it has."""
    changes, form = read_new_upstream(await read_form(request), visit.text)
    provider = PROVIDERS.get(form.text("provider"))
    if provider is None:
        return redirect(f"{PATH}/new")
    status = InvalidRequest.status
    if changes is not None:
        try:
            async with services.storage.write() as tx:
                record = await control.create_upstream(
                    tx, viewer.actor, changes, sealing=sealing_of(services)
                )
            return redirect(f"{PATH}/{record.endpoint.id}/models?fetch=yes", flash="admin_upstream.created")
        except (InvalidRequest, Conflict) as refusal:
            form, status = form.refused(refusal), refusal.status
    return render(request, "admin_upstream/new.html", status=status, form=form, provider=provider)


@router.get(PATH + "/{upstream_id}")
async def show_upstream(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, upstream_id: str
) -> Response:
    """An upstream: its health, what it carries, its settings."""
    return await _show(request, services, viewer, upstream_id)


async def _show(
    request: Request,
    services: Services,
    viewer: Viewer,
    upstream_id: str,
    *,
    form: Form | None = None,
    status: int = 200,
) -> Response:
    async with services.storage.read() as tx:
        record = await control.find_upstream(tx, viewer.actor, upstream_id)
        health = await list_health(tx, viewer.actor)
        states = await list_model_states(tx)
        groups = await list_active_groups(tx, viewer.actor)
    return render(
        request,
        "admin_upstream/upstream.html",
        status=status,
        upstream=record,
        provider=PROVIDERS[record.endpoint.provider],
        providers=[(provider.name, provider.label) for provider in PROVIDERS.values()],
        health=health.get(upstream_id),
        warnings=warn_of_origin(record.endpoint.base_url),
        models=[
            (name, there, states.get(name), groups_letting_in(groups, name))
            for name, there in record.models.items()
        ],
        form=form or fill_settings(record),
    )


@router.post(PATH + "/{upstream_id}")
async def update_upstream(
    request: Request,
    services: CurrentServices,
    viewer: CurrentAdministrator,
    visit: CurrentVisit,
    upstream_id: str,
) -> Response:
    """Change an upstream's settings; binds the very next call."""
    changes, form = read_settings(await read_form(request), visit.text)
    status = InvalidRequest.status
    if changes is not None:
        try:
            async with services.storage.write() as tx:
                await control.update_upstream(
                    tx,
                    viewer.actor,
                    upstream_id,
                    changes,
                    sealing=sealing_of(services),
                    based_on=form.text("version"),
                )
            return redirect(f"{PATH}/{upstream_id}", flash="admin_upstream.saved")
        except (InvalidRequest, Conflict) as refusal:
            form, status = form.refused(refusal), refusal.status
    if "version" in form.errors:
        async with services.storage.read() as tx:
            record = await control.find_upstream(tx, viewer.actor, upstream_id)
        values = {**form.values, "version": [record.version]}
        form = replace(form, values=values, message=visit.text("admin_upstream.outdated"))
    return await _show(request, services, viewer, upstream_id, form=form, status=status)


async def _find(services: Services, viewer: Viewer, upstream_id: str) -> UpstreamRecord:
    async with services.storage.read() as tx:
        return await control.find_upstream(tx, viewer.actor, upstream_id)


@router.get(PATH + "/{upstream_id}/address")
async def show_address(
    request: Request, services: CurrentServices, viewer: CurrentAdministrator, upstream_id: str
) -> Response:
    """The form for another address or credential, behind a recent password."""
    require_recent_password(request)
    record = await _find(services, viewer, upstream_id)
    form = Form(values={"base_url": [record.endpoint.base_url]})
    return render(request, "admin_upstream/address.html", upstream=record, form=form)


@router.post(PATH + "/{upstream_id}/address")
async def change_address(
    request: Request,
    services: CurrentServices,
    viewer: CurrentAdministrator,
    visit: CurrentVisit,
    upstream_id: str,
) -> Response:
    """Change where an upstream is, or its credential; the last one who sends it stays."""
    require_recent_password(request)
    changes, form = read_address(await read_form(request), visit.text)
    status = InvalidRequest.status
    if changes is not None:
        try:
            async with services.storage.write() as tx:
                await control.update_upstream(
                    tx, viewer.actor, upstream_id, changes, sealing=sealing_of(services)
                )
            return redirect(f"{PATH}/{upstream_id}", flash="admin_upstream.saved")
        except InvalidRequest as refusal:
            form, status = form.refused(refusal), refusal.status
    record = await _find(services, viewer, upstream_id)
    return render(request, "admin_upstream/address.html", status=status, upstream=record, form=form)


@router.post(PATH + "/{upstream_id}/test")
async def test_upstream(
    services: CurrentServices, viewer: CurrentAdministrator, upstream_id: str
) -> Response:
    """Ask the provider for its list of models, which costs nothing, and say what came of it."""
    record = await _find(services, viewer, upstream_id)
    probe = await probe_upstream(
        services.upstream, services.clock, record.endpoint, sealing_key=services.sealing_key
    )
    path = f"{PATH}/{upstream_id}"
    if probe.error is not None:
        return redirect(
            path, flash="admin_upstream.test_failed", tone="bad", error=probe.error[:_ERROR_LENGTH_MAX]
        )
    return redirect(
        path,
        flash="admin_upstream.test_passed",
        latency=str(probe.latency_ms),
        models=str(len(probe.models)),
    )
