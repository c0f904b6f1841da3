"""Users: what administrators see and change of them, and what a user sees of themselves."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, Field

from tokenopen.api.authentication import Administrator, CurrentUser
from tokenopen.api.json_types import (
    UNCHANGED,
    AmountOut,
    Body,
    InstantOut,
    Label,
    PageOut,
    PageQuery,
    PatchBody,
    page_out,
)
from tokenopen.api.services import CurrentServices
from tokenopen.control import user as control
from tokenopen.control.password import hash_new_password
from tokenopen.core.password import PASSWORD_LENGTH_MAX
from tokenopen.core.user import EMAIL, Role, User, UserState

router = APIRouter(tags=["users"])


def _email(text: str) -> str:
    if not EMAIL.fullmatch(text):
        raise ValueError("must be a mail address")
    return text


Email = Annotated[str, AfterValidator(_email)]


class UserIn(Body):
    """A new user. Without a password they can use keys, but not sign in."""

    email: Email
    name: Label
    password: Annotated[str, Field(max_length=PASSWORD_LENGTH_MAX)] | None = None
    role: Role = "user"


class UserPatch(PatchBody):
    """A suspended user's keys, of both kinds, are refused."""

    name: Label = UNCHANGED
    role: Role = UNCHANGED
    state: UserState = UNCHANGED


class UserQuery(PageQuery):
    """Which users are asked for; ``search`` is a part of the mail address or the name, or the id."""

    email: str | None = None
    search: str | None = None
    role: Role | None = None
    state: UserState | None = None


class UserOut(BaseModel):
    """A user with the credit of their account; ``held`` is reserved for running calls."""

    id: str
    email: str
    name: str
    role: Role
    state: UserState
    has_password: bool
    account_id: str
    balance: AmountOut
    held: AmountOut
    available: AmountOut
    created_at: InstantOut


def _show(user: User) -> UserOut:
    return UserOut(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        state=user.state,
        has_password=user.has_password,
        account_id=user.account_id,
        balance=user.balance,
        held=user.held,
        available=user.available,
        created_at=user.created_at_ms,
    )


@router.get("/api/me")
async def find_me(services: CurrentServices, actor: CurrentUser) -> UserOut:
    """Oneself, with balance and available credit."""
    async with services.storage.read() as tx:
        user = await control.find_user(tx, actor, actor.user_id)
    return _show(user)


@router.get("/api/admin/users")
async def list_users(
    services: CurrentServices, actor: Administrator, query: Annotated[UserQuery, Query()]
) -> PageOut[UserOut]:
    """Users, newest first."""
    async with services.storage.read() as tx:
        page = await control.list_users(
            tx,
            actor,
            page=query.page(),
            email=query.email,
            search=query.search,
            role=query.role,
            state=query.state,
        )
    return page_out(page, _show)


@router.post("/api/admin/users", status_code=201)
async def create_user(services: CurrentServices, actor: Administrator, body: UserIn) -> UserOut:
    """Create a user and their account, which has no credit yet."""
    password_hash = None
    if body.password is not None:
        password_hash = await hash_new_password(body.password, email=body.email)
    async with services.storage.write() as tx:
        user = await control.create_user(
            tx, actor, email=body.email, name=body.name, role=body.role, password_hash=password_hash
        )
    return _show(user)


@router.get("/api/admin/users/{user_id}")
async def find_user(services: CurrentServices, actor: Administrator, user_id: str) -> UserOut:
    """One user."""
    async with services.storage.read() as tx:
        user = await control.find_user(tx, actor, user_id)
    return _show(user)


@router.patch("/api/admin/users/{user_id}")
async def update_user(
    services: CurrentServices, actor: Administrator, user_id: str, body: UserPatch
) -> UserOut:
    """Change a user's name, role or state; suspending binds the very next call of their keys."""
    async with services.storage.write() as tx:
        user = await control.update_user(tx, actor, user_id, body.changes())
    return _show(user)
