"""The till's transaction on SQLite: read the books, let core decide, write back what changed.

Everything here runs between BEGIN and COMMIT on the one connection that writes, so no lock is needed
beyond it. What is read, and what need not be, is in storage/sqlite_books.py.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from tokenopen.core.admission import Books, Touched
from tokenopen.ports.storage import Batch, BatchAnswer
from tokenopen.storage.sqlite_books import SqliteBooks
from tokenopen.storage.till_rows import (
    AdmittedCall,
    ResolvedCall,
    Row,
    account_rows,
    call_rows,
    claim_rows,
    decide_batch,
    entry_rows,
    kept_rows,
    key_rows,
    object_rows,
    refund_rows,
    released_rows,
    replayed_rows,
    resolution_rows,
    token_window_rows,
    usage_rows,
    window_rows,
)

UPSERT_TPM_WINDOW: Final = """
    INSERT INTO token_windows (counts, account_id, group_id) VALUES (?, ?, ?)
    ON CONFLICT (account_id, group_id) DO UPDATE SET counts = excluded.counts"""
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
      multiplier_ppm, multiplier_rule, requests_per_minute, requests_per_day, tokens_per_minute,
      concurrent_calls, day_ordinal, admitted_at_ms, input_units, output_units)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'held', ?, ?, 0, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)"""
RESOLVE_CALL: Final = """
    UPDATE calls SET state = ?, charge = ?, absorbed = ?, resolved_at_ms = ?, end_reason = ?,
      usage = ?, usage_source = ?, prices = ?, input_units = ?, output_units = ?, upstream_id = ?,
      attempts = ?, status = ?, flag = ?, flag_detail = ?, cost = ?, cost_source = ?, first_byte_ms = ?,
      duration_ms = ?
    WHERE account_id = ? AND id = ?"""
REFUND_CALL: Final = "UPDATE calls SET refunded = refunded + ? WHERE account_id = ? AND id = ?"
INSERT_ENTRY: Final = """
    INSERT INTO ledger_entries (account_id, number, id, kind, amount, balance_after, call_id, reason,
      created_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
CLAIM_KEY: Final = """
    INSERT INTO kept_replies (account_id, key_id, idempotency_key, request_hash, call_id, claimed_at_ms)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (account_id, key_id, idempotency_key) DO UPDATE SET request_hash = excluded.request_hash,
      call_id = excluded.call_id, claimed_at_ms = excluded.claimed_at_ms, headers = NULL, body = NULL,
      replayed_at_ms = NULL"""
MARK_REPLAYED: Final = """
    UPDATE kept_replies SET replayed_at_ms = ?
    WHERE account_id = ? AND key_id = ? AND idempotency_key = ?"""
KEEP_REPLY: Final = """
    UPDATE kept_replies SET headers = ?, body = ?
    WHERE account_id = ? AND key_id = ? AND idempotency_key = ? AND call_id = ?"""
RELEASE_KEY: Final = """
    DELETE FROM kept_replies
    WHERE account_id = ? AND key_id = ? AND idempotency_key = ? AND call_id = ?"""
INSERT_OBJECT: Final = """
    INSERT INTO provider_objects (account_id, id, upstream_id, model, call_id, created_at_ms)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account_id, id) DO NOTHING"""
UPSERT_USAGE_HOUR: Final = """
    INSERT INTO usage_hours (account_id, hour, key_id, group_id, model,
      calls, input_units, output_units, charge, absorbed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (account_id, hour, key_id, group_id, model) DO UPDATE SET
      calls = calls + excluded.calls, input_units = input_units + excluded.input_units,
      output_units = output_units + excluded.output_units, charge = charge + excluded.charge,
      absorbed = absorbed + excluded.absorbed"""


def post_batch(
    connection: sqlite3.Connection, books: SqliteBooks, batch: Batch, *, now_ms: int
) -> tuple[BatchAnswer, bool]:
    """Decide and write the batch in the open transaction; tell also whether anything was written."""
    concerned = books.read(batch, now_ms)
    decided = decide_batch(batch, concerned)
    _write_resolved(connection, decided.resolved)
    _write_admitted(connection, decided.admitted)
    _write_books(connection, concerned, decided.touched)
    books.note(batch, decided)
    return decided.answer, decided.written


def _write_admitted(connection: sqlite3.Connection, admitted: Sequence[AdmittedCall]) -> None:
    _write(connection, INSERT_CALL, call_rows(admitted))
    _write(connection, CLAIM_KEY, claim_rows(admitted))


def _write_resolved(connection: sqlite3.Connection, resolved: Sequence[ResolvedCall]) -> None:
    _write(connection, RESOLVE_CALL, resolution_rows(resolved))
    _write(connection, INSERT_ENTRY, entry_rows(resolved))
    _write(connection, UPSERT_USAGE_HOUR, usage_rows(resolved))
    _write(connection, REFUND_CALL, refund_rows(resolved))
    _write(connection, INSERT_OBJECT, object_rows(resolved))
    _write(connection, KEEP_REPLY, kept_rows(resolved))
    _write(connection, RELEASE_KEY, released_rows(resolved))


def _write_books(connection: sqlite3.Connection, books: Books, touched: Touched) -> None:
    _write(connection, UPDATE_ACCOUNT, account_rows(books, touched))
    _write(connection, UPDATE_KEY, key_rows(books, touched))
    _write(connection, UPSERT_WINDOW, window_rows(books, touched))
    _write(connection, UPSERT_TPM_WINDOW, token_window_rows(books, touched))
    _write(connection, MARK_REPLAYED, replayed_rows(touched))


def _write(connection: sqlite3.Connection, statement: str, rows: Sequence[Row]) -> None:
    if rows:
        connection.executemany(statement, rows)
