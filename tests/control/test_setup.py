"""The first start, every later one, and the key that the environment sets."""

import pytest

from tests.conftest import HASHING_KEY, make_user
from tokenopen.control.actor import Actor
from tokenopen.control.management_key import (
    ADMIN_KEY_NAME,
    InvalidAdminKey,
    authenticate,
    create_management_key,
    list_keys,
    revoke_management_key,
)
from tokenopen.control.page import PageRequest
from tokenopen.control.seed_groups import SEED_GROUPS
from tokenopen.control.setup import (
    NoAdministrator,
    SetUp,
    create_first_management_key,
    ensure_admin_key,
    set_up,
)
from tokenopen.core.api_key import MANAGEMENT_KEY_PREFIX, is_well_formed
from tokenopen.core.errors import ApiKeyRevoked, InvalidApiKey
from tokenopen.storage.schema import users
from tokenopen.storage.sqlite import SqliteStorage

ADMIN_KEY = "an-admin-key-of-forty-characters-or-more"


async def _start(storage: SqliteStorage) -> SetUp:
    async with storage.write() as tx:
        return await set_up(tx, seed_groups=SEED_GROUPS, default_group="default")


async def _ensure(storage: SqliteStorage, administrator: Actor, key: str) -> None:
    async with storage.write() as tx:
        await ensure_admin_key(tx, administrator, key, HASHING_KEY)


async def _who(storage: SqliteStorage, key: str) -> Actor:
    async with storage.read() as tx:
        return await authenticate(tx, key, HASHING_KEY)


async def test_an_empty_database_gets_groups_settings_and_an_administrator(storage: SqliteStorage) -> None:
    done = await _start(storage)
    assert done.first_start
    assert done.administrator.email == "admin@localhost"
    assert done.administrator.role == "administrator"
    catalog = await storage.load_catalog()
    assert {group.slug for group in catalog.groups.values()} == {"default", "vip", "enterprise"}
    assert catalog.groups[catalog.platform.default_group].slug == "default"
    assert (catalog.platform.name, catalog.platform.zone.key) == ("TokenOpen", "UTC")
    assert catalog.platform.support_contact == ""


async def test_a_later_start_leaves_everything_as_it_is(storage: SqliteStorage) -> None:
    first = await _start(storage)
    before = await storage.load_catalog()
    second = await _start(storage)
    assert not second.first_start
    assert second.administrator == first.administrator
    assert await storage.load_catalog() == before


async def test_without_an_active_administrator_the_start_says_so(storage: SqliteStorage) -> None:
    await _start(storage)
    async with storage.write() as tx:
        await tx.execute(users.update().values(state="suspended"))
    with pytest.raises(NoAdministrator):
        await _start(storage)


async def test_the_first_management_key_is_the_administrator_s(storage: SqliteStorage) -> None:
    administrator = (await _start(storage)).administrator
    async with storage.write() as tx:
        key = await create_first_management_key(tx, administrator, HASHING_KEY)
    assert is_well_formed(key, MANAGEMENT_KEY_PREFIX)
    assert (await _who(storage, key)).user_id == administrator.user_id


async def test_the_environment_s_key_works_and_is_stored_once(
    storage: SqliteStorage, administrator: Actor
) -> None:
    for _ in range(2):
        await _ensure(storage, administrator, ADMIN_KEY)
    assert (await _who(storage, ADMIN_KEY)).role == "administrator"
    async with storage.read() as tx:
        page = await list_keys(tx, administrator, user_id=administrator.user_id, page=PageRequest())
    assert [(key.name, key.last_four) for key in page.items] == [(ADMIN_KEY_NAME, "more")]


async def test_another_value_takes_the_place_of_the_old_one(
    storage: SqliteStorage, administrator: Actor
) -> None:
    await _ensure(storage, administrator, ADMIN_KEY)
    await _ensure(storage, administrator, ADMIN_KEY + "-2")
    assert (await _who(storage, ADMIN_KEY + "-2")).user_id == administrator.user_id
    with pytest.raises(ApiKeyRevoked):
        await _who(storage, ADMIN_KEY)
    # Going back to a value that may have leaked is not silently done.
    with pytest.raises(InvalidAdminKey, match="revoked"):
        await _ensure(storage, administrator, ADMIN_KEY)


async def test_a_revoked_one_does_not_come_back_with_the_next_start(
    storage: SqliteStorage, administrator: Actor
) -> None:
    await _ensure(storage, administrator, ADMIN_KEY)
    async with storage.write() as tx:
        page = await list_keys(tx, administrator, user_id=administrator.user_id, page=PageRequest())
        await revoke_management_key(tx, administrator, page.items[0].id, user_id=administrator.user_id)
    with pytest.raises(InvalidAdminKey, match="new value"):
        await _ensure(storage, administrator, ADMIN_KEY)


async def test_a_user_s_key_does_not_become_the_environment_s(
    storage: SqliteStorage, administrator: Actor, user: Actor
) -> None:
    async with storage.write() as tx:
        key, _ = await create_management_key(
            tx, administrator, user_id=user.user_id, name="ci", hashing_key=HASHING_KEY
        )
    with pytest.raises(InvalidAdminKey, match="no administrator"):
        await _ensure(storage, administrator, key)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("short", "32"),
        ("x" * 513, "512"),
        ("with spaces " * 4, "spaces"),
        ("ü" * 40, "ASCII"),
        ("sk-to-" + "x" * 40, "sk-to-"),
    ],
)
async def test_a_key_that_could_not_be_sent_or_is_easily_guessed_is_refused(
    storage: SqliteStorage, administrator: Actor, key: str, says: str
) -> None:
    with pytest.raises(InvalidAdminKey, match=says):
        await _ensure(storage, administrator, key)
    with pytest.raises(InvalidApiKey):
        await _who(storage, key)


async def test_the_longest_there_acts_for_the_process(storage: SqliteStorage, administrator: Actor) -> None:
    second = await make_user(storage, administrator, "second@example.com", role="administrator")
    async with storage.write() as tx:
        await tx.execute(users.update().where(users.c.id == administrator.user_id).values(state="suspended"))
    again = await _start(storage)
    assert again.administrator.user_id == second.user_id
