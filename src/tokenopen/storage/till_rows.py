"""The till's rows, the same on every engine: which are read, what core decides on them, what is written.

An engine reads the rows that a batch concerns, hands them over as books, and writes what was decided.
Rows are tuples in the order that each function's docstring names; amounts are nano-credits.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tokenopen.core.admission import (
    Admission,
    Admitted,
    Books,
    OpenCall,
    Resolution,
    Resolved,
    Touched,
    decide_admission,
    decide_resolution,
)
from tokenopen.core.frozen import Frozen
from tokenopen.core.identifier import charge_entry_id, new_id
from tokenopen.core.kept_reply import KeptCall
from tokenopen.core.ledger import AccountBook, KeyBook
from tokenopen.core.rate_limit import RateWindow
from tokenopen.core.token_window import TokenWindow
from tokenopen.ports.storage import Batch, BatchAnswer
from tokenopen.storage.policy import decode_json, encode_json

REFUND_REASON: Final = "The call was answered with an error of the service."
_HOUR_MS: Final = 3_600_000

ResolvedCall = tuple[Resolution, Resolved]
AdmittedCall = tuple[Admission, Admitted]
Row = Sequence[Any]
# Of an account and a group.
Names = tuple[str, str]


class Concerned(Frozen, frozen=True, kw_only=True):
    """Which rows a batch concerns: calls are (account, call), claims (account, key, Idempotency-Key)."""

    accounts: Sequence[str]
    keys: Sequence[str]
    calls: Sequence[tuple[str, str]]
    # Of workers that ask for admission.
    workers: Sequence[str]
    claims: Sequence[tuple[str, str, str]]
    # Of (account, group), where the terms of a call limit tokens, or calls at the same time.
    token_windows: Sequence[tuple[str, str]]
    crowds: Sequence[tuple[str, str]]


class Decided(Frozen, frozen=True, kw_only=True):
    """What core has decided of a batch, and what of it has to be written."""

    answer: BatchAnswer
    admitted: Sequence[AdmittedCall]
    resolved: Sequence[ResolvedCall]
    touched: Touched

    @property
    def written(self) -> bool:
        """Tell whether anything has to be written at all."""
        return bool(self.resolved or self.admitted or self.touched.replayed)


def rows_concerned(batch: Batch) -> Concerned:
    """Return which rows have to be read before a batch can be decided."""
    resolving = [item.facts for item in batch.resolutions]
    facts = resolving + [item.facts for item in batch.admissions]
    # Admissions are new calls, unless an earlier try may have written them.
    look_up = facts if batch.repeated else resolving
    admitting = [item.facts for item in batch.admissions]
    return Concerned(
        accounts=list({fact.account_id for fact in facts}),
        keys=list({fact.key_id for fact in facts}),
        calls=[(fact.account_id, fact.call_id) for fact in look_up],
        workers=list({item.worker_id for item in batch.admissions}),
        claims=[
            (fact.account_id, fact.key_id, fact.claim.key)
            for fact in (
                *(item.facts for item in batch.admissions),
                *(item.facts for item in batch.resolutions if item.must_not_cost),
            )
            if fact.claim is not None
        ],
        token_windows=list(
            {
                (fact.account_id, fact.group_id)
                for fact in facts
                if fact.terms.limits.tokens_per_minute is not None
            }
        ),
        crowds=list(
            {
                (fact.account_id, fact.group_id)
                for fact in admitting
                if fact.terms.limits.concurrent_calls is not None
            }
        ),
    )


def decide_batch(batch: Batch, books: Books) -> Decided:
    """Decide every item in the batch's order: resolutions first, then admissions. Changes the books."""
    touched = Touched()
    resolutions = [decide_resolution(item, books, touched) for item in batch.resolutions]
    admissions = [decide_admission(item, books, touched) for item in batch.admissions]
    return Decided(
        answer=BatchAnswer(resolutions=resolutions, admissions=admissions),
        resolved=[
            (item, answer)
            for item, answer in zip(batch.resolutions, resolutions, strict=True)
            if isinstance(answer, Resolved) and not answer.found
        ],
        admitted=[
            (item, answer)
            for item, answer in zip(batch.admissions, admissions, strict=True)
            if isinstance(answer, Admitted) and item.facts.call_id not in books.calls
        ],
        touched=touched,
    )


def account_book(row: Row) -> AccountBook:
    """From id, version, balance, held, newest_ms, entry_count."""
    return AccountBook(
        id=row[0], version=row[1], balance=row[2], held=row[3], newest_ms=row[4], entry_count=row[5]
    )


def key_book(row: Row) -> KeyBook:
    """From id, spent, held, credit_limit, last_used_at_ms."""
    return KeyBook(id=row[0], spent=row[1], held=row[2], credit_limit=row[3], last_used_at_ms=row[4])


def rate_window(row: Row) -> RateWindow:
    """From newest_second, slots, day_ordinal, day_count."""
    return RateWindow(newest_second=row[0], slots=row[1], day_ordinal=row[2], day_count=row[3])


def open_call(row: Row) -> OpenCall:
    """From state, hold, charge, refunded."""
    return OpenCall(state=row[0], hold=row[1], charge=row[2], refunded=row[3])


def kept_call(row: Row) -> KeptCall:
    """From call_id, request_hash, claimed_at_ms, replayed_at_ms, whether there is a reply, state.

    A call that is not there is void.
    """
    return KeptCall(
        call_id=row[0],
        request_hash=bytes(row[1]),
        claimed_at_ms=row[2],
        replayed=row[3] is not None,
        has_reply=bool(row[4]),
        state=row[5] or "voided",
    )


def account_rows(books: Books, touched: Touched) -> list[tuple[Any, ...]]:
    """Return balance, held, newest_ms, entry_count, id of each account that was changed."""
    return [
        (account.balance, account.held, account.newest_ms, account.entry_count, account.id)
        for account in (books.accounts[account_id] for account_id in touched.accounts)
    ]


def key_rows(books: Books, touched: Touched) -> list[tuple[Any, ...]]:
    """Return spent, held, last_used_at_ms, id of each key that was changed."""
    return [
        (key.spent, key.held, key.last_used_at_ms, key.id)
        for key in (books.keys[key_id] for key_id in touched.keys)
    ]


def window_rows(books: Books, touched: Touched) -> list[tuple[Any, ...]]:
    """Return newest_second, slots, day_ordinal, day_count, account_id, group_id of each changed window."""
    return [
        (window.newest_second, window.slots, window.day_ordinal, window.day_count, *names)
        for names, window in ((names, books.windows[names]) for names in touched.windows)
    ]


def call_rows(admitted: Iterable[AdmittedCall]) -> list[tuple[Any, ...]]:
    """Return, of each new call, id, account_id, user_id, key_id, group_id, group_revision_id, entitlement_id,
    model, price_revision_id, surface, stream, worker_id, hold, multiplier_ppm, multiplier_rule,
    requests_per_minute, requests_per_day, tokens_per_minute, concurrent_calls, day_ordinal, admitted_at_ms;
    the rest begins at nothing.
    """
    return [_call_row(item, answer) for item, answer in admitted]


def _call_row(item: Admission, answer: Admitted) -> tuple[Any, ...]:
    facts, terms = item.facts, item.facts.terms
    return (
        facts.call_id,
        facts.account_id,
        facts.user_id,
        facts.key_id,
        facts.group_id,
        terms.group_revision_id,
        terms.entitlement_id,
        facts.model,
        facts.price_revision_id,
        facts.surface,
        facts.stream,
        item.worker_id,
        answer.hold,
        terms.multiplier_ppm,
        terms.multiplier_rule,
        terms.limits.requests_per_minute,
        terms.limits.requests_per_day,
        terms.limits.tokens_per_minute,
        terms.limits.concurrent_calls,
        answer.day_ordinal,
        answer.admitted_at_ms,
    )


def resolution_rows(resolved: Iterable[ResolvedCall]) -> list[tuple[Any, ...]]:
    """Return, of each call whose hold was resolved, state, charge, absorbed, resolved_at_ms, end_reason,
    usage, usage_source, prices, input_units, output_units, upstream_id, attempts, status, flag,
    flag_detail, cost, cost_source, first_byte_ms, duration_ms, account_id, id.
    """
    return [_resolution_row(item, answer) for item, answer in resolved if not answer.refund]


def _resolution_row(item: Resolution, answer: Resolved) -> tuple[Any, ...]:
    outcome = item.outcome
    return (
        answer.state,
        answer.charge,
        answer.absorbed,
        answer.resolved_at_ms,
        outcome.end_reason,
        outcome.usage_json,
        outcome.usage_source,
        outcome.prices_json,
        outcome.input_units,
        outcome.output_units,
        outcome.upstream_id,
        outcome.attempts_json,
        outcome.status,
        outcome.flag,
        outcome.flag_detail,
        outcome.cost,
        outcome.cost_source,
        outcome.first_byte_ms,
        outcome.duration_ms,
        item.facts.account_id,
        item.facts.call_id,
    )


def refund_rows(resolved: Iterable[ResolvedCall]) -> list[tuple[Any, ...]]:
    """Return amount, account_id, id of each call whose charge was given back."""
    return [
        (answer.refund, item.facts.account_id, item.facts.call_id)
        for item, answer in resolved
        if answer.refund
    ]


def entry_rows(resolved: Iterable[ResolvedCall]) -> list[tuple[Any, ...]]:
    """Return account_id, number, id, kind, amount, balance_after, call_id, reason, created_at_ms.

    A settled call has exactly one charge entry, also where the charge is zero (I5).
    """
    return [
        _entry_row(item, answer) for item, answer in resolved if answer.state == "settled" or answer.refund
    ]


def _entry_row(item: Resolution, answer: Resolved) -> tuple[Any, ...]:
    call_id, at_ms = item.facts.call_id, answer.resolved_at_ms
    if answer.refund:
        entry_id, kind, amount, reason = new_id("led", at_ms), "refund", int(answer.refund), REFUND_REASON
    else:
        entry_id, kind, amount, reason = charge_entry_id(call_id), "charge", -answer.charge, None
    return (
        item.facts.account_id,
        answer.entry_number,
        entry_id,
        kind,
        amount,
        answer.balance_after,
        call_id,
        reason,
        at_ms,
    )


def usage_rows(resolved: Iterable[ResolvedCall]) -> list[tuple[Any, ...]]:
    """Return account_id, hour, key_id, group_id, model, calls, input_units, output_units, charge, absorbed.

    One row for each combination of the first five, with what the settled calls add to it.
    """
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for item, answer in resolved:
        if answer.state != "settled" or answer.refund:
            continue
        facts, outcome = item.facts, item.outcome
        hour = answer.resolved_at_ms // _HOUR_MS
        total = sums[facts.account_id, hour, facts.key_id, facts.group_id, facts.model]
        added = (1, outcome.input_units, outcome.output_units, answer.charge, answer.absorbed)
        for index, value in enumerate(added):
            total[index] += value
    return [(*names, *total) for names, total in sums.items()]


def object_rows(resolved: Iterable[ResolvedCall]) -> list[tuple[Any, ...]]:
    """Return account_id, id, upstream_id, model, call_id, created_at_ms of what providers keep."""
    rows = {
        (item.facts.account_id, created): (
            item.facts.account_id,
            created,
            item.outcome.upstream_id,
            item.facts.model,
            item.facts.call_id,
            answer.resolved_at_ms,
        )
        for item, answer in resolved
        if item.outcome.upstream_id is not None and not answer.refund
        for created in item.outcome.created_ids
    }
    return list(rows.values())


def claim_rows(admitted: Iterable[AdmittedCall]) -> list[tuple[Any, ...]]:
    """Return account_id, key_id, idempotency_key, request_hash, call_id, claimed_at_ms of each new claim."""
    return [
        (
            item.facts.account_id,
            item.facts.key_id,
            claim.key,
            claim.request_hash,
            item.facts.call_id,
            answer.admitted_at_ms,
        )
        for item, answer in admitted
        if (claim := item.facts.claim) is not None
    ]


def kept_rows(resolved: Iterable[ResolvedCall]) -> list[tuple[Any, ...]]:
    """Return headers, body, account_id, key_id, idempotency_key, call_id of each reply that is kept."""
    rows = []
    for item, answer in resolved:
        facts, kept = item.facts, item.kept
        if kept is None or facts.claim is None or answer.state != "settled" or answer.refund:
            continue
        body = kept.body_at(answer.charge)
        if body is not None:
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in kept.headers_at(answer.charge)
            ]
            names = (facts.account_id, facts.key_id, facts.claim.key, facts.call_id)
            rows.append((encode_json(headers), body, *names))
    return rows


def released_rows(resolved: Iterable[ResolvedCall]) -> list[tuple[Any, ...]]:
    """Return account_id, key_id, idempotency_key, call_id of each claim whose call was given back."""
    return [
        (item.facts.account_id, item.facts.key_id, claim.key, item.facts.call_id)
        for item, answer in resolved
        if answer.refund and (claim := item.facts.claim) is not None
    ]


def replayed_rows(touched: Touched) -> list[tuple[Any, ...]]:
    """Return replayed_at_ms, account_id, key_id, idempotency_key of each reply that is given again first."""
    return [(at_ms, *names) for names, at_ms in touched.replayed.items()]


def token_windows(names: Iterable[Names], rows: Iterable[Row]) -> dict[Names, TokenWindow]:
    """From account_id, group_id, counts; of the names those that have no row yet are empty."""
    stored = {(row[0], row[1]): row[2] for row in rows}
    return {
        name: TokenWindow({int(second): tokens for second, tokens in decode_json(stored[name]).items()})
        if name in stored
        else TokenWindow()
        for name in names
    }


def open_calls(names: Iterable[Names], rows: Iterable[Row]) -> dict[Names, int]:
    """From account_id, group_id and how many calls are open; of the names those without a row have none."""
    return {**dict.fromkeys(names, 0), **{(row[0], row[1]): row[2] for row in rows}}


def token_window_rows(books: Books, touched: Touched) -> list[tuple[Any, ...]]:
    """Return counts, account_id, group_id of each token window that was changed."""
    return [
        (encode_json({str(second): tokens for second, tokens in window.counts.items()}), *names)
        for names, window in ((names, books.token_windows[names]) for names in touched.token_windows)
    ]
