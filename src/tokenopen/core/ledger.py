"""Ledger: the balance of an account, what is held of it, and the entries that explain every change.

    I1  balance = sum of ledger entries        I2  held = sum of open holds
    I3  available never falls below zero       I4  a hold is resolved exactly once
    I6  entries are never changed              I11 a key's spent + held <= its credit limit

The books are the rows of one transaction, read under their lock; each change asserts what must hold.
"""

from dataclasses import dataclass
from typing import Literal

from tokenopen.core.money import AMOUNT_MAX, Nanocredits

EntryKind = Literal["top_up", "charge", "refund", "adjustment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One immutable change of a balance. ``amount`` is negative where the balance falls."""

    account_id: str
    # 1, 2, 3 ... within the account, so that the balances after each entry form a chain (I6).
    number: int
    id: str
    kind: EntryKind
    amount: Nanocredits
    balance_after: Nanocredits
    call_id: str | None
    reason: str | None
    actor_id: str | None
    created_at_ms: int


class BalanceOutOfBounds(ValueError):
    """The change would take available credit below zero or the balance beyond AMOUNT_MAX."""


@dataclass(slots=True, kw_only=True)
class AccountBook:
    """The money of one account."""

    id: str
    version: int
    balance: Nanocredits
    held: Nanocredits
    # Time as this account has seen it: never earlier than the newest time on the row.
    newest_ms: int
    # How many ledger entries the account has: the number of its newest one.
    entry_count: int = 0

    @property
    def available(self) -> Nanocredits:
        """Credit that is neither spent nor held."""
        return Nanocredits(self.balance - self.held)

    def assert_sound(self) -> None:
        """I3, and that a hold is never negative."""
        assert self.held >= 0, f"{self.id}: held is {self.held}"
        assert self.available >= 0, f"{self.id}: available is {self.available}"

    def post(self, amount: int) -> Nanocredits:
        """Change the balance by a ledger entry's amount and return the balance after it.

        The entry's number is ``entry_count`` afterwards.
        Raises BalanceOutOfBounds, with nothing changed.
        """
        if self.available + amount < 0:
            raise BalanceOutOfBounds("the account's available credit does not cover this")
        if self.balance + amount > AMOUNT_MAX:
            raise BalanceOutOfBounds("the balance would go beyond what an account may hold")
        self.balance = Nanocredits(self.balance + amount)
        self.entry_count += 1
        self.assert_sound()
        return self.balance


@dataclass(slots=True, kw_only=True)
class KeyBook:
    """What one API key has spent and holds."""

    id: str
    spent: Nanocredits
    held: Nanocredits
    credit_limit: Nanocredits | None
    last_used_at_ms: int | None

    @property
    def available(self) -> Nanocredits | None:
        """What the key may still spend, None where it has no limit of its own."""
        if self.credit_limit is None:
            return None
        return Nanocredits(self.credit_limit - self.spent - self.held)


def adjustable(*, hold: int, charge: int, refunded: int, adjusted: int) -> tuple[Nanocredits, Nanocredits]:
    """Return the most that an adjustment of a call may take, and the most that it may give back.

    What a call costs in all, its charge less refunds and adjustments, stays between nothing and the larger of
    its hold, the most it could have cost when it was admitted, and its charge.
    """
    # A call that was adjusted and then given back whole, since it had been answered 5xx, has cost nothing.
    costs = max(0, charge - refunded - adjusted)
    return Nanocredits(max(0, max(hold, charge) - costs)), Nanocredits(costs)


def reserve(account: AccountBook, key: KeyBook, hold: Nanocredits) -> None:
    """Set credit aside for a call; that it is there has been decided."""
    assert hold >= 0
    assert hold <= account.available
    assert key.available is None or hold <= key.available
    account.held = Nanocredits(account.held + hold)
    key.held = Nanocredits(key.held + hold)
    account.assert_sound()


def release(account: AccountBook, key: KeyBook, hold: Nanocredits) -> None:
    """Free a hold whole."""
    account.held = Nanocredits(account.held - hold)
    key.held = Nanocredits(key.held - hold)
    assert key.held >= 0, f"{key.id}: held is {key.held}"
    account.assert_sound()


def settle(account: AccountBook, key: KeyBook, *, hold: Nanocredits, due: Nanocredits) -> Nanocredits:
    """Free the hold and take the charge; return what was charged.

    Usage beyond the hold is charged as far as credit and the key's own limit allow; what is returned
    less than ``due`` is absorbed by the operator.
    """
    assert due >= 0
    release(account, key, hold)
    charge = Nanocredits(min(due, account.available, due if key.available is None else key.available))
    # The hold was set aside from both, so at least that much of what is due can be taken.
    assert charge >= min(due, hold)
    account.post(-charge)
    key.spent = Nanocredits(key.spent + charge)
    return charge
