"""Platform settings: one row each; the first start writes them all."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import insert, select, text

from tokenopen.core.platform import Platform
from tokenopen.ports.storage import Transaction
from tokenopen.storage.directory import platform_from_rows
from tokenopen.storage.schema import platform_settings, versions
from tokenopen.storage.version import CATALOG

# Both engines take this as it stands. A setting that is younger than the database has no row yet.
_SET: Final = text("""
    INSERT INTO platform_settings (name, value) VALUES (:name, :value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value""")


async def is_set_up(tx: Transaction) -> bool:
    """Tell whether the database has been started with before."""
    return await tx.fetch_one(select(versions.c.value).where(versions.c.name == CATALOG)) is not None


async def insert_catalog_version(tx: Transaction) -> None:
    """Begin to count the catalog's versions; part of the first start."""
    await tx.execute(insert(versions).values(name=CATALOG, value=1))


async def load_platform(tx: Transaction) -> Platform:
    """Return the platform settings."""
    return platform_from_rows(await tx.fetch_all(select(platform_settings)))


def _values(platform: Platform) -> Mapping[str, str]:
    return {
        "name": platform.name,
        "time_zone": platform.zone.key,
        "default_group": platform.default_group,
        "support_contact": platform.support_contact,
        "sign_up": platform.sign_up,
        "starting_credit": str(platform.starting_credit),
        "allowed_email_domains": " ".join(platform.allowed_email_domains),
        "public_prices": "yes" if platform.public_prices else "no",
        "call_retention_days": ""
        if platform.call_retention_days is None
        else str(platform.call_retention_days),
    }


async def insert_platform(tx: Transaction, platform: Platform) -> None:
    """Store the first platform settings."""
    rows = [{"name": name, "value": value} for name, value in _values(platform).items()]
    await tx.execute(insert(platform_settings).values(rows))


async def update_platform(tx: Transaction, platform: Platform) -> None:
    """Store changed platform settings."""
    for name, value in _values(platform).items():
        await tx.execute(_SET.bindparams(name=name, value=value))
