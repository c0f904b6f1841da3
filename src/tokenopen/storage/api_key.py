"""API keys: their rows. The secret is never here, only its keyed hash."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, insert, select, update

from tokenopen.core.api_key import ApiKey
from tokenopen.ports.storage import Transaction
from tokenopen.storage.policy import encode_json
from tokenopen.storage.schema import api_keys, users

Row = Mapping[str, Any]


def _rows() -> Select[Any]:
    secret = (api_keys.c.key_hash, api_keys.c.former_key_hash)
    columns = [column for column in api_keys.c if all(column is not hidden for hidden in secret)]
    return select(*columns, users.c.email.label("user_email")).join(users, users.c.id == api_keys.c.user_id)


def _values(key: ApiKey) -> dict[str, Any]:
    """Return the columns that may change in a key's life, besides what calls write."""
    return {
        "group_id": key.group_id,
        "name": key.name,
        "state": key.state,
        "models": None if key.models is None else encode_json(key.models),
        "allowed_ips": None if key.allowed_ips is None else encode_json(key.allowed_ips),
        "credit_limit": key.credit_limit,
        "expires_at_ms": key.expires_at_ms,
    }


async def insert_api_key(tx: Transaction, key: ApiKey, *, public_id: str, key_hash: bytes) -> None:
    """Store a new key, which has spent nothing."""
    await tx.execute(
        insert(api_keys).values(
            id=key.id,
            public_id=public_id,
            key_hash=key_hash,
            last_four=key.last_four,
            account_id=key.account_id,
            user_id=key.user_id,
            spent=0,
            held=0,
            created_at_ms=tx.now_ms,
            **_values(key),
        )
    )


async def update_api_key(tx: Transaction, key: ApiKey) -> None:
    """Store what was changed of a key; one that has become revoked is so from now on."""
    values = _values(key)
    if key.state == "revoked":
        values["revoked_at_ms"] = tx.now_ms
    await tx.execute(update(api_keys).where(api_keys.c.id == key.id).values(**values))


async def replace_secret(
    tx: Transaction, key: ApiKey, *, public_id: str, key_hash: bytes, former_until_ms: int
) -> None:
    """Give a key a new secret; the one it had until now works until an instant, the one before no more."""
    await tx.execute(
        update(api_keys)
        .where(api_keys.c.id == key.id)
        .values(
            former_key_hash=api_keys.c.key_hash,
            former_until_ms=former_until_ms,
            public_id=public_id,
            key_hash=key_hash,
            last_four=key.last_four,
        )
    )


async def find_api_key(tx: Transaction, key_id: str) -> Row | None:
    """Return a key's row with its user's mail address, or None."""
    return await tx.fetch_one(_rows().where(api_keys.c.id == key_id))


async def find_key_hash(tx: Transaction, key_id: str, *, account_id: str) -> bytes | None:
    """Return the keyed hash of an account's key, or None."""
    row = await tx.fetch_one(
        select(api_keys.c.key_hash).where(api_keys.c.id == key_id, api_keys.c.account_id == account_id)
    )
    return None if row is None else bytes(row["key_hash"])


async def list_api_keys(
    tx: Transaction,
    *,
    account_id: str | None,
    user_id: str | None,
    group_id: str | None,
    before_id: str | None,
    limit: int,
    revoked: bool | None = None,
) -> Sequence[Row]:
    """Return keys, newest first; a filter that is None is not one."""
    statement = _rows().order_by(api_keys.c.id.desc()).limit(limit)
    filters = (
        (api_keys.c.account_id, account_id),
        (api_keys.c.user_id, user_id),
        (api_keys.c.group_id, group_id),
    )
    for column, value in filters:
        if value is not None:
            statement = statement.where(column == value)
    if before_id is not None:
        statement = statement.where(api_keys.c.id < before_id)
    if revoked is not None:
        state = api_keys.c.state
        statement = statement.where(state == "revoked" if revoked else state != "revoked")
    return await tx.fetch_all(statement)


async def count_usable_api_keys(tx: Transaction, account_id: str) -> Mapping[str, int]:
    """Return how many of an account's keys are not revoked, by the id of the group that they are in."""
    rows = await tx.fetch_all(
        select(api_keys.c.group_id, func.count().label("keys"))
        .where(api_keys.c.account_id == account_id, api_keys.c.state != "revoked")
        .group_by(api_keys.c.group_id)
    )
    return {row["group_id"]: row["keys"] for row in rows}


async def list_group_api_keys(tx: Transaction, group_id: str, *, limit: int) -> Sequence[Row]:
    """Return a group's keys that are not revoked, the last used first."""
    last_used = func.coalesce(api_keys.c.last_used_at_ms, 0)
    return await tx.fetch_all(
        _rows()
        .where(api_keys.c.group_id == group_id, api_keys.c.state != "revoked")
        .order_by(last_used.desc(), api_keys.c.id)
        .limit(limit)
    )


async def list_usable_api_keys(tx: Transaction, account_id: str) -> Sequence[Row]:
    """Return an account's keys that are not revoked, oldest first."""
    return await tx.fetch_all(
        _rows()
        .where(api_keys.c.account_id == account_id, api_keys.c.state != "revoked")
        .order_by(api_keys.c.id)
    )
