"""Calls: their list, for the account they are of and for administrators."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tokenopen.control.actor import Actor
from tokenopen.control.group import find_group
from tokenopen.control.page import Page, PageRequest
from tokenopen.core.catalog import Prices
from tokenopen.core.charge import charge_for
from tokenopen.core.errors import NotFound
from tokenopen.core.identifier import first_id
from tokenopen.core.money import PPM_ONE, Nanocredits
from tokenopen.core.usage import Usage
from tokenopen.ports.storage import Transaction
from tokenopen.storage.api_key import find_api_key
from tokenopen.storage.call_search import CallFilter, search_calls
from tokenopen.storage.dropped_call import read_dropped_until
from tokenopen.storage.ledger import find_account_id
from tokenopen.storage.policy import decode_json, decode_prices

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """A call as it stands. ``usage`` and ``prices`` are what its charge was made of, None until then.

    Names are those of today; ids never change.
    """

    id: str
    account_id: str
    user_id: str
    user_email: str | None
    key_id: str
    key_name: str | None
    key_last_four: str | None
    group_id: str
    group_slug: str | None
    group_name: str | None
    model: str
    surface: str
    stream: bool
    state: str
    end_reason: str | None
    usage: Usage | None
    prices: Prices | None
    multiplier_ppm: int
    multiplier_rule: str
    hold: Nanocredits
    charge: Nanocredits
    absorbed: Nanocredits
    refunded: Nanocredits
    admitted_at_ms: int
    resolved_at_ms: int | None
    first_byte_ms: int | None
    duration_ms: int | None
    status: int | None
    # What an administrator should look at; None where all was as usual.
    flag: str | None
    flag_detail: str | None
    reviewed_at_ms: int | None
    reviewed_by: str | None
    # What administrators corrected later: above 0 they gave credit back, below it they took it.
    adjusted: Nanocredits
    # What the provider takes from the operator for it, and how that is known; None: unknown.
    cost: Nanocredits | None
    cost_source: str | None

    @property
    def list_price(self) -> Nanocredits | None:
        """What the usage costs at 1.0x, rounded down; None where nothing was charged."""
        if self.usage is None or self.prices is None:
            return None
        return charge_for(self.usage, self.prices, multiplier_ppm=PPM_ONE)


def call_record(row: Row) -> CallRecord:
    """Return the call that a row with its names stores."""
    same = {name: row[name] for name in CallRecord.__dataclass_fields__ if name in row}
    usage, prices = row["usage"], row["prices"]
    return CallRecord(
        **{
            **same,
            "stream": bool(row["stream"]),
            "adjusted": row["adjusted"] or 0,
            "usage": None if usage is None else Usage(decode_json(usage), row["usage_source"]),
            "prices": None if prices is None else decode_prices(prices),
        }
    )


async def call_not_found(tx: Transaction, call_id: str) -> NotFound:
    """Return the refusal for a call that is not there, or not any more."""
    dropped_until_ms = await read_dropped_until(tx)
    if first_id("call", 0) <= call_id < first_id("call", dropped_until_ms):
        until = datetime.fromtimestamp(dropped_until_ms // 1000, UTC)
        return NotFound(
            f"There is no call {call_id}: records of calls before {until:%Y-%m-%d %H:%M} UTC have been "
            "dropped, as the platform's settings say. What was charged for them stands in the ledger."
        )
    return NotFound(f"There is no call {call_id}.")


async def list_calls(
    tx: Transaction, actor: Actor, *, wanted: CallFilter, group: str | None, page: PageRequest
) -> Page[CallRecord]:
    """Return the actor's own calls, newest first. ``group`` is a slug; an unknown one is NotFound."""
    return await _list(tx, replace(wanted, account_id=actor.account_id), group, page)


async def list_all_calls(
    tx: Transaction,
    actor: Actor,
    *,
    wanted: CallFilter,
    group: str | None,
    user_id: str | None,
    page: PageRequest,
) -> Page[CallRecord]:
    """Return everybody's calls or a user's, newest first. A user who is not known has none."""
    actor.require_administrator()
    if user_id is not None:
        wanted = replace(wanted, account_id=await find_account_id(tx, user_id) or "")
    return await _list(tx, wanted, group, page)


async def _list(
    tx: Transaction, wanted: CallFilter, group: str | None, page: PageRequest
) -> Page[CallRecord]:
    if group is not None:
        wanted = replace(wanted, group_id=(await find_group(tx, group)).id)
    if wanted.key_id is not None and wanted.account_id is not None:
        key = await find_api_key(tx, wanted.key_id)
        # Else another account's calls would be looked through, and the cursor would name one of them.
        if key is None or key["account_id"] != wanted.account_id:
            return Page(items=[])
    found = await search_calls(tx, wanted=wanted, before_id=page.after, limit=page.limit)
    return Page(items=[call_record(row) for row in found.rows], next_cursor=found.next_before)
