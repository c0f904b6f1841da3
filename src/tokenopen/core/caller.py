"""Caller: the account, key and group behind a call, and what refuses them before anything is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenopen.core.api_key import ApiKey
from tokenopen.core.errors import (
    AccountSuspended,
    ApiKeyExpired,
    ApiKeyRevoked,
    GroupNotAvailable,
    IpNotAllowed,
    Refusal,
)
from tokenopen.core.group import Group
from tokenopen.core.terms import Entitlement

AccountState = Literal["active", "suspended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Everything about a caller that calls need, as of one catalog version and one account version.

    ``entitlements`` are all of the account's, by which the groups that are open to it are known.
    """

    key: ApiKey
    account_state: AccountState
    group: Group
    entitlements: Sequence[Entitlement]
    catalog_version: int
    account_version: int

    def entitlement_at(self, now_ms: int) -> Entitlement | None:
        """Return the entitlement to the key's group that is in force, or None."""
        return find_entitlement(self.entitlements, self.group.id, now_ms)

    def valid_until_ms(self, now_ms: int) -> int | None:
        """Return the earliest coming instant at which anything here changes by itself, or None."""
        instants = [self.key.expires_at_ms, self.key.former_until_ms, self.group.next_change_ms(now_ms)]
        instants += [entitlement.expires_at_ms for entitlement in self.entitlements]
        return min(
            (instant for instant in instants if instant is not None and instant > now_ms), default=None
        )


def find_entitlement(entitlements: Sequence[Entitlement], group_id: str, now_ms: int) -> Entitlement | None:
    """Return the entitlement to a group that is in force, or None."""
    for entitlement in entitlements:
        if entitlement.group_id == group_id and entitlement.in_force(now_ms):
            return entitlement
    return None


def group_is_open(group: Group, entitlements: Sequence[Entitlement], now_ms: int) -> bool:
    """Tell whether an account with these entitlements may use the group."""
    if group.state != "active":
        return False
    return group.visibility == "public" or find_entitlement(entitlements, group.id, now_ms) is not None


def refuse_caller(caller: Caller, *, now_ms: int, address: str) -> Refusal | None:
    """Return why the caller may not call at all now, or None. Cheapest and most telling reason first."""
    key, group = caller.key, caller.group
    if key.state == "revoked":
        return ApiKeyRevoked(f"API key {key.name} (…{key.last_four}) has been revoked. Create a new one.")
    if key.state == "disabled":
        return ApiKeyRevoked(
            f"API key {key.name} (…{key.last_four}) is switched off. Switch it on to use it."
        )
    if key.expires_at_ms is not None and now_ms >= key.expires_at_ms:
        return ApiKeyExpired(f"API key {key.name} (…{key.last_four}) has expired. Create a new one.")
    if key.former_until_ms is not None and now_ms >= key.former_until_ms:
        return ApiKeyExpired(f"API key {key.name} has a new secret (…{key.last_four}). Use that one.")
    if caller.account_state == "suspended":
        return AccountSuspended("This account is suspended. Ask the administrator of this service.")
    if group.state == "archived":
        return GroupNotAvailable(
            f"Group {group.name} is no longer offered. Choose another group for this key.", group=group.slug
        )
    if not group_is_open(group, caller.entitlements, now_ms):
        return GroupNotAvailable(
            f"Group {group.name} is by request and this account has no access to it now. "
            "Ask for it, or choose another group for this key.",
            group=group.slug,
        )
    if not key.allows_ip(address):
        return IpNotAllowed(f"API key {key.name} may not be used from {address}.", address=address)
    return None
