"""Who may do what is a rule of the use cases, whichever door they are reached through."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import HASHING_KEY
from tokenopen.control import (
    administrator_link,
    api_key,
    audit_log,
    entitlement,
    group,
    management_key,
    platform,
    session,
    sign_in,
    upgrade_request,
    user,
)
from tokenopen.control.actor import Actor
from tokenopen.control.page import PageRequest
from tokenopen.control.seed_groups import SEED_GROUPS
from tokenopen.core.errors import PermissionDenied
from tokenopen.ports.storage import Transaction
from tokenopen.storage.sqlite import SqliteStorage

UseCase = Callable[[Transaction, Actor], Awaitable[Any]]

PAGE = PageRequest()
OTHER = "usr_other"

ADMINISTRATORS_ONLY: dict[str, UseCase] = {
    "list groups": lambda tx, me: group.list_groups(tx, me, page=PAGE),
    "read a group": lambda tx, me: group.read_group(tx, me, "vip"),
    "create a group": lambda tx, me: group.create_group(tx, me, SEED_GROUPS[0]),
    "change a group": lambda tx, me: group.update_group(tx, me, "vip", {"multiplier_ppm": 0}),
    "archive a group": lambda tx, me: group.archive_group(tx, me, "vip"),
    "list revisions": lambda tx, me: group.list_revisions(tx, me, "vip", page=PAGE),
    "entitle": lambda tx, me: entitlement.put_entitlement(
        tx, me, me.user_id, "vip", entitlement.OwnTerms(multiplier_ppm=0)
    ),
    "end an entitlement": lambda tx, me: entitlement.delete_entitlement(tx, me, me.user_id, "vip"),
    "list entitlements": lambda tx, me: entitlement.list_entitlements(tx, me, me.user_id),
    "list users": lambda tx, me: user.list_users(tx, me, page=PAGE),
    "see another user": lambda tx, me: user.find_user(tx, me, OTHER),
    "create a user": lambda tx, me: user.create_user(
        tx, me, email="a@b", name="A", role="administrator", password_hash=None
    ),
    "change a user, oneself too": lambda tx, me: user.update_user(
        tx, me, me.user_id, {"role": "administrator"}
    ),
    "create another's management key": lambda tx, me: management_key.create_management_key(
        tx, me, user_id=OTHER, name="k", hashing_key=HASHING_KEY
    ),
    "list another's management keys": lambda tx, me: management_key.list_keys(
        tx, me, user_id=OTHER, page=PAGE
    ),
    "revoke another's management key": lambda tx, me: management_key.revoke_management_key(
        tx, me, "mgk_x", user_id=OTHER
    ),
    "create another's API key": lambda tx, me: api_key.create_api_key(
        tx, me, user_id=OTHER, name="k", group=None, narrowing=api_key.Narrowing(), hashing_key=HASHING_KEY
    ),
    "list everybody's API keys": lambda tx, me: api_key.list_api_keys(tx, me, page=PAGE),
    "see anybody's API key": lambda tx, me: api_key.find_api_key(tx, me, "key_x", account_id=None),
    "change another's API key": lambda tx, me: api_key.update_api_key(
        tx, me, "key_x", {"state": "disabled"}, account_id="acc_other"
    ),
    "revoke anybody's API key": lambda tx, me: api_key.revoke_api_key(tx, me, "key_x", account_id=None),
    "move another's API keys": lambda tx, me: api_key.move_api_keys(
        tx, me, account_id="acc_other", group="vip", key_ids=None
    ),
    "list another's sessions": lambda tx, me: session.list_sessions(tx, me, user_id=OTHER),
    "revoke another's session": lambda tx, me: session.revoke_session(tx, me, "ses_x", user_id=OTHER),
    "revoke all of another's sessions": lambda tx, me: session.revoke_sessions(tx, me, user_id=OTHER),
    "make a link for a password, one's own too": lambda tx, me: sign_in.create_password_link(
        tx, me, user_id=me.user_id, hashing_key=HASHING_KEY
    ),
    "make a link for an administrator": lambda tx, me: administrator_link.create_administrator_link(
        tx, me, hashing_key=HASHING_KEY
    ),
    "list everybody's requests": lambda tx, me: upgrade_request.list_upgrade_requests(tx, me, page=PAGE),
    "approve": lambda tx, me: upgrade_request.approve_upgrade_request(
        tx, me, "upg_x", answer=None, terms=None
    ),
    "decline": lambda tx, me: upgrade_request.decline_upgrade_request(tx, me, "upg_x", answer=None),
    "read settings": lambda tx, me: platform.read_platform(tx, me),
    "change settings": lambda tx, me: platform.update_platform(tx, me, {"name": "Mine"}),
    "read the audit log": lambda tx, me: audit_log.list_audit_log(tx, me, page=PAGE),
}


@pytest.mark.parametrize("name", ADMINISTRATORS_ONLY)
async def test_only_administrators(storage: SqliteStorage, user: Actor, name: str) -> None:
    with pytest.raises(PermissionDenied):
        async with storage.write() as tx:
            await ADMINISTRATORS_ONLY[name](tx, user)
