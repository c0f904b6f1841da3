"""Control application: every route under /api, with OpenAPI at /api/openapi.json."""

from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from tokenopen import __version__
from tokenopen.api import (
    api_key,
    audit,
    audit_log,
    call,
    entitlement,
    group,
    group_terms,
    ledger,
    management_key,
    meter,
    model,
    platform,
    refused_call,
    session,
    upgrade_request,
    upstream,
    usage,
    user,
)
from tokenopen.api.body_limit import BodyLimit
from tokenopen.api.errors import ErrorBody, add_error_handlers
from tokenopen.api.meter import ReadMeter
from tokenopen.control.services import Services
from tokenopen.core.meter import Reading

ROUTERS: Final[tuple[APIRouter, ...]] = (
    user.router,
    management_key.router,
    session.router,
    group.router,
    group_terms.router,
    entitlement.router,
    api_key.router,
    upgrade_request.router,
    platform.router,
    model.router,
    upstream.router,
    ledger.router,
    call.router,
    usage.router,
    refused_call.router,
    audit_log.router,
    audit.router,
    meter.router,
)

# Named so, the framework does not add the 422 that it would answer by itself and that is a 400 here.
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorBody, "description": "Refused: the code and the message say why"},
    "5XX": {"model": ErrorBody, "description": "Trouble on our side"},
}


def _operation_id(route: APIRoute) -> str:
    return route.name


def create_control_app(services: Services, *, read_meter: ReadMeter = Reading) -> FastAPI:
    """Return the ASGI application that serves /api and /metrics; ``read_meter`` tells what was counted."""
    app = FastAPI(
        title="TokenOpen control API",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=_RESPONSES,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.state.read_meter = read_meter
    app.add_middleware(BodyLimit)
    add_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
