"""Route: to which upstreams a call may go at all, before their order and health are looked at."""

from collections.abc import Sequence
from typing import NamedTuple

from tokenopen.core.catalog import Catalog, Route
from tokenopen.core.errors import InvalidRequest, NoUpstreamAvailable
from tokenopen.gateway.reference import Referred, unknown_reference
from tokenopen.upstream.providers import find_provider
from tokenopen.upstream.surface import CallRequest, Surface
from tokenopen.upstream.surfaces.offered import SURFACES
from tokenopen.upstream.surfaces.stored_response import StoredResponseSurface
from tokenopen.upstream.surfaces.transcriptions import TranscriptionsSurface, transcript_format
from tokenopen.upstream.translation.offered import TRANSLATIONS
from tokenopen.upstream.translation.translation import Translation


class Routing(NamedTuple):
    """Where a call may go, and how it is translated where none of that speaks its surface."""

    routes: Sequence[Route]
    translation: Translation | None


def find_routes(
    catalog: Catalog, model: str, surface: Surface, request: CallRequest, referred: Referred
) -> Routing:
    """Return where a call may go: the providers that speak its surface; only one holds what it refers to.

    A call is translated only where no provider of the model speaks its surface, whatever their health and
    priority: the same request is never refused today for what it says and taken tomorrow.

    Refuses InvalidRequest where no provider of the model speaks the surface, or tells in the format that is
    asked for what a call has taken; NoUpstreamAvailable where the upstream that holds what the call refers to
    is not connected any more, and NotFound where every provider of the model would look up an id that is
    nobody's or somebody else's.
    """
    routes = catalog.routes.get(model, ())
    if referred.holder is not None:
        if not request.model:
            routes = [route for each in catalog.routes.values() for route in each]
        routes = [route for route in routes if route.endpoint.id == referred.holder.upstream_id][:1]
        if not routes:
            raise NoUpstreamAvailable(
                f"What this call refers to is kept by a provider that does not carry {model} here any more."
            )
    routes = [route for route in routes if route.endpoint.id in referred.likely_upstreams] or routes
    if referred.unknown is not None:
        routes = [route for route in routes if not _keeps(route)]
        if not routes:
            raise unknown_reference(referred.unknown)
    speaking = [route for route in routes if speaks(route, surface)]
    if speaking:
        if isinstance(surface, TranscriptionsSurface):
            speaking = _telling(speaking, request)
        return Routing(speaking, None)
    for translation in TRANSLATIONS:
        if translation.spoken == surface.name:
            speaking = [route for route in routes if speaks(route, translation.wire)]
            if speaking:
                return Routing(speaking, translation)
    raise InvalidRequest(
        f"Model {model} cannot be called by {surface.method} {surface.path}. It can be called by: "
        f"{', '.join(_paths(routes))}.",
        param="model",
    )


def speaks(route: Route, surface: Surface) -> bool:
    """Tell whether the provider at a route's end speaks a surface."""
    return surface.name in find_provider(route.endpoint.provider).surfaces


def _telling(routes: Sequence[Route], request: CallRequest) -> list[Route]:
    """Return the routes whose provider tells how long a transcript's sound was. Refuses InvalidRequest."""
    form = transcript_format(request.fields)
    telling = [route for route in routes if form not in find_provider(route.endpoint.provider).silent_formats]
    if not telling:
        raise InvalidRequest(
            f'response_format may only be "verbose_json" here: the provider of model {request.model} tells '
            "in no other how long the sound was.",
            param="response_format",
        )
    return telling


def _keeps(route: Route) -> bool:
    """Tell whether a provider keeps what it has written, and looks it up by its id."""
    return StoredResponseSurface.name in find_provider(route.endpoint.provider).surfaces


def _paths(routes: Sequence[Route]) -> Sequence[str]:
    """Return the paths by which the providers of some routes can be called for a price."""
    charged = [surface for surface in SURFACES if not surface.is_free]
    spoken = {surface.name for surface in charged if any(speaks(route, surface) for route in routes)}
    spoken |= {translation.spoken for translation in TRANSLATIONS if translation.wire.name in spoken}
    return sorted({surface.path for surface in charged if surface.name in spoken})
