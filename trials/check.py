"""What must hold after any number of crashes, checked by joining three records by call id.

Callers wrote down what they saw, the simulated provider what it was asked, the platform's books what was
charged. A charge is recomputed here from words in and out, list price and multiplier, with fractions and
without any code of the product. Amounts are nano-credits.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import msgspec

from trials.books import Books, Row
from trials.caller import Seen

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
# How the provider ends a call that it did and reported the usage of; see SimulatorProcess' log.
_DONE_BY_PROVIDER: Final = frozenset({"answered", "client_gone"})

# Every key is good and every model is there: who says otherwise has mistaken an outage for a refusal. And
# 500 is a bug.
_NEVER_ANSWERED: Final = frozenset({401, 403, 404, 500})
# A caller's clock, the database's and the rounding of both to milliseconds.
_CLOCKS_APART_MS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """What a group was set up with; None is unlimited."""

    id: str
    multiplier: Fraction
    requests_per_minute: int | None = None
    requests_per_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlan:
    """An API key: its id, its group's slug, its account."""

    id: str
    group: str
    account_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the trial set up, from which everything is recomputed. Prices are credits per million tokens."""

    groups: Mapping[str, GroupPlan]
    keys: Mapping[str, KeyPlan]
    prices: Mapping[str, tuple[Fraction, Fraction]]

    def price(self, key: str, model: str, *, words_in: int, words_out: int) -> int:
        """Return what a call costs, rounded once, downwards."""
        input_price, output_price = self.prices[model]
        list_price = (words_in * input_price + words_out * output_price) / 10**6
        exact = list_price * self.groups[self.keys[key].group].multiplier * 10**9
        return exact.numerator // exact.denominator


class Asked(msgspec.Struct, frozen=True):
    """A line of the provider's log."""

    request_id: str | None
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    outcome: str


def check_standing(books: Books) -> Iterator[str]:
    """Yield what never may be, whatever runs at the moment: also between a kill and the next start."""
    held_by_account: Counter[str] = Counter()
    held_by_key: Counter[str] = Counter()
    spent_by_key: Counter[str] = Counter()
    for call in books.calls:
        if call["state"] == "held":
            held_by_account[call["account_id"]] += call["hold"]
            held_by_key[call["key_id"]] += call["hold"]
        spent_by_key[call["key_id"]] += call["charge"]
    ledger: Counter[str] = Counter()
    for entry in sorted(books.entries, key=lambda entry: (entry["account_id"], entry["number"])):
        ledger[entry["account_id"]] += entry["amount"]
        so_far = ledger[entry["account_id"]]
        if entry["balance_after"] != so_far or so_far < 0:
            yield f"{entry['id']}: the balance after it is {entry['balance_after']}, the sum {so_far}"
    for account in books.accounts:
        if account["balance"] != ledger[account["id"]]:
            yield f"{account['id']}: balance {account['balance']}, its ledger {ledger[account['id']]}"
        if account["held"] != held_by_account[account["id"]]:
            yield f"{account['id']}: held {account['held']}, open holds {held_by_account[account['id']]}"
        if account["balance"] - account["held"] < 0:
            yield f"{account['id']}: balance {account['balance']} does not cover held {account['held']}"
    for key in books.keys:
        held, spent = held_by_key[key["id"]], spent_by_key[key["id"]]
        if (key["held"], key["spent"]) != (held, spent):
            yield f"{key['id']}: held {key['held']} of {held}, spent {key['spent']} of {spent}"


@dataclass(frozen=True, slots=True)
class _Moves:
    """The ledger by call: amounts charged and refunded."""

    charged: Mapping[str, Sequence[int]]
    refunded: Mapping[str, Sequence[int]]


def check_end(
    plan: Plan,
    seen: Sequence[Seen],
    asked: Sequence[Asked],
    books: Books,
    *,
    paid_in: Mapping[str, int],
) -> Iterator[str]:
    """Yield every violation, once no call runs any more. ``paid_in`` is what accounts were topped up with."""
    yield from check_standing(books)
    yield from _check_sums(books, paid_in)
    calls = {call["id"]: call for call in books.calls}
    charged: dict[str, list[int]] = defaultdict(list)
    refunded: dict[str, list[int]] = defaultdict(list)
    for entry in books.entries:
        if entry["kind"] == "charge":
            charged[entry["call_id"]].append(-entry["amount"])
        elif entry["kind"] == "refund":
            refunded[entry["call_id"]].append(entry["amount"])
        elif entry["kind"] != "top_up":
            yield f"{entry['id']}: a {entry['kind']} that nobody asked for, of call {entry['call_id']}"
    moves = _Moves(charged, refunded)
    asked_by_call: dict[str, list[Asked]] = defaultdict(list)
    for line in asked:
        asked_by_call[line.request_id or "no id"].append(line)
    yield from _check_seen(plan, seen, calls, moves)
    yield from _check_asked(asked_by_call, calls)
    yield from _check_charges(plan, calls, moves, asked_by_call)
    yield from _check_limits(plan, books.calls)
    yield from _check_hours(books)


def _check_sums(books: Books, paid_in: Mapping[str, int]) -> Iterator[str]:
    """Each account's change of balance is its charges, and it was topped up with what was paid in."""
    charged: Counter[str] = Counter()
    for call in books.calls:
        charged[call["account_id"]] += call["charge"] - call["refunded"]
    for account in books.accounts:
        due = paid_in.get(account["id"], 0) - charged[account["id"]]
        if account["balance"] != due:
            yield f"{account['id']}: balance {account['balance']}, paid in less charged is {due}"
        if account["held"]:
            yield f"{account['id']}: {account['held']} still held"


def _check_seen(plan: Plan, seen: Sequence[Seen], calls: Mapping[str, Row], moves: _Moves) -> Iterator[str]:
    """Every reply seen whole is charged once, exactly; no error is; what was shown is what was charged."""
    twice = [
        call_id for call_id, count in Counter(one.call_id for one in seen if one.call_id).items() if count > 1
    ]
    for call_id in twice:
        yield f"{call_id}: the id of two calls"
    for one in seen:
        yield from _check_answer(one)
        if one.call_id is not None:
            yield from _check_one_seen(plan, one, one.call_id, calls.get(one.call_id), moves)


def _check_answer(one: Seen) -> Iterator[str]:
    """Trouble of the platform's is 503, and says when to come again; it is never blamed on the caller."""
    if one.status in _NEVER_ANSWERED:
        yield f"{one.call_id}: answered {one.status} {one.code}"
    if one.code == "storage_unavailable" and not one.retry_after:
        yield f"{one.call_id}: storage_unavailable without Retry-After"


def _check_one_seen(plan: Plan, one: Seen, call_id: str, call: Row | None, moves: _Moves) -> Iterator[str]:
    charged, refunded = list(moves.charged.get(call_id, ())), list(moves.refunded.get(call_id, ()))
    state = call["state"] if call else "not there"
    if one.status == 200 and (one.whole or one.done):
        wish = one.wish
        price = plan.price(wish.key, wish.model, words_in=wish.words, words_out=wish.max_tokens)
        if state != "settled" or charged != [price] or refunded:
            yield (
                f"{call_id}: seen whole, {state}, charged {charged} and not once {price}, refunded {refunded}"
            )
    if one.status != 200 and sum(charged) != sum(refunded):
        yield f"{call_id}: answered {one.status} {one.code}, and charged {charged}, refunded {refunded}"
    if one.charge is not None and charged != [_nano(one.charge)]:
        yield f"{call_id}: shown a charge of {one.charge}, charged {charged}"
    if call is None:
        return
    if call["key_id"] != plan.keys[one.wish.key].id:
        yield f"{call_id}: booked to key {call['key_id']}, called with {one.wish.key}"
    # Limits count by this instant, so it has to be the true one, whatever a worker's own clock says. Later
    # than its answer is only what was answered 503 for want of the database, and done and voided after that.
    at_ms = call["admitted_at_ms"]
    too_late = one.status == 200 and at_ms > one.ended_ms + _CLOCKS_APART_MS
    if at_ms < one.began_ms - _CLOCKS_APART_MS or too_late:
        yield f"{call_id}: admitted at {at_ms}, called at {one.began_ms} and answered by {one.ended_ms}"


def _nano(amount: str) -> int:
    nano = Fraction(amount) * 10**9
    assert nano.denominator == 1, amount
    return nano.numerator


def _check_asked(asked_by_call: Mapping[str, list[Asked]], calls: Mapping[str, Row]) -> Iterator[str]:
    """The provider is asked for admitted calls only, once each."""
    for call_id, lines in asked_by_call.items():
        if call_id not in calls:
            yield f"{call_id}: the provider was asked, and no call was admitted"
        if len(lines) > 1:
            yield f"{call_id}: the provider was asked {len(lines)} times"


def _check_charges(
    plan: Plan, calls: Mapping[str, Row], moves: _Moves, asked_by_call: Mapping[str, list[Asked]]
) -> Iterator[str]:
    """Every hold is resolved; a charge is for a call that the provider did, once, at its price."""
    key_names = {key.id: name for name, key in plan.keys.items()}
    for call_id in (moves.charged.keys() | moves.refunded.keys()) - calls.keys():
        yield f"{call_id}: charged or refunded, and there is no such call"
    for call_id, call in calls.items():
        charged, refunded = moves.charged.get(call_id, []), moves.refunded.get(call_id, [])
        if call["state"] == "held":
            yield f"{call_id}: still held"
        # Nobody asks for refunds: there are those of charges that came too late, and of the whole.
        if call["refunded"] != sum(refunded) or (refunded and refunded != charged):
            yield f"{call_id}: charged {charged}, refunded {refunded} ({call['refunded']})"
        if call["state"] != "settled":
            if charged or call["charge"]:
                yield f"{call_id}: {call['state']}, and charged {charged} ({call['charge']})"
            continue
        lines = [line for line in asked_by_call.get(call_id, ()) if line.outcome in _DONE_BY_PROVIDER]
        if not lines:
            outcomes = [line.outcome for line in asked_by_call.get(call_id, ())]
            yield f"{call_id}: charged {charged}, and the provider did not do it ({outcomes or 'not asked'})"
            continue
        price = plan.price(
            key_names[call["key_id"]],
            call["model"],
            words_in=lines[0].prompt_tokens,
            words_out=lines[0].completion_tokens,
        )
        # An estimate is of a reply that broke off: less than the whole, and nobody has seen it whole.
        right = call["charge"] < price if call["usage_source"] == "estimated" else call["charge"] == price
        if charged != [call["charge"]] or not right or call["absorbed"]:
            yield f"{call_id}: charged {charged} ({call['charge']}), the provider's words cost {price}"


def _check_limits(plan: Plan, calls: Sequence[Row]) -> Iterator[str]:
    """In any 60 s, and on any day (UTC), no more calls of an account and group than the group allows."""
    slugs = {group.id: slug for slug, group in plan.groups.items()}
    admitted: dict[tuple[str, str], list[int]] = defaultdict(list)
    for call in calls:
        admitted[call["account_id"], slugs[call["group_id"]]].append(call["admitted_at_ms"])
    for (account_id, slug), instants in admitted.items():
        group = plan.groups[slug]
        instants.sort()
        if group.requests_per_minute is not None:
            most = max(
                index + 1 - bisect_left(instants, at_ms - _MINUTE_MS) for index, at_ms in enumerate(instants)
            )
            if most > group.requests_per_minute:
                yield f"{account_id}: {most} calls of group {slug} in 60 s, RPM {group.requests_per_minute}"
        if group.requests_per_day is not None:
            most = max(Counter(at_ms // _DAY_MS for at_ms in instants).values())
            if most > group.requests_per_day:
                yield f"{account_id}: {most} calls of group {slug} in a day, TPD {group.requests_per_day}"


def _check_hours(books: Books) -> Iterator[str]:
    """The rollups say what the calls say."""
    expected: Counter[tuple[str, str]] = Counter()
    for call in books.calls:
        if call["state"] == "settled":
            expected[call["key_id"], "calls"] += 1
            for name in ("charge", "input_units", "output_units"):
                expected[call["key_id"], name] += call[name]
    found: Counter[tuple[str, str]] = Counter()
    for hour in books.hours:
        for name in ("calls", "charge", "input_units", "output_units"):
            found[hour["key_id"], name] += hour[name]
    for names in expected.keys() | found.keys():
        if expected[names] != found[names]:
            yield f"{names[0]}: {names[1]} by hour sum to {found[names]}, its calls to {expected[names]}"
