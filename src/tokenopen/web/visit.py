"""Visits: what every page needs to know of a request before its route runs."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenopen.control.platform import load_platform
from tokenopen.control.services import Services
from tokenopen.ports.storage import StorageAway
from tokenopen.web.static_file import STATIC_PATH
from tokenopen.web.text import Languages
from tokenopen.web.viewer import Visit, theme_of

# Finds who is signed in and what their forms carry, and notes both on the visit.
Recognize = Callable[[Services, Request, Visit], Awaitable[None]]


class Visits:
    """ASGI middleware that puts a Visit on the request's state, as ``visit``.

    With the storage away there is one too, so that the page that says so can be rendered.
    """

    def __init__(
        self, app: ASGIApp, *, services: Services, languages: Languages, recognize: Recognize
    ) -> None:
        self._app = app
        self._services = services
        self._languages = languages
        self._recognize = recognize

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_static(scope):
            request = Request(scope)
            visit = Visit(
                text=self._languages.choose(request.headers.get("accept-language", "")),
                theme=theme_of(request.cookies),
                now_ms=self._services.clock.now_ms(),
            )
            scope.setdefault("state", {})["visit"] = visit
            try:
                async with self._services.storage.read() as tx:
                    visit.platform = await load_platform(tx)
                    visit.now_ms = tx.now_ms
                await self._recognize(self._services, request, visit)
            except StorageAway:
                visit.storage_is_away = True
        await self._app(scope, receive, send)


def _is_static(scope: Scope) -> bool:
    """Tell whether a file is asked for; who asks for one in another way is shown a page of an error."""
    return scope["path"].startswith(f"{STATIC_PATH}/") and scope["method"] in ("GET", "HEAD")
