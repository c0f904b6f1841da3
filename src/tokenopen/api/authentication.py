"""Authentication: the management key behind a request to the control API."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tokenopen.api.services import CurrentServices
from tokenopen.control import management_key
from tokenopen.control.actor import Actor
from tokenopen.control.management_key import ADMIN_KEY_LENGTH_MAX, ADMIN_KEY_LENGTH_MIN
from tokenopen.core.api_key import API_KEY_PREFIX
from tokenopen.core.errors import InvalidApiKey

_bearer = HTTPBearer(
    auto_error=False, scheme_name="management key", description="sk-mgmt-..., or TOKENOPEN_ADMIN_KEY"
)


async def _authenticate(
    services: CurrentServices,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Actor:
    if credentials is None:
        raise InvalidApiKey("Send a management key as Authorization: Bearer sk-mgmt-...")
    key = credentials.credentials
    # No key of any kind is shorter or longer: junk is refused before any I/O.
    if not (key.startswith(API_KEY_PREFIX) or ADMIN_KEY_LENGTH_MIN <= len(key) <= ADMIN_KEY_LENGTH_MAX):
        raise InvalidApiKey("This is no management key. Check that it was copied whole.")
    async with services.storage.read() as tx:
        return await management_key.authenticate(tx, key, services.hashing_key)


CurrentUser = Annotated[Actor, Depends(_authenticate)]


async def _require_administrator(actor: CurrentUser) -> Actor:
    # The use case asks again; here so that nobody else is told what such a request may hold.
    actor.require_administrator()
    return actor


Administrator = Annotated[Actor, Depends(_require_administrator)]
