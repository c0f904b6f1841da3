"""Entitlements: administrators let accounts use groups, on the group's terms or their own."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tokenopen.api.authentication import Administrator
from tokenopen.api.group import Multipliers, Patterns
from tokenopen.api.group_terms import LimitsOut, show_limits
from tokenopen.api.json_types import (
    UNCHANGED,
    InstantIn,
    InstantOut,
    LimitIn,
    MultiplierIn,
    MultiplierOut,
    PageOut,
    PatchBody,
    PersonOut,
)
from tokenopen.api.services import CurrentServices
from tokenopen.control import entitlement as control
from tokenopen.control.entitlement import EntitlementView, OwnTerms
from tokenopen.core.group import LIMIT_NAMES
from tokenopen.core.terms import display_multiplier, limits_for

router = APIRouter(tags=["entitlements"])


class OwnTermsIn(PatchBody):
    """An account's own terms within a group: what is absent is the group's, a limit of null is none."""

    multiplier: MultiplierIn | None = None
    model_multipliers: Multipliers = Field(default_factory=dict)
    requests_per_minute: LimitIn | None = UNCHANGED
    requests_per_day: LimitIn | None = UNCHANGED
    tokens_per_minute: LimitIn | None = UNCHANGED
    concurrent_calls: LimitIn | None = UNCHANGED
    extra_models: Patterns = Field(default_factory=list)
    expires_at: InstantIn | None = None

    def own_terms(self) -> OwnTerms:
        """Return the terms as they are decided on."""
        return OwnTerms(
            multiplier_ppm=self.multiplier,
            model_multipliers=self.model_multipliers,
            own_limits={name: value for name, value in self.changes().items() if name in LIMIT_NAMES},
            extra_models=self.extra_models,
            expires_at_ms=self.expires_at,
        )


class EntitlementGroupOut(BaseModel):
    """The group that an entitlement opens."""

    slug: str
    name: str


class EntitlementOut(BaseModel):
    """An entitlement as it was written: limits that are absent are the group's. ``limits`` result from it."""

    id: str
    user_id: str
    account_id: str
    group: EntitlementGroupOut
    multiplier: MultiplierOut | None
    model_multipliers: dict[str, MultiplierOut]
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_minute: int | None = None
    concurrent_calls: int | None = None
    extra_models: list[str]
    expires_at: InstantOut | None
    in_force: bool
    display_multiplier: str
    limits: LimitsOut
    by: PersonOut
    created_at: InstantOut
    updated_at: InstantOut


def show_entitlement(view: EntitlementView, user_id: str) -> EntitlementOut:
    """Return an entitlement as it is shown to administrators."""
    entitlement, group = view.entitlement, view.group
    own_limits: dict[str, Any] = dict(entitlement.own_limits)
    return EntitlementOut(
        id=entitlement.id,
        user_id=user_id,
        account_id=entitlement.account_id,
        group=EntitlementGroupOut(slug=group.description.slug, name=group.description.name),
        multiplier=entitlement.multiplier_ppm,
        model_multipliers=dict(entitlement.model_multipliers),
        **own_limits,
        extra_models=list(entitlement.extra_models),
        expires_at=entitlement.expires_at_ms,
        in_force=view.in_force,
        display_multiplier=display_multiplier(
            group.policy, entitlement, custom=group.description.custom_terms
        ),
        limits=show_limits(limits_for(group.policy, entitlement)),
        by=PersonOut(id=view.actor_id, email=view.actor_email),
        created_at=view.created_at_ms,
        updated_at=view.updated_at_ms,
    )


@router.get("/api/admin/users/{user_id}/entitlements", response_model_exclude_unset=True)
async def list_entitlements(
    services: CurrentServices, actor: Administrator, user_id: str
) -> PageOut[EntitlementOut]:
    """A user's entitlements, ended ones too."""
    async with services.storage.read() as tx:
        views = await control.list_entitlements(tx, actor, user_id)
    return PageOut(data=[show_entitlement(view, user_id) for view in views], next_cursor=None)


@router.put("/api/admin/users/{user_id}/entitlements/{slug}", response_model_exclude_unset=True)
async def put_entitlement(
    services: CurrentServices, actor: Administrator, user_id: str, slug: str, body: OwnTermsIn
) -> EntitlementOut:
    """Let a user's account use a group on exactly these terms, from the very next call on."""
    async with services.storage.write() as tx:
        view = await control.put_entitlement(tx, actor, user_id, slug, body.own_terms())
    return show_entitlement(view, user_id)


@router.delete("/api/admin/users/{user_id}/entitlements/{slug}", status_code=204)
async def delete_entitlement(
    services: CurrentServices, actor: Administrator, user_id: str, slug: str
) -> None:
    """End a user's access to a group, or their own terms in it, from the very next call on."""
    async with services.storage.write() as tx:
        await control.delete_entitlement(tx, actor, user_id, slug)
