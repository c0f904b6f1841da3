"""Planted bugs: what each changes, and the tests that have to notice. Each text stands once in its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One bug: ``old`` becomes ``new`` in a file under src/tokenopen."""

    name: str
    path: str
    old: str
    new: str
    tests: Sequence[str]


def _mutant(name: str, path: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name=name, path=path, old=old, new=new, tests=[f"tests/{test}" for test in tests])


_ADMISSION: Final = "core/admission.py"
_MACHINE: Final = "core/test_books_machine.py"

MUTANTS: Final = (
    # Money
    _mutant(
        "a charge is rounded up",
        "core/charge.py",
        "list_price_scaled * multiplier_ppm // _DIVISOR",
        "-(-list_price_scaled * multiplier_ppm // _DIVISOR)",
        "core/test_charge.py",
    ),
    _mutant(
        "a hold is rounded down",
        "core/estimate.py",
        "ceil_div(self.fixed_scaled + output_units * self.per_output_unit_scaled, _DIVISOR)",
        "(self.fixed_scaled + output_units * self.per_output_unit_scaled) // _DIVISOR",
        "core/test_estimate.py",
    ),
    _mutant(
        "negative usage is trusted",
        "core/usage.py",
        "not 0 <= units <= UNITS_MAX",
        "units > UNITS_MAX",
        "core/test_usage.py",
    ),
    _mutant(
        "cached input is charged as fresh input too",
        "upstream/usage_report.py",
        "fresh = prompt - cached - written",
        "fresh = prompt - written",
        "upstream/test_usage_report.py",
    ),
    _mutant(
        "usage that has no price is charged nothing instead of being flagged",
        "gateway/settle.py",
        "if unpriced := prices.unpriced(usage.units):",
        "if unpriced := ():",
        "gateway/test_media.py",
        "gateway/test_usage.py",
    ),
    _mutant(
        "a settlement keeps its hold",
        "core/ledger.py",
        "    release(account, key, hold)\n    charge",
        "    charge",
        "core/test_ledger.py",
        _MACHINE,
    ),
    _mutant(
        "a hold is released twice",
        _ADMISSION,
        "        release(account, key, call.hold)\n",
        "        release(account, key, call.hold)\n"
        "        account.held = max(ZERO, account.held - call.hold)\n",
        "core/test_admission.py",
        _MACHINE,
    ),
    _mutant(
        "a charge goes beyond the key's own credit limit",
        "core/ledger.py",
        "min(due, account.available, due if key.available is None else key.available)",
        "min(due, account.available)",
        "core/test_ledger.py",
        _MACHINE,
    ),
    _mutant(
        "what credit does not cover is not recorded",
        _ADMISSION,
        "absorbed = Nanocredits(outcome.due - charge)",
        "absorbed = ZERO",
        "core/test_admission.py",
        _MACHINE,
    ),
    _mutant(
        "a refund can be given twice",
        _ADMISSION,
        "state=call.state, hold=call.hold, charge=call.charge, refunded=call.charge",
        "state=call.state, hold=call.hold, charge=call.charge, refunded=call.refunded",
        "core/test_admission.py",
        _MACHINE,
    ),
    _mutant(
        "a call answered 5xx stays charged",
        _ADMISSION,
        "if not (resolution.must_not_cost and call.state",
        "if resolution.must_not_cost or not (call.state",
        "core/test_admission.py",
        _MACHINE,
    ),
    _mutant(
        "a repeated money request is done again",
        "control/idempotency.py",
        "if earlier is not None:",
        "if earlier is None and request is None:",
        "control/test_idempotency.py",
    ),
    _mutant(
        "a balance may fall below zero",
        "core/ledger.py",
        "if self.available + amount < 0:",
        "if self.balance + amount < -self.held:",
        "core/test_ledger.py",
        _MACHINE,
    ),
    # Terms
    _mutant(
        "an entitlement's multiplier wins over its model's own",
        "core/terms.py",
        "        if pattern is not None:\n            return entitlement.model_multipliers[pattern]",
        "        if pattern is not None and entitlement.multiplier_ppm is None:\n"
        "            return entitlement.model_multipliers[pattern]",
        "core/test_terms.py",
    ),
    _mutant(
        "an entitlement's unlimited is taken for not said",
        "core/terms.py",
        "replace(policy.limits, **entitlement.own_limits)",
        "replace(policy.limits, **{k: v for k, v in entitlement.own_limits.items() if v is not None})",
        "core/test_terms.py",
    ),
    _mutant(
        "an entitlement is in force at its end",
        "core/terms.py",
        "now_ms < self.expires_at_ms",
        "now_ms <= self.expires_at_ms",
        "core/test_terms.py",
        "core/test_resolution.py",
    ),
    _mutant(
        "a model that the group lacks is allowed",
        "gateway/check.py",
        "if not allowed or caller.key.narrows_away(name):",
        "if caller.key.narrows_away(name):",
        "gateway/test_refusals.py",
    ),
    # Never stale
    _mutant(
        "the catalog's version is ignored",
        _ADMISSION,
        "admission.catalog_version != books.catalog_version or ",
        "",
        "core/test_admission.py",
        "gateway/test_never_stale.py",
    ),
    _mutant(
        "the account's version is ignored",
        _ADMISSION,
        " or admission.account_version != account.version:",
        ":",
        "core/test_admission.py",
        "gateway/test_never_stale.py",
    ),
    _mutant(
        "what changes by itself is admitted under former terms",
        _ADMISSION,
        "now_ms >= admission.valid_until_ms",
        "now_ms > admission.valid_until_ms",
        "core/test_admission.py",
        "gateway/test_valid_until.py",
    ),
    _mutant(
        "a worker admits though its lease lapsed",
        _ADMISSION,
        "if books.now_ms >= books.admits_until_ms.get(admission.worker_id, 0):",
        "if admission.worker_id not in books.admits_until_ms:",
        "core/test_admission.py",
        "jobs/test_recovery.py",
    ),
    # Limits
    _mutant(
        "one call more than the requests per minute",
        _ADMISSION,
        "window.used_minute >= per_minute",
        "window.used_minute > per_minute",
        "core/test_admission.py",
    ),
    _mutant(
        "one call more than the requests per day",
        _ADMISSION,
        "window.day_count >= limits.requests_per_day",
        "window.day_count > limits.requests_per_day",
        "core/test_admission.py",
    ),
    _mutant(
        "one call more at the same time",
        _ADMISSION,
        "books.open_calls[names] >= limits.concurrent_calls",
        "books.open_calls[names] > limits.concurrent_calls",
        "core/test_admission.py",
        "contracts/test_limits.py",
        "gateway/test_limits.py",
    ),
    _mutant(
        "a refused call counts",
        _ADMISSION,
        "    window.advance(now_ms, day)\n    refusal",
        "    window.advance(now_ms, day)\n    window.count()\n    refusal",
        "core/test_admission.py",
    ),
    _mutant(
        "a minute of 60 slots",
        "core/rate_limit.py",
        "SLOTS: Final = 61",
        "SLOTS: Final = 60",
        "core/test_rate_limit.py",
    ),
    _mutant(
        "a day that is over is not forgotten",
        "core/rate_limit.py",
        "            self.day_count = 0",
        "            self.day_count = self.day_count",
        "core/test_rate_limit.py",
    ),
    # The life of a call
    _mutant(
        "a caller who leaves ends the reading at once",
        "gateway/stream.py",
        "grace_s=self._relay.plan.read_on_s",
        "grace_s=0",
        "gateway/test_client_leaves.py",
    ),
    _mutant(
        "a stream that breaks off before its first event is charged",
        "gateway/stream.py",
        'if end_reason == "upstream_broke_off" and not self.started:',
        'if end_reason == "client_left_early" and not self.started:',
        "gateway/test_upstream_breaks.py",
    ),
    _mutant(
        "the next provider is asked after a first-byte timeout",
        "gateway/forward.py",
        "if isinstance(refusal, UpstreamTimeout):\n                break",
        "if isinstance(refusal, UpstreamTimeout):\n                continue",
        "gateway/test_routing.py",
        "gateway/test_trouble.py",
    ),
    _mutant(
        "an admission that nobody waits for keeps its hold",
        "gateway/till.py",
        "if not _answer(admission.answered, decided) and isinstance(decided, Admitted):",
        "if not _answer(admission.answered, decided) and decided is None:",
        "gateway/test_till.py",
    ),
    _mutant(
        "the checksum of a key is not looked at",
        "core/api_key.py",
        "return _checksum(key[:-_CHECKSUM_LENGTH]) == key[-_CHECKSUM_LENGTH:]",
        "return True",
        "core/test_api_key.py",
    ),
    _mutant(
        "the till's books outlive an administrator's change",
        "storage/sqlite.py",
        "async with self._turn:\n            self._books.drop()",
        "async with self._turn:",
        "storage/test_sqlite_books.py",
    ),
    _mutant(
        "the till's books outlive a batch that was not written",
        "storage/sqlite.py",
        "                self._books.drop()\n                self._roll_back()",
        "                self._roll_back()",
        "storage/test_sqlite_books.py",
    ),
    _mutant(
        "commits do not wait for the disk",
        "storage/sqlite.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = OFF",
        "storage/test_sqlite_durable.py",
    ),
    _mutant(
        "the receipt of another account is shown",
        "control/receipt.py",
        "row = await statements.find_call(tx, call_id, account_id=account_id)",
        "row = await statements.find_call(tx, call_id, account_id=None)",
        "gateway/test_look_ups.py",
        "control/test_receipt.py",
    ),
    # Waiting, and what leaves
    _mutant(
        "a settlement that came in time is given up later",
        "gateway/patience.py",
        "            if not answered.done():\n                if due_s > loop.time():",
        "            if True:\n                if due_s > loop.time():",
        "gateway/test_patience.py",
    ),
    _mutant(
        "a settlement that does not come is waited for until another one is asked for",
        "gateway/patience.py",
        "        if due_s < self._timer_at_s:\n            self._look_at(due_s, loop)",
        "        if self._timer is None and len(waiting) > 1:\n            self._look_at(due_s, loop)",
        "gateway/test_patience.py",
        "gateway/test_withheld.py",
    ),
    _mutant(
        "a whole reply's headers are sent unread",
        "upstream/http1_head.py",
        "        lines.translate(None, value_bytes) != b",
        "        False and lines.translate(None, value_bytes) != b",
        "api/test_exchange.py",
    ),
)
