"""Admission and ledger together: any order of calls, ends, refunds, changes and clock jumps keeps I1-I11.

Two accounts, three keys of which two have credit limits, two groups. Every answer is foreseen by the
model, and after every step the rows must say what the model says.
"""

from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.core.books_model import ZONE, Admittance, Model, ModelCall, Rows, local_date
from tests.core.samples import EXPIRED, VOIDED, admission_of, facts_of, settled
from tests.core.strategies import revision_of
from tokenopen.core.admission import Admission, Admitted, AlreadyResolved, Resolution, Resolved, Stale
from tokenopen.core.catalog import resolve_prices
from tokenopen.core.errors import Refusal
from tokenopen.core.estimate import quote_for
from tokenopen.core.ledger import AccountBook, BalanceOutOfBounds, KeyBook
from tokenopen.core.money import Nanocredits

# Half a minute before midnight in Berlin, on the eve of the day whose clock goes back.
START_MS: Final = int(datetime(2026, 10, 24, 21, 59, 30, tzinfo=UTC).timestamp()) * 1000
KEYS: Final = {"key_a1": ("acc_a", None), "key_a2": ("acc_a", 90), "key_b1": ("acc_b", 250)}
GROUPS: Final = ("grp_default", "grp_vip")
LIMITS: Final = st.none() | st.integers(2, 6) | st.integers(0, 12)
# 0.7 nano-credits an input unit and 1.3 an output unit, so that rounding matters.
PRICES: Final = resolve_prices({"input": Nanocredits(700_000), "output": Nanocredits(1_300_000)})
INPUT_UNITS: Final = 3
DAY_MS: Final = 86_400_000


def hold_of(output_units: int, multiplier_ppm: int) -> int:
    """Return what ought to be held: exact, then rounded up."""
    exact = (INPUT_UNITS * Fraction(7, 10) + output_units * Fraction(13, 10)) * Fraction(
        multiplier_ppm, 10**6
    )
    return ceil(exact)


class BooksMachine(RuleBasedStateMachine):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.clock_ms = START_MS
        self.rows = Rows(
            accounts={
                name: AccountBook(
                    id=name, version=1, balance=Nanocredits(0), held=Nanocredits(0), newest_ms=0
                )
                for name in ("acc_a", "acc_b")
            },
            keys={
                name: KeyBook(
                    id=name,
                    spent=Nanocredits(0),
                    held=Nanocredits(0),
                    credit_limit=None if limit is None else Nanocredits(limit),
                    last_used_at_ms=None,
                )
                for name, (_, limit) in KEYS.items()
            },
        )
        self.rows.groups = GROUPS
        self.model = Model(key_limits={name: limit for name, (_, limit) in KEYS.items()})
        self.made = 0

    @initialize(credit=st.integers(100, 1_000))
    def begin(self, credit: int) -> None:
        for account_id in self.rows.accounts:
            self.enter(account_id, credit)

    def enter(self, account_id: str, amount: int, call_id: str | None = None) -> None:
        """Post an entry of an administrator's, as the control plane does."""
        book = self.rows.accounts[account_id]
        after = book.post(amount)
        self.rows.entries.append((account_id, amount, after, call_id))
        self.model.amounts[account_id].append(amount)

    @rule(
        passed_ms=st.one_of(
            st.sampled_from([1, 999, 1_000, 30_000, 60_000, 61_000, DAY_MS, -1, -5_000, -2 * DAY_MS]),
            st.integers(0, 40_000),
        )
    )
    def let_time_pass(self, passed_ms: int) -> None:
        """Forwards mostly; backwards where a machine with another clock takes over."""
        self.clock_ms += passed_ms

    @rule(account_id=st.sampled_from(["acc_a", "acc_b"]), amount=st.integers(-300, 400))
    def top_up_or_adjust(self, account_id: str, amount: int) -> None:
        if self.model.available(account_id) + amount >= 0:
            self.enter(account_id, amount)
        else:
            with pytest.raises(BalanceOutOfBounds):
                self.rows.accounts[account_id].post(amount)

    @rule(account_id=st.sampled_from(["acc_a", "acc_b", None]))
    def change_a_version(self, account_id: str | None) -> None:
        if account_id is None:
            self.rows.catalog_version += 1
        else:
            self.rows.accounts[account_id].version += 1

    def admission(
        self,
        key_id: str,
        *,
        group_id: str = GROUPS[0],
        per_minute: int | None = None,
        per_day: int | None = None,
        tokens: int | None = None,
        concurrent: int | None = None,
        maximum: int = 0,
        cap: int | None = None,
        multiplier_ppm: int = 1_000_000,
        **changes: Any,
    ) -> Admission:
        """Return a call's admission under the versions of now, for a maximum or, where capped, without."""
        self.made += 1
        account_id, _ = KEYS[key_id]
        facts = facts_of(
            f"call_{self.made:03}",
            account_id=account_id,
            key_id=key_id,
            group_id=group_id,
            requests_per_minute=per_minute,
            requests_per_day=per_day,
            tokens_per_minute=tokens,
            concurrent_calls=concurrent,
        )
        quote = quote_for(
            revision_of(PRICES),
            multiplier_ppm=multiplier_ppm,
            input_units=INPUT_UNITS,
            model_max_output=maximum,
            requested_max_output=maximum if cap is None else None,
            default_max_output=1 if cap is None else cap,
            choices=1,
        )
        versions = {
            "catalog_version": self.rows.catalog_version,
            "account_version": self.rows.accounts[account_id].version,
        }
        return admission_of(facts, quote, **{"zone": ZONE, **versions, **changes})

    @rule(
        key_id=st.sampled_from(sorted(KEYS)),
        group_id=st.sampled_from(GROUPS),
        per_minute=LIMITS,
        per_day=LIMITS,
        tokens=st.none() | st.integers(0, 40),
        concurrent=st.none() | st.integers(0, 5),
        maximum=st.integers(0, 60),
        cap=st.none() | st.integers(1, 30),
        multiplier_ppm=st.sampled_from([1_000_000, 800_000, 333_333, 1_999_999, 0]),
        calls=st.integers(1, 4),
        valid_for_ms=st.none() | st.integers(1, 5_000),
    )
    def admit(
        self,
        key_id: str,
        group_id: str,
        per_minute: int | None,
        per_day: int | None,
        tokens: int | None,
        concurrent: int | None,
        maximum: int,
        cap: int | None,
        multiplier_ppm: int,
        calls: int,
        valid_for_ms: int | None,
    ) -> None:
        """Several at once, which see one another within the transaction."""
        account_id, _ = KEYS[key_id]
        now_ms = self.model.now_ms(account_id, self.clock_ms)
        admissions = [
            self.admission(
                key_id,
                group_id=group_id,
                per_minute=per_minute,
                per_day=per_day,
                tokens=tokens,
                concurrent=concurrent,
                maximum=maximum,
                cap=cap,
                multiplier_ppm=multiplier_ppm,
                valid_until_ms=None if valid_for_ms is None else now_ms + valid_for_ms,
            )
            for _ in range(calls)
        ]
        before = repr(self.rows)
        _, answers = self.rows.post(self.clock_ms, admissions=admissions)
        outputs = [maximum, cap] if cap is not None and cap < maximum else [maximum]
        holds = [hold_of(output, multiplier_ppm) for output in outputs]
        for admission, answer in zip(admissions, answers, strict=True):
            reached = self.model.limits_reached(
                account_id,
                group_id,
                now_ms,
                per_minute=per_minute,
                per_day=per_day,
                tokens=tokens,
                concurrent=concurrent,
            )
            if reached:
                assert isinstance(answer, Refusal)
                assert answer.code in reached
                continue
            room = self.model.room(account_id, key_id)
            fitting = [index for index, hold in enumerate(holds) if hold <= room]
            if not fitting:
                self.check_too_little_credit(answer, needed=holds[-1], account_id=account_id, key_id=key_id)
                continue
            assert isinstance(answer, Admitted)
            assert answer.hold == holds[fitting[0]]
            assert answer.cap_output_tokens == (None if fitting[0] == 0 else cap)
            assert answer.admitted_at_ms == now_ms
            assert answer.day_ordinal == local_date(now_ms).toordinal()
            self.model.calls[admission.facts.call_id] = ModelCall(
                account_id=account_id,
                key_id=key_id,
                group_id=group_id,
                tokens_per_minute=tokens,
                hold=answer.hold,
            )
            self.model.admittances[account_id, group_id].append(
                Admittance(
                    at_ms=now_ms,
                    per_minute=per_minute,
                    per_day=per_day,
                    tokens=tokens,
                    tokens_before=self.model.used_tokens(account_id, group_id, now_ms, seconds=60),
                    at_once=self.model.running(account_id, group_id),
                    concurrent=concurrent,
                )
            )
            self.model.newest_ms[account_id] = now_ms
        if not any(isinstance(answer, Admitted) for answer in answers):
            assert repr(self.rows) == before

    @rule(key_id=st.sampled_from(sorted(KEYS)), how=st.sampled_from(["catalog", "account", "now", "past"]))
    def admit_what_is_stale(self, key_id: str, how: str) -> None:
        account_id, _ = KEYS[key_id]
        now_ms = self.model.now_ms(account_id, self.clock_ms)
        stale: dict[str, dict[str, Any]] = {
            "catalog": {"catalog_version": self.rows.catalog_version - 1},
            "account": {"account_version": self.rows.accounts[account_id].version - 1},
            "now": {"valid_until_ms": now_ms},
            "past": {"valid_until_ms": now_ms - 1},
        }
        before = repr(self.rows)
        _, (answer,) = self.rows.post(self.clock_ms, admissions=[self.admission(key_id, **stale[how])])
        assert isinstance(answer, Stale)
        assert repr(self.rows) == before

    def check_too_little_credit(self, answer: object, *, needed: int, account_id: str, key_id: str) -> None:
        assert isinstance(answer, Refusal)
        if answer.code == "insufficient_credit":
            assert needed > self.model.available(account_id)
        else:
            assert answer.code == "key_credit_limit_reached"
            of_key = self.model.key_available(key_id)
            assert of_key is not None
            assert needed > of_key

    @precondition(lambda self: any(call.state == "held" for call in self.model.calls.values()))
    @rule(
        data=st.data(),
        way=st.sampled_from(["settle", "settle", "settle", "void", "expire"]),
        beyond_hold=st.one_of(st.sampled_from([-1_000, -1, 0, 1, 1_000]), st.integers(-60, 60)),
        input_tokens=st.integers(0, 20),
        output_tokens=st.integers(0, 20),
    )
    def end(
        self, data: st.DataObject, way: str, beyond_hold: int, input_tokens: int, output_tokens: int
    ) -> None:
        held = sorted(name for name, call in self.model.calls.items() if call.state == "held")
        call_id = data.draw(st.sampled_from(held), label="call")
        call = self.model.calls[call_id]
        due = max(0, call.hold + beyond_hold) if way == "settle" else 0
        charged = settled(due).changed(input_units=input_tokens, output_units=output_tokens)
        outcome = {"settle": charged, "void": VOIDED, "expire": EXPIRED}[way]
        now_ms = self.model.now_ms(call.account_id, self.clock_ms)
        call.state = {"settle": "settled", "void": "voided", "expire": "expired"}[way]
        # The hold is free again now, so the room is what this call may take.
        charge = min(due, self.model.room(call.account_id, call.key_id))
        (answer,), _ = self.rows.post(self.clock_ms, resolutions=[self.resolution(call_id, outcome)])
        assert isinstance(answer, Resolved)
        assert (answer.state, answer.refund) == (call.state, 0)
        assert (answer.charge, answer.absorbed) == (charge, due - charge)
        assert answer.resolved_at_ms == now_ms
        call.due, call.charge, call.absorbed = due, answer.charge, answer.absorbed
        if way == "settle":
            self.model.amounts[call.account_id].append(-charge)
            if call.tokens_per_minute is not None:
                counted = (call.account_id, call.group_id, now_ms, input_tokens + output_tokens)
                self.model.settled_tokens.append(counted)
        self.model.newest_ms[call.account_id] = now_ms
        assert answer.balance_after == self.model.balance(call.account_id)

    def resolution(self, call_id: str, outcome: object, *, must_not_cost: bool = False) -> Resolution:
        call = self.model.calls[call_id]
        facts = facts_of(
            call_id,
            account_id=call.account_id,
            key_id=call.key_id,
            group_id=call.group_id,
            tokens_per_minute=call.tokens_per_minute,
        )
        return Resolution(facts=facts, outcome=outcome, must_not_cost=must_not_cost)  # type: ignore[arg-type]

    @precondition(lambda self: any(call.state != "held" for call in self.model.calls.values()))
    @rule(data=st.data(), outcome=st.sampled_from([settled(0), settled(7), VOIDED, EXPIRED]))
    def end_again(self, data: st.DataObject, outcome: object) -> None:
        ended = sorted(name for name, call in self.model.calls.items() if call.state != "held")
        call_id = data.draw(st.sampled_from(ended), label="call")
        before = repr(self.rows)
        (answer,), _ = self.rows.post(self.clock_ms, resolutions=[self.resolution(call_id, outcome)])
        assert answer == AlreadyResolved(state=self.model.calls[call_id].state)  # type: ignore[arg-type]
        assert repr(self.rows) == before

    @precondition(lambda self: any(call.state != "held" for call in self.model.calls.values()))
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        """Void, as must not cost, what has ended: a charge is given back once, and nothing else moves."""
        ended = sorted(name for name, call in self.model.calls.items() if call.state != "held")
        call_id = data.draw(st.sampled_from(ended), label="call")
        call, before = self.model.calls[call_id], repr(self.rows)
        left = call.charge - call.refunded
        item = self.resolution(call_id, VOIDED, must_not_cost=True)
        answers, _ = self.rows.post(self.clock_ms, resolutions=[item, item])
        assert isinstance(answers[1], AlreadyResolved)
        if left == 0:
            assert isinstance(answers[0], AlreadyResolved)
            assert repr(self.rows) == before
            return
        assert isinstance(answers[0], Resolved)
        assert (answers[0].refund, answers[0].charge, answers[0].state) == (left, 0, "settled")
        call.refunded = call.charge
        self.model.amounts[call.account_id].append(left)
        self.model.newest_ms[call.account_id] = self.model.now_ms(call.account_id, self.clock_ms)

    @precondition(lambda self: any(call.charge > call.refunded for call in self.model.calls.values()))
    @rule(data=st.data())
    def refund_a_part(self, data: st.DataObject) -> None:
        """As an administrator does; it counts against what a later undoing gives back."""
        names = sorted(name for name, call in self.model.calls.items() if call.charge > call.refunded)
        call_id = data.draw(st.sampled_from(names), label="call")
        call = self.model.calls[call_id]
        amount = data.draw(st.integers(1, call.charge - call.refunded), label="amount")
        self.enter(call.account_id, amount, call_id)
        call.refunded += amount
        row = self.rows.calls[call_id]
        self.rows.calls[call_id] = type(row)(
            state=row.state, hold=row.hold, charge=row.charge, refunded=Nanocredits(row.refunded + amount)
        )

    @invariant()
    def balances_are_the_sum_of_entries_and_form_a_chain(self) -> None:
        """I1, and that every entry is numbered."""
        for account_id, book in self.rows.accounts.items():
            assert book.balance == self.model.balance(account_id)
            entries = [entry for entry in self.rows.entries if entry[0] == account_id]
            assert [amount for _, amount, _, _ in entries] == self.model.amounts[account_id]
            assert book.entry_count == len(entries)
            balance = 0
            for _, amount, after, _ in entries:
                balance += amount
                assert after == balance

    @invariant()
    def held_is_the_sum_of_open_holds(self) -> None:
        """I2 and I3, and I11 of each key."""
        for account_id, book in self.rows.accounts.items():
            assert book.held == self.model.held(account_id=account_id)
            assert book.available >= 0
        for key_id, key in self.rows.keys.items():
            assert key.held == self.model.held(key_id=key_id)
            # A refund gives credit back to the account; what a key has spent stays spent.
            assert key.spent == self.model.spent(key_id)
            limit = self.model.key_limits[key_id]
            assert limit is None or key.spent + key.held <= limit

    @invariant()
    def each_call_is_charged_as_it_ended(self) -> None:
        """I4, I5 and I10."""
        for call_id, call in self.model.calls.items():
            row = self.rows.calls[call_id]
            assert (row.state, row.charge, row.refunded) == (call.state, call.charge, call.refunded)
            charges = [amount for _, amount, _, of in self.rows.entries if of == call_id and amount <= 0]
            assert charges == ([-call.charge] if call.state == "settled" else [])
            assert call.charge + call.absorbed == call.due
            assert 0 <= call.refunded <= call.charge

    @invariant()
    def no_minute_and_no_day_holds_more_than_its_limit(self) -> None:
        """I9, for each admission under the limits of its own terms."""
        for admittances in self.model.admittances.values():
            for index, one in enumerate(admittances):
                so_far = [other.at_ms for other in admittances[: index + 1]]
                if one.per_minute is not None:
                    assert sum(at_ms >= one.at_ms - 60_000 for at_ms in so_far) <= one.per_minute
                if one.tokens is not None:
                    assert one.tokens_before < one.tokens
                if one.concurrent is not None:
                    assert one.at_once <= one.concurrent
                if one.per_day is not None:
                    today = local_date(one.at_ms)
                    assert sum(local_date(at_ms) == today for at_ms in so_far) <= one.per_day


BooksMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
test_the_books_agree_with_the_model_whatever_happens = BooksMachine.TestCase
