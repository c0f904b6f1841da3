"""Viewer: who looks at a page, and what every page shows besides its own content."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from fastapi import Depends, Request

from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.core.errors import SessionEnded, StorageUnavailable
from tokenopen.core.platform import Platform
from tokenopen.web.text import Catalogue

Theme = Literal["auto", "light", "dark"]
THEME_COOKIE: Final = "tokenopen-theme"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """A user who is signed in. ``name`` is what the pages call them."""

    actor: Actor
    name: str

    @property
    def is_administrator(self) -> bool:
        """Tell whether the administrators' pages are open to the viewer."""
        return self.actor.role == "administrator"


@dataclass(slots=True, kw_only=True)
class Visit:
    """What is known of a request for a page before its route runs: ``request.state.visit``.

    ``platform`` is None while the storage is away (``storage_is_away``); nobody is recognized then.
    ``form_token`` is what forms carry against cross-site requests, empty where the browser has no session
    and no form was shown to it.
    """

    text: Catalogue
    theme: Theme
    now_ms: int
    platform: Platform | None = None
    viewer: Viewer | None = None
    form_token: str = ""
    storage_is_away: bool = False

    @property
    def zone(self) -> ZoneInfo:
        """The platform's time zone, in which every instant is shown."""
        return ZoneInfo("UTC") if self.platform is None else self.platform.zone

    @property
    def support_contact(self) -> str:
        """Whom users turn to, or that nobody is named."""
        named = "" if self.platform is None else self.platform.support_contact
        return named or self.text("guide.no_contact")


def theme_of(cookies: Mapping[str, str]) -> Theme:
    """Return the theme that the browser was told to use; anything unknown is as good as none."""
    match cookies.get(THEME_COOKIE):
        case "light":
            return "light"
        case "dark":
            return "dark"
        case _:
            return "auto"


def find_visit(request: Request) -> Visit:
    """Return what is known of the request."""
    visit: Any = request.state.visit
    assert isinstance(visit, Visit)
    return visit


def find_services(request: Request) -> Services:
    """Return what the application was created with."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def require_viewer(request: Request) -> Viewer:
    """Return the viewer. Refuses SessionEnded, which becomes a way to sign in, and StorageUnavailable."""
    visit = find_visit(request)
    if visit.storage_is_away:
        raise StorageUnavailable
    if visit.viewer is None:
        raise SessionEnded
    return visit.viewer


def require_administrator(request: Request) -> Viewer:
    """Return the viewer, an administrator. Refuses SessionEnded and PermissionDenied."""
    viewer = require_viewer(request)
    viewer.actor.require_administrator()
    return viewer


CurrentServices = Annotated[Services, Depends(find_services)]
CurrentVisit = Annotated[Visit, Depends(find_visit)]
CurrentViewer = Annotated[Viewer, Depends(require_viewer)]
CurrentAdministrator = Annotated[Viewer, Depends(require_administrator)]
