"""Management keys: credentials for the control API with their user's role; shown once, kept as hashes."""

import secrets
from dataclasses import asdict
from typing import Final

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.page import Page, PageRequest, cut_page
from tokenopen.control.user import find_user
from tokenopen.core.api_key import API_KEY_PREFIX, MANAGEMENT_KEY_PREFIX, generate_key, hash_key
from tokenopen.core.errors import AccountSuspended, ApiKeyRevoked, InvalidApiKey, InvalidRequest, NotFound
from tokenopen.core.identifier import new_id
from tokenopen.core.management_key import ManagementKey
from tokenopen.ports.storage import Transaction
from tokenopen.storage.management_key import (
    find_key_owner,
    find_management_key,
    insert_management_key,
    list_active_management_keys,
    list_active_named,
    list_management_keys,
    mark_management_key_revoked,
)

ADMIN_KEY_LENGTH_MIN: Final = 32
ADMIN_KEY_LENGTH_MAX: Final = 512
# The name of the key that the environment sets; a new value there takes the place of the old one.
ADMIN_KEY_NAME: Final = "TOKENOPEN_ADMIN_KEY"


class InvalidAdminKey(ValueError):
    """TOKENOPEN_ADMIN_KEY cannot be used; the text says what to do."""


async def authenticate(tx: Transaction, key: str, hashing_key: bytes) -> Actor:
    """Return the user behind a management key.

    Refuses InvalidApiKey (unknown, or an API key), ApiKeyRevoked, AccountSuspended.
    """
    if key.startswith(API_KEY_PREFIX):
        raise InvalidApiKey(
            f"This is an API key, for calls under /v1. The control API needs a management key "
            f"({MANAGEMENT_KEY_PREFIX}...)."
        )
    owner = await find_key_owner(tx, hash_key(key, hashing_key))
    if owner is None:
        raise InvalidApiKey("There is no such management key. Check that it was copied whole.")
    if owner.key.state == "revoked":
        raise ApiKeyRevoked(
            f"Management key {owner.key.name} (…{owner.key.last_four}) has been revoked. Create a new one."
        )
    if owner.user_state == "suspended":
        raise AccountSuspended("This user is suspended. Ask the administrator of this service.")
    return Actor(
        user_id=owner.key.user_id,
        email=owner.email,
        role=owner.role,
        account_id=owner.account_id,
        via="management_key",
    )


def _describe(key: ManagementKey) -> dict[str, object]:
    return asdict(key)


async def _store(
    tx: Transaction, actor: Actor, *, user_id: str, name: str, key: str, hashing_key: bytes
) -> ManagementKey:
    stored = ManagementKey(
        id=new_id("mgk", tx.now_ms),
        user_id=user_id,
        name=name,
        last_four=key[-4:],
        state="active",
        created_at_ms=tx.now_ms,
        revoked_at_ms=None,
    )
    await insert_management_key(tx, stored, hash_key(key, hashing_key))
    await record_change(
        tx,
        actor,
        action="management_key.create",
        subject_kind="management_key",
        subject_id=stored.id,
        before=None,
        after=_describe(stored),
    )
    return stored


async def create_management_key(
    tx: Transaction, actor: Actor, *, user_id: str, name: str, hashing_key: bytes
) -> tuple[str, ManagementKey]:
    """Create a key for a user and return its secret, this once, with what is kept of it.

    Refuses NotFound where there is no such user.
    """
    actor.require_recent_password(tx.now_ms)
    await find_user(tx, actor, user_id)
    if name == ADMIN_KEY_NAME:
        raise InvalidRequest(f"{ADMIN_KEY_NAME} names the key that the environment sets.", param="name")
    key = generate_key(MANAGEMENT_KEY_PREFIX, secrets.choice)
    stored = await _store(tx, actor, user_id=user_id, name=name, key=key, hashing_key=hashing_key)
    return key, stored


async def list_keys(tx: Transaction, actor: Actor, *, user_id: str, page: PageRequest) -> Page[ManagementKey]:
    """Return a user's management keys, newest first. Refuses NotFound."""
    await find_user(tx, actor, user_id)
    keys = await list_management_keys(tx, user_id=user_id, before_id=page.after, limit=page.fetch)
    return cut_page(keys, page, cursor_of=lambda key: key.id)


async def list_active_keys(tx: Transaction, actor: Actor, *, page: PageRequest) -> Page[ManagementKey]:
    """Return the management keys of all users that are not revoked, newest first."""
    actor.require_administrator()
    keys = await list_active_management_keys(tx, before_id=page.after, limit=page.fetch)
    return cut_page(keys, page, cursor_of=lambda key: key.id)


async def revoke_management_key(tx: Transaction, actor: Actor, key_id: str, *, user_id: str) -> ManagementKey:
    """Make a user's key useless for good; one that is revoked already stays as it is. Refuses NotFound."""
    await find_user(tx, actor, user_id)
    key = await find_management_key(tx, key_id, user_id=user_id)
    if key is None:
        raise NotFound(f"There is no management key {key_id}.")
    return key if key.state == "revoked" else await _revoke(tx, actor, key)


async def _revoke(tx: Transaction, actor: Actor, key: ManagementKey) -> ManagementKey:
    revoked = key.revoked(tx.now_ms)
    await mark_management_key_revoked(tx, revoked)
    await record_change(
        tx,
        actor,
        action="management_key.revoke",
        subject_kind="management_key",
        subject_id=key.id,
        before=_describe(key),
        after=_describe(revoked),
    )
    return revoked


def check_admin_key(admin_key: str) -> None:
    """Raise InvalidAdminKey for a TOKENOPEN_ADMIN_KEY that could never be sent or is too easily guessed."""
    if not ADMIN_KEY_LENGTH_MIN <= len(admin_key) <= ADMIN_KEY_LENGTH_MAX:
        raise InvalidAdminKey(
            f"{ADMIN_KEY_NAME} must have {ADMIN_KEY_LENGTH_MIN} to {ADMIN_KEY_LENGTH_MAX} characters. "
            "Make one with: openssl rand -hex 32"
        )
    if not all("!" <= character <= "~" for character in admin_key):
        raise InvalidAdminKey(f"{ADMIN_KEY_NAME} may hold letters, digits and signs of ASCII, no spaces.")
    if admin_key.startswith(API_KEY_PREFIX):
        raise InvalidAdminKey(f"{ADMIN_KEY_NAME} must not begin with {API_KEY_PREFIX}: that is for API keys.")


async def store_admin_key(tx: Transaction, administrator: Actor, admin_key: str, hashing_key: bytes) -> None:
    """Make TOKENOPEN_ADMIN_KEY a management key of an administrator, in place of any earlier value of it.

    Raises InvalidAdminKey, also where the key belongs to another user or has been revoked.
    """
    check_admin_key(admin_key)
    known = await find_key_owner(tx, hash_key(admin_key, hashing_key))
    if known is not None and known.key.state == "revoked":
        raise InvalidAdminKey(f"{ADMIN_KEY_NAME} has been revoked. Set it to a new value.")
    if known is not None and known.role != "administrator":
        raise InvalidAdminKey(
            f"{ADMIN_KEY_NAME} is the key of {known.email}, who is no administrator. Set it to a new value."
        )
    for key in await list_active_named(tx, user_id=administrator.user_id, name=ADMIN_KEY_NAME):
        if known is None or key.id != known.key.id:
            await _revoke(tx, administrator, key)
    if known is None:
        await _store(
            tx,
            administrator,
            user_id=administrator.user_id,
            name=ADMIN_KEY_NAME,
            key=admin_key,
            hashing_key=hashing_key,
        )
