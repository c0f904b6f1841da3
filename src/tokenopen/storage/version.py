"""Versions: what makes a change bind the very next call (DESIGN: The till, "Never stale").

The gateway's cached terms carry both versions, and the till compares them under the account's lock. A use
case that decides from what it reads takes the lock first, so that nothing it read can change meanwhile.

Locks are taken in this order, so that no two transactions ever wait for each other: the catalog, the user
who asks or is changed, one account. Each is as strong as an UPDATE and no stronger: rows that refer to a
locked one may be written meanwhile.
"""

from sqlalchemy import select, update

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import accounts, versions

CATALOG = "catalog"


async def lock_catalog(tx: Transaction) -> None:
    """Let no other change of groups, models, prices, upstreams or settings run beside this one."""
    row = await tx.fetch_one(
        select(versions.c.value).where(versions.c.name == CATALOG).with_for_update(key_share=True)
    )
    assert row is not None, "the database has no catalog version: it has not been set up"


async def bump_catalog_version(tx: Transaction) -> None:
    """Make every worker read the catalog anew before the next call is admitted."""
    changed = await tx.execute(
        update(versions).where(versions.c.name == CATALOG).values(value=versions.c.value + 1)
    )
    assert changed == 1, "the database has no catalog version: it has not been set up"


async def lock_account(tx: Transaction, account_id: str) -> None:
    """Let neither a call nor another change touch the account until this transaction ends."""
    row = await tx.fetch_one(
        select(accounts.c.id).where(accounts.c.id == account_id).with_for_update(key_share=True)
    )
    assert row is not None, f"no account {account_id}"


async def bump_account_version(tx: Transaction, account_id: str) -> None:
    """Make every worker read the account's keys and entitlements anew before its next call is admitted."""
    changed = await tx.execute(
        update(accounts).where(accounts.c.id == account_id).values(version=accounts.c.version + 1)
    )
    assert changed == 1, f"no account {account_id}"
