"""Authentication: who sends a request to the control API, by a management key or a console session.

A browser sends its session's cookie along with whatever any page asks of it. So a request that comes with
nothing else may only read; to change something it carries the session's own token in X-CSRF-Token and says,
by its Origin or Sec-Fetch-Site, that one of our own pages sent it.
"""

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tokenopen.api.services import CurrentServices
from tokenopen.control import management_key
from tokenopen.control.actor import Actor
from tokenopen.control.management_key import ADMIN_KEY_LENGTH_MAX, ADMIN_KEY_LENGTH_MIN
from tokenopen.control.services import Services
from tokenopen.control.session import find_signed_in
from tokenopen.core.api_key import API_KEY_PREFIX
from tokenopen.core.errors import InvalidApiKey, RequestForged
from tokenopen.core.session import form_token_of
from tokenopen.core.site import FORM_TOKEN_HEADER, SAFE_METHODS, Site, find_site

_bearer = HTTPBearer(
    auto_error=False, scheme_name="management key", description="sk-mgmt-..., or TOKENOPEN_ADMIN_KEY"
)


async def _authenticate(
    request: Request,
    services: CurrentServices,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Actor:
    if credentials is None and "authorization" not in request.headers:
        site = find_site(public_url=services.public_url, host=request.headers.get("host", ""))
        token = None if site is None else request.cookies.get(site.session_cookie)
        if site is not None and token is not None:
            return await _authenticate_session(request, services, site, token)
    if credentials is None:
        raise InvalidApiKey("Send a management key as Authorization: Bearer sk-mgmt-...")
    key = credentials.credentials
    # No key of any kind is shorter or longer: junk is refused before any I/O.
    if not (key.startswith(API_KEY_PREFIX) or ADMIN_KEY_LENGTH_MIN <= len(key) <= ADMIN_KEY_LENGTH_MAX):
        raise InvalidApiKey("This is no management key. Check that it was copied whole.")
    async with services.storage.read() as tx:
        return await management_key.authenticate(tx, key, services.hashing_key)


async def _authenticate_session(request: Request, services: Services, site: Site, token: str) -> Actor:
    if request.method not in SAFE_METHODS:
        _refuse_forged(request, site, form_token_of(token, services.hashing_key))
    return (await find_signed_in(services.storage, token, services.hashing_key)).actor


def _refuse_forged(request: Request, site: Site, form_token: str) -> None:
    headers = request.headers
    if not site.sent(origin=headers.get("origin"), fetch_site=headers.get("sec-fetch-site")):
        raise RequestForged("This request does not come from the console's own pages.")
    if not hmac.compare_digest(headers.get(FORM_TOKEN_HEADER, "").encode(), form_token.encode()):
        raise RequestForged("Send the session's own token as X-CSRF-Token; the console's pages carry it.")


CurrentUser = Annotated[Actor, Depends(_authenticate)]


async def _require_administrator(actor: CurrentUser) -> Actor:
    # The use case asks again; here so that nobody else is told what such a request may hold.
    actor.require_administrator()
    return actor


Administrator = Annotated[Actor, Depends(_require_administrator)]
