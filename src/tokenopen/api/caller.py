"""What an API key may ask about itself: its models, its group and limits, its credit, its receipts.

None of this passes the till, so each reads the database and never answers from a stale cache.
"""

from collections.abc import Mapping
from typing import Any

from tokenopen.api.gateway import LookUp
from tokenopen.api.json_types import format_instant
from tokenopen.api.model_shape import show_model, show_models
from tokenopen.api.receipt import show_receipt
from tokenopen.control.limit_use import read_limits_use
from tokenopen.control.receipt import get_receipt
from tokenopen.core.errors import NotFound
from tokenopen.core.money import format_amount, format_multiplier
from tokenopen.core.rate_limit import LimitUse
from tokenopen.core.terms import (
    allowed_models,
    allows,
    base_multiplier,
    display_multiplier,
    limits_for,
    model_multipliers,
)
from tokenopen.gateway.check import check_caller, find_allowed_model
from tokenopen.gateway.directory import Directory, Resolved
from tokenopen.ports.storage import Storage
from tokenopen.storage.user import find_user
from tokenopen.upstream.dialect import Dialect

Json = Mapping[str, Any]


class CallerApi:
    """The look-ups under /v1."""

    def __init__(self, storage: Storage, directory: Directory) -> None:
        self._storage = storage
        self._directory = directory

    @property
    def look_ups(self) -> Mapping[str, LookUp]:
        """Each look-up by the first part of its path."""
        return {
            "models": self._models,
            "key": self._key,
            "credits": self._credits,
            "receipts": self._receipt,
        }

    async def _find(self, key_hash: bytes, address: str) -> Resolved:
        resolved = await self._directory.find_current(key_hash)
        check_caller(resolved, address)
        return resolved

    async def _models(self, key_hash: bytes, name: str, address: str, dialect: Dialect) -> Json:
        """``GET /v1/models``: what the key may call, with its credit consumption rates."""
        resolved = await self._find(key_hash, address)
        if name:
            return show_model(resolved, find_allowed_model(resolved, name), dialect.name)
        caller, now_ms = resolved.caller, resolved.as_of_ms
        policy, entitlement = caller.group.revision_at(now_ms).policy, caller.entitlement_at(now_ms)
        found = [
            model
            for model in resolved.catalog.list_offered(now_ms)
            if allows(policy, entitlement, model.name) and not caller.key.narrows_away(model.name)
        ]
        return show_models(resolved, found, dialect.name)

    async def _key(self, key_hash: bytes, rest: str, address: str, _: Dialect) -> Json:
        """``GET /v1/key``: the key's group, terms, and limits left."""
        _no_rest(rest)
        resolved = await self._find(key_hash, address)
        caller, zone = resolved.caller, resolved.catalog.platform.zone
        policy = caller.group.revision_at(resolved.as_of_ms).policy
        entitlement = caller.entitlement_at(resolved.as_of_ms)
        async with self._storage.read() as tx:
            use = await read_limits_use(
                tx,
                account_id=caller.key.account_id,
                group_id=caller.group.id,
                limits=limits_for(policy, entitlement),
                zone=zone,
            )
        multiplier_ppm, rule = base_multiplier(policy, entitlement)
        return {
            "name": caller.key.name,
            "group": {"slug": caller.group.slug, "name": caller.group.name},
            "multiplier": format_multiplier(multiplier_ppm),
            "multiplier_rule": rule,
            "display_multiplier": display_multiplier(policy, entitlement, custom=caller.group.custom_terms),
            "model_multipliers": {
                pattern: format_multiplier(value)
                for pattern, value in model_multipliers(policy, entitlement).items()
            },
            "allowed_models": allowed_models(policy, entitlement),
            "models": caller.key.models,
            "limits": {
                "requests_per_minute": _limit_json(use.minute, use.used_minute, use.now_ms),
                "requests_per_day": _limit_json(use.today, use.used_today, use.now_ms),
                "tokens_per_minute": _limit_json(use.tokens, use.used_tokens, use.now_ms),
                "concurrent_calls": _running_json(use.limits.concurrent_calls, use.running_calls),
            },
            "expires_at": None
            if caller.key.expires_at_ms is None
            else format_instant(caller.key.expires_at_ms),
        }

    async def _credits(self, key_hash: bytes, rest: str, address: str, _: Dialect) -> Json:
        """``GET /v1/credits``: the account's balance, what is held of it, and what is available."""
        _no_rest(rest)
        resolved = await self._find(key_hash, address)
        async with self._storage.read() as tx:
            owner = await find_user(tx, resolved.caller.key.user_id)
        assert owner is not None, "a key's owner is never deleted"
        return {
            "balance": format_amount(owner.balance),
            "held": format_amount(owner.held),
            "available": format_amount(owner.available),
        }

    async def _receipt(self, key_hash: bytes, call_id: str, address: str, _: Dialect) -> Json:
        """``GET /v1/receipts/{call_id}``: what one call of the account was charged, and why."""
        resolved = await self._find(key_hash, address)
        async with self._storage.read() as tx:
            receipt = await get_receipt(tx, resolved.caller.key.account_id, call_id)
        return show_receipt(receipt).model_dump(mode="json")


def _no_rest(rest: str) -> None:
    if rest:
        raise NotFound("There is nothing at this path. See the API reference.")


def _limit_json(use: LimitUse | None, used: int, now_ms: int) -> Json:
    if use is None:
        return {"limit": None, "used": used, "remaining": None, "resets_at": None}
    # Limits change on whole seconds, and ``resets_in_s`` was rounded up to one.
    resets_at_ms = (now_ms // 1000 + use.resets_in_s) * 1000
    return {
        "limit": use.limit,
        "used": use.used,
        "remaining": use.remaining,
        "resets_at": format_instant(resets_at_ms),
    }


def _running_json(limit: int | None, used: int) -> Json:
    """How many calls run; when the next of them ends nobody knows."""
    remaining = None if limit is None else max(0, limit - used)
    return {"limit": limit, "used": used, "remaining": remaining, "resets_at": None}
