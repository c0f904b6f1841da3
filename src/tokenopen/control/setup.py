"""Setting up: what an empty database is given on the first start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from tokenopen.control.actor import Actor
from tokenopen.control.audit_log import record_change
from tokenopen.control.group import create_group
from tokenopen.control.management_key import create_management_key, store_admin_key
from tokenopen.control.seed_groups import SeedGroup
from tokenopen.control.user import actor_at_start, store_user
from tokenopen.core.platform import Platform
from tokenopen.ports.storage import Transaction
from tokenopen.storage.group import find_group
from tokenopen.storage.platform import insert_catalog_version, insert_platform, is_set_up
from tokenopen.storage.user import find_first_administrator

PLATFORM_NAME: Final = "TokenOpen"
TIME_ZONE: Final = "UTC"
ADMINISTRATOR_EMAIL: Final = "admin@localhost"
FIRST_KEY_NAME: Final = "First key"


class NoAdministrator(Exception):
    """No active administrator is left for whom a key could be made; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """Whether this was the first start, and the administrator in whose name the process acts."""

    first_start: bool
    administrator: Actor


async def set_up(tx: Transaction, *, seed_groups: Sequence[SeedGroup], default_group: str) -> SetUp:
    """Give an empty database its administrator, groups and settings; another one stays as it is.

    ``default_group`` is the slug of the seeded group that new keys get. Raises NoAdministrator.
    """
    if await is_set_up(tx):
        return SetUp(first_start=False, administrator=await _find_administrator(tx))
    await insert_catalog_version(tx)
    user = await store_user(
        tx, None, email=ADMINISTRATOR_EMAIL, name="Administrator", role="administrator", password_hash=None
    )
    administrator = actor_at_start(user)
    for new in seed_groups:
        await create_group(tx, administrator, new, reason="First start")
    group = await find_group(tx, default_group)
    assert group is not None, f"no seeded group {default_group}"
    assert group.description.visibility == "public", f"group {default_group} is not open to everyone"
    platform = Platform(
        name=PLATFORM_NAME, zone=ZoneInfo(TIME_ZONE), default_group=group.id, support_contact=""
    )
    await insert_platform(tx, platform)
    await record_change(
        tx,
        administrator,
        action="platform.create",
        subject_kind="platform",
        subject_id="platform",
        before=None,
        after={"name": platform.name, "time_zone": TIME_ZONE, "default_group": default_group},
    )
    return SetUp(first_start=True, administrator=administrator)


async def _find_administrator(tx: Transaction) -> Actor:
    user = await find_first_administrator(tx)
    if user is None:
        raise NoAdministrator("No active administrator is left in this database. Restore a backup of it.")
    return actor_at_start(user)


async def create_first_management_key(tx: Transaction, administrator: Actor, hashing_key: bytes) -> str:
    """Create a management key for the administrator and return it, to be printed once."""
    key, _ = await create_management_key(
        tx,
        administrator,
        user_id=administrator.user_id,
        name=FIRST_KEY_NAME,
        hashing_key=hashing_key,
    )
    return key


async def ensure_admin_key(tx: Transaction, administrator: Actor, admin_key: str, hashing_key: bytes) -> None:
    """Make TOKENOPEN_ADMIN_KEY usable, in place of any earlier value of it. Raises InvalidAdminKey."""
    await store_admin_key(tx, administrator, admin_key, hashing_key)
