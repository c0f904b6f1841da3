"""The till's books on SQLite, kept from batch to batch: what this process wrote last it need not read again.

Nobody else writes the file: its process holds the data directory, and all that writes is one connection. So
the rows that batches have read and changed stand until a control-plane transaction may change some, or until
a batch is not written after all; then all are dropped, and the next batch reads anew. Should somebody write
to the file by hand, SQLite's count of other connections' commits tells
(sqlite.org/pragma.html#pragma_data_version).
"""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from tokenopen.core.admission import Books, OpenCall
from tokenopen.core.ledger import AccountBook, KeyBook
from tokenopen.core.money import ZERO
from tokenopen.core.rate_limit import RateWindow
from tokenopen.core.token_window import TokenWindow
from tokenopen.ports.storage import Batch
from tokenopen.storage.policy import encode_json
from tokenopen.storage.till_rows import (
    Decided,
    account_book,
    kept_call,
    key_book,
    open_call,
    open_calls,
    rate_window,
    rows_concerned,
    token_windows,
)

# Of accounts, keys and calls each; beyond it everything is read anew.
ROWS_MAX: Final = 10_000
Name = TypeVar("Name")

DATA_VERSION: Final = "PRAGMA data_version"
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


class SqliteBooks:
    """Reads and keeps the rows that batches concern. Used only between BEGIN and COMMIT of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._data_version = -1
        self.drop()

    def drop(self) -> None:
        """Forget every row."""
        self._catalog_version: int | None = None
        self._admits_until_ms: dict[str, int] = {}
        self._accounts: dict[str, AccountBook] = {}
        self._keys: dict[str, KeyBook] = {}
        # Of an account that is there all windows are.
        self._windows: dict[tuple[str, str], RateWindow] = {}
        # Those that are held: a call that was resolved is seldom asked for again.
        self._calls: dict[str, OpenCall] = {}
        self._token_windows: dict[tuple[str, str], TokenWindow] = {}
        self._open_calls: dict[tuple[str, str], int] = {}

    def read(self, batch: Batch, now_ms: int) -> Books:
        """Return the books that a batch concerns. What core changes in them is kept for the next one."""
        if self._is_foreign() or self._is_full():
            self.drop()
        concerned = rows_concerned(batch)
        run = self._connection.execute
        if self._catalog_version is None:
            (self._catalog_version,) = run(SELECT_CATALOG_VERSION).fetchone()
        if wanted := _missing(concerned.workers, self._admits_until_ms):
            self._admits_until_ms.update(run(SELECT_WORKERS, _json(wanted)).fetchall())
        if wanted := _missing(concerned.accounts, self._accounts):
            # Windows first: an account that is there has all of them.
            self._windows.update(
                (row[:2], rate_window(row[2:])) for row in run(SELECT_WINDOWS, _json(wanted))
            )
            self._accounts.update((row[0], account_book(row)) for row in run(SELECT_ACCOUNTS, _json(wanted)))
        if wanted := _missing(concerned.keys, self._keys):
            self._keys.update((row[0], key_book(row)) for row in run(SELECT_KEYS, _json(wanted)))
        if calls := [call for call in concerned.calls if call[1] not in self._calls]:
            self._calls.update((row[0], open_call(row[1:])) for row in run(SELECT_CALLS, _json(calls)))
        if names := _missing(concerned.token_windows, self._token_windows):
            self._token_windows.update(token_windows(names, run(SELECT_TPM_WINDOWS, _json(names))))
        if names := _missing(concerned.crowds, self._open_calls):
            self._open_calls.update(open_calls(names, run(COUNT_OPEN_CALLS, _json(names))))
        kept = run(SELECT_KEPT_CALLS, _json(concerned.claims)) if concerned.claims else ()
        return Books(
            now_ms=now_ms,
            catalog_version=self._catalog_version,
            admits_until_ms=self._admits_until_ms,
            repeated=batch.repeated,
            accounts=self._accounts,
            keys=self._keys,
            windows=self._windows,
            calls=self._calls,
            kept={row[:2]: kept_call(row[2:]) for row in kept},
            token_windows=self._token_windows,
            open_calls=self._open_calls,
        )

    def note(self, batch: Batch, decided: Decided) -> None:
        """Keep the calls that a batch has admitted, and no longer those that it was to resolve."""
        for resolution in batch.resolutions:
            self._calls.pop(resolution.facts.call_id, None)
        for admission, admitted in decided.admitted:
            self._calls[admission.facts.call_id] = OpenCall(
                state="held", hold=admitted.hold, charge=ZERO, refunded=ZERO
            )

    def _is_foreign(self) -> bool:
        """Tell whether another connection has written since the last look."""
        before = self._data_version
        (self._data_version,) = self._connection.execute(DATA_VERSION).fetchone()
        return self._data_version != before

    def _is_full(self) -> bool:
        return max(len(self._accounts), len(self._keys), len(self._calls), len(self._windows)) > ROWS_MAX


def _missing(names: Sequence[Name], rows: Mapping[Name, object]) -> list[Name]:
    return [name for name in names if name not in rows]


def _json(names: Sequence[object]) -> tuple[str]:
    return (encode_json(names),)
