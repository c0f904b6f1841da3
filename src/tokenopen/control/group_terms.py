"""Group terms: what a group means to one account, with its entitlement applied: shown before a choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenopen.control.actor import Actor
from tokenopen.control.price_list import step_of
from tokenopen.core.caller import find_entitlement, group_is_open
from tokenopen.core.catalog import Model
from tokenopen.core.errors import GroupNotAvailable
from tokenopen.core.group import Limits
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.terms import (
    Entitlement,
    allowed_models,
    allows,
    base_multiplier,
    display_multiplier,
    limits_for,
    model_multipliers,
    multiplier_for,
)
from tokenopen.ports.storage import Transaction
from tokenopen.storage.entitlement import list_entitlements
from tokenopen.storage.group import list_groups
from tokenopen.storage.offered_model import list_offered_models
from tokenopen.storage.platform import load_platform


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTerms:
    """A group as one account finds it; ``entitlement`` is the one in force, or None."""

    group: GroupRecord
    entitlement: Entitlement | None
    is_open: bool

    @property
    def ends_ms(self) -> int | None:
        """When access or own terms end, if they do."""
        return None if self.entitlement is None else self.entitlement.expires_at_ms

    @property
    def limits(self) -> Limits:
        """The limits that bind the account within the group."""
        return limits_for(self.group.policy, self.entitlement)

    @property
    def multiplier_ppm(self) -> int:
        """The multiplier where no model pattern has its own."""
        return base_multiplier(self.group.policy, self.entitlement)[0]

    @property
    def multiplier_rule(self) -> str:
        """Whose multiplier that is, as calls store it."""
        return base_multiplier(self.group.policy, self.entitlement)[1]

    @property
    def model_multipliers(self) -> Mapping[str, int]:
        """The model patterns that have a multiplier of their own."""
        return model_multipliers(self.group.policy, self.entitlement)

    @property
    def display_multiplier(self) -> str:
        """The multiplier as people see it."""
        return display_multiplier(
            self.group.policy, self.entitlement, custom=self.group.description.custom_terms
        )

    @property
    def allowed_models(self) -> Sequence[str]:
        """The names and patterns that the account's keys in the group may call."""
        return allowed_models(self.group.policy, self.entitlement)

    def allows(self, model: str) -> bool:
        """Tell whether the account's keys in the group may call a model."""
        return allows(self.group.policy, self.entitlement, model)

    def multiplier_for(self, model: str) -> tuple[int, str]:
        """Return the multiplier of a model in parts per million, and the rule that won."""
        return multiplier_for(self.group.policy, self.entitlement, model)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChoice:
    """What an account may choose from: every active group with its terms, the default first, then as people
    move up; and what is offered."""

    groups: Sequence[GroupTerms]
    default_group_id: str
    offered: Sequence[Model]
    now_ms: int


def terms_of(group: GroupRecord, entitlements: Sequence[Entitlement], now_ms: int) -> GroupTerms:
    """Return what a group means to an account that has these entitlements."""
    return GroupTerms(
        group=group,
        entitlement=find_entitlement(entitlements, group.id, now_ms),
        is_open=group_is_open(group.group, entitlements, now_ms),
    )


async def list_terms(tx: Transaction, account_id: str) -> Sequence[GroupTerms]:
    """Return the terms of every active group for an account, by slug."""
    entitlements = await list_entitlements(tx, [account_id])
    return [terms_of(group, entitlements, tx.now_ms) for group in await list_groups(tx, state="active")]


async def list_my_groups(tx: Transaction, actor: Actor) -> GroupChoice:
    """Return what the actor may choose from for a key, and what they may ask for."""
    return await _choice(tx, await list_terms(tx, actor.account_id))


async def list_public_groups(tx: Transaction) -> GroupChoice:
    """Return the groups as somebody finds them who has no account yet."""
    groups = await list_groups(tx, state="active")
    return await _choice(tx, [terms_of(group, [], tx.now_ms) for group in groups])


async def _choice(tx: Transaction, groups: Sequence[GroupTerms]) -> GroupChoice:
    default_group_id = (await load_platform(tx)).default_group
    return GroupChoice(
        groups=sorted(groups, key=lambda terms: step_of(terms.group, default_group_id)),
        default_group_id=default_group_id,
        offered=await list_offered_models(tx),
        now_ms=tx.now_ms,
    )


async def choose_group(tx: Transaction, account_id: str, slug: str | None) -> GroupTerms:
    """Return the group that a key is to point at: the one named, or the platform's default.

    Refuses GroupNotAvailable, naming the groups that are open to the account.
    """
    every = await list_terms(tx, account_id)
    wanted = (await load_platform(tx)).default_group if slug is None else None
    for terms in every:
        if terms.is_open and terms.group.description.slug == slug:
            return terms
        if terms.group.id == wanted:
            return terms
    open_slugs = [terms.group.description.slug for terms in every if terms.is_open]
    closed = next((terms.group for terms in every if terms.group.description.slug == slug), None)
    why = (
        f"No group {slug} is offered."
        if closed is None
        else f"Group {closed.description.name} is by request, and this account has no access to it."
    )
    raise GroupNotAvailable(
        f"{why} Open to this account: {', '.join(open_slugs)}.",
        group=slug,
        open_groups=open_slugs,
        param="group",
    )
