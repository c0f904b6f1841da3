"""Directory: how the gateway learns of the catalog and of callers. Shared by both engines."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import or_, select

from tokenopen.core.admission import STALE, Stale
from tokenopen.core.api_key import ApiKey
from tokenopen.core.caller import Caller
from tokenopen.core.catalog import Catalog, Endpoint, Model, PriceRevision, Route
from tokenopen.core.group import Group, GroupRevision
from tokenopen.core.money import Nanocredits
from tokenopen.core.platform import Platform
from tokenopen.ports.storage import Transaction, Versions
from tokenopen.storage import schema
from tokenopen.storage.policy import (
    decode_entitlement,
    decode_json,
    decode_policy,
    decode_prices,
    decode_steps,
)

Row = Mapping[str, Any]


def _in_force_and_coming(rows: Iterable[Row], now_ms: int) -> list[Row]:
    """Return, of rows in the order they begin, the one in force, those to come, and the one before.

    Callers ask for an instant that was read a moment earlier, when the one before may have been in force.
    """
    begun = [row for row in rows if row["effective_from_ms"] <= now_ms]
    return begun[-2:] + [row for row in rows if row["effective_from_ms"] > now_ms]


async def _revisions_by(tx: Transaction, table: Any, column: str) -> dict[str, list[Row]]:
    by_owner: dict[str, list[Row]] = defaultdict(list)
    # By instant, then number: of two that begin together the later written one is in force.
    for row in await tx.fetch_all(select(table).order_by(table.c.effective_from_ms, table.c.number)):
        by_owner[row[column]].append(row)
    return {owner: _in_force_and_coming(rows, tx.now_ms) for owner, rows in by_owner.items()}


def group_from_row(row: Row, revision_rows: Iterable[Row]) -> Group:
    """Return a group with the revisions given, oldest first."""
    return Group(
        id=row["id"],
        slug=row["slug"],
        name=row["name"],
        suitable_for=row["suitable_for"],
        visibility=row["visibility"],
        custom_terms=bool(row["custom_terms"]),
        state=row["state"],
        revisions=tuple(
            GroupRevision(
                id=revision["id"],
                group_id=revision["group_id"],
                number=revision["number"],
                effective_from_ms=revision["effective_from_ms"],
                policy=decode_policy(revision["policy"]),
            )
            for revision in revision_rows
        ),
    )


def price_revision_from_row(row: Row) -> PriceRevision:
    """Return the price revision that a row stores."""
    return PriceRevision(
        id=row["id"],
        model=row["model"],
        number=row["number"],
        prices=decode_prices(row["prices"]),
        steps=decode_steps(row["steps"]),
        effective_from_ms=row["effective_from_ms"],
        named=frozenset(decode_json(row["named"])["prices"]),
    )


def model_from_row(row: Row, revision_rows: Iterable[Row]) -> Model:
    """Return a model with the price revisions given, oldest first."""
    return Model(
        name=row["name"],
        maker=row["maker"],
        context_window=row["context_window"],
        max_output_tokens=row["max_output_tokens"],
        state=row["state"],
        price_revisions=tuple(price_revision_from_row(revision) for revision in revision_rows),
    )


def endpoint_from_row(row: Row) -> Endpoint:
    """Return the endpoint that a row of ``upstreams`` stores."""
    return Endpoint(
        id=row["id"],
        name=row["name"],
        provider=row["provider"],
        base_url=row["base_url"],
        credential_sealed=bytes(row["credential_sealed"]),
        enabled=bool(row["enabled"]),
        connect_timeout_ms=row["connect_timeout_ms"],
        first_byte_timeout_ms=row["first_byte_timeout_ms"],
        idle_timeout_ms=row["idle_timeout_ms"],
        cost_multiplier_ppm=row["cost_multiplier_ppm"],
    )


def platform_from_rows(rows: Iterable[Row]) -> Platform:
    """Return the platform settings; a missing one is a bug, since the first start writes them all.

    But for retention, which databases that were started before there was any lack until it is set.
    """
    values = {row["name"]: row["value"] for row in rows}
    retention_days = values.get("call_retention_days")
    return Platform(
        name=values["name"],
        zone=ZoneInfo(values["time_zone"]),
        default_group=values["default_group"],
        support_contact=values["support_contact"],
        sign_up="open" if values["sign_up"] == "open" else "closed",
        starting_credit=Nanocredits(int(values["starting_credit"])),
        allowed_email_domains=tuple(values["allowed_email_domains"].split()),
        public_prices=values["public_prices"] == "yes",
        call_retention_days=int(retention_days) if retention_days else None,
    )


async def load_catalog(tx: Transaction) -> Catalog:
    """Return everything that calls need and that is no account's own."""
    version = await tx.fetch_one(select(schema.versions).where(schema.versions.c.name == "catalog"))
    assert version is not None, "the database has no catalog version: it has not been set up"
    price_rows = await _revisions_by(tx, schema.price_revisions, "model")
    group_rows = await _revisions_by(tx, schema.group_revisions, "group_id")
    upstreams = {row["id"]: row for row in await tx.fetch_all(select(schema.upstreams))}
    routes: dict[str, list[Route]] = defaultdict(list)
    for row in await tx.fetch_all(select(schema.routes)):
        upstream = upstreams[row["upstream_id"]]
        if upstream["enabled"]:
            routes[row["model"]].append(
                Route(
                    model=row["model"],
                    endpoint=endpoint_from_row(upstream),
                    upstream_model=row["upstream_model"],
                    priority=upstream["priority"],
                    weight=upstream["weight"],
                )
            )
    return Catalog(
        version=version["value"],
        models={
            row["name"]: model_from_row(row, price_rows.get(row["name"], ()))
            for row in await tx.fetch_all(select(schema.models))
        },
        routes=dict(routes),
        groups={
            row["id"]: group_from_row(row, group_rows[row["id"]])
            for row in await tx.fetch_all(select(schema.groups))
        },
        platform=platform_from_rows(await tx.fetch_all(select(schema.platform_settings))),
    )


def api_key_from_row(row: Row) -> ApiKey:
    """Return the key that a row of ``api_keys`` stores."""
    return ApiKey(
        id=row["id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        group_id=row["group_id"],
        name=row["name"],
        last_four=row["last_four"],
        state=row["state"],
        models=None if row["models"] is None else tuple(decode_json(row["models"])),
        allowed_ips=None if row["allowed_ips"] is None else tuple(decode_json(row["allowed_ips"])),
        credit_limit=row["credit_limit"],
        expires_at_ms=row["expires_at_ms"],
    )


async def find_caller(tx: Transaction, key_hash: bytes, catalog: Catalog) -> Caller | Stale | None:
    """Return the caller behind a key's keyed hash, or None; STALE where the catalog lacks its group."""
    keys, accounts, entitlements = schema.api_keys, schema.accounts, schema.entitlements
    row = await tx.fetch_one(
        select(keys, accounts.c.state.label("account_state"), accounts.c.version.label("account_version"))
        .join(accounts, accounts.c.id == keys.c.account_id)
        .where(or_(keys.c.key_hash == key_hash, keys.c.former_key_hash == key_hash))
    )
    if row is None:
        return None
    entitled = await tx.fetch_all(select(entitlements).where(entitlements.c.account_id == row["account_id"]))
    group = catalog.groups.get(row["group_id"])
    if group is None:
        return STALE
    key = api_key_from_row(row)
    if bytes(row["key_hash"]) != key_hash:
        key = replace(key, former_until_ms=row["former_until_ms"])
    return Caller(
        key=key,
        account_state=row["account_state"],
        group=group,
        entitlements=tuple(decode_entitlement(entitlement) for entitlement in entitled),
        catalog_version=catalog.version,
        account_version=row["account_version"],
    )


async def find_versions(tx: Transaction, account_id: str | None) -> Versions:
    """Return the versions that cached terms are compared with."""
    catalog = await tx.fetch_one(select(schema.versions.c.value).where(schema.versions.c.name == "catalog"))
    account = await tx.fetch_one(select(schema.accounts.c.version).where(schema.accounts.c.id == account_id))
    assert catalog is not None
    return Versions(
        now_ms=tx.now_ms, catalog=catalog["value"], account=None if account is None else account["version"]
    )
