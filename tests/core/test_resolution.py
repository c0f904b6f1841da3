"""Resolution: a hold is resolved once, a second time is told so, and a repeated batch doubles nothing."""

import pytest

from tests.core.samples import (
    EXPIRED,
    VOIDED,
    account_book,
    admission_of,
    books_of,
    facts_of,
    key_book,
    quote_of,
    settled,
)
from tokenopen.core.admission import (
    Admitted,
    AlreadyResolved,
    Books,
    OpenCall,
    Resolution,
    Resolved,
    Touched,
    decide_admission,
    decide_resolution,
)
from tokenopen.core.call import Outcome
from tokenopen.core.errors import StorageUnavailable
from tokenopen.core.money import Nanocredits
from tokenopen.core.rate_limit import RateWindow

NOW_MS = 1_800_000_000_000
SETTLED = settled(25)


def held_books(*, hold: int = 30, others: int = 40, free: int = 20) -> Books:
    """Return books with one open hold beside those of other calls and some free credit."""
    return books_of(
        NOW_MS,
        account_book(balance=hold + others + free, held=hold + others),
        keys=[key_book(held=hold + others)],
        calls={"call_1": call_in("held", hold=hold)},
    )


def call_in(state: str, *, hold: int = 30, charge: int = 0, refunded: int = 0) -> OpenCall:
    states = {"held": "held", "settled": "settled", "voided": "voided", "expired": "expired"}
    return OpenCall(
        state=states[state],  # type: ignore[arg-type]
        hold=Nanocredits(hold),
        charge=Nanocredits(charge),
        refunded=Nanocredits(refunded),
    )


def resolve(
    books: Books, outcome: Outcome, *, must_not_cost: bool = False, touched: Touched | None = None
) -> Resolved | AlreadyResolved:
    item = Resolution(facts=facts_of(), outcome=outcome, must_not_cost=must_not_cost)
    return decide_resolution(item, books, Touched() if touched is None else touched)


def money_of(books: Books) -> list[tuple[int, ...]]:
    accounts = [(book.balance, book.held, book.entry_count) for book in books.accounts.values()]
    return accounts + [(book.spent, book.held) for book in books.keys.values()]


@pytest.mark.parametrize(
    ("outcome", "state", "charge", "absorbed"),
    [
        (settled(0), "settled", 0, 0),
        (settled(25), "settled", 25, 0),
        (settled(30), "settled", 30, 0),
        (settled(50), "settled", 50, 0),
        (settled(57), "settled", 50, 7),
        (VOIDED, "voided", 0, 0),
        (EXPIRED, "expired", 0, 0),
    ],
)
def test_a_hold_is_freed_whole_and_the_charge_taken(
    outcome: Outcome, state: str, charge: int, absorbed: int
) -> None:
    books, touched = held_books(), Touched()
    answer = resolve(books, outcome, touched=touched)
    assert isinstance(answer, Resolved)
    assert (answer.state, answer.charge, answer.absorbed, answer.refund) == (state, charge, absorbed, 0)
    assert answer.charge + answer.absorbed == outcome.due
    entries = int(state == "settled")
    assert money_of(books) == [(90 - charge, 40, entries), (charge, 40)]
    assert (answer.balance_after, answer.entry_number) == (90 - charge, entries)
    assert (touched.accounts, touched.keys, touched.windows) == ({"acc_1"}, {"key_1"}, set())


@pytest.mark.parametrize("first", [SETTLED, VOIDED, EXPIRED])
@pytest.mark.parametrize("second", [SETTLED, settled(7), VOIDED, EXPIRED])
def test_a_second_resolution_is_told_of_the_first_and_changes_nothing(
    first: Outcome, second: Outcome
) -> None:
    """Within one transaction too: the books remember what was decided in them."""
    books, touched = held_books(), Touched()
    answer = resolve(books, first)
    assert isinstance(answer, Resolved)
    before = money_of(books)
    again = resolve(books, second, touched=touched)
    assert isinstance(again, AlreadyResolved)
    assert again.state == answer.state
    assert money_of(books) == before
    assert touched == Touched()


@pytest.mark.parametrize("refunded", [0, 10])
def test_a_call_that_must_not_cost_gives_back_what_is_left_of_its_charge_once(refunded: int) -> None:
    books = held_books()
    resolve(books, SETTLED)
    books.accounts["acc_1"].post(refunded)
    books.calls["call_1"] = books.calls["call_1"].changed(refunded=Nanocredits(refunded))
    touched = Touched()
    answer = resolve(books, VOIDED, must_not_cost=True, touched=touched)
    assert isinstance(answer, Resolved)
    assert (answer.state, answer.refund, answer.charge) == ("settled", 25 - refunded, 0)
    assert books.accounts["acc_1"].balance == 90
    assert (answer.balance_after, answer.entry_number) == (90, 3)
    assert touched.accounts == {"acc_1"}
    before = money_of(books)
    assert isinstance(resolve(books, VOIDED, must_not_cost=True), AlreadyResolved)
    assert money_of(books) == before


@pytest.mark.parametrize(
    "call", [call_in("settled"), call_in("settled", charge=9, refunded=9), call_in("voided")]
)
def test_a_call_that_must_not_cost_and_did_not_gets_nothing_back(call: OpenCall) -> None:
    books = books_of(NOW_MS, calls={"call_1": call})
    before = money_of(books)
    assert isinstance(resolve(books, VOIDED, must_not_cost=True), AlreadyResolved)
    assert money_of(books) == before


def test_a_void_of_an_open_hold_that_must_not_cost_is_a_plain_void() -> None:
    answer = resolve(held_books(), VOIDED, must_not_cost=True)
    assert isinstance(answer, Resolved)
    assert (answer.state, answer.charge, answer.refund) == ("voided", 0, 0)


def test_voiding_what_was_never_admitted_says_so_and_settling_it_is_our_mistake() -> None:
    books = books_of(NOW_MS)
    before = money_of(books)
    assert resolve(books, VOIDED) == AlreadyResolved(state="voided")
    with pytest.raises(AssertionError):
        resolve(books, SETTLED)
    assert money_of(books) == before


def test_a_resolution_is_never_earlier_than_the_newest_time_on_the_row() -> None:
    books = held_books()
    books.accounts["acc_1"].newest_ms = NOW_MS + 5
    answer = resolve(books, SETTLED)
    assert isinstance(answer, Resolved)
    assert answer.resolved_at_ms == NOW_MS + 5


@pytest.mark.parametrize(
    ("outcome", "charge", "absorbed"),
    [(SETTLED, 25, 0), (settled(57), 50, 7), (VOIDED, 0, 0), (EXPIRED, 0, 0)],
)
def test_a_repeated_batch_finds_a_resolution_that_was_written_and_changes_nothing(
    outcome: Outcome, charge: int, absorbed: int
) -> None:
    books, touched = held_books(), Touched()
    first = resolve(books, outcome)
    assert isinstance(first, Resolved)
    assert not first.found
    books.repeated = True
    before = money_of(books)
    answer = resolve(books, outcome, touched=touched)
    assert isinstance(answer, Resolved)
    assert (answer.state, answer.charge, answer.absorbed) == (first.state, charge, absorbed)
    assert answer.found
    assert money_of(books) == before
    assert touched == Touched()


def test_a_repeated_batch_that_had_not_been_written_is_carried_out() -> None:
    books = held_books()
    books.repeated = True
    answer = resolve(books, SETTLED)
    assert isinstance(answer, Resolved)
    assert (answer.charge, answer.found) == (25, False)
    fresh = books_of(NOW_MS, repeated=True)
    assert isinstance(decide_admission(admission_of(facts_of(), quote_of(5)), fresh, Touched()), Admitted)


def test_a_repeated_batch_finds_an_admission_that_was_written_and_counts_it_once() -> None:
    facts = facts_of(requests_per_minute=1, requests_per_day=1)
    admission = admission_of(facts, quote_of(100, capped_hold=30))
    books = books_of(NOW_MS, account_book(balance=40))
    first = decide_admission(admission, books, Touched())
    assert isinstance(first, Admitted)
    books.repeated = True
    books.calls[facts.call_id] = call_in("held", hold=first.hold)
    before = (money_of(books), books.windows["acc_1", "grp_vip"].slots)
    touched = Touched()
    again = decide_admission(admission, books, touched)
    assert again == first
    assert first.cap_output_tokens == 30
    assert (money_of(books), books.windows["acc_1", "grp_vip"].slots) == before
    assert touched == Touched()


@pytest.mark.parametrize("state", ["settled", "voided", "expired"])
def test_a_repeated_admission_whose_hold_is_gone_may_not_be_sent(state: str) -> None:
    books = books_of(
        NOW_MS,
        repeated=True,
        calls={"call_1": call_in(state)},
        windows={("acc_1", "grp_vip"): RateWindow()},
    )
    answer = decide_admission(admission_of(facts_of(), quote_of(5)), books, Touched())
    assert isinstance(answer, StorageUnavailable)
