"""Idempotency-Keys: what a second call under a key meets, by how the first one stands."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.samples import VOIDED, account_book, admission_of, books_of, facts_of, quote_of, settled
from tokenopen.core.admission import (
    Admission,
    Admitted,
    AlreadyResolved,
    OpenCall,
    Resolution,
    Resolved,
    Touched,
    decide_admission,
    decide_resolution,
)
from tokenopen.core.call import CallState, IdempotencyClaim
from tokenopen.core.errors import CallStillRunning, IdempotencyConflict, InvalidRequest
from tokenopen.core.kept_reply import (
    KEPT_BYTES_MAX,
    KEPT_MS,
    AlreadyMade,
    KeptCall,
    KeptReply,
    decide_claim,
    read_claim,
)
from tokenopen.core.money import Nanocredits

NOW_MS = 1_800_000_000_000
CLAIM = read_claim(b"order-7", b"chat", b"{}")
OTHER = read_claim(b"order-7", b"chat", b'{"n": 2}')


def kept(state: CallState, *, age_ms: int = 0) -> KeptCall:
    return KeptCall(
        call_id="call_1", request_hash=CLAIM.request_hash, claimed_at_ms=NOW_MS - age_ms, state=state
    )


@pytest.mark.parametrize("before", [None, kept("voided"), kept("expired"), kept("settled", age_ms=KEPT_MS)])
@pytest.mark.parametrize("claim", [CLAIM, OTHER], ids=["same", "other"])
def test_a_key_that_pins_nothing_is_free(claim: IdempotencyClaim, before: KeptCall | None) -> None:
    assert decide_claim(claim, before, NOW_MS) is None


def test_the_same_call_that_was_settled_is_not_made_again_for_a_day() -> None:
    assert decide_claim(CLAIM, kept("settled", age_ms=KEPT_MS - 1), NOW_MS) == AlreadyMade(call_id="call_1")


def test_a_call_that_runs_for_longer_than_a_day_still_pins_its_key() -> None:
    answer = decide_claim(CLAIM, kept("held", age_ms=2 * KEPT_MS), NOW_MS)
    assert isinstance(answer, CallStillRunning)
    assert (answer.status, answer.should_retry) == (409, True)
    assert answer.retry_after_s


@pytest.mark.parametrize("state", ["held", "settled"])
def test_another_call_under_the_key_is_refused(state: CallState) -> None:
    answer = decide_claim(OTHER, kept(state), NOW_MS)
    assert isinstance(answer, IdempotencyConflict)
    assert (answer.status, answer.should_retry) == (409, False)
    assert answer.facts["call_id"] == "call_1"


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_two_requests_share_a_hash_only_where_they_are_the_same(a: list[bytes], b: list[bytes]) -> None:
    assert (read_claim(b"k", *a).request_hash == read_claim(b"k", *b).request_hash) == (a == b)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\nb", "é".encode(), b"\x00"])
def test_what_cannot_be_a_key_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidRequest, match="Idempotency-Key"):
        read_claim(key)


def test_the_longest_key_is_a_key() -> None:
    assert read_claim(b"~" * 255).key == "~" * 255


def test_a_reply_shows_the_charge_that_the_settlement_took() -> None:
    reply = KeptReply(headers=[(b"content-type", b"application/json")], parts=[b"{", b"}"])
    assert reply.body_at(Nanocredits(5)) == b"{}"
    assert reply.headers_at(Nanocredits(5_000_000_000))[-1] == (b"x-tokenopen-charge", b"5")


def test_a_stream_ends_with_the_charge_in_its_tail() -> None:
    reply = KeptReply(headers=[], parts=[b"a"], tail=lambda cost: cost.encode())
    assert reply.body_at(Nanocredits(2_000_000_000)) == b"a2"
    assert list(reply.headers_at(Nanocredits(2_000_000_000))) == []


def test_a_reply_beyond_the_cap_is_not_kept() -> None:
    assert KeptReply(headers=[], parts=[b"x" * KEPT_BYTES_MAX]).body_at(Nanocredits(0)) is not None
    assert KeptReply(headers=[], parts=[b"x" * KEPT_BYTES_MAX, b"y"]).body_at(Nanocredits(0)) is None


def asked(call_id: str, claim: IdempotencyClaim = CLAIM) -> Admission:
    facts = facts_of(call_id, requests_per_minute=1).changed(claim=claim)
    return admission_of(facts, quote_of(10))


def test_of_two_same_calls_in_one_transaction_one_is_made_and_counted() -> None:
    books = books_of(NOW_MS, account_book(balance=100))
    first = decide_admission(asked("call_1"), books, Touched())
    second = decide_admission(asked("call_2"), books, Touched())
    assert isinstance(first, Admitted)
    assert isinstance(second, CallStillRunning)
    assert books.accounts["acc_1"].held == 10
    assert books.windows["acc_1", "grp_vip"].used_minute == 1


def test_a_call_made_before_is_answered_although_limits_and_credit_would_refuse_it() -> None:
    books = books_of(NOW_MS, account_book(balance=0))
    books.kept["key_1", "order-7"] = kept("settled")
    assert decide_admission(asked("call_2"), books, Touched()) == AlreadyMade(call_id="call_1")
    assert books.windows == {}


@pytest.mark.parametrize(("outcome", "free"), [(settled(3), False), (VOIDED, True)], ids=["settled", "void"])
def test_an_end_in_the_same_transaction_decides_whether_the_key_is_free(outcome: object, free: bool) -> None:
    call = OpenCall(state="held", hold=Nanocredits(10), charge=Nanocredits(0), refunded=Nanocredits(0))
    books = books_of(NOW_MS, account_book(balance=100, held=10), calls={"call_1": call})
    books.keys["key_1"].held = Nanocredits(10)
    books.kept["key_1", "order-7"] = kept("held")
    end = Resolution(facts=asked("call_1").facts, outcome=outcome)  # type: ignore[arg-type]
    assert isinstance(decide_resolution(end, books, Touched()), Resolved)
    answer = decide_admission(asked("call_2"), books, Touched())
    assert isinstance(answer, Admitted if free else AlreadyMade)


def test_a_charge_that_is_given_back_frees_the_key() -> None:
    """The first call was answered with an error; its caller sends it again and must not get nothing."""
    call = OpenCall(state="settled", hold=Nanocredits(10), charge=Nanocredits(3), refunded=Nanocredits(0))
    books = books_of(NOW_MS, account_book(balance=100), calls={"call_1": call})
    books.kept["key_1", "order-7"] = kept("settled")
    undo = Resolution(facts=asked("call_1").facts, outcome=VOIDED, must_not_cost=True)
    decide_resolution(undo, books, Touched())
    assert isinstance(decide_admission(asked("call_2"), books, Touched()), Admitted)


@pytest.mark.parametrize("has_reply", [True, False])
def test_a_charge_stands_once_its_reply_was_given_again_and_only_then(has_reply: bool) -> None:
    """The first caller was answered 503 as the outcome was unknown; the second got the reply."""
    call = OpenCall(state="settled", hold=Nanocredits(10), charge=Nanocredits(3), refunded=Nanocredits(0))
    books = books_of(NOW_MS, account_book(balance=100), calls={"call_1": call})
    books.kept["key_1", "order-7"] = replace(kept("settled"), has_reply=has_reply)
    touched = Touched()
    assert isinstance(decide_admission(asked("call_2"), books, touched), AlreadyMade)
    assert touched.replayed == ({("acc_1", "key_1", "order-7"): NOW_MS} if has_reply else {})
    undo = Resolution(facts=asked("call_1").facts, outcome=VOIDED, must_not_cost=True)
    answer = decide_resolution(undo, books, touched)
    assert isinstance(answer, AlreadyResolved if has_reply else Resolved)
    assert books.accounts["acc_1"].balance == (100 if has_reply else 103)
