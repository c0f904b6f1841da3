"""The trials' checker: it finds nothing in sound records, and each kind of fault in unsound ones."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from trials.books import Books
from trials.caller import Seen, Wish
from trials.check import Asked, GroupPlan, KeyPlan, Plan, check_end

PLAN = Plan(
    groups={"daily": GroupPlan(id="grp_1", multiplier=Fraction("0.333333"), requests_per_minute=2)},
    keys={"mine": KeyPlan(id="key_1", group="daily", account_id="acc_1")},
    prices={"small": (Fraction("0.15"), Fraction("0.6"))},
)
PAID_IN = 10**9
# (100 x 0.15 + 20 x 0.6) / 10^6 x 0.333333 credits, floored to the nano-credit.
CHARGE = 8_999
NOON_MS = 1_767_268_800_000


def a_call(number: int, state: str, *, charge: int = 0) -> dict[str, Any]:
    return {
        "id": f"call_{number}",
        "account_id": "acc_1",
        "key_id": "key_1",
        "group_id": "grp_1",
        "model": "small",
        "state": state,
        "hold": 20_000,
        "charge": charge,
        "absorbed": 0,
        "refunded": 0,
        "usage_source": "reported" if charge else None,
        "admitted_at_ms": NOON_MS + 40_000 * number,
        "input_units": 100 if charge else 0,
        "output_units": 20 if charge else 0,
    }


def an_entry(number: int, kind: str, amount: int, balance_after: int, call_id: str | None) -> dict[str, Any]:
    return {
        "id": f"led_{number}",
        "account_id": "acc_1",
        "number": number,
        "kind": kind,
        "amount": amount,
        "balance_after": balance_after,
        "call_id": call_id,
    }


def a_reply(number: int, *, status: int = 200, whole: bool = True, charge: str | None = None) -> Seen:
    wish = Wish(
        key="mine",
        model="small",
        words=100,
        max_tokens=20,
        stream=False,
        include_usage=False,
        simulate={},
        leave_after_s=None,
    )
    at_ms = NOON_MS + 40_000 * number
    return Seen(
        wish=wish,
        began_ms=at_ms - 10,
        ended_ms=at_ms + 500,
        call_id=f"call_{number}",
        status=status,
        whole=whole,
        charge=charge,
    )


@dataclass
class Records:
    """Of a sound trial: call 1 was seen whole, call 2 was running when the server was killed."""

    seen: list[Seen] = field(
        default_factory=lambda: [a_reply(1, charge="0.000008999"), a_reply(2, whole=False)]
    )
    asked: list[Asked] = field(
        default_factory=lambda: [
            Asked("call_1", "small", 100, 20, "answered"),
            Asked("call_2", "small", 100, 20, "client_gone"),
        ]
    )
    account: dict[str, Any] = field(
        default_factory=lambda: {"id": "acc_1", "balance": PAID_IN - CHARGE, "held": 0}
    )
    key: dict[str, Any] = field(default_factory=lambda: {"id": "key_1", "held": 0, "spent": CHARGE})
    calls: list[dict[str, Any]] = field(
        default_factory=lambda: [a_call(1, "settled", charge=CHARGE), a_call(2, "expired")]
    )
    entries: list[dict[str, Any]] = field(
        default_factory=lambda: [
            an_entry(1, "top_up", PAID_IN, PAID_IN, None),
            an_entry(2, "charge", -CHARGE, PAID_IN - CHARGE, "call_1"),
        ]
    )
    hour: dict[str, Any] = field(
        default_factory=lambda: {
            "key_id": "key_1",
            "calls": 1,
            "charge": CHARGE,
            "input_units": 100,
            "output_units": 20,
        }
    )

    def check(self) -> list[str]:
        books = Books(
            accounts=[self.account],
            keys=[self.key],
            calls=self.calls,
            entries=self.entries,
            hours=[self.hour],
        )
        return list(check_end(PLAN, self.seen, self.asked, books, paid_in={"acc_1": PAID_IN}))


def test_sound_records_have_no_violation() -> None:
    assert Records().check() == []


def lose_the_charge(records: Records) -> None:
    records.calls[0] = a_call(1, "expired")
    del records.entries[1]
    records.account["balance"], records.key["spent"] = PAID_IN, 0


def charge_twice(records: Records) -> None:
    records.entries.append(an_entry(3, "charge", -CHARGE, PAID_IN - 2 * CHARGE, "call_1"))
    records.account["balance"] -= CHARGE


def charge_another_amount(records: Records) -> None:
    records.entries[1] = an_entry(2, "charge", -CHARGE - 1, PAID_IN - CHARGE - 1, "call_1")
    records.calls[0]["charge"] = records.key["spent"] = records.hour["charge"] = CHARGE + 1
    records.account["balance"] -= 1


def charge_what_the_provider_was_not_asked(records: Records) -> None:
    del records.asked[0]


def charge_what_the_provider_refused(records: Records) -> None:
    records.asked[0] = Asked("call_1", "small", 100, 20, "refused")


def charge_an_error(records: Records) -> None:
    records.seen[0] = a_reply(1, status=503)


def show_another_charge(records: Records) -> None:
    records.seen[0] = a_reply(1, charge="0.000009")


def keep_a_hold(records: Records) -> None:
    records.calls[1]["state"] = "held"
    records.account["held"] = records.key["held"] = 20_000


def forget_what_is_held(records: Records) -> None:
    records.calls[1]["state"] = "held"


def hold_more_than_there_is(records: Records) -> None:
    records.calls[1] |= {"state": "held", "hold": PAID_IN}
    records.account["held"] = records.key["held"] = PAID_IN


def top_up_twice(records: Records) -> None:
    records.entries.append(an_entry(3, "top_up", PAID_IN, 2 * PAID_IN - CHARGE, None))
    records.account["balance"] += PAID_IN


def refund(records: Records) -> None:
    records.entries.append(an_entry(3, "refund", 1, PAID_IN - CHARGE + 1, "call_1"))


def break_the_chain_of_balances(records: Records) -> None:
    records.entries[1]["balance_after"] += 1


def ask_the_provider_without_admission(records: Records) -> None:
    records.asked.append(Asked("call_9", "small", 100, 20, "answered"))


def ask_the_provider_twice(records: Records) -> None:
    records.asked.append(records.asked[1])


def admit_three_in_a_minute(records: Records) -> None:
    records.calls.append(a_call(3, "voided"))
    for call in records.calls:
        call["admitted_at_ms"] = NOON_MS


def count_too_little_by_hour(records: Records) -> None:
    records.hour["output_units"] -= 1


def give_two_calls_one_id(records: Records) -> None:
    records.seen.append(records.seen[0])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lose_the_charge, "call_1: seen whole, expired, charged [] and not once 8999, refunded []"),
        (charge_twice, "call_1: seen whole, settled, charged [8999, 8999] and not once 8999, refunded []"),
        (charge_another_amount, "call_1: charged [9000] (9000), the provider's words cost 8999"),
        (charge_what_the_provider_was_not_asked, "and the provider did not do it (not asked)"),
        (charge_what_the_provider_refused, "and the provider did not do it (['refused'])"),
        (charge_an_error, "call_1: answered 503 None, and charged [8999], refunded []"),
        (show_another_charge, "call_1: shown a charge of 0.000009, charged [8999]"),
        (keep_a_hold, "call_2: still held"),
        (forget_what_is_held, "acc_1: held 0, open holds 20000"),
        (hold_more_than_there_is, "does not cover held 1000000000"),
        (top_up_twice, "acc_1: balance 1999991001, paid in less charged is 999991001"),
        (refund, "call_1: charged [8999], refunded [1] (0)"),
        (break_the_chain_of_balances, "led_2: the balance after it is 999991002, the sum 999991001"),
        (ask_the_provider_without_admission, "call_9: the provider was asked, and no call was admitted"),
        (ask_the_provider_twice, "call_2: the provider was asked 2 times"),
        (admit_three_in_a_minute, "acc_1: 3 calls of group daily in 60 s, RPM 2"),
        (count_too_little_by_hour, "key_1: output_units by hour sum to 19, its calls to 20"),
        (give_two_calls_one_id, "call_1: the id of two calls"),
    ],
)
def test_each_fault_is_found(spoil: Callable[[Records], None], says: str) -> None:
    records = Records()
    spoil(records)
    assert any(says in violation for violation in records.check()), records.check()
