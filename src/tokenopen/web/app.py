"""The web application: console and guide pages, beside the callers' and the control API.

Around every page: security headers, then the visit (who looks, in which language and theme), then its route,
which lets only our own pages change something.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from tokenopen.control.services import Services
from tokenopen.gateway.made_call import MakeCall
from tokenopen.web import (
    admin_api_key,
    admin_audit_log,
    admin_call,
    admin_credit,
    admin_entitlement,
    admin_group,
    admin_group_history,
    admin_ledger,
    admin_model,
    admin_model_import,
    admin_overview,
    admin_settings,
    admin_upgrade_request,
    admin_upstream,
    admin_upstream_model,
    admin_user,
    api_key,
    call,
    credit,
    group_terms,
    guide,
    home,
    profile,
    sign_in,
    sign_up,
    try_it,
    upgrade_request,
    usage,
)
from tokenopen.web.error_page import add_error_pages
from tokenopen.web.render import create_environment
from tokenopen.web.security import SecurityHeaders
from tokenopen.web.session import add_session_answers, recognize, refuse_forged
from tokenopen.web.static_file import STATIC_PATH, StaticFiles
from tokenopen.web.text import Languages
from tokenopen.web.visit import Visits

ROUTERS: Final[tuple[APIRouter, ...]] = (
    home.router,
    api_key.router,
    group_terms.router,
    upgrade_request.router,
    sign_in.router,
    sign_up.router,
    profile.router,
    call.router,
    admin_group.router,
    admin_group_history.router,
    credit.router,
    usage.router,
    admin_model_import.router,
    admin_model.router,
    try_it.router,
    admin_upstream.router,
    admin_upstream_model.router,
    guide.router,
    admin_credit.router,
    admin_entitlement.router,
    admin_api_key.router,
    admin_user.router,
    admin_upgrade_request.router,
    admin_call.router,
    admin_ledger.router,
    admin_settings.router,
    admin_overview.router,
    admin_audit_log.router,
)

OpenApi = Callable[[], Mapping[str, Any]]


def create_pages(
    services: Services, *, openapi: OpenApi = dict, make_call: MakeCall | None = None
) -> FastAPI:
    """Return the pages' routes. ``openapi`` gives the control API's description, for the reference.

    ``make_call`` makes the calls of "Try it"; None is for pages without a gateway behind them.
    """
    static_files = StaticFiles()
    app = FastAPI(
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(refuse_forged)],
    )
    app.state.services = services
    app.state.templates = create_environment(static_files)
    app.state.languages = Languages()
    app.state.openapi = openapi
    app.state.make_call = make_call
    add_error_pages(app)
    add_session_answers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.state.paths = frozenset(
        route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)
    )

    @app.get(STATIC_PATH + "/{path:path}")
    async def find_static_file(request: Request) -> Response:
        return static_files.answer(request)

    return app


def create_web_app(
    services: Services, *, openapi: OpenApi = dict, make_call: MakeCall | None = None
) -> ASGIApp:
    """Return the ASGI application of every path that is neither of the two APIs'."""
    return around_pages(create_pages(services, openapi=openapi, make_call=make_call))


def around_pages(pages: FastAPI) -> ASGIApp:
    """Return the pages with what stands around every one of them."""
    state = pages.state
    return SecurityHeaders(
        Visits(pages, services=state.services, languages=state.languages, recognize=recognize)
    )
