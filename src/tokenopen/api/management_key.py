"""Management keys: one's own, and administrators' for anybody."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.json_types import Body, InstantOut, Label, PageOut, PageQuery, page_out
from tokenopen.api.services import CurrentServices
from tokenopen.control import management_key
from tokenopen.control.actor import Actor
from tokenopen.control.services import Services
from tokenopen.core.management_key import ManagementKey, ManagementKeyState

router = APIRouter(tags=["management keys"])


class ManagementKeyIn(Body):
    """A new key is only named; it carries its user's role."""

    name: Label


class ManagementKeyOut(BaseModel):
    """What is kept of a management key."""

    id: str
    user_id: str
    name: str
    last_four: str
    state: ManagementKeyState
    created_at: InstantOut
    revoked_at: InstantOut | None


class CreatedManagementKeyOut(ManagementKeyOut):
    """A new management key: the one time that its secret is shown."""

    key: str


def _show(key: ManagementKey) -> ManagementKeyOut:
    return ManagementKeyOut(
        id=key.id,
        user_id=key.user_id,
        name=key.name,
        last_four=key.last_four,
        state=key.state,
        created_at=key.created_at_ms,
        revoked_at=key.revoked_at_ms,
    )


async def _create(services: Services, actor: Actor, user_id: str, name: str) -> CreatedManagementKeyOut:
    async with services.storage.write() as tx:
        key, stored = await management_key.create_management_key(
            tx, actor, user_id=user_id, name=name, hashing_key=services.hashing_key
        )
    return CreatedManagementKeyOut(key=key, **dict(_show(stored)))


async def _list(
    services: Services, actor: Actor, user_id: str, query: PageQuery
) -> PageOut[ManagementKeyOut]:
    async with services.storage.read() as tx:
        page = await management_key.list_keys(tx, actor, user_id=user_id, page=query.page())
    return page_out(page, _show)


async def _revoke(services: Services, actor: Actor, user_id: str, key_id: str) -> ManagementKeyOut:
    async with services.storage.write() as tx:
        key = await management_key.revoke_management_key(tx, actor, key_id, user_id=user_id)
    return _show(key)


@router.post("/api/me/management-keys", status_code=201)
async def create_my_management_key(
    services: CurrentServices, actor: CurrentUser, body: ManagementKeyIn
) -> CreatedManagementKeyOut:
    """Create a management key of one's own; its secret is in this answer and nowhere else."""
    return await _create(services, actor, actor.user_id, body.name)


@router.get("/api/me/management-keys")
async def list_my_management_keys(
    services: CurrentServices, actor: CurrentUser, query: Annotated[PageQuery, Query()]
) -> PageOut[ManagementKeyOut]:
    """One's own management keys, newest first."""
    return await _list(services, actor, actor.user_id, query)


@router.post("/api/me/management-keys/{key_id}/revoke")
async def revoke_my_management_key(
    services: CurrentServices, actor: CurrentUser, key_id: str
) -> ManagementKeyOut:
    """Make one of one's own management keys useless for good."""
    return await _revoke(services, actor, actor.user_id, key_id)


@router.post("/api/admin/users/{user_id}/management-keys", status_code=201)
async def create_user_management_key(
    services: CurrentServices, actor: Administrator, user_id: str, body: ManagementKeyIn
) -> CreatedManagementKeyOut:
    """Create a management key for a user; its secret is in this answer and nowhere else."""
    return await _create(services, actor, user_id, body.name)


@router.get("/api/admin/users/{user_id}/management-keys")
async def list_user_management_keys(
    services: CurrentServices, actor: Administrator, user_id: str, query: Annotated[PageQuery, Query()]
) -> PageOut[ManagementKeyOut]:
    """A user's management keys, newest first."""
    return await _list(services, actor, user_id, query)


@router.post("/api/admin/users/{user_id}/management-keys/{key_id}/revoke")
async def revoke_user_management_key(
    services: CurrentServices, actor: Administrator, user_id: str, key_id: str
) -> ManagementKeyOut:
    """Make one of a user's management keys useless for good."""
    return await _revoke(services, actor, user_id, key_id)
