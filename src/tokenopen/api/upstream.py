"""Upstreams, as administrators see and set them; a credential goes in and never comes out."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tokenopen.api.authentication import Administrator
from tokenopen.api.json_types import (
    UNCHANGED,
    InstantOut,
    Label,
    MultiplierIn,
    MultiplierOut,
    PageOut,
    PageQuery,
    PatchBody,
    page_out,
)
from tokenopen.api.services import CurrentServices
from tokenopen.control import upstream as control
from tokenopen.control.services import Services
from tokenopen.control.upstream import (
    BASE_URL_LENGTH_MAX,
    PRIORITY_MAX,
    TIMEOUT_MS_MAX,
    TIMEOUT_MS_MIN,
    WEIGHT_MAX,
    Sealing,
    UpstreamRecord,
)
from tokenopen.control.upstream_probe import AvailableModel, Probe, match_available, probe_upstream
from tokenopen.storage.model import ListedState, list_model_states

router = APIRouter(tags=["upstreams"])

TimeoutMs = Annotated[int, Field(ge=TIMEOUT_MS_MIN, le=TIMEOUT_MS_MAX)]
Priority = Annotated[int, Field(ge=0, le=PRIORITY_MAX)]
Weight = Annotated[int, Field(ge=1, le=WEIGHT_MAX)]
Credential = Annotated[str, Field(min_length=1, max_length=4_096, json_schema_extra={"writeOnly": True})]
BaseUrl = Annotated[str, Field(min_length=1, max_length=BASE_URL_LENGTH_MAX)]


class UpstreamIn(PatchBody):
    """A new upstream. ``base_url`` is as the provider's SDK takes it, by default the provider's own.

    ``models`` maps public names to the names there. A lower ``priority`` number is tried first; among
    equals the chance is by ``weight``. ``cost_multiplier`` is what its provider takes, as a factor on the
    models' prices here: calls then say what they cost you, where the provider does not say so itself.
    """

    name: Label
    provider: str
    base_url: BaseUrl = UNCHANGED
    credential: Credential
    models: dict[str, str] = UNCHANGED
    enabled: bool = UNCHANGED
    priority: Priority = UNCHANGED
    weight: Weight = UNCHANGED
    connect_timeout_ms: TimeoutMs = UNCHANGED
    first_byte_timeout_ms: TimeoutMs = UNCHANGED
    idle_timeout_ms: TimeoutMs = UNCHANGED
    cost_multiplier_ppm: MultiplierIn | None = Field(default=UNCHANGED, alias="cost_multiplier")


class UpstreamPatch(PatchBody):
    """Changes of an upstream; ``models`` replaces the whole map.

    A ``base_url`` of another origin needs the credential for it in the same request.
    """

    name: Label = UNCHANGED
    provider: str = UNCHANGED
    base_url: BaseUrl = UNCHANGED
    credential: Credential = UNCHANGED
    models: dict[str, str] = UNCHANGED
    enabled: bool = UNCHANGED
    priority: Priority = UNCHANGED
    weight: Weight = UNCHANGED
    connect_timeout_ms: TimeoutMs = UNCHANGED
    first_byte_timeout_ms: TimeoutMs = UNCHANGED
    idle_timeout_ms: TimeoutMs = UNCHANGED
    cost_multiplier_ppm: MultiplierIn | None = Field(default=UNCHANGED, alias="cost_multiplier")


class UpstreamOut(BaseModel):
    """An upstream; of its credential only the last four characters, none of a short one.

    ``warnings`` say which of its models calls cannot be made to, and why.
    """

    id: str
    name: str
    provider: str
    base_url: str
    credential_last_four: str
    models: dict[str, str]
    enabled: bool
    priority: int
    weight: int
    connect_timeout_ms: int
    first_byte_timeout_ms: int
    idle_timeout_ms: int
    cost_multiplier: MultiplierOut | None
    warnings: list[str]
    created_at: InstantOut
    updated_at: InstantOut


class ProbeOut(BaseModel):
    """Whether the provider answered with its list of models; ``error`` says what to do where it did not."""

    ok: bool
    status: int | None
    latency_ms: int
    models: int
    error: str | None


class AvailableModelOut(BaseModel):
    """A model that the provider lists; ``model`` is the one here that it seems to be, null if none.

    ``has_price``: that one is complete. ``mapped_as`` are the public names it is carried under already.
    """

    upstream_model: str
    model: str | None
    state: ListedState | None
    has_price: bool
    mapped_as: list[str]


class AvailableModelsOut(BaseModel):
    """All that the provider lists."""

    data: list[AvailableModelOut]
    next_cursor: None = None


def _show(record: UpstreamRecord) -> UpstreamOut:
    endpoint = record.endpoint
    return UpstreamOut(
        id=endpoint.id,
        name=endpoint.name,
        provider=endpoint.provider,
        base_url=endpoint.base_url,
        credential_last_four=record.credential_last_four,
        models=dict(record.models),
        enabled=endpoint.enabled,
        priority=record.priority,
        weight=record.weight,
        connect_timeout_ms=endpoint.connect_timeout_ms,
        first_byte_timeout_ms=endpoint.first_byte_timeout_ms,
        idle_timeout_ms=endpoint.idle_timeout_ms,
        cost_multiplier=endpoint.cost_multiplier_ppm,
        warnings=list(record.warnings),
        created_at=record.created_at_ms,
        updated_at=record.updated_at_ms,
    )


def _show_available(found: AvailableModel) -> AvailableModelOut:
    return AvailableModelOut(
        upstream_model=found.upstream_model,
        model=found.model,
        state=found.state,
        has_price=found.state == "active",
        mapped_as=list(found.mapped_as),
    )


def _sealing(services: Services) -> Sealing:
    return Sealing(key=services.sealing_key, allowed_networks=services.allowed_networks)


async def _probe(services: Services, record: UpstreamRecord) -> Probe:
    return await probe_upstream(
        services.upstream, services.clock, record.endpoint, sealing_key=services.sealing_key
    )


@router.get("/api/admin/upstreams")
async def list_upstreams(
    services: CurrentServices, actor: Administrator, query: Annotated[PageQuery, Query()]
) -> PageOut[UpstreamOut]:
    """Upstreams, the oldest first."""
    async with services.storage.read() as tx:
        page = await control.list_upstreams(tx, actor, page=query.page())
    return page_out(page, _show)


@router.post("/api/admin/upstreams", status_code=201)
async def create_upstream(services: CurrentServices, actor: Administrator, body: UpstreamIn) -> UpstreamOut:
    """Create an upstream; models without a price are named in the warnings."""
    async with services.storage.write() as tx:
        record = await control.create_upstream(tx, actor, body.changes(), sealing=_sealing(services))
    return _show(record)


@router.get("/api/admin/upstreams/{upstream_id}")
async def find_upstream(services: CurrentServices, actor: Administrator, upstream_id: str) -> UpstreamOut:
    """One upstream."""
    async with services.storage.read() as tx:
        record = await control.find_upstream(tx, actor, upstream_id)
    return _show(record)


@router.patch("/api/admin/upstreams/{upstream_id}")
async def update_upstream(
    services: CurrentServices, actor: Administrator, upstream_id: str, body: UpstreamPatch
) -> UpstreamOut:
    """Change an upstream; binds the very next call."""
    async with services.storage.write() as tx:
        record = await control.update_upstream(
            tx, actor, upstream_id, body.changes(), sealing=_sealing(services)
        )
    return _show(record)


@router.post("/api/admin/upstreams/{upstream_id}/test")
async def test_upstream(services: CurrentServices, actor: Administrator, upstream_id: str) -> ProbeOut:
    """Ask the provider for its list of models, which costs nothing."""
    async with services.storage.read() as tx:
        record = await control.find_upstream(tx, actor, upstream_id)
    probe = await _probe(services, record)
    return ProbeOut(
        ok=probe.error is None,
        status=probe.status,
        latency_ms=probe.latency_ms,
        models=len(probe.models),
        error=probe.error,
    )


@router.get("/api/admin/upstreams/{upstream_id}/available-models")
async def list_available_models(
    services: CurrentServices, actor: Administrator, upstream_id: str
) -> AvailableModelsOut:
    """What the provider has: which of it has a price here, and which is mapped already."""
    async with services.storage.read() as tx:
        record = await control.find_upstream(tx, actor, upstream_id)
    probe = await _probe(services, record)
    async with services.storage.read() as tx:
        states = await list_model_states(tx)
    found = match_available(probe, mapped=record.models, states=states)
    return AvailableModelsOut(data=[_show_available(each) for each in found])
