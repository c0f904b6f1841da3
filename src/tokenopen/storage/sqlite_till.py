"""The till's transaction on SQLite: read the books, let core decide, write back what changed.

Everything here runs between BEGIN and COMMIT on the one connection that writes, so no lock is needed
beyond it. Statements take many rows at a time: `executemany` for new rows, `json_each` for look-ups.
"""

import sqlite3
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
from tokenopen.core.identifier import charge_entry_id, new_id
from tokenopen.core.ledger import AccountBook, KeyBook
from tokenopen.core.rate_limit import RateWindow
from tokenopen.ports.storage import Batch, BatchAnswer
from tokenopen.storage.policy import encode_json

SELECT_CATALOG_VERSION: Final = "SELECT value FROM versions WHERE name = 'catalog'"
SELECT_ACCOUNTS: Final = """
    SELECT id, version, balance, held, newest_ms, entry_count FROM accounts
    WHERE id IN (SELECT value FROM json_each(?))"""
SELECT_KEYS: Final = """
    SELECT id, spent, held, credit_limit, last_used_at_ms FROM api_keys
    WHERE id IN (SELECT value FROM json_each(?))"""
SELECT_WINDOWS: Final = """
    SELECT account_id, group_id, newest_second, slots, day_ordinal, day_count FROM rate_windows
    WHERE account_id IN (SELECT value FROM json_each(?))"""
SELECT_CALLS: Final = """
    SELECT c.id, c.state, c.hold, c.charge, c.refunded
    FROM json_each(?) AS wanted JOIN calls AS c
      ON c.account_id = json_extract(wanted.value, '$[0]') AND c.id = json_extract(wanted.value, '$[1]')"""
UPDATE_ACCOUNT: Final = (
    "UPDATE accounts SET balance = ?, held = ?, newest_ms = ?, entry_count = ? WHERE id = ?"
)
UPDATE_KEY: Final = "UPDATE api_keys SET spent = ?, held = ?, last_used_at_ms = ? WHERE id = ?"
UPSERT_WINDOW: Final = """
    INSERT INTO rate_windows (newest_second, slots, day_ordinal, day_count, account_id, group_id)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (account_id, group_id) DO UPDATE SET newest_second = excluded.newest_second,
      slots = excluded.slots, day_ordinal = excluded.day_ordinal, day_count = excluded.day_count"""
INSERT_CALL: Final = """
    INSERT INTO calls (id, account_id, user_id, key_id, group_id, group_revision_id, entitlement_id, model,
      price_revision_id, surface, stream, state, worker_id, hold, charge, absorbed, refunded,
      multiplier_ppm, multiplier_rule, requests_per_minute, requests_per_day, day_ordinal, admitted_at_ms,
      input_units, output_units)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'held', ?, ?, 0, 0, 0, ?, ?, ?, ?, ?, ?, 0, 0)"""
RESOLVE_CALL: Final = """
    UPDATE calls SET state = ?, charge = ?, absorbed = ?, resolved_at_ms = ?, end_reason = ?,
      usage = ?, usage_source = ?, prices = ?, input_units = ?, output_units = ?, upstream_id = ?,
      attempts = ?, status = ?, flag = ?, first_byte_ms = ?, duration_ms = ?
    WHERE account_id = ? AND id = ?"""
REFUND_CALL: Final = "UPDATE calls SET refunded = refunded + ? WHERE account_id = ? AND id = ?"
INSERT_ENTRY: Final = """
    INSERT INTO ledger_entries (account_id, number, id, kind, amount, balance_after, call_id, reason,
      created_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
UPSERT_USAGE_HOUR: Final = """
    INSERT INTO usage_hours (account_id, hour, key_id, group_id, model,
      calls, input_units, output_units, charge, absorbed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (account_id, hour, key_id, group_id, model) DO UPDATE SET
      calls = calls + excluded.calls, input_units = input_units + excluded.input_units,
      output_units = output_units + excluded.output_units, charge = charge + excluded.charge,
      absorbed = absorbed + excluded.absorbed"""

REFUND_REASON: Final = "The call was answered with an error of the service."
_HOUR_MS: Final = 3_600_000

SettledCall = tuple[Resolution, Resolved]
AdmittedCall = tuple[Admission, Admitted]


def post_batch(connection: sqlite3.Connection, batch: Batch, *, now_ms: int) -> tuple[BatchAnswer, bool]:
    """Decide and write the batch in the open transaction; tell also whether anything was written."""
    books = _read_books(connection, batch, now_ms)
    touched = Touched()
    resolutions = [decide_resolution(item, books, touched) for item in batch.resolutions]
    admissions = [decide_admission(item, books, touched) for item in batch.admissions]
    resolved = [
        (item, answer)
        for item, answer in zip(batch.resolutions, resolutions, strict=True)
        if isinstance(answer, Resolved) and not answer.found
    ]
    admitted = [
        (item, answer)
        for item, answer in zip(batch.admissions, admissions, strict=True)
        if isinstance(answer, Admitted) and item.facts.call_id not in books.calls
    ]
    _write_admitted(connection, admitted)
    _write_resolved(connection, resolved)
    _write_books(connection, books, touched)
    return BatchAnswer(resolutions=resolutions, admissions=admissions), bool(resolved or admitted)


def _read_books(connection: sqlite3.Connection, batch: Batch, now_ms: int) -> Books:
    facts = [item.facts for item in batch.resolutions] + [item.facts for item in batch.admissions]
    account_ids = encode_json(list({fact.account_id for fact in facts}))
    key_ids = encode_json(list({fact.key_id for fact in facts}))
    look_up = facts if batch.repeated else [item.facts for item in batch.resolutions]
    call_ids = encode_json([(fact.account_id, fact.call_id) for fact in look_up])
    (catalog_version,) = connection.execute(SELECT_CATALOG_VERSION).fetchone()
    return Books(
        now_ms=now_ms,
        catalog_version=catalog_version,
        repeated=batch.repeated,
        accounts={row[0]: _account_book(row) for row in connection.execute(SELECT_ACCOUNTS, (account_ids,))},
        keys={
            row[0]: KeyBook(id=row[0], spent=row[1], held=row[2], credit_limit=row[3], last_used_at_ms=row[4])
            for row in connection.execute(SELECT_KEYS, (key_ids,))
        },
        windows={
            (row[0], row[1]): RateWindow(
                newest_second=row[2], slots=row[3], day_ordinal=row[4], day_count=row[5]
            )
            for row in connection.execute(SELECT_WINDOWS, (account_ids,))
        }
        if batch.admissions
        else {},
        calls={
            row[0]: OpenCall(state=row[1], hold=row[2], charge=row[3], refunded=row[4])
            for row in connection.execute(SELECT_CALLS, (call_ids,))
        }
        if look_up
        else {},
    )


def _account_book(row: tuple[Any, ...]) -> AccountBook:
    return AccountBook(
        id=row[0], version=row[1], balance=row[2], held=row[3], newest_ms=row[4], entry_count=row[5]
    )


def _write_admitted(connection: sqlite3.Connection, admitted: Iterable[AdmittedCall]) -> None:
    rows = [_call_row(item, answer) for item, answer in admitted]
    if rows:
        connection.executemany(INSERT_CALL, rows)


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
        answer.day_ordinal,
        answer.admitted_at_ms,
    )


def _write_resolved(connection: sqlite3.Connection, resolved: Sequence[SettledCall]) -> None:
    if not resolved:
        return
    ended = [(item, answer) for item, answer in resolved if not answer.refund]
    settled = [(item, answer) for item, answer in ended if answer.state == "settled"]
    connection.executemany(RESOLVE_CALL, [_resolution_row(item, answer) for item, answer in ended])
    connection.executemany(
        INSERT_ENTRY, [_entry_row(item, answer) for item, answer in resolved if _moves(answer)]
    )
    connection.executemany(UPSERT_USAGE_HOUR, _usage_rows(settled))
    connection.executemany(
        REFUND_CALL,
        [
            (answer.refund, item.facts.account_id, item.facts.call_id)
            for item, answer in resolved
            if answer.refund
        ],
    )


def _moves(answer: Resolved) -> bool:
    # A settled call has exactly one charge entry, also where the charge is zero (I5).
    return bool(answer.state == "settled" or answer.refund)


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
        outcome.first_byte_ms,
        outcome.duration_ms,
        item.facts.account_id,
        item.facts.call_id,
    )


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


def _usage_rows(settled: Iterable[SettledCall]) -> list[tuple[Any, ...]]:
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for item, answer in settled:
        facts, outcome = item.facts, item.outcome
        hour = answer.resolved_at_ms // _HOUR_MS
        total = sums[facts.account_id, hour, facts.key_id, facts.group_id, facts.model]
        added = (1, outcome.input_units, outcome.output_units, answer.charge, answer.absorbed)
        for index, value in enumerate(added):
            total[index] += value
    return [(*names, *total) for names, total in sums.items()]


def _write_books(connection: sqlite3.Connection, books: Books, touched: Touched) -> None:
    for account in (books.accounts[account_id] for account_id in touched.accounts):
        connection.execute(
            UPDATE_ACCOUNT,
            (account.balance, account.held, account.newest_ms, account.entry_count, account.id),
        )
    for key in (books.keys[key_id] for key_id in touched.keys):
        connection.execute(UPDATE_KEY, (key.spent, key.held, key.last_used_at_ms, key.id))
    for names in touched.windows:
        window = books.windows[names]
        connection.execute(
            UPSERT_WINDOW, (window.newest_second, window.slots, window.day_ordinal, window.day_count, *names)
        )
