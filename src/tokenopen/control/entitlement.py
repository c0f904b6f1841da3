"""Entitlements: an account's access to a group that is by request, on the group's terms or its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.group import find_group
from tokenopen.control.user import find_user
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.group import InvalidGroup
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.identifier import new_id
from tokenopen.core.money import format_multiplier
from tokenopen.core.terms import Entitlement, limits_for
from tokenopen.ports.storage import Transaction
from tokenopen.storage import entitlement as storage
from tokenopen.storage.group import list_groups
from tokenopen.storage.policy import decode_entitlement
from tokenopen.storage.version import bump_account_version, lock_account


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTerms:
    """What an entitlement may say: absent inherits, and of the limits that are named None is unlimited."""

    multiplier_ppm: int | None = None
    model_multipliers: Mapping[str, int] = field(default_factory=dict)
    own_limits: Mapping[str, int | None] = field(default_factory=dict)
    extra_models: Sequence[str] = ()
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitlementView:
    """An entitlement with its group, and who wrote it last."""

    entitlement: Entitlement
    group: GroupRecord
    in_force: bool
    actor_id: str
    actor_email: str | None
    created_at_ms: int
    updated_at_ms: int


def _view(row: Mapping[str, Any], group: GroupRecord, now_ms: int) -> EntitlementView:
    entitlement = decode_entitlement(row)
    return EntitlementView(
        entitlement=entitlement,
        group=group,
        in_force=entitlement.in_force(now_ms),
        actor_id=row["actor_id"],
        actor_email=row["actor_email"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def _describe(entitlement: Entitlement, group: GroupRecord, user_id: str) -> dict[str, object]:
    multiplier_ppm = entitlement.multiplier_ppm
    return {
        "user_id": user_id,
        "account_id": entitlement.account_id,
        "group": group.description.slug,
        "multiplier": None if multiplier_ppm is None else format_multiplier(multiplier_ppm),
        "model_multipliers": {
            pattern: format_multiplier(ppm) for pattern, ppm in entitlement.model_multipliers.items()
        },
        **entitlement.own_limits,
        "extra_models": list(entitlement.extra_models),
        "expires_at_ms": entitlement.expires_at_ms,
    }


async def list_entitlements(tx: Transaction, actor: Actor, user_id: str) -> Sequence[EntitlementView]:
    """Return a user's entitlements, ended ones too. Refuses NotFound."""
    actor.require_administrator()
    user = await find_user(tx, actor, user_id)
    rows = await storage.list_entitlement_rows(tx, user.account_id)
    groups = {record.id: record for record in await list_groups(tx)}
    return [_view(row, groups[row["group_id"]], tx.now_ms) for row in rows]


async def find_entitlement(tx: Transaction, account_id: str, group: GroupRecord) -> EntitlementView | None:
    """Return an account's entitlement to a group, an ended one too, or None."""
    row = await storage.find_entitlement_row(tx, account_id, group.id)
    return None if row is None else _view(row, group, tx.now_ms)


async def put_entitlement(
    tx: Transaction, actor: Actor, user_id: str, slug: str, terms: OwnTerms
) -> EntitlementView:
    """Let a user's account use a group, on exactly these terms, whatever an earlier entitlement said.

    A group that is open to everyone may be given on own terms too. Binds the very next call. Refuses
    NotFound, InvalidRequest, and Conflict for an archived group.
    """
    actor.require_administrator()
    user = await find_user(tx, actor, user_id)
    group = await find_group(tx, slug)
    if group.description.state == "archived":
        raise Conflict(f"Group {group.description.name} is archived: nobody can use it any more.")
    if terms.expires_at_ms is not None and terms.expires_at_ms <= tx.now_ms:
        raise InvalidRequest(
            "expires_at: must lie in the future; to end access now, take it back.",
            param="expires_at",
        )
    await lock_account(tx, user.account_id)
    earlier = await find_entitlement(tx, user.account_id, group)
    entitlement = _entitlement(
        terms,
        group,
        entitlement_id=new_id("etl", tx.now_ms) if earlier is None else earlier.entitlement.id,
        account_id=user.account_id,
    )
    if earlier is not None and earlier.entitlement == entitlement:
        return earlier

    if earlier is None:
        await storage.insert_entitlement(tx, entitlement, actor_id=actor.user_id)
    else:
        await storage.update_entitlement(tx, entitlement, actor_id=actor.user_id)
    await bump_account_version(tx, user.account_id)
    await record_change(
        tx,
        actor,
        action="entitlement.put",
        subject_kind="entitlement",
        subject_id=entitlement.id,
        before=None if earlier is None else _describe(earlier.entitlement, group, user_id),
        after=_describe(entitlement, group, user_id),
    )
    view = await find_entitlement(tx, user.account_id, group)
    assert view is not None
    return view


def _entitlement(terms: OwnTerms, group: GroupRecord, *, entitlement_id: str, account_id: str) -> Entitlement:
    try:
        entitlement = Entitlement(
            id=entitlement_id,
            account_id=account_id,
            group_id=group.id,
            multiplier_ppm=terms.multiplier_ppm,
            model_multipliers=dict(terms.model_multipliers),
            own_limits=dict(terms.own_limits),
            extra_models=list(terms.extra_models),
            expires_at_ms=terms.expires_at_ms,
        )
        # The limits that result have to be limits too, or the account's next call would fail on them.
        limits_for(group.policy, entitlement)
    except InvalidGroup as error:
        raise InvalidRequest(f"{error}.") from error
    return entitlement


async def delete_entitlement(tx: Transaction, actor: Actor, user_id: str, slug: str) -> None:
    """End a user's access to a group, or their own terms in it, from the very next call on.

    Refuses NotFound.
    """
    actor.require_administrator()
    user = await find_user(tx, actor, user_id)
    group = await find_group(tx, slug)
    await lock_account(tx, user.account_id)
    earlier = await find_entitlement(tx, user.account_id, group)
    if earlier is None:
        raise NotFound(f"{user.email} has no entitlement to group {group.description.name}.")
    await storage.delete_entitlement(tx, earlier.entitlement.id)
    await bump_account_version(tx, user.account_id)
    await record_change(
        tx,
        actor,
        action="entitlement.delete",
        subject_kind="entitlement",
        subject_id=earlier.entitlement.id,
        before=_describe(earlier.entitlement, group, user_id),
        after=None,
    )
