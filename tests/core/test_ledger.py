"""Ledger: reserve, release, settle and post on the books, each within its invariants."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.samples import account_book, key_book
from tokenopen.core.ledger import AccountBook, BalanceOutOfBounds, KeyBook, release, reserve, settle
from tokenopen.core.money import AMOUNT_MAX, Nanocredits

AMOUNTS = st.one_of(st.integers(0, 50), st.integers(0, 10**15)).map(Nanocredits)


@given(AMOUNTS, AMOUNTS, st.integers(-(10**15), 10**15))
def test_an_entry_changes_the_balance_by_its_amount_or_nothing_at_all(
    free: Nanocredits, held: Nanocredits, amount: int
) -> None:
    book = account_book(balance=free + held, held=held)
    before = replace(book)
    if free + amount >= 0:
        assert book.post(amount) == free + held + amount
        assert book == replace(
            before, balance=Nanocredits(free + held + amount), entry_count=before.entry_count + 1
        )
    else:
        with pytest.raises(BalanceOutOfBounds):
            book.post(amount)
        assert book == before


def test_a_balance_may_reach_its_bound_and_not_go_beyond() -> None:
    book = account_book(balance=AMOUNT_MAX - 1)
    with pytest.raises(BalanceOutOfBounds):
        book.post(2)
    assert (book.balance, book.entry_count) == (AMOUNT_MAX - 1, 0)
    assert book.post(1) == AMOUNT_MAX == 10**18


def test_credit_that_is_held_cannot_be_taken_by_an_adjustment() -> None:
    book = account_book(balance=100, held=40)
    with pytest.raises(BalanceOutOfBounds):
        book.post(-61)
    assert book.post(-60) == 40
    assert book.available == 0


def test_entries_are_numbered_one_by_one_and_a_refused_one_takes_no_number() -> None:
    book = account_book()
    book.post(10)
    with pytest.raises(BalanceOutOfBounds):
        book.post(-11)
    book.post(0)
    book.post(-10)
    assert book.entry_count == 3


@pytest.mark.parametrize(
    ("account", "key", "hold"),
    [
        (account_book(balance=10), key_book(), 11),
        (account_book(balance=10, held=4), key_book(held=4), 7),
        (account_book(balance=100), key_book(credit_limit=10), 11),
        (account_book(balance=100, held=5), key_book(credit_limit=10, spent=3, held=5), 3),
        (account_book(balance=100), key_book(), -1),
    ],
)
def test_a_hold_beyond_what_is_available_is_our_mistake_and_changes_nothing(
    account: AccountBook, key: KeyBook, hold: int
) -> None:
    before = (replace(account), replace(key))
    with pytest.raises(AssertionError):
        reserve(account, key, Nanocredits(hold))
    assert (account, key) == before


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_what_is_reserved_is_free_again_after_a_release(
    free: Nanocredits, held: Nanocredits, spent: Nanocredits
) -> None:
    account = account_book(balance=free + held, held=held)
    key = key_book(spent=spent, held=held, credit_limit=spent + held + free)
    before = (replace(account), replace(key))
    reserve(account, key, free)
    assert (account.available, key.available) == (0, 0)
    assert (account.held, key.held) == (held + free, held + free)
    assert account.balance == free + held
    release(account, key, free)
    assert (account, key) == before


def test_a_hold_released_twice_is_our_mistake() -> None:
    account, key = account_book(balance=10), key_book()
    reserve(account, key, Nanocredits(10))
    release(account, key, Nanocredits(10))
    with pytest.raises(AssertionError):
        release(account, key, Nanocredits(10))


@given(
    hold=AMOUNTS,
    other_holds=AMOUNTS,
    free=AMOUNTS,
    due=AMOUNTS,
    spent=AMOUNTS,
    key_room=st.none() | AMOUNTS,
)
def test_a_charge_is_what_is_due_as_far_as_credit_and_the_keys_limit_allow(
    hold: Nanocredits,
    other_holds: Nanocredits,
    free: Nanocredits,
    due: Nanocredits,
    spent: Nanocredits,
    key_room: Nanocredits | None,
) -> None:
    limit = None if key_room is None else spent + hold + other_holds + key_room
    account = account_book(balance=free + other_holds + hold, held=other_holds + hold)
    key = key_book(spent=spent, held=other_holds + hold, credit_limit=limit)
    charge = settle(account, key, hold=hold, due=due)
    # The hold itself, and beyond it only what nobody else holds.
    beyond = free if key_room is None else min(free, key_room)
    assert charge == min(due, hold + beyond)
    assert charge == due or charge >= hold
    assert account.balance == free + other_holds + hold - charge
    assert (account.held, key.held) == (other_holds, other_holds)
    assert key.spent == spent + charge
    assert account.available >= 0
    assert key.available is None or key.available >= 0
    assert account.entry_count == 1


@pytest.mark.parametrize(("due", "charged"), [(0, 0), (29, 29), (30, 30), (31, 31), (50, 50), (51, 50)])
def test_beyond_its_hold_of_30_a_call_may_take_the_20_that_are_free_but_not_the_others_40(
    due: int, charged: int
) -> None:
    account, key = account_book(balance=90, held=70), key_book(held=70)
    assert settle(account, key, hold=Nanocredits(30), due=Nanocredits(due)) == charged
    assert (account.balance, account.held) == (90 - charged, 40)


def test_a_call_that_cost_nothing_still_has_its_one_entry() -> None:
    account, key = account_book(balance=90, held=30), key_book(held=30)
    assert settle(account, key, hold=Nanocredits(30), due=Nanocredits(0)) == 0
    assert account.entry_count == 1


def test_a_negative_charge_is_our_mistake() -> None:
    account, key = account_book(balance=90, held=30), key_book(held=30)
    with pytest.raises(AssertionError):
        settle(account, key, hold=Nanocredits(30), due=Nanocredits(-1))
    assert (account.balance, account.held) == (90, 30)


def test_a_limit_at_what_a_key_has_spent_and_holds_lets_its_running_call_be_charged() -> None:
    """As low as a key's limit may be set (I11)."""
    account, key = account_book(balance=100), key_book(spent=10, credit_limit=50)
    reserve(account, key, Nanocredits(20))
    key.credit_limit = Nanocredits(30)
    assert settle(account, key, hold=Nanocredits(20), due=Nanocredits(25)) == 20
    assert (account.balance, account.held, key.spent, key.available) == (80, 0, 30, 0)
