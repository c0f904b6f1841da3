"""The till's transaction on SQLite: read the books, let core decide, write back what changed.

Everything here runs between BEGIN and COMMIT on the one connection that writes, so no lock is needed
beyond it. Statements take many rows at a time: `executemany` for new rows, `json_each` for look-ups.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from tokenopen.core.admission import Books, Touched
from tokenopen.ports.storage import Batch, BatchAnswer
from tokenopen.storage.policy import encode_json
from tokenopen.storage.till_rows import (
    AdmittedCall,
    ResolvedCall,
    account_book,
    account_rows,
    call_rows,
    claim_rows,
    decide_batch,
    entry_rows,
    kept_call,
    kept_rows,
    key_book,
    key_rows,
    object_rows,
    open_call,
    open_calls,
    rate_window,
    refund_rows,
    released_rows,
    replayed_rows,
    resolution_rows,
    rows_concerned,
    token_window_rows,
    token_windows,
    usage_rows,
    window_rows,
)

SELECT_CATALOG_VERSION: Final = "SELECT value FROM versions WHERE name = 'catalog'"
SELECT_WORKERS: Final = """
    SELECT id, admits_until_ms FROM workers
    WHERE admits_until_ms IS NOT NULL AND id IN (SELECT value FROM json_each(?))"""
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
SELECT_KEPT_CALLS: Final = """
    SELECT r.key_id, r.idempotency_key, r.call_id, r.request_hash, r.claimed_at_ms, r.replayed_at_ms,
      r.body IS NOT NULL, c.state
    FROM json_each(?) AS wanted
      JOIN kept_replies AS r ON r.account_id = json_extract(wanted.value, '$[0]')
        AND r.key_id = json_extract(wanted.value, '$[1]')
        AND r.idempotency_key = json_extract(wanted.value, '$[2]')
      LEFT JOIN calls AS c ON c.account_id = r.account_id AND c.id = r.call_id"""
SELECT_TPM_WINDOWS: Final = """
    SELECT account_id, group_id, counts FROM json_each(?) AS wanted
      JOIN token_windows ON account_id = json_extract(wanted.value, '$[0]')
        AND group_id = json_extract(wanted.value, '$[1]')"""
# Named, since the planner takes the primary key otherwise, and reads every call that the account ever made.
COUNT_OPEN_CALLS: Final = """
    SELECT account_id, group_id, COUNT(*) FROM json_each(?) AS wanted
      JOIN calls INDEXED BY ix_calls_held_in_group ON account_id = json_extract(wanted.value, '$[0]')
        AND group_id = json_extract(wanted.value, '$[1]') AND state = 'held'
    GROUP BY account_id, group_id"""
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


def post_batch(connection: sqlite3.Connection, batch: Batch, *, now_ms: int) -> tuple[BatchAnswer, bool]:
    """Decide and write the batch in the open transaction; tell also whether anything was written."""
    books = _read_books(connection, batch, now_ms)
    decided = decide_batch(batch, books)
    _write_resolved(connection, decided.resolved)
    _write_admitted(connection, decided.admitted)
    _write_books(connection, books, decided.touched)
    return decided.answer, decided.written


def _read_books(connection: sqlite3.Connection, batch: Batch, now_ms: int) -> Books:
    concerned = rows_concerned(batch)
    account_ids, key_ids = encode_json(concerned.accounts), encode_json(concerned.keys)
    call_ids, claims = encode_json(concerned.calls), encode_json(concerned.claims)
    (catalog_version,) = connection.execute(SELECT_CATALOG_VERSION).fetchone()
    return Books(
        now_ms=now_ms,
        catalog_version=catalog_version,
        admits_until_ms=dict(connection.execute(SELECT_WORKERS, (encode_json(concerned.workers),)).fetchall())
        if batch.admissions
        else {},
        repeated=batch.repeated,
        accounts={row[0]: account_book(row) for row in connection.execute(SELECT_ACCOUNTS, (account_ids,))},
        keys={row[0]: key_book(row) for row in connection.execute(SELECT_KEYS, (key_ids,))},
        windows={row[:2]: rate_window(row[2:]) for row in connection.execute(SELECT_WINDOWS, (account_ids,))}
        if batch.admissions
        else {},
        calls={row[0]: open_call(row[1:]) for row in connection.execute(SELECT_CALLS, (call_ids,))}
        if concerned.calls
        else {},
        kept={row[:2]: kept_call(row[2:]) for row in connection.execute(SELECT_KEPT_CALLS, (claims,))}
        if concerned.claims
        else {},
        token_windows=token_windows(
            concerned, connection.execute(SELECT_TPM_WINDOWS, (encode_json(concerned.token_windows),))
        )
        if concerned.token_windows
        else {},
        open_calls=open_calls(
            concerned, connection.execute(COUNT_OPEN_CALLS, (encode_json(concerned.crowds),))
        )
        if concerned.crowds
        else {},
    )


def _write_admitted(connection: sqlite3.Connection, admitted: Sequence[AdmittedCall]) -> None:
    if admitted:
        connection.executemany(INSERT_CALL, call_rows(admitted))
        connection.executemany(CLAIM_KEY, claim_rows(admitted))


def _write_resolved(connection: sqlite3.Connection, resolved: Sequence[ResolvedCall]) -> None:
    if not resolved:
        return
    connection.executemany(RESOLVE_CALL, resolution_rows(resolved))
    connection.executemany(INSERT_ENTRY, entry_rows(resolved))
    connection.executemany(UPSERT_USAGE_HOUR, usage_rows(resolved))
    connection.executemany(REFUND_CALL, refund_rows(resolved))
    connection.executemany(INSERT_OBJECT, object_rows(resolved))
    connection.executemany(KEEP_REPLY, kept_rows(resolved))
    connection.executemany(RELEASE_KEY, released_rows(resolved))


def _write_books(connection: sqlite3.Connection, books: Books, touched: Touched) -> None:
    for row in account_rows(books, touched):
        connection.execute(UPDATE_ACCOUNT, row)
    for row in key_rows(books, touched):
        connection.execute(UPDATE_KEY, row)
    for row in window_rows(books, touched):
        connection.execute(UPSERT_WINDOW, row)
    for row in token_window_rows(books, touched):
        connection.execute(UPSERT_TPM_WINDOW, row)
    for row in replayed_rows(touched):
        connection.execute(MARK_REPLAYED, row)
