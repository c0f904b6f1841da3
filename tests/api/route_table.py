"""The control API's route table, as its OpenAPI names it."""

from fastapi import FastAPI

from tokenopen.api.control_app import ROUTERS

Route = tuple[str, str]


def _routes() -> list[Route]:
    app = FastAPI()
    for router in ROUTERS:
        app.include_router(router)
    return [
        (method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations
    ]


ROUTES = _routes()
