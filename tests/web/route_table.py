"""The pages' route table, as the application has it."""

from fastapi.routing import APIRoute

from tokenopen.web.app import ROUTERS

Route = tuple[str, str]

ROUTES: list[Route] = sorted(
    {
        (method, route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if method != "HEAD"
    }
)
