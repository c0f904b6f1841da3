"""API keys: created by their user, or an administrator for them, in one of the groups open to the owner."""

import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypedDict

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.group import find_group
from tokenopen.control.group_terms import GroupTerms, choose_group, terms_of
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.control.user import find_user
from tokenopen.core.api_key import API_KEY_PREFIX, ApiKey, generate_key, hash_key, public_id_of
from tokenopen.core.errors import Conflict, InvalidRequest, NotFound
from tokenopen.core.group_history import GroupRecord
from tokenopen.core.identifier import new_id
from tokenopen.core.money import ZERO, Nanocredits, format_amount
from tokenopen.ports.storage import Transaction
from tokenopen.storage import api_key as storage
from tokenopen.storage.directory import api_key_from_row
from tokenopen.storage.entitlement import list_entitlements
from tokenopen.storage.group import list_groups
from tokenopen.storage.version import bump_account_version, lock_account

Row = Mapping[str, Any]

# What ::ffff:1.2.3.4 is written behind: callers are known by the IPv4 address inside it.
_MAPPED_PREFIX_LENGTH: Final = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """How a key narrows its group; None does not narrow."""

    models: Sequence[str] | None = None
    allowed_ips: Sequence[str] | None = None
    credit_limit: Nanocredits | None = None
    expires_at_ms: int | None = None


class ApiKeyChanges(TypedDict, total=False):
    """What a PATCH of a key may hold; ``group`` is a slug."""

    name: str
    group: str
    models: Sequence[str] | None
    allowed_ips: Sequence[str] | None
    credit_limit: Nanocredits | None
    expires_at_ms: int | None
    state: Literal["active", "disabled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyView:
    """A key with what its group means to its owner now."""

    key: ApiKey
    terms: GroupTerms
    public_id: str
    user_email: str
    spent: Nanocredits
    held: Nanocredits
    last_used_at_ms: int | None
    created_at_ms: int
    revoked_at_ms: int | None
    # Until when the secret from before the last rotation works; None where none does.
    former_until_ms: int | None = None


def _still(until_ms: int | None, now_ms: int) -> int | None:
    return until_ms if until_ms is not None and now_ms < until_ms else None


async def _views(tx: Transaction, rows: Sequence[Row]) -> Sequence[ApiKeyView]:
    groups = {record.id: record for record in await list_groups(tx)}
    entitlements = await list_entitlements(tx, sorted({row["account_id"] for row in rows}))
    return [
        ApiKeyView(
            key=api_key_from_row(row),
            terms=terms_of(
                groups[row["group_id"]],
                [entry for entry in entitlements if entry.account_id == row["account_id"]],
                tx.now_ms,
            ),
            public_id=row["public_id"],
            user_email=row["user_email"],
            spent=Nanocredits(row["spent"]),
            held=Nanocredits(row["held"]),
            last_used_at_ms=row["last_used_at_ms"],
            created_at_ms=row["created_at_ms"],
            revoked_at_ms=row["revoked_at_ms"],
            former_until_ms=_still(row["former_until_ms"], tx.now_ms),
        )
        for row in rows
    ]


async def find_api_key(tx: Transaction, actor: Actor, key_id: str, *, account_id: str | None) -> ApiKeyView:
    """Return a key of an account; None is any account's, for administrators. Refuses NotFound."""
    if account_id != actor.account_id:
        actor.require_administrator()
    row = await storage.find_api_key(tx, key_id)
    if row is None or account_id not in (None, row["account_id"]):
        raise NotFound(f"There is no API key {key_id}.")
    return (await _views(tx, [row]))[0]


async def find_my_key_hash(tx: Transaction, actor: Actor, key_id: str) -> bytes:
    """Return the keyed hash of one of the actor's own keys, which a call is made with. Refuses NotFound.

    Nobody has the secret but whom it was shown to; whether the key may be used is the gateway's to say.
    """
    key_hash = await storage.find_key_hash(tx, key_id, account_id=actor.account_id)
    if key_hash is None:
        raise NotFound(f"There is no API key {key_id}.")
    return key_hash


async def list_my_api_keys(
    tx: Transaction, actor: Actor, *, page: PageRequest, revoked: bool | None = None
) -> Page[ApiKeyView]:
    """Return the actor's own keys, newest first: all, or those that are ``revoked`` or are not."""
    rows = await storage.list_api_keys(
        tx,
        account_id=actor.account_id,
        user_id=None,
        group_id=None,
        before_id=page.after,
        limit=page.fetch,
        revoked=revoked,
    )
    return cut_page(await _views(tx, rows), page, cursor_of=lambda view: view.key.id)


async def list_my_usable_api_keys(tx: Transaction, actor: Actor) -> Sequence[ApiKeyView]:
    """Return the actor's own keys that are not revoked, oldest first: those that may be moved."""
    return await _list_usable(tx, actor.account_id)


async def _list_usable(tx: Transaction, account_id: str) -> Sequence[ApiKeyView]:
    return await _views(tx, await storage.list_usable_api_keys(tx, account_id))


async def list_api_keys(
    tx: Transaction,
    actor: Actor,
    *,
    page: PageRequest,
    user_id: str | None = None,
    group: str | None = None,
) -> Page[ApiKeyView]:
    """Return everybody's keys, newest first, or those of one user or group. Refuses NotFound."""
    actor.require_administrator()
    if user_id is not None:
        await find_user(tx, actor, user_id)
    rows = await storage.list_api_keys(
        tx,
        account_id=None,
        user_id=user_id,
        group_id=None if group is None else (await find_group(tx, group)).id,
        before_id=page.after,
        limit=page.fetch,
    )
    return cut_page(await _views(tx, rows), page, cursor_of=lambda view: view.key.id)


def _normal_network(text: str) -> str:
    """Return an address or network as the gateway compares it. Refuses InvalidRequest."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidRequest(
            f"allowed_ips: {text} is no IP address or network such as 203.0.113.7 or 2001:db8::/32.",
            param="allowed_ips",
        ) from error
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= _MAPPED_PREFIX_LENGTH:
        network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - _MAPPED_PREFIX_LENGTH}")
    return str(network)


def _checked(narrowing: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Return what narrows a key as it is stored. Refuses what would let nothing through or never end."""
    checked = dict(narrowing)
    for name in ("models", "allowed_ips"):
        if checked.get(name) is not None:
            if not checked[name]:
                raise InvalidRequest(f"{name}: name at least one, or send null for no narrowing.", param=name)
            checked[name] = tuple(dict.fromkeys(checked[name]))
    if checked.get("allowed_ips") is not None:
        checked["allowed_ips"] = tuple(dict.fromkeys(map(_normal_network, checked["allowed_ips"])))
    if checked.get("credit_limit") is not None and checked["credit_limit"] < 0:
        raise InvalidRequest("credit_limit: must not be negative.", param="credit_limit")
    if checked.get("expires_at_ms") is not None and checked["expires_at_ms"] <= now_ms:
        raise InvalidRequest("expires_at: must lie in the future.", param="expires_at")
    return checked


def _describe(key: ApiKey, group: GroupRecord) -> dict[str, object]:
    return {
        "user_id": key.user_id,
        "name": key.name,
        "last_four": key.last_four,
        "group": group.description.slug,
        "state": key.state,
        "models": key.models,
        "allowed_ips": key.allowed_ips,
        "credit_limit": None if key.credit_limit is None else format_amount(key.credit_limit),
        "expires_at_ms": key.expires_at_ms,
    }


async def create_api_key(
    tx: Transaction,
    actor: Actor,
    *,
    user_id: str,
    name: str,
    group: str | None,
    narrowing: Narrowing,
    hashing_key: bytes,
) -> tuple[str, ApiKeyView]:
    """Create a key for a user and return its secret, this once, with what is kept of it.

    Without a group it gets the platform's default. Refuses GroupNotAvailable where the group is not open
    to the user, whoever asks; InvalidRequest; NotFound where there is no such user.
    """
    user = await find_user(tx, actor, user_id)
    terms = await choose_group(tx, user.account_id, group)
    secret = generate_key(API_KEY_PREFIX, secrets.choice)
    narrowed = {field: getattr(narrowing, field) for field in Narrowing.__dataclass_fields__}
    key = ApiKey(
        id=new_id("key", tx.now_ms),
        account_id=user.account_id,
        user_id=user.id,
        group_id=terms.group.id,
        name=name,
        last_four=secret[-4:],
        state="active",
        **_checked(narrowed, tx.now_ms),
    )
    view = ApiKeyView(
        key=key,
        terms=terms,
        public_id=public_id_of(secret),
        user_email=user.email,
        spent=ZERO,
        held=ZERO,
        last_used_at_ms=None,
        created_at_ms=tx.now_ms,
        revoked_at_ms=None,
    )
    await storage.insert_api_key(tx, key, public_id=view.public_id, key_hash=hash_key(secret, hashing_key))
    await bump_account_version(tx, user.account_id)
    await record_change(
        tx,
        actor,
        action="api_key.create",
        subject_kind="api_key",
        subject_id=key.id,
        before=None,
        after=_describe(key, terms.group),
    )
    return secret, view


async def _lock_api_key(tx: Transaction, actor: Actor, key_id: str, *, account_id: str | None) -> ApiKeyView:
    found = await find_api_key(tx, actor, key_id, account_id=account_id)
    # What the key has spent and holds may not change between the look at it and the change.
    await lock_account(tx, found.key.account_id)
    return await find_api_key(tx, actor, key_id, account_id=account_id)


async def update_api_key(
    tx: Transaction, actor: Actor, key_id: str, changes: ApiKeyChanges, *, account_id: str | None
) -> ApiKeyView:
    """Change a key, its group too; the secret stays, and the very next call is bound.

    Refuses NotFound, GroupNotAvailable, InvalidRequest, and Conflict for a revoked key or a credit limit
    below what the key has spent and holds.
    """
    before = await _lock_api_key(tx, actor, key_id, account_id=account_id)
    if before.key.state == "revoked":
        raise Conflict(f"API key {before.key.name} has been revoked and cannot be changed.")
    fields: dict[str, Any] = dict(changes)
    terms = before.terms
    slug = fields.pop("group", terms.group.description.slug)
    if slug != terms.group.description.slug:
        terms = await choose_group(tx, before.key.account_id, slug)
    after = replace(before.key, group_id=terms.group.id, **_checked(fields, tx.now_ms))
    if after == before.key:
        return before
    _refuse_limit_below_use(before, after)
    await _write(tx, actor, before, after, terms.group, action="api_key.update")
    return replace(before, key=after, terms=terms)


def _refuse_limit_below_use(before: ApiKeyView, after: ApiKey) -> None:
    lowest = Nanocredits(before.spent + before.held)
    if after.credit_limit is not None and after.credit_limit < lowest:
        raise Conflict(
            f"credit_limit: API key {after.name} has spent or reserved {format_amount(lowest)} credits "
            "already; the limit cannot be lower. Switch the key off to stop it.",
            param="credit_limit",
            lowest=format_amount(lowest),
        )


async def rotate_api_key(
    tx: Transaction,
    actor: Actor,
    key_id: str,
    *,
    account_id: str | None,
    overlap_seconds: int,
    hashing_key: bytes,
) -> tuple[str, ApiKeyView]:
    """Give a key a new secret and return it, this once; the one it had works on for ``overlap_seconds``.

    Id, group, limits and what was spent stay. A secret from before an earlier rotation ends at once.
    Refuses NotFound, and Conflict for a revoked key.
    """
    before = await _lock_api_key(tx, actor, key_id, account_id=account_id)
    if before.key.state == "revoked":
        raise Conflict(f"API key {before.key.name} has been revoked. Create a new one.")
    secret = generate_key(API_KEY_PREFIX, secrets.choice)
    after = replace(before.key, last_four=secret[-4:])
    former_until_ms = tx.now_ms + overlap_seconds * 1000
    await storage.replace_secret(
        tx,
        after,
        public_id=public_id_of(secret),
        key_hash=hash_key(secret, hashing_key),
        former_until_ms=former_until_ms,
    )
    await bump_account_version(tx, after.account_id)
    await record_change(
        tx,
        actor,
        action="api_key.rotate",
        subject_kind="api_key",
        subject_id=after.id,
        before=_describe(before.key, before.terms.group),
        after={**_describe(after, before.terms.group), "former_until_ms": former_until_ms},
    )
    return secret, await find_api_key(tx, actor, key_id, account_id=account_id)


async def revoke_api_key(tx: Transaction, actor: Actor, key_id: str, *, account_id: str | None) -> ApiKeyView:
    """Make a key useless for good, from the very next call on; a revoked one stays as it is.

    Refuses NotFound.
    """
    before = await _lock_api_key(tx, actor, key_id, account_id=account_id)
    if before.key.state == "revoked":
        return before
    after = replace(before.key, state="revoked")
    await _write(tx, actor, before, after, before.terms.group, action="api_key.revoke")
    return replace(before, key=after, revoked_at_ms=tx.now_ms)


async def _write(
    tx: Transaction, actor: Actor, before: ApiKeyView, after: ApiKey, group: GroupRecord, *, action: str
) -> None:
    await storage.update_api_key(tx, after)
    await bump_account_version(tx, after.account_id)
    await record_change(
        tx,
        actor,
        action=action,
        subject_kind="api_key",
        subject_id=after.id,
        before=_describe(before.key, before.terms.group),
        after=_describe(after, group),
    )


async def move_api_keys(
    tx: Transaction, actor: Actor, *, account_id: str, group: str, key_ids: Sequence[str] | None
) -> None:
    """Move an account's keys to a group that is open to it, all or none; None is every key not revoked.

    Secrets stay. Refuses GroupNotAvailable, and NotFound where an id is none of the account's usable keys.
    """
    if account_id != actor.account_id:
        actor.require_administrator()
    await lock_account(tx, account_id)
    terms = await choose_group(tx, account_id, group)
    usable = {view.key.id: view for view in await _list_usable(tx, account_id)}
    for key_id in dict.fromkeys(usable if key_ids is None else key_ids):
        if key_id not in usable:
            raise NotFound(f"There is no API key {key_id} that could be moved.")
        before = usable[key_id]
        if before.key.group_id != terms.group.id:
            after = replace(before.key, group_id=terms.group.id)
            await _write(tx, actor, before, after, terms.group, action="api_key.update")
