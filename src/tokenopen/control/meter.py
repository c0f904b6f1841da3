"""Inventory: what the database holds at a moment, for the operator's monitoring."""

from collections.abc import Mapping
from dataclasses import dataclass

from tokenopen.control.actor import Actor
from tokenopen.core.money import Nanocredits
from tokenopen.ports.storage import Transaction
from tokenopen.storage import meter as storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Sums over all accounts, and what groups and upstreams are called now."""

    open_holds: int
    held: Nanocredits
    balance: Nanocredits
    workers: int
    group_slugs: Mapping[str, str]
    upstream_names: Mapping[str, str]


async def read_inventory(tx: Transaction, actor: Actor) -> Inventory:
    """Return what is held now. Refuses everybody but administrators."""
    actor.require_administrator()
    row = await storage.sum_accounts(tx)
    return Inventory(
        open_holds=await storage.count_open_holds(tx),
        held=Nanocredits(row["held"]),
        balance=Nanocredits(row["balance"]),
        workers=await storage.count_workers(tx, now_ms=tx.now_ms),
        group_slugs=await storage.list_group_slugs(tx),
        upstream_names=await storage.list_upstream_names(tx),
    )
