"""Sessions, passwords and one-time links: what users see of their own, and administrators do for others."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.json_types import Body, InstantOut
from tokenopen.api.services import CurrentServices
from tokenopen.control import session as control
from tokenopen.control.actor import Actor
from tokenopen.control.administrator_link import create_administrator_link
from tokenopen.control.services import Services
from tokenopen.control.sign_in import create_password_link, set_password
from tokenopen.core.one_time_link import OneTimeLink, path_of_link
from tokenopen.core.password import PASSWORD_LENGTH_MAX
from tokenopen.core.session import Session

router = APIRouter(tags=["sessions"])


class SessionOut(BaseModel):
    """A browser that is signed in; ``current`` is the one that asks."""

    id: str
    user_agent: str
    address: str
    created_at: InstantOut
    last_used_at: InstantOut
    expires_at: InstantOut
    current: bool


class SessionsOut(BaseModel):
    """All of a user's sessions; there are never so many that they would be paged."""

    data: list[SessionOut]
    next_cursor: None = None


class PasswordIn(Body):
    """A new password; every session of the user ends."""

    password: Annotated[str, Field(max_length=PASSWORD_LENGTH_MAX)]


class LinkOut(BaseModel):
    """A one-time link: the one time that it is shown."""

    url: str
    expires_at: InstantOut


def _show(session: Session, actor: Actor) -> SessionOut:
    return SessionOut(
        id=session.id,
        user_agent=session.user_agent,
        address=session.address,
        created_at=session.created_at_ms,
        last_used_at=session.last_used_at_ms,
        expires_at=session.expires_at_ms,
        current=session.id == actor.session_id,
    )


async def _list(services: Services, actor: Actor, user_id: str) -> SessionsOut:
    async with services.storage.read() as tx:
        sessions = await control.list_sessions(tx, actor, user_id=user_id)
    return SessionsOut(data=[_show(session, actor) for session in sessions])


async def _revoke(services: Services, actor: Actor, user_id: str, session_id: str) -> Response:
    async with services.storage.write() as tx:
        await control.revoke_session(tx, actor, session_id, user_id=user_id)
    return Response(status_code=204)


def _show_link(request: Request, services: Services, token: str, link: OneTimeLink) -> LinkOut:
    base_url = services.public_url or f"http://{request.headers.get('host', '')}"
    return LinkOut(url=f"{base_url}{path_of_link(link.purpose, token)}", expires_at=link.expires_at_ms)


@router.get("/api/me/sessions")
async def list_my_sessions(services: CurrentServices, actor: CurrentUser) -> SessionsOut:
    """One's own sessions, the one used last first."""
    return await _list(services, actor, actor.user_id)


@router.post("/api/me/sessions/{session_id}/revoke", status_code=204)
async def revoke_my_session(services: CurrentServices, actor: CurrentUser, session_id: str) -> Response:
    """End one of one's own sessions, from its very next request on."""
    return await _revoke(services, actor, actor.user_id, session_id)


@router.get("/api/admin/users/{user_id}/sessions")
async def list_user_sessions(services: CurrentServices, actor: Administrator, user_id: str) -> SessionsOut:
    """A user's sessions, the one used last first."""
    return await _list(services, actor, user_id)


@router.post("/api/admin/users/{user_id}/sessions/{session_id}/revoke", status_code=204)
async def revoke_user_session(
    services: CurrentServices, actor: Administrator, user_id: str, session_id: str
) -> Response:
    """End one of a user's sessions, from its very next request on."""
    return await _revoke(services, actor, user_id, session_id)


@router.post("/api/admin/users/{user_id}/password", status_code=204)
async def set_user_password(
    services: CurrentServices, actor: Administrator, user_id: str, body: PasswordIn
) -> Response:
    """Set a user's password; all their sessions and one-time links end."""
    await set_password(services, actor, user_id=user_id, password=body.password)
    return Response(status_code=204)


@router.post("/api/admin/users/{user_id}/password-links", status_code=201)
async def create_user_password_link(
    request: Request, services: CurrentServices, actor: Administrator, user_id: str
) -> LinkOut:
    """Create a link with which a user chooses a new password: once, within an hour."""
    async with services.storage.write() as tx:
        token, link = await create_password_link(tx, actor, user_id=user_id, hashing_key=services.hashing_key)
    return _show_link(request, services, token, link)


@router.post("/api/admin/administrator-links", status_code=201)
async def create_administrator_one_time_link(
    request: Request, services: CurrentServices, actor: Administrator
) -> LinkOut:
    """Create a link that makes whoever opens it an administrator: once, within an hour."""
    async with services.storage.write() as tx:
        token, link = await create_administrator_link(tx, actor, hashing_key=services.hashing_key)
    return _show_link(request, services, token, link)
