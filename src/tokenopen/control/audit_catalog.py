"""Audit of the catalog: prices, groups and entitlements, and what calls are checked against."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tokenopen.control.audit_report import Findings
from tokenopen.core.catalog import PriceRevision, resolve_prices
from tokenopen.core.group import GroupPolicy, matches
from tokenopen.ports.storage import Transaction
from tokenopen.storage import audit as statements
from tokenopen.storage.directory import price_revision_from_row
from tokenopen.storage.model import decode_named
from tokenopen.storage.policy import decode_entitlement, decode_json, decode_policy
from tokenopen.upstream.surfaces.stored_response import StoredResponseSurface

Row = Mapping[str, Any]

_GROUP_MODEL_RULE: Final = "group model "
# What reading a stored document raises where it was tampered with.
UNREADABLE: Final = (msgspec.DecodeError, AssertionError, AttributeError, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class CatalogHistory:
    """Every revision there has been, by id: prices, and (group id, policy)."""

    prices: dict[str, PriceRevision] = field(default_factory=dict)
    policies: dict[str, tuple[str, GroupPolicy]] = field(default_factory=dict)


async def pages(
    tx: Transaction, read: Callable[[Transaction, str | None], Awaitable[Sequence[Row]]]
) -> AsyncIterator[Row]:
    """Yield every row that ``read`` has, a page at a time, by id."""
    after = None
    while rows := await read(tx, after):
        for row in rows:
            yield row
        after = rows[-1]["id"]


async def audit_catalog(tx: Transaction, findings: Findings) -> CatalogHistory:
    """Check what prices, groups and entitlements say, and return the revisions."""
    history = CatalogHistory()
    async for row in pages(tx, statements.list_price_revisions):
        findings.checked["price revisions"] += 1
        _check_price_revision(row, history, findings)
    async for row in pages(tx, statements.list_group_revisions):
        findings.checked["group revisions"] += 1
        _check_group_revision(row, history, findings)
    async for row in pages(tx, statements.list_entitlements):
        findings.checked["entitlements"] += 1
        _check_entitlement(row, findings)
    for group_id in await statements.list_groups_without_revision(tx):
        findings.add("I8", group_id, "the group has no revision, so nothing says what its keys may do")
    return history


def _numbers_in(value: object) -> list[object]:
    """Return every number that a JSON value holds, however deep."""
    if isinstance(value, Mapping):
        return [number for part in value.values() for number in _numbers_in(part)]
    if isinstance(value, list):
        return [number for part in value for number in _numbers_in(part)]
    return [value] if isinstance(value, int | float) else []


def _check_numbers(
    subject_id: str, value: object, findings: Findings, *, account_id: str | None = None
) -> bool:
    floats = [number for number in _numbers_in(value) if isinstance(number, float)]
    for number in floats:
        findings.add("I7", subject_id, f"{number!r} is stored as a float", account_id=account_id)
    return not floats


def _check_price_revision(row: Row, history: CatalogHistory, findings: Findings) -> None:
    try:
        stored = [decode_json(row[column]) for column in ("named", "prices", "steps")]
        if not _check_numbers(row["id"], stored, findings):
            return
        revision = price_revision_from_row(row)
        named, steps = decode_named(row["named"])
        expected = [resolve_prices(each, has_output=False) for each in (named, *(each for _, each in steps))]
    except UNREADABLE as error:
        findings.add("I8", row["id"], f"the prices of {row['model']} cannot be read: {error}")
        return
    if expected != list(revision.price_lists):
        findings.add("I8", row["id"], f"the prices of {row['model']} are not those that were named")
        return
    history.prices[row["id"]] = revision


def _check_group_revision(row: Row, history: CatalogHistory, findings: Findings) -> None:
    try:
        if not _check_numbers(row["id"], decode_json(row["policy"]), findings):
            return
        policy = decode_policy(row["policy"])
    except UNREADABLE as error:
        findings.add("I8", row["id"], f"the group's policy cannot be read: {error}")
        return
    history.policies[row["id"]] = (row["group_id"], policy)


def _check_entitlement(row: Row, findings: Findings) -> None:
    account_id = row["account_id"]
    try:
        _check_numbers(row["id"], decode_json(row["terms"]), findings, account_id=account_id)
        decode_entitlement(row)
    except UNREADABLE as error:
        message = f"the entitlement's terms cannot be read: {error}"
        findings.add("I8", row["id"], message, account_id=account_id)


def explain_terms(call: Row, history: CatalogHistory) -> str | None:
    """Return what is wrong with the price, group or multiplier that a call was admitted under (I8)."""
    prices = history.prices.get(call["price_revision_id"])
    if prices is None or prices.model != call["model"]:
        return f"there is no price revision {call['price_revision_id']} of {call['model']}"
    group_id, policy = history.policies.get(call["group_revision_id"], (None, None))
    if policy is None or group_id != call["group_id"]:
        return f"there is no revision {call['group_revision_id']} of group {call['group_id']}"
    # What was made once may be looked at and deleted also where its model is not allowed any more.
    allowed = policy.allows(call["model"]) or call["surface"] == StoredResponseSurface.name
    if call["entitlement_id"] is None and not allowed:
        return f"its group did not allow {call['model']}"
    return _explain_multiplier(call, policy)


def _explain_multiplier(call: Row, policy: GroupPolicy) -> str | None:
    rule: str = call["multiplier_rule"]
    if rule == "entitlement" or rule.startswith("entitlement model "):
        # Entitlements may change, and what one said then is kept on the call alone.
        return None if call["entitlement_id"] is not None else f"rule {rule!r} without an entitlement"
    expected = None
    if rule == "group":
        expected = policy.multiplier_ppm
    elif rule.startswith(_GROUP_MODEL_RULE):
        pattern = rule.removeprefix(_GROUP_MODEL_RULE)
        if matches(pattern, call["model"]):
            expected = policy.model_multipliers.get(pattern)
    if expected != call["multiplier_ppm"]:
        return f"multiplier {call['multiplier_ppm']} ppm is not what rule {rule!r} of its group says"
    return None
