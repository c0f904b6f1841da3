"""Audit of one account: its ledger, its calls, its keys and its limits, each re-derived from the rows.

Where a number is not an integer nothing can be derived from it: that row is reported (I7), and the sums
that it would be part of are left out.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from tokenopen.control.audit_catalog import UNREADABLE, CatalogHistory, explain_terms
from tokenopen.control.audit_report import DRIFT_SHOWN_MAX, Findings
from tokenopen.core.call import TRANSITIONS
from tokenopen.core.catalog import Prices
from tokenopen.core.charge import charge_for
from tokenopen.core.identifier import charge_entry_id, first_id
from tokenopen.core.usage import Usage
from tokenopen.ports.storage import Transaction
from tokenopen.storage import audit as statements
from tokenopen.storage.policy import decode_json, decode_prices

Row = Mapping[str, Any]

_ACCOUNT_NUMBERS: Final = ("balance", "held", "entry_count", "newest_ms")
_ENTRY_NUMBERS: Final = ("number", "amount", "balance_after")
_CALL_NUMBERS: Final = (
    "hold",
    "charge",
    "absorbed",
    "refunded",
    "multiplier_ppm",
    "admitted_at_ms",
    "adjusted",
)
_KEY_NUMBERS: Final = ("spent", "held", "credit_limit")


@dataclass(slots=True)
class _Sums:
    """What an account's calls add up to. ``sound`` is False where a number was missing."""

    sound: bool = True
    held: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Dropped:
    """Calls of an account that retention has dropped.

    By its own sums per key, and by the charge entries whose call is not there: the two have to agree. A call
    that is missing though it is as young as ``first_kept_id`` or younger was not dropped by retention.
    """

    first_kept_id: str
    settled: int = 0
    charge: int = 0
    entries: int = 0
    entries_amount: int = 0

    def explains(self, entry: Row) -> bool:
        """Tell whether a ledger entry's call is one of them."""
        return entry["call_state"] is None and (entry["call_id"] or "~") < self.first_kept_id


async def audit_account(
    tx: Transaction, account: Row, history: CatalogHistory, findings: Findings, *, dropped_until_ms: int
) -> None:
    """Check everything that hangs on one account. Its calls before ``dropped_until_ms`` may be missing."""
    findings.checked["accounts"] += 1
    account_id = account["id"]
    sound = findings.are_integers(account, _ACCOUNT_NUMBERS, account_id=account_id)
    dropped = _Dropped(first_kept_id=first_id("call", dropped_until_ms))
    refunds = await _audit_ledger(tx, account, dropped, findings, sound=sound)
    sums = await _audit_calls(tx, account_id, refunds, history, findings)
    await _audit_dropped(tx, account, dropped, sums, findings)
    await _audit_keys(tx, account_id, sums, findings)
    await _audit_limits(tx, account_id, findings)
    if not sound:
        return
    held = sums.held.total()
    if sums.sound and account["held"] != held:
        _note(findings, account, "I2", f"held is {account['held']}, its open holds are {held}")
    if account["held"] < 0 or account["balance"] - account["held"] < 0:
        _note(findings, account, "I3", f"balance is {account['balance']}, held {account['held']}")


def _note(findings: Findings, account: Row, invariant: str, message: str) -> None:
    findings.add(invariant, account["id"], message, account_id=account["id"])


async def _audit_ledger(
    tx: Transaction, account: Row, dropped: _Dropped, findings: Findings, *, sound: bool
) -> Counter[str] | None:
    """Follow the chain of balances; return what was refunded by call, None where that cannot be told."""
    account_id = account["id"]
    refunds: Counter[str] = Counter()
    number = balance = total = 0
    after = None
    while rows := await statements.list_entries(tx, account_id, after):
        after = rows[-1]["number"]
        for entry in rows:
            findings.checked["ledger entries"] += 1
            if not findings.are_integers(entry, _ENTRY_NUMBERS, account_id=account_id):
                sound = False
                continue
            if sound and (
                entry["number"] != number + 1 or entry["balance_after"] != balance + entry["amount"]
            ):
                message = (
                    f"entry {entry['number']} of {entry['amount']} leaves {entry['balance_after']}; "
                    f"entry {number} before it left {balance}"
                )
                findings.add("I6", entry["id"], message, account_id=account_id)
            if entry["balance_after"] < 0:
                message = f"the balance after it was {entry['balance_after']}"
                findings.add("I3", entry["id"], message, account_id=account_id)
            number, balance = entry["number"], entry["balance_after"]
            total += entry["amount"]
            _check_entry_of_call(entry, dropped, findings)
            if entry["kind"] == "refund":
                refunds[entry["call_id"]] += entry["amount"]
    for call in await statements.list_over_refunded(tx, account_id, limit=DRIFT_SHOWN_MAX + 1):
        message = f"its refund entries give back {call['refunded']}, its charge entry took {call['charge']}"
        findings.add("I5", call["call_id"], message, account_id=account_id)
    if not sound:
        return None
    if account["entry_count"] != number:
        _note(
            findings,
            account,
            "I6",
            f"the account has had {account['entry_count']} entries, the last is {number}",
        )
    if account["balance"] != total:
        _note(findings, account, "I1", f"balance is {account['balance']}, its entries sum to {total}")
    return refunds


def _check_entry_of_call(entry: Row, dropped: _Dropped, findings: Findings) -> None:
    """I5, seen from the ledger: what a charge or refund names is a settled call and its own charge.

    Of a call that was dropped the entry remains, and counts towards what retention says that it dropped.
    """
    kind, call_id = entry["kind"], entry["call_id"]
    if kind not in ("charge", "refund"):
        return
    wrong = None
    was_dropped = dropped.explains(entry)
    if kind == "charge" and was_dropped:
        dropped.entries += 1
        dropped.entries_amount -= entry["amount"]
    if not was_dropped and entry["call_state"] != "settled":
        wrong = f"a {kind} of call {call_id}, which is {entry['call_state'] or 'not there'}"
    elif kind == "charge" and entry["id"] != charge_entry_id(call_id):
        wrong = f"a second charge of call {call_id}"
    elif kind == "charge" and not was_dropped and entry["amount"] != -entry["call_charge"]:
        wrong = f"a charge of {-entry['amount']}; call {call_id} says {entry['call_charge']}"
    if wrong:
        findings.add("I5", entry["id"], wrong, account_id=entry["account_id"])


async def _calls(tx: Transaction, account_id: str) -> AsyncIterator[Row]:
    after = None
    while rows := await statements.list_calls(tx, account_id, after):
        for row in rows:
            yield row
        after = rows[-1]["id"]


async def _audit_calls(
    tx: Transaction,
    account_id: str,
    refunds: Counter[str] | None,
    history: CatalogHistory,
    findings: Findings,
) -> _Sums:
    sums = _Sums()
    adjustments = await statements.sum_adjustments(tx, account_id)
    async for call in _calls(tx, account_id):
        findings.checked["calls"] += 1
        if not findings.are_integers(call, _CALL_NUMBERS, account_id=account_id):
            sums.sound = False
            continue
        if call["state"] == "held":
            sums.held[call["key_id"]] += call["hold"]
        else:
            sums.spent[call["key_id"]] += call["charge"]
        for invariant, message in _explain_call(call, refunds, adjustments.get(call["id"], 0), history):
            findings.add(invariant, call["id"], message, account_id=account_id)
    return sums


def _explain_call(
    call: Row, refunds: Counter[str] | None, adjustments: int, history: CatalogHistory
) -> list[tuple[str, str]]:
    """Return what is wrong with a call, by invariant."""
    found = [
        ("I4", _explain_state(call)),
        ("I5", _explain_entries(call, refunds)),
        ("I5", _explain_adjustments(call, adjustments)),
        ("I8", explain_terms(call, history)),
    ]
    if call["state"] == "settled":
        found.append(_explain_charge(call, history))
    elif call["charge"] or call["absorbed"]:
        found.append(("I10", f"is {call['state']}, and yet charge is {call['charge']}"))
    return [(invariant, message) for invariant, message in found if message]


def _explain_state(call: Row) -> str | None:
    state, resolved_at_ms = call["state"], call["resolved_at_ms"]
    if state not in TRANSITIONS:
        return f"{state!r} is no state of a call"
    if state == "held":
        return (
            None if resolved_at_ms is None and call["end_reason"] is None else "is held and resolved at once"
        )
    if resolved_at_ms is None or resolved_at_ms < call["admitted_at_ms"]:
        return f"is {state}, resolved at {resolved_at_ms}, admitted at {call['admitted_at_ms']}"
    return None


def _explain_entries(call: Row, refunds: Counter[str] | None) -> str | None:
    if call["state"] == "settled" and call["charge_entry_id"] is None:
        return "is settled, and has no charge entry"
    if call["refunded"] > call["charge"]:
        return f"refunded {call['refunded']} of a charge of {call['charge']}"
    if refunds is not None and call["refunded"] != refunds[call["id"]]:
        return f"refunded is {call['refunded']}, its refund entries are {refunds[call['id']]}"
    return None


def _explain_adjustments(call: Row, adjustments: int) -> str | None:
    """Only a flagged call is adjusted, within what it can have cost; it says what its entries sum to."""
    adjusted = call["adjusted"] or 0
    if adjusted != adjustments:
        return f"adjusted is {adjusted}, its adjustment entries are {adjustments}"
    if adjustments == 0:
        return None
    if call["flag"] is None:
        return "was adjusted, and is not flagged"
    costs = call["charge"] - call["refunded"] - adjusted
    if not 0 <= costs <= max(call["hold"], call["charge"]):
        return f"costs {costs} in all; its hold was {call['hold']}, its charge {call['charge']}"
    return None


@lru_cache(maxsize=1024)
def _decode_prices(text: str) -> Prices | None:
    """Return a stored price list, None where it cannot be read. The same few come again and again."""
    try:
        return decode_prices(text)
    except UNREADABLE:
        return None


def _explain_charge(call: Row, history: CatalogHistory) -> tuple[str, str | None]:
    """Recompute a settled call's charge from what the call stores (I10), and check its prices (I7, I8)."""
    if call["usage"] is None or call["prices"] is None:
        return "I8", "is settled without usage or prices"
    prices = _decode_prices(call["prices"])
    if prices is None or call["multiplier_ppm"] < 0:
        return "I8", "its prices or its multiplier cannot be read"
    try:
        units = decode_json(call["usage"])
        numbers = [*units.values(), *prices.per_million.values(), prices.per_call]
        if any(type(number) is not int for number in numbers):
            return "I7", "its usage or prices hold what is not an integer"
        usage = Usage(units)
    except UNREADABLE as error:
        return "I10", f"its usage cannot be: {error}"
    revision = history.prices.get(call["price_revision_id"])
    if revision is not None and prices != revision.prices_for(usage.input_units):
        return "I8", f"its prices are not those of its price revision {revision.id}"
    if missing := prices.unpriced(usage.units):
        return "I8", f"its prices name none for its units of {missing[0]}"
    due = charge_for(usage, prices, multiplier_ppm=call["multiplier_ppm"])
    if call["charge"] + call["absorbed"] != due:
        return "I10", f"charge {call['charge']} + absorbed {call['absorbed']} is not {due}"
    return "I10", None


async def _audit_dropped(
    tx: Transaction, account: Row, dropped: _Dropped, sums: _Sums, findings: Findings
) -> None:
    """I5 of calls that are not there: as many charge entries, over as much, as retention says it dropped."""
    for row in await statements.list_dropped_sums(tx, account["id"]):
        findings.checked["dropped calls"] += row["calls"]
        dropped.settled += row["calls"]
        dropped.charge += row["charge"]
        sums.spent[row["key_id"]] += row["charge"]
    if (dropped.entries, dropped.entries_amount) != (dropped.settled, dropped.charge):
        message = (
            f"{dropped.entries} charge entries over {dropped.entries_amount} are of calls not there; "
            f"retention has dropped {dropped.settled} over {dropped.charge}"
        )
        _note(findings, account, "I5", message)


async def _audit_keys(tx: Transaction, account_id: str, sums: _Sums, findings: Findings) -> None:
    known = set()
    after = None
    while rows := await statements.list_keys(tx, account_id, after):
        after = rows[-1]["id"]
        for key in rows:
            findings.checked["API keys"] += 1
            known.add(key["id"])
            if not findings.are_integers(key, _KEY_NUMBERS, account_id=account_id) or not sums.sound:
                continue
            for invariant, message in _explain_key(key, sums):
                findings.add(invariant, key["id"], message, account_id=account_id)
    for key_id in sorted((set(sums.held) | set(sums.spent)) - known):
        findings.add("I8", key_id, "calls name a key that the account does not have", account_id=account_id)


def _explain_key(key: Row, sums: _Sums) -> list[tuple[str, str]]:
    found = []
    held, spent = sums.held[key["id"]], sums.spent[key["id"]]
    if key["held"] != held:
        found.append(("I2", f"held is {key['held']}, its open holds are {held}"))
    if key["spent"] != spent:
        found.append(("I11", f"spent is {key['spent']}, its calls were charged {spent}"))
    if key["credit_limit"] is not None and key["spent"] + key["held"] > key["credit_limit"]:
        found.append(
            ("I11", f"spent {key['spent']} + held {key['held']} is above its limit {key['credit_limit']}")
        )
    return found


async def _audit_limits(tx: Transaction, account_id: str, findings: Findings) -> None:
    for call in await statements.list_over_limit(tx, account_id, limit=DRIFT_SHOWN_MAX + 1):
        per_minute, per_day = call["requests_per_minute"], call["requests_per_day"]
        if per_minute is not None and call["in_minute"] > per_minute:
            message = f"was number {call['in_minute']} in 60 s, RPM {per_minute}"
        else:
            message = f"was number {call['in_day']} of its day, TPD {per_day}"
        findings.add("I9", call["id"], message, account_id=account_id)
    for call in await statements.list_over_crowd(tx, account_id, limit=DRIFT_SHOWN_MAX + 1):
        message = f"was number {call['open_calls']} of the calls at the same time, limit {call['allowed']}"
        findings.add("I9", call["id"], message, account_id=account_id)
    for call in await statements.list_over_tokens(tx, account_id, limit=DRIFT_SHOWN_MAX + 1):
        message = f"was admitted after {call['tokens']} tokens in 60 s, TPM {call['allowed']}"
        findings.add("I9", call["id"], message, account_id=account_id)
