"""The till's transaction on PostgreSQL: lock, read, let core decide, write; a round trip each.

    LOCK_ACCOUNTS   the leases that admissions are asked for under, shared, so that none is taken away
                    meanwhile; the accounts concerned, in id order, so that no two batches wait for each other
    READ_BOOKS      in a statement of its own, whose snapshot is younger than the locks: the server's time,
                    the leases, the catalog's version, and the keys, windows and calls of the locked accounts
    WRITE_...       everything that changed, in one statement
    COMMIT          see postgresql_connection

An account's lock guards its keys, windows, calls, entries and rollups: whoever writes one of them holds it.
A batch waits for accounts only, and takes all of them before anything else; a control-plane transaction
takes the catalog's row, a user's row, then one account. So no circle of waits can close.

The catalog's version is read without a lock. A change that commits after that reading is answered after it,
so each call of the batch had arrived before the answer, and may be admitted under either version. A call
that arrives after the answer is in a later batch, whose reading sees the change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tokenopen.core.admission import Books, OpenCall
from tokenopen.core.ledger import KeyBook
from tokenopen.core.rate_limit import RateWindow
from tokenopen.ports.clock import Clock
from tokenopen.ports.storage import Batch, BatchAnswer
from tokenopen.storage.postgresql_connection import NOW_MS, Connection
from tokenopen.storage.till_rows import (
    Decided,
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

Rows = Sequence[tuple[Any, ...]]

# As strong as an UPDATE of the row, and no stronger: a new key of the account, whose foreign key shares the
# account's row, neither waits for a batch nor holds one up.
#
# A lease that is being renewed is not waited for, only one that is being taken away.
LOCK_ACCOUNTS: Final = """
    /* till: lock accounts */
    WITH leases AS MATERIALIZED (
      SELECT id FROM workers WHERE id = ANY($2::text[]) ORDER BY id FOR KEY SHARE)
    SELECT id, version, balance, held, newest_ms, entry_count FROM accounts
    WHERE id = ANY($1::text[]) AND (SELECT count(*) FROM leases) >= 0 ORDER BY id FOR NO KEY UPDATE"""

# What can be locked without waiting is let go again as the statement ends; the others are busy.
SELECT_BUSY: Final = """
    /* till: busy accounts */
    WITH free AS MATERIALIZED (
      SELECT id FROM accounts WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
    SELECT id FROM accounts WHERE id = ANY($1::text[]) AND id NOT IN (SELECT id FROM free)"""

# Rows of four kinds in one answer: a round trip each would cost more than the rows.
READ_BOOKS: Final = f"""
    /* till: read books */
    SELECT 'now' AS kind, NULL AS id, NULL AS other, {NOW_MS} AS first, value AS second,
      NULL::bigint AS third, NULL::bigint AS fourth, NULL::bytea AS slots
    FROM versions WHERE name = 'catalog'
    UNION ALL
    SELECT 'worker', id, NULL, admits_until_ms, NULL, NULL, NULL, NULL
    FROM workers WHERE id = ANY($6::text[]) AND admits_until_ms IS NOT NULL
    UNION ALL
    SELECT 'key', id, NULL, spent, held, credit_limit, last_used_at_ms, NULL
    FROM api_keys WHERE id = ANY($1::text[])
    UNION ALL
    SELECT 'window', account_id, group_id, newest_second, day_ordinal, day_count, NULL, slots
    FROM unnest($2::text[], $3::text[]) AS wanted (account_id, group_id)
      JOIN rate_windows USING (account_id, group_id)
    UNION ALL
    SELECT 'call', id, state, hold, charge, refunded, NULL, NULL
    FROM unnest($4::text[], $5::text[]) AS wanted (account_id, id) JOIN calls USING (account_id, id)"""  # noqa: S608 NOW_MS is ours


READ_KEPT_CALLS: Final = """
    /* till: read kept calls */
    SELECT kept_replies.key_id, idempotency_key, call_id, request_hash, claimed_at_ms,
      replayed_at_ms, body IS NOT NULL, calls.state
    FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (account_id, key_id, idempotency_key)
      JOIN kept_replies USING (account_id, key_id, idempotency_key)
      LEFT JOIN calls ON calls.account_id = kept_replies.account_id AND calls.id = call_id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """One kind of write: ``sql`` takes its rows from ``{rows}``, whose columns are given as name and type."""

    name: str
    columns: Sequence[Sequence[str]]
    sql: str


def _columns(text: str) -> Sequence[Sequence[str]]:
    return [column.split() for column in text.split(",")]


INSERT_CALLS: Final = _Write(
    name="inserted_calls",
    columns=_columns(
        """
        id text, account_id text, user_id text, key_id text, group_id text, group_revision_id text,
        entitlement_id text, model text, price_revision_id text, surface text, stream boolean,
        worker_id text, hold bigint, multiplier_ppm bigint, multiplier_rule text,
        requests_per_minute bigint, requests_per_day bigint, tokens_per_minute bigint,
        concurrent_calls bigint, day_ordinal integer, admitted_at_ms bigint
        """
    ),
    sql="""
      INSERT INTO calls (id, account_id, user_id, key_id, group_id, group_revision_id, entitlement_id, model,
        price_revision_id, surface, stream, worker_id, hold, multiplier_ppm, multiplier_rule,
        requests_per_minute, requests_per_day, tokens_per_minute, concurrent_calls, day_ordinal,
        admitted_at_ms, state, charge, absorbed, refunded, input_units, output_units)
      SELECT new.*, 'held', 0, 0, 0, 0, 0 FROM {rows}""",
)
UPSERT_WINDOWS: Final = _Write(
    name="counted_windows",
    columns=_columns(
        """
        newest_second bigint, slots bytea, day_ordinal integer, day_count bigint, account_id text,
        group_id text
        """
    ),
    sql="""
      INSERT INTO rate_windows (newest_second, slots, day_ordinal, day_count, account_id, group_id)
      SELECT new.* FROM {rows}
      ON CONFLICT (account_id, group_id) DO UPDATE SET newest_second = excluded.newest_second,
        slots = excluded.slots, day_ordinal = excluded.day_ordinal, day_count = excluded.day_count""",
)
RESOLVE_CALLS: Final = _Write(
    name="resolved_calls",
    columns=_columns(
        """
        state text, charge bigint, absorbed bigint, resolved_at_ms bigint, end_reason text, usage text,
        usage_source text, prices text, input_units bigint, output_units bigint, upstream_id text,
        attempts text, status integer, flag text, flag_detail text, cost bigint, cost_source text,
        first_byte_ms integer, duration_ms integer, account_id text, id text
        """
    ),
    sql="""
      UPDATE calls SET state = new.state, charge = new.charge, absorbed = new.absorbed,
        resolved_at_ms = new.resolved_at_ms, end_reason = new.end_reason, usage = new.usage,
        usage_source = new.usage_source, prices = new.prices, input_units = new.input_units,
        output_units = new.output_units, upstream_id = new.upstream_id, attempts = new.attempts,
        status = new.status, flag = new.flag, flag_detail = new.flag_detail, cost = new.cost,
        cost_source = new.cost_source, first_byte_ms = new.first_byte_ms, duration_ms = new.duration_ms
      FROM {rows} WHERE calls.account_id = new.account_id AND calls.id = new.id""",
)
INSERT_ENTRIES: Final = _Write(
    name="inserted_entries",
    columns=_columns(
        """
        account_id text, number bigint, id text, kind text, amount bigint, balance_after bigint,
        call_id text, reason text, created_at_ms bigint
        """
    ),
    sql="""
      INSERT INTO ledger_entries (account_id, number, id, kind, amount, balance_after, call_id, reason,
        created_at_ms)
      SELECT new.* FROM {rows}""",
)
UPSERT_USAGE_HOURS: Final = _Write(
    name="added_usage",
    columns=_columns(
        """
        account_id text, hour integer, key_id text, group_id text, model text, calls bigint,
        input_units bigint, output_units bigint, charge bigint, absorbed bigint
        """
    ),
    sql="""
      INSERT INTO usage_hours AS total (account_id, hour, key_id, group_id, model, calls, input_units,
        output_units, charge, absorbed)
      SELECT new.* FROM {rows}
      ON CONFLICT (account_id, hour, key_id, group_id, model) DO UPDATE SET
        calls = total.calls + excluded.calls, input_units = total.input_units + excluded.input_units,
        output_units = total.output_units + excluded.output_units,
        charge = total.charge + excluded.charge, absorbed = total.absorbed + excluded.absorbed""",
)
UPDATE_ACCOUNTS: Final = _Write(
    name="updated_accounts",
    columns=_columns("balance bigint, held bigint, newest_ms bigint, entry_count bigint, id text"),
    sql="""
      UPDATE accounts SET balance = new.balance, held = new.held, newest_ms = new.newest_ms,
        entry_count = new.entry_count
      FROM {rows} WHERE accounts.id = new.id""",
)
UPDATE_KEYS: Final = _Write(
    name="updated_keys",
    columns=_columns("spent bigint, held bigint, last_used_at_ms bigint, id text"),
    sql="""
      UPDATE api_keys SET spent = new.spent, held = new.held, last_used_at_ms = new.last_used_at_ms
      FROM {rows} WHERE api_keys.id = new.id""",
)
# Apart from the others: one batch may settle a call and give it back, and a statement changes a row once.
REFUND_CALLS: Final = _Write(
    name="refunded_calls",
    columns=_columns("refund bigint, account_id text, id text"),
    sql="""
      UPDATE calls SET refunded = refunded + new.refund
      FROM {rows} WHERE calls.account_id = new.account_id AND calls.id = new.id""",
)
INSERT_OBJECTS: Final = _Write(
    name="inserted_objects",
    columns=_columns(
        "account_id text, id text, upstream_id text, model text, call_id text, created_at_ms bigint"
    ),
    sql="""
      INSERT INTO provider_objects (account_id, id, upstream_id, model, call_id, created_at_ms)
      SELECT new.* FROM {rows} ON CONFLICT (account_id, id) DO NOTHING""",
)
READ_TPM_WINDOWS: Final = """
    /* till: read token windows */
    SELECT account_id, group_id, counts FROM unnest($1::text[], $2::text[]) AS wanted (account_id, group_id)
      JOIN token_windows USING (account_id, group_id)"""
COUNT_OPEN_CALLS: Final = """
    /* till: count open calls */
    SELECT account_id, group_id, COUNT(*) FROM unnest($1::text[], $2::text[]) AS wanted (account_id, group_id)
      JOIN calls USING (account_id, group_id)
    WHERE state = 'held' GROUP BY account_id, group_id"""
UPSERT_TPM_WINDOWS: Final = _Write(
    name="added_tokens",
    columns=_columns("counts text, account_id text, group_id text"),
    sql="""
      INSERT INTO token_windows (counts, account_id, group_id) SELECT new.* FROM {rows}
      ON CONFLICT (account_id, group_id) DO UPDATE SET counts = excluded.counts""",
)
# What calls with an Idempotency-Key need beyond the rest: each a round trip, and only where there are any.
KEEP_REPLIES: Final = _Write(
    name="kept",
    columns=_columns(
        "headers text, body bytea, account_id text, key_id text, idempotency_key text, call_id text"
    ),
    sql="""
      UPDATE kept_replies AS old SET headers = new.headers, body = new.body
      FROM {rows} WHERE old.account_id = new.account_id AND old.key_id = new.key_id
        AND old.idempotency_key = new.idempotency_key AND old.call_id = new.call_id""",
)
RELEASE_KEYS: Final = _Write(
    name="released",
    columns=_columns("account_id text, key_id text, idempotency_key text, call_id text"),
    sql="""
      DELETE FROM kept_replies AS old USING {rows}
      WHERE old.account_id = new.account_id AND old.key_id = new.key_id
        AND old.idempotency_key = new.idempotency_key AND old.call_id = new.call_id""",
)
CLAIM_KEYS: Final = _Write(
    name="claimed",
    columns=_columns(
        """
        account_id text, key_id text, idempotency_key text, request_hash bytea, call_id text,
        claimed_at_ms bigint
        """
    ),
    sql="""
      INSERT INTO kept_replies (account_id, key_id, idempotency_key, request_hash, call_id, claimed_at_ms)
      SELECT new.* FROM {rows}
      ON CONFLICT (account_id, key_id, idempotency_key) DO UPDATE SET request_hash = excluded.request_hash,
        call_id = excluded.call_id, claimed_at_ms = excluded.claimed_at_ms, headers = NULL, body = NULL,
        replayed_at_ms = NULL""",
)
MARK_REPLAYED: Final = _Write(
    name="replayed",
    columns=_columns("replayed_at_ms bigint, account_id text, key_id text, idempotency_key text"),
    sql="""
      UPDATE kept_replies AS old SET replayed_at_ms = new.replayed_at_ms
      FROM {rows} WHERE old.account_id = new.account_id AND old.key_id = new.key_id
        AND old.idempotency_key = new.idempotency_key""",
)


def _statement(label: str, writes: Sequence[_Write]) -> str:
    """Return one statement that does all of the writes; its parameters are the columns' values in order."""
    parts = []
    first = 1
    for write in writes:
        arrays = ", ".join(f"${first + index}::{kind}[]" for index, (_, kind) in enumerate(write.columns))
        names = ", ".join(name for name, _ in write.columns)
        parts.append(f"{write.name} AS ({write.sql.format(rows=f'unnest({arrays}) AS new ({names})')})")
        first += len(write.columns)
    return f"/* till: {label} */ WITH {', '.join(parts)} SELECT 1"


_BOOKS: Final = (UPDATE_ACCOUNTS, UPDATE_KEYS)
_ADMITTED: Final = (INSERT_CALLS, UPSERT_WINDOWS)
_RESOLVED: Final = (RESOLVE_CALLS, INSERT_ENTRIES, UPSERT_USAGE_HOURS)
WRITE_ADMITTED: Final = _statement("write admitted", (*_BOOKS, *_ADMITTED))
WRITE_RESOLVED: Final = _statement("write resolved", (*_BOOKS, *_RESOLVED))
WRITE_BOTH: Final = _statement("write both", (*_BOOKS, *_ADMITTED, *_RESOLVED))
WRITE_REFUNDS: Final = _statement("write refunds", (REFUND_CALLS,))
WRITE_OBJECTS: Final = _statement("write provider objects", (INSERT_OBJECTS,))
WRITE_KEPT: Final = _statement("write kept replies", (KEEP_REPLIES,))
WRITE_RELEASED: Final = _statement("write released keys", (RELEASE_KEYS,))
WRITE_TOKENS: Final = _statement("write token windows", (UPSERT_TPM_WINDOWS,))
WRITE_REPLAYED: Final = _statement("write replayed replies", (MARK_REPLAYED,))
WRITE_CLAIMS: Final = _statement("write claimed keys", (CLAIM_KEYS,))


async def find_busy(connection: Connection, account_ids: Sequence[str]) -> frozenset[str]:
    """Return which of the accounts somebody else has locked. Outside a transaction, or it keeps the locks."""
    return frozenset(row[0] for row in await connection.fetch(SELECT_BUSY, account_ids))


async def post_batch(connection: Connection, batch: Batch, clock: Clock | None) -> tuple[BatchAnswer, bool]:
    """Decide and write the batch in the open transaction; tell also whether anything was written.

    The time is the server's, or the clock's where tests give one.
    """
    concerned = rows_concerned(batch)
    accounts = await connection.fetch(LOCK_ACCOUNTS, concerned.accounts, concerned.workers)
    windows = list({(item.facts.account_id, item.facts.group_id) for item in batch.admissions})
    rows = await connection.fetch(
        READ_BOOKS, concerned.keys, *_turned(windows, 2), *_turned(concerned.calls, 2), concerned.workers
    )
    books = _books(batch, accounts, rows)
    if concerned.claims:
        kept = await connection.fetch(READ_KEPT_CALLS, *_turned(concerned.claims, 3))
        books.kept = {(row[0], row[1]): kept_call(row[2:]) for row in map(tuple, kept)}
    if concerned.token_windows:
        rows = await connection.fetch(READ_TPM_WINDOWS, *_turned(concerned.token_windows, 2))
        books.token_windows = token_windows(concerned.token_windows, rows)
    if concerned.crowds:
        rows = await connection.fetch(COUNT_OPEN_CALLS, *_turned(concerned.crowds, 2))
        books.open_calls = open_calls(concerned.crowds, rows)
    if clock is not None:
        books.now_ms = clock.now_ms()
    decided = decide_batch(batch, books)
    if decided.written:
        await _write(connection, books, decided)
    return decided.answer, decided.written


def _turned(rows: Rows, count: int) -> Sequence[Sequence[Any]]:
    """Return rows by their columns, so many, as arrays are sent."""
    return list(zip(*rows, strict=True)) if rows else [()] * count


def _books(batch: Batch, account_rows: Rows, rows: Rows) -> Books:
    keys: dict[str, KeyBook] = {}
    windows: dict[tuple[str, str], RateWindow] = {}
    calls: dict[str, OpenCall] = {}
    admits_until_ms: dict[str, int] = {}
    now_ms = catalog_version = None
    for kind, id_, other, first, second, third, fourth, slots in rows:
        if kind == "key":
            keys[id_] = key_book((id_, first, second, third, fourth))
        elif kind == "window":
            windows[id_, other] = rate_window((first, slots, second, third))
        elif kind == "call":
            calls[id_] = open_call((other, first, second, third))
        elif kind == "worker":
            admits_until_ms[id_] = first
        else:
            now_ms, catalog_version = first, second
    assert now_ms is not None, "the database has no catalog version: it has not been set up"
    assert catalog_version is not None
    return Books(
        now_ms=now_ms,
        catalog_version=catalog_version,
        admits_until_ms=admits_until_ms,
        repeated=batch.repeated,
        accounts={row[0]: account_book(row) for row in account_rows},
        keys=keys,
        windows=windows,
        calls=calls,
    )


async def _write(connection: Connection, books: Books, decided: Decided) -> None:
    rows = [
        *_arrays(UPDATE_ACCOUNTS, account_rows(books, decided.touched)),
        *_arrays(UPDATE_KEYS, key_rows(books, decided.touched)),
    ]
    if decided.admitted:
        rows += _arrays(INSERT_CALLS, call_rows(decided.admitted))
        rows += _arrays(UPSERT_WINDOWS, window_rows(books, decided.touched))
    if decided.resolved:
        rows += _arrays(RESOLVE_CALLS, resolution_rows(decided.resolved))
        rows += _arrays(INSERT_ENTRIES, entry_rows(decided.resolved))
        rows += _arrays(UPSERT_USAGE_HOURS, usage_rows(decided.resolved))
    if decided.admitted or decided.resolved:
        statement = WRITE_BOTH
        if not (decided.admitted and decided.resolved):
            statement = WRITE_ADMITTED if decided.admitted else WRITE_RESOLVED
        await connection.execute(statement, *rows)
    further = (
        (WRITE_REFUNDS, REFUND_CALLS, refund_rows(decided.resolved)),
        (WRITE_OBJECTS, INSERT_OBJECTS, object_rows(decided.resolved)),
        (WRITE_KEPT, KEEP_REPLIES, kept_rows(decided.resolved)),
        (WRITE_RELEASED, RELEASE_KEYS, released_rows(decided.resolved)),
        (WRITE_TOKENS, UPSERT_TPM_WINDOWS, token_window_rows(books, decided.touched)),
        (WRITE_REPLAYED, MARK_REPLAYED, replayed_rows(decided.touched)),
        (WRITE_CLAIMS, CLAIM_KEYS, claim_rows(decided.admitted)),
    )
    for sql, write, new in further:
        if new:
            await connection.execute(sql, *_arrays(write, new))


def _arrays(write: _Write, rows: Rows) -> Sequence[Sequence[Any]]:
    return _turned(rows, len(write.columns))
