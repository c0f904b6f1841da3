"""Admission: stale before limits before credit, exact counts, and refusals that leave no trace."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.core.samples import account_book, admission_of, books_of, facts_of, key_book, quote_of
from tokenopen.core.admission import Admission, Admitted, Books, Lapsed, Stale, Touched, decide_admission
from tokenopen.core.errors import InsufficientCredit, KeyCreditLimitReached, Refusal, RpmExceeded, TpdExceeded
from tokenopen.core.ledger import AccountBook, KeyBook
from tokenopen.core.money import parse_amount
from tokenopen.core.rate_limit import RateWindow, day_at
from tokenopen.ports.storage import AdmissionAnswer

NOON_MS = int(datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()) * 1000


def admit(books: Books, admission: Admission) -> AdmissionAnswer:
    return decide_admission(admission, books, Touched())


def admitted(books: Books, admission: Admission) -> Admitted:
    answer = admit(books, admission)
    assert isinstance(answer, Admitted), answer
    return answer


def admit_each(books: Books, count: int, **facts: Any) -> list[AdmissionAnswer]:
    return [admit(books, admission_of(facts_of(f"call_{n}", **facts), quote_of(1))) for n in range(count)]


def admitted_count(answers: Sequence[AdmissionAnswer]) -> int:
    return sum(isinstance(answer, Admitted) for answer in answers)


STALENESS: list[dict[str, Any]] = [
    {"catalog_version": 0},
    {"catalog_version": 2},
    {"account_version": 0},
    {"account_version": 2},
    {"valid_until_ms": NOON_MS},
    {"valid_until_ms": NOON_MS - 1},
]


@pytest.mark.parametrize("stale", STALENESS)
def test_what_is_stale_is_told_before_any_limit_or_credit(stale: dict[str, Any]) -> None:
    books = books_of(NOON_MS, account_book(balance=0))
    facts = facts_of(requests_per_minute=0, requests_per_day=0)
    assert isinstance(admit(books, admission_of(facts, quote_of(5), **stale)), Stale)


@pytest.mark.parametrize(("valid_until_ms"), [None, NOON_MS + 1])
def test_terms_are_valid_before_the_instant_at_which_they_change(valid_until_ms: int | None) -> None:
    admitted(books_of(NOON_MS), admission_of(facts_of(), quote_of(1), valid_until_ms=valid_until_ms))


def test_whether_terms_are_stale_is_judged_by_the_newest_time_on_the_row() -> None:
    books = books_of(NOON_MS, account_book(balance=5, newest_ms=NOON_MS + 10))
    stale = admission_of(facts_of(), quote_of(1), valid_until_ms=NOON_MS + 10)
    assert isinstance(admit(books, stale), Stale)
    answer = admitted(books, stale.changed(valid_until_ms=NOON_MS + 11))
    assert answer.admitted_at_ms == NOON_MS + 10


def test_a_worker_admits_until_its_lease_lapses_by_the_databases_time_and_not_without_one() -> None:
    admission = admission_of(facts_of(), quote_of(1))
    lease = {admission.worker_id: NOON_MS}
    for now_ms, leases, may in (
        (NOON_MS - 1, lease, True),
        (NOON_MS, lease, False),
        (NOON_MS - 1, {}, False),
    ):
        # Whose time may be ahead of the database's.
        books = books_of(now_ms, account_book(balance=5, newest_ms=NOON_MS + 10))
        books.admits_until_ms = leases
        assert isinstance(admit(books, admission), Admitted if may else Lapsed)


@pytest.mark.parametrize("facts", [facts_of(account_id="acc_gone"), facts_of(key_id="key_gone")])
def test_an_account_or_key_that_is_not_there_is_resolved_anew(facts: Any) -> None:
    assert isinstance(admit(books_of(NOON_MS), admission_of(facts, quote_of(1))), Stale)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"requests_per_minute": 0}, "rpm_exceeded"),
        ({"requests_per_day": 0}, "tpd_exceeded"),
        ({}, "insufficient_credit"),
    ],
)
def test_limits_are_told_before_credit(limits: dict[str, Any], code: str) -> None:
    books = books_of(NOON_MS, account_book(balance=0), keys=[key_book(credit_limit=0)])
    answer = admit(books, admission_of(facts_of(**limits), quote_of(5)))
    assert isinstance(answer, Refusal)
    assert answer.code == code


@pytest.mark.parametrize(
    "admission",
    [
        admission_of(facts_of(), quote_of(5), catalog_version=9),
        admission_of(facts_of(requests_per_minute=3), quote_of(5)),
        admission_of(facts_of(requests_per_day=3), quote_of(5)),
        admission_of(facts_of(), quote_of(8)),
        admission_of(facts_of(), quote_of(100)),
    ],
)
def test_a_refused_call_changes_nothing_and_does_not_count(admission: Admission) -> None:
    window = RateWindow()
    window.advance(NOON_MS, day_at(NOON_MS, admission.zone))
    for _ in range(3):
        window.count()
    account = account_book(balance=60, held=3, newest_ms=NOON_MS)
    key = key_book(spent=20, held=3, credit_limit=30)
    books = books_of(NOON_MS, account, keys=[key], windows={("acc_1", "grp_vip"): window})
    before = (replace(account), replace(key), window.slots, window.day_count, window.day_ordinal)
    touched = Touched()
    assert not isinstance(decide_admission(admission, books, touched), Admitted)
    assert (account, key, window.slots, window.day_count, window.day_ordinal) == before
    assert touched == Touched()
    assert not books.calls


def test_credit_for_37_of_1000_calls_admits_exactly_37() -> None:
    books = books_of(NOON_MS, account_book(balance=37 * 11 + 10))
    answers = [admit(books, admission_of(facts_of(f"call_{n}"), quote_of(11))) for n in range(1_000)]
    assert admitted_count(answers) == 37
    refused = [answer for answer in answers if not isinstance(answer, Admitted)]
    assert {type(answer) for answer in refused} == {InsufficientCredit}
    assert books.accounts["acc_1"].available == 10


def test_of_200_calls_at_once_60_requests_a_minute_admit_exactly_60() -> None:
    books = books_of(NOON_MS)
    answers = admit_each(books, 200, requests_per_minute=60)
    assert admitted_count(answers) == 60
    assert all(isinstance(answer, Admitted) for answer in answers[:60])
    refused = answers[60:]
    assert {type(answer) for answer in refused} == {RpmExceeded}
    assert {answer.retry_after_s for answer in refused if isinstance(answer, RpmExceeded)} == {61}


def test_two_groups_of_one_account_and_two_accounts_of_one_group_never_share_a_counter() -> None:
    other = AccountBook(
        id="acc_2", version=1, balance=account_book(balance=50).balance, held=account_book().held, newest_ms=0
    )
    books = books_of(NOON_MS, account_book(balance=50), other)
    for account_id, group_id in (("acc_1", "grp_vip"), ("acc_1", "grp_default"), ("acc_2", "grp_vip")):
        answers = admit_each(
            books, 9, account_id=account_id, group_id=group_id, requests_per_minute=5, requests_per_day=7
        )
        assert admitted_count(answers) == 5


def test_calls_count_where_no_limit_is_set_and_a_limit_that_comes_later_finds_them() -> None:
    books = books_of(NOON_MS)
    assert admitted_count(admit_each(books, 5)) == 5
    assert admitted_count(admit_each(books, 5, requests_per_minute=7)) == 2
    assert admitted_count(admit_each(books, 5, requests_per_day=8)) == 1


def test_a_reply_carries_each_limit_that_is_set_as_it_is_after_the_call() -> None:
    books = books_of(NOON_MS + 250)
    admitted(books, admission_of(facts_of("call_1", requests_per_minute=9), quote_of(1)))
    books.now_ms += 10_000
    facts = facts_of("call_2", requests_per_minute=10, requests_per_day=100)
    answer = admitted(books, admission_of(facts, quote_of(1)))
    assert answer.minute is not None
    assert answer.today is not None
    assert (answer.minute.limit, answer.minute.used, answer.minute.remaining) == (10, 2, 8)
    # The last call is of second 10 and gone with second 71; now it is 10.250.
    assert answer.minute.resets_in_s == 61
    assert (answer.today.limit, answer.today.used, answer.today.remaining) == (100, 2, 98)
    # Twelve hours less 10.250 s, rounded up.
    assert answer.today.resets_in_s == 12 * 3_600 - 10
    unlimited = admitted(books, admission_of(facts_of("call_3"), quote_of(1)))
    assert (unlimited.minute, unlimited.today) == (None, None)


def test_a_refusal_by_the_minute_says_what_was_used_and_exactly_when_to_come_back() -> None:
    books = books_of(NOON_MS + 300)
    admit_each(books, 2, requests_per_minute=2)
    books.now_ms = NOON_MS + 49_301
    refusal = admit(books, admission_of(facts_of("late", requests_per_minute=2), quote_of(1)))
    assert isinstance(refusal, RpmExceeded)
    # From 49.301 to 61.000
    assert refusal.retry_after_s == 12
    assert refusal.message.startswith("Group VIP allows 2 requests per minute; 2 used. Try again in 12 s, or")
    for waited_s, passes in ((11, False), (12, True)):
        books.now_ms = NOON_MS + 49_301 + 1000 * waited_s
        answer = admit(books, admission_of(facts_of("later", requests_per_minute=2), quote_of(1)))
        assert isinstance(answer, Admitted) is passes


@pytest.mark.parametrize(
    ("zone_name", "resets_at", "retry_after_s"),
    [
        ("UTC", "2026-12-01 00:00 UTC", 12 * 3_600),
        ("Europe/Berlin", "2026-12-01 00:00 CET", 11 * 3_600),
        ("Asia/Kolkata", "2026-12-01 00:00 IST", 6 * 3_600 + 1_800),
        ("America/Los_Angeles", "2026-12-01 00:00 PST", 20 * 3_600),
    ],
)
def test_a_refusal_by_the_day_says_when_the_platforms_day_ends(
    zone_name: str, resets_at: str, retry_after_s: int
) -> None:
    books = books_of(NOON_MS)
    zone = ZoneInfo(zone_name)
    admission = admission_of(facts_of(requests_per_day=1), quote_of(1), zone=zone)
    admitted(books, admission)
    refusal = admit(books, admission)
    assert isinstance(refusal, TpdExceeded)
    assert f"1 of 1 requests used; resets {resets_at}." in refusal.message
    assert (refusal.retry_after_s, refusal.facts["resets_at"]) == (retry_after_s, resets_at)
    books.now_ms = NOON_MS + 1000 * retry_after_s - 1
    assert isinstance(admit(books, admission), TpdExceeded)
    books.now_ms += 1
    admitted(books, admission)


def test_after_a_refusal_by_the_day_one_more_call_passes_when_it_said() -> None:
    books = books_of(NOON_MS + 12 * 3_600_000 - 5_000)
    assert admitted_count(admit_each(books, 3, requests_per_minute=2, requests_per_day=2)) == 2
    admission = admission_of(facts_of("later", requests_per_minute=2, requests_per_day=2), quote_of(1))
    refusal = admit(books, admission)
    assert isinstance(refusal, TpdExceeded)
    assert refusal.retry_after_s is not None
    books.now_ms += 1000 * refusal.retry_after_s
    admitted(books, admission)


def test_a_clock_that_runs_backwards_admits_nothing_more() -> None:
    books = books_of(NOON_MS)
    assert admitted_count(admit_each(books, 2, requests_per_minute=2)) == 2
    books.now_ms = NOON_MS - 3_600_000
    answer = admit(books, admission_of(facts_of("back", requests_per_minute=2), quote_of(1)))
    assert isinstance(answer, RpmExceeded)
    assert answer.retry_after_s == 61


# What the account and the key have for a call of 100, capped at 30 where the caller named no maximum.
@pytest.mark.parametrize(
    ("balance", "key_room", "capped_hold", "answer"),
    [
        (100, None, 30, (100, None)),
        (100, 100, 30, (100, None)),
        (99, None, 30, (30, 30)),
        (500, 99, 30, (30, 30)),
        (30, 30, 30, (30, 30)),
        (29, None, 30, "insufficient_credit"),
        (500, 29, 30, "key_credit_limit_reached"),
        (29, 28, 30, "insufficient_credit"),
        (99, None, None, "insufficient_credit"),
        (100, None, None, (100, None)),
        (500, 99, None, "key_credit_limit_reached"),
    ],
)
def test_the_models_own_maximum_is_held_for_where_it_is_covered_and_the_cap_where_not(
    balance: int, key_room: int | None, capped_hold: int | None, answer: tuple[int, int | None] | str
) -> None:
    account = account_book(balance=balance + 7, held=7)
    key = key_book(spent=11, held=7, credit_limit=None if key_room is None else 18 + key_room)
    books = books_of(NOON_MS, account, keys=[key])
    found = admit(books, admission_of(facts_of(), quote_of(100, capped_hold=capped_hold)))
    if isinstance(found, Admitted):
        assert (found.hold, found.cap_output_tokens) == answer
        assert (account.held, key.held) == (7 + found.hold, 7 + found.hold)
    else:
        assert isinstance(found, InsufficientCredit | KeyCreditLimitReached)
        assert found.code == answer
        room = balance if key_room is None else min(balance, key_room)
        assert found.facts["affordable_max_output_tokens"] == room
        assert parse_amount(str(found.facts["needed"])) == (capped_hold or 100)


def test_a_cap_is_per_choice_and_its_hold_for_all_of_them() -> None:
    quote = quote_of(300, capped_hold=90).changed(choices=3)
    answer = admitted(books_of(NOON_MS, account_book(balance=200)), admission_of(facts_of(), quote))
    assert (answer.hold, answer.cap_output_tokens) == (90, 30)


def test_an_admission_notes_what_it_changed_and_when() -> None:
    account, key = account_book(balance=10), key_book()
    books, touched = books_of(NOON_MS, account, keys=[key]), Touched()
    answer = decide_admission(admission_of(facts_of(), quote_of(4)), books, touched)
    assert isinstance(answer, Admitted)
    assert answer.day_ordinal == day_at(NOON_MS, ZoneInfo("UTC")).ordinal
    assert (answer.admitted_at_ms, account.newest_ms, key.last_used_at_ms) == (NOON_MS, NOON_MS, NOON_MS)
    assert (account.balance, account.held, account.entry_count) == (10, 4, 0)
    assert (touched.accounts, touched.keys) == ({"acc_1"}, {"key_1"})
    assert touched.windows == {("acc_1", "grp_vip")}
    assert isinstance(books.keys["key_1"], KeyBook)
    assert books.windows["acc_1", "grp_vip"].day_count == 1


def test_after_the_zone_moved_west_a_call_counts_for_the_day_of_the_counter() -> None:
    """The day that the call stores is the one it was counted in, or the audit would find calls over TPD."""
    books = books_of(NOON_MS, account_book(balance=10))
    east = admission_of(facts_of(), quote_of(1)).changed(zone=ZoneInfo("Pacific/Auckland"))
    west = admission_of(facts_of(), quote_of(1)).changed(zone=ZoneInfo("Pacific/Honolulu"))
    days = []
    for admission in (east, west):
        answer = decide_admission(admission, books, Touched())
        assert isinstance(answer, Admitted)
        days.append(answer.day_ordinal)
    (window,) = books.windows.values()
    assert days == [window.day_ordinal, window.day_ordinal]
    assert window.day_count == 2
