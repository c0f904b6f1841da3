"""API keys: one's own, and administrators' for anybody. The secret is in the answer to POST, this once."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.group import Patterns, Slug
from tokenopen.api.group_terms import GroupRefOut, LimitsOut, show_group_ref, show_limits
from tokenopen.api.json_types import (
    UNCHANGED,
    AmountIn,
    AmountOut,
    Body,
    InstantIn,
    InstantOut,
    Label,
    MultiplierOut,
    PageOut,
    PageQuery,
    PatchBody,
    PersonOut,
    page_out,
)
from tokenopen.api.services import CurrentServices
from tokenopen.control import api_key as control
from tokenopen.control.actor import Actor
from tokenopen.control.api_key import ApiKeyView, Narrowing
from tokenopen.control.services import Services
from tokenopen.core.api_key import ApiKeyState

router = APIRouter(tags=["API keys"])

Addresses = Annotated[list[str], Field(max_length=1_000)]


class ApiKeyIn(Body):
    """A new key. Without a group it gets the platform's default; null narrows nothing."""

    name: Label
    group: Slug | None = None
    models: Patterns | None = None
    allowed_ips: Addresses | None = None
    credit_limit: AmountIn | None = None
    expires_at: InstantIn | None = None


class ApiKeyPatch(PatchBody):
    """A change of a key; its secret stays. Null narrows nothing."""

    name: Label = UNCHANGED
    group: Slug = UNCHANGED
    models: Patterns | None = UNCHANGED
    allowed_ips: Addresses | None = UNCHANGED
    credit_limit: AmountIn | None = UNCHANGED
    expires_at_ms: InstantIn | None = Field(default=UNCHANGED, alias="expires_at")
    state: Literal["active", "disabled"] = UNCHANGED


class RotationIn(Body):
    """A new secret for a key: for how long the one it has now works on, at most 30 days."""

    overlap_seconds: Annotated[int, Field(ge=0, le=30 * 24 * 3600)] = 24 * 3600


class MoveIn(Body):
    """Which keys move to a group that is open to oneself; null is every key that is not revoked."""

    group: Slug
    keys: Annotated[list[str], Field(min_length=1, max_length=1_000)] | None


class ApiKeyQuery(PageQuery):
    """Whose keys are asked for: ``user`` is an id, ``group`` a slug."""

    user: str | None = None
    group: str | None = None


class ApiKeyOut(LimitsOut):
    """A key with what its group means to its owner now; ``held`` is reserved for running calls.

    The limits stand here under the names that a group has them by, and together as ``limits``.
    ``former_secret_until`` is set while the secret from before a rotation works beside the new one.
    """

    id: str
    public_id: str
    name: str
    last_four: str
    state: ApiKeyState
    user: PersonOut
    group: GroupRefOut
    display_multiplier: str
    multiplier: MultiplierOut
    multiplier_rule: str
    model_multipliers: dict[str, MultiplierOut]
    allowed_models: list[str]
    models: list[str] | None
    limits: LimitsOut
    allowed_ips: list[str] | None
    credit_limit: AmountOut | None
    spent: AmountOut
    held: AmountOut
    expires_at: InstantOut | None
    last_used_at: InstantOut | None
    created_at: InstantOut
    revoked_at: InstantOut | None
    former_secret_until: InstantOut | None


class CreatedApiKeyOut(ApiKeyOut):
    """A new key, or a key with a new secret: the one time that it is shown."""

    key: str


def _fields(view: ApiKeyView) -> dict[str, Any]:
    key, terms = view.key, view.terms
    return {
        "id": key.id,
        "public_id": view.public_id,
        "name": key.name,
        "last_four": key.last_four,
        "state": key.state,
        "user": PersonOut(id=key.user_id, email=view.user_email),
        "group": show_group_ref(terms),
        "display_multiplier": terms.display_multiplier,
        "multiplier": terms.multiplier_ppm,
        "multiplier_rule": terms.multiplier_rule,
        "model_multipliers": dict(terms.model_multipliers),
        "allowed_models": list(terms.allowed_models),
        "models": None if key.models is None else list(key.models),
        "limits": show_limits(terms.limits),
        **show_limits(terms.limits).model_dump(),
        "allowed_ips": None if key.allowed_ips is None else list(key.allowed_ips),
        "credit_limit": key.credit_limit,
        "spent": view.spent,
        "held": view.held,
        "expires_at": key.expires_at_ms,
        "last_used_at": view.last_used_at_ms,
        "created_at": view.created_at_ms,
        "revoked_at": view.revoked_at_ms,
        "former_secret_until": view.former_until_ms,
    }


def _show(view: ApiKeyView) -> ApiKeyOut:
    return ApiKeyOut(**_fields(view))


async def _create(services: Services, actor: Actor, user_id: str, body: ApiKeyIn) -> CreatedApiKeyOut:
    narrowing = Narrowing(
        models=body.models,
        allowed_ips=body.allowed_ips,
        credit_limit=body.credit_limit,
        expires_at_ms=body.expires_at,
    )
    async with services.storage.write() as tx:
        key, view = await control.create_api_key(
            tx,
            actor,
            user_id=user_id,
            name=body.name,
            group=body.group,
            narrowing=narrowing,
            hashing_key=services.hashing_key,
        )
    return CreatedApiKeyOut(key=key, **_fields(view))


async def _find(services: Services, actor: Actor, key_id: str, account_id: str | None) -> ApiKeyOut:
    async with services.storage.read() as tx:
        view = await control.find_api_key(tx, actor, key_id, account_id=account_id)
    return _show(view)


async def _update(
    services: Services, actor: Actor, key_id: str, account_id: str | None, body: ApiKeyPatch
) -> ApiKeyOut:
    async with services.storage.write() as tx:
        view = await control.update_api_key(tx, actor, key_id, body.changes(), account_id=account_id)
    return _show(view)


async def _rotate(
    services: Services, actor: Actor, key_id: str, account_id: str | None, body: RotationIn | None
) -> CreatedApiKeyOut:
    async with services.storage.write() as tx:
        key, view = await control.rotate_api_key(
            tx,
            actor,
            key_id,
            account_id=account_id,
            overlap_seconds=(body or RotationIn()).overlap_seconds,
            hashing_key=services.hashing_key,
        )
    return CreatedApiKeyOut(key=key, **_fields(view))


async def _revoke(services: Services, actor: Actor, key_id: str, account_id: str | None) -> ApiKeyOut:
    async with services.storage.write() as tx:
        view = await control.revoke_api_key(tx, actor, key_id, account_id=account_id)
    return _show(view)


@router.get("/api/me/keys")
async def list_my_keys(
    services: CurrentServices, actor: CurrentUser, query: Annotated[PageQuery, Query()]
) -> PageOut[ApiKeyOut]:
    """One's own keys, newest first, revoked ones too."""
    async with services.storage.read() as tx:
        page = await control.list_my_api_keys(tx, actor, page=query.page())
    return page_out(page, _show)


@router.post("/api/me/keys", status_code=201)
async def create_my_key(services: CurrentServices, actor: CurrentUser, body: ApiKeyIn) -> CreatedApiKeyOut:
    """Create a key in one of the groups open to oneself; its secret is in this answer and nowhere else."""
    return await _create(services, actor, actor.user_id, body)


@router.post("/api/me/keys/move")
async def move_my_keys(services: CurrentServices, actor: CurrentUser, body: MoveIn) -> PageOut[ApiKeyOut]:
    """Move keys of one's own to a group, all or none; secrets stay. Answers with those in the group."""
    async with services.storage.write() as tx:
        await control.move_api_keys(
            tx, actor, account_id=actor.account_id, group=body.group, key_ids=body.keys
        )
        usable = await control.list_my_usable_api_keys(tx, actor)
    return PageOut(
        data=[_show(view) for view in usable if view.terms.group.description.slug == body.group],
        next_cursor=None,
    )


@router.get("/api/me/keys/{key_id}")
async def find_my_key(services: CurrentServices, actor: CurrentUser, key_id: str) -> ApiKeyOut:
    """One of one's own keys."""
    return await _find(services, actor, key_id, actor.account_id)


@router.patch("/api/me/keys/{key_id}")
async def update_my_key(
    services: CurrentServices, actor: CurrentUser, key_id: str, body: ApiKeyPatch
) -> ApiKeyOut:
    """Change one of one's own keys, its group too; the secret stays and the very next call is bound."""
    return await _update(services, actor, key_id, actor.account_id, body)


@router.post("/api/me/keys/{key_id}/rotate")
async def rotate_my_key(
    services: CurrentServices, actor: CurrentUser, key_id: str, body: RotationIn | None = None
) -> CreatedApiKeyOut:
    """Give one of one's own keys a new secret, in this answer only; the old one works on for a while."""
    return await _rotate(services, actor, key_id, actor.account_id, body)


@router.post("/api/me/keys/{key_id}/revoke")
async def revoke_my_key(services: CurrentServices, actor: CurrentUser, key_id: str) -> ApiKeyOut:
    """Make one of one's own keys useless for good, from the very next call on."""
    return await _revoke(services, actor, key_id, actor.account_id)


@router.get("/api/admin/keys")
async def list_keys(
    services: CurrentServices, actor: Administrator, query: Annotated[ApiKeyQuery, Query()]
) -> PageOut[ApiKeyOut]:
    """Everybody's keys, newest first, or those of one user or group."""
    async with services.storage.read() as tx:
        page = await control.list_api_keys(
            tx, actor, page=query.page(), user_id=query.user, group=query.group
        )
    return page_out(page, _show)


@router.get("/api/admin/users/{user_id}/keys")
async def list_user_keys(
    services: CurrentServices, actor: Administrator, user_id: str, query: Annotated[PageQuery, Query()]
) -> PageOut[ApiKeyOut]:
    """A user's keys, newest first, revoked ones too."""
    async with services.storage.read() as tx:
        page = await control.list_api_keys(tx, actor, page=query.page(), user_id=user_id)
    return page_out(page, _show)


@router.post("/api/admin/users/{user_id}/keys", status_code=201)
async def create_user_key(
    services: CurrentServices, actor: Administrator, user_id: str, body: ApiKeyIn
) -> CreatedApiKeyOut:
    """Create a key for a user, in one of the groups open to them; the secret is in this answer only."""
    return await _create(services, actor, user_id, body)


@router.get("/api/admin/keys/{key_id}")
async def find_key(services: CurrentServices, actor: Administrator, key_id: str) -> ApiKeyOut:
    """Anybody's key."""
    return await _find(services, actor, key_id, None)


@router.patch("/api/admin/keys/{key_id}")
async def update_key(
    services: CurrentServices, actor: Administrator, key_id: str, body: ApiKeyPatch
) -> ApiKeyOut:
    """Change anybody's key; its group has to be open to its owner."""
    return await _update(services, actor, key_id, None, body)


@router.post("/api/admin/keys/{key_id}/rotate")
async def rotate_key(
    services: CurrentServices, actor: Administrator, key_id: str, body: RotationIn | None = None
) -> CreatedApiKeyOut:
    """Give anybody's key a new secret, in this answer only; the old one works on for a while."""
    return await _rotate(services, actor, key_id, None, body)


@router.post("/api/admin/keys/{key_id}/revoke")
async def revoke_key(services: CurrentServices, actor: Administrator, key_id: str) -> ApiKeyOut:
    """Make anybody's key useless for good, from the very next call on."""
    return await _revoke(services, actor, key_id, None)
