"""SQLite: the embedded engine. One process, one connection that writes and checkpoints.

The data directory is locked for the life of the process. Where the disk is full or the file cannot be
written every method raises StorageAway, and works again without a restart once it can be. Readers open
the file read-only; SQLite before 3.51.3 can corrupt a WAL that two connections write at once.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

from sqlalchemy import ClauseElement, FromClause
from sqlalchemy.dialects import sqlite as sqlite_dialects
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler

from tokenopen.core.admission import Stale
from tokenopen.core.call import CallFacts
from tokenopen.core.caller import Caller
from tokenopen.core.catalog import Catalog
from tokenopen.ports.clock import Clock
from tokenopen.ports.storage import (
    Batch,
    BatchAnswer,
    Lease,
    OutcomeUnknown,
    StorageAway,
    Transaction,
    Versions,
    WorkerView,
)
from tokenopen.storage import directory, worker
from tokenopen.storage.sqlite_books import SqliteBooks
from tokenopen.storage.sqlite_till import post_batch
from tokenopen.storage.statement import render

DATABASE_FILE: Final = "tokenopen.sqlite3"
LOCK_FILE: Final = "tokenopen.lock"


class _Compiler(SQLiteCompiler):
    """Writes what a statement says to SQLite of a table, such as INDEXED BY, behind the table's name."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        return text


DIALECT: Final = sqlite_dialects.dialect(paramstyle="qmark")
DIALECT.statement_compiler = _Compiler
_READERS_MAX: Final = 4


# What the machine does to the file (sqlite.org/rescode.html); any other error is a bug of ours.
_AWAY_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


class DataDirectoryUnusable(Exception):
    """The data directory is locked by another process or cannot be written; the text says what to do."""


def lock_data_directory(data_dir: Path) -> int:
    """Create the directory where needed, lock it for this process, and return the lock's descriptor.

    Raises DataDirectoryUnusable. The lock goes with the process, however that ends.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataDirectoryUnusable(
            f"The data directory {data_dir} cannot be written ({error.strerror}). "
            "Give this user the right to it, or set TOKENOPEN_DATA_DIR to another directory."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataDirectoryUnusable(
            f"The data directory {data_dir} is in use by another TokenOpen. Stop that one, "
            "set TOKENOPEN_DATA_DIR to another directory, or use PostgreSQL for more than one process."
        ) from error
    return descriptor


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Return a connection in autocommit mode; a read-only one can change nothing."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA busy_timeout = 5000")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
        # A list whose filter no index carries reads rows all over the file: for 30,000 of a million calls
        # SQLite read 292 MB with its own 2 MB, 80 MB with these.
        connection.execute("PRAGMA cache_size = -16384")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        # Calls write at the ends of their accounts' rows; what is older the system's own cache holds as well,
        # a few microseconds away. With 300 accounts at once 16 MB made no call measurably cheaper.
        connection.execute("PRAGMA cache_size = -4096")
    return connection


@contextmanager
def _away_errors() -> Iterator[None]:
    """Turn what the machine does to the file into StorageAway; bugs pass as they are."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _AWAY_CODES:
            raise StorageAway(str(error)) from error
        raise


class _SqliteTransaction:
    """A control-plane transaction. Reads of a pooled connection run in a thread, writes on the loop."""

    def __init__(
        self, connection: sqlite3.Connection, now_ms: int, executor: ThreadPoolExecutor | None
    ) -> None:
        self._connection = connection
        self._executor = executor
        self.now_ms = now_ms

    def _run(self, statement: ClauseElement) -> sqlite3.Cursor:
        sql, parameters = render(statement, DIALECT)
        return self._connection.execute(sql, parameters)

    def _fetch(self, statement: ClauseElement) -> list[dict[str, Any]]:
        cursor = self._run(statement)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    async def fetch_all(self, statement: ClauseElement) -> Sequence[Mapping[str, Any]]:
        if self._executor is None:
            return self._fetch(statement)
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._fetch, statement)

    async def fetch_one(self, statement: ClauseElement) -> Mapping[str, Any] | None:
        rows = await self.fetch_all(statement)
        return rows[0] if rows else None

    async def execute(self, statement: ClauseElement) -> int:
        return self._run(statement).rowcount


class SqliteReader:
    """Read-only transactions on a database file, beside whatever process writes it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._threads = ThreadPoolExecutor(_READERS_MAX, thread_name_prefix="read")
        self._idle: list[sqlite3.Connection] = []
        self._places = asyncio.Semaphore(_READERS_MAX)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A read-only transaction on one snapshot, when its turn has come. Raises StorageAway."""
        async with self._places:
            with _away_errors():
                connection = self._idle.pop() if self._idle else connect(self._path, read_only=True)
                connection.execute("BEGIN")
            try:
                with _away_errors():
                    yield _SqliteTransaction(connection, self._clock.now_ms(), self._threads)
            finally:
                connection.execute("ROLLBACK")
                # Else what a long list has read stays in memory, with each reader its own.
                connection.execute("PRAGMA shrink_memory")
                self._idle.append(connection)

    def close(self) -> None:
        """Close every connection."""
        self._threads.shutdown()
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class SqliteStorage:
    """The Storage port on SQLite. Open it after the schema has been brought up to date."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._writer = connect(path, read_only=False)
        # To be dropped whenever the file may hold something else.
        self._books = SqliteBooks(self._writer)
        # Who holds it owns the writing connection: one batch or one control-plane transaction at a time.
        self._turn = asyncio.Lock()
        # COMMIT waits for the disk; on a thread of its own it keeps the loop free meanwhile.
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._reader = SqliteReader(path, clock)
        self._directory_reader = connect(path, read_only=True)
        # Every worker that this process has been.
        self._worker_ids: list[str] = []

    async def post(self, batch: Batch) -> BatchAnswer:
        async with self._turn:
            try:
                with _away_errors():
                    self._writer.execute("BEGIN")
                    now_ms = self._clock.now_ms()
                    answer, written = post_batch(self._writer, self._books, batch, now_ms=now_ms)
                if not written:
                    self._roll_back()
                    return answer
                begun_ns = perf_counter_ns()
                await self._commit()
            except BaseException:
                self._books.drop()
                self._roll_back()
                raise
            return answer.changed(commit_us=(perf_counter_ns() - begun_ns) // 1000)

    async def _commit(self) -> None:
        commit = asyncio.get_running_loop().run_in_executor(self._committer, self._writer.execute, "COMMIT")
        try:
            # Shielded: a caller that gives up must not let the next transaction begin inside this one.
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            await asyncio.wait([commit])
            raise
        except sqlite3.Error as error:
            # Where the transaction is still open, nothing of it was committed.
            known = self._writer.in_transaction
            self._roll_back()
            raise (StorageAway if known else OutcomeUnknown)(str(error)) from error

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        async with self._turn:
            self._books.drop()
            try:
                with _away_errors():
                    self._writer.execute("BEGIN IMMEDIATE")
                    yield _SqliteTransaction(self._writer, self._clock.now_ms(), None)
            except BaseException:
                self._roll_back()
                raise
            await self._commit()

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        return self._reader.read()

    @asynccontextmanager
    async def _look_up(self) -> AsyncIterator[Transaction]:
        """A snapshot on the loop's own thread, for the few rows that a call is resolved with.

        Nothing inside waits, so one connection serves all: no two look-ups are ever under way at once.
        """
        connection = self._directory_reader
        try:
            with _away_errors():
                connection.execute("BEGIN")
                yield _SqliteTransaction(connection, self._clock.now_ms(), None)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    async def load_catalog(self) -> Catalog:
        async with self._look_up() as tx:
            return await directory.load_catalog(tx)

    async def find_caller(self, key_hash: bytes, catalog: Catalog) -> Caller | Stale | None:
        async with self._look_up() as tx:
            return await directory.find_caller(tx, key_hash, catalog)

    async def find_versions(self, account_id: str | None) -> Versions:
        async with self._look_up() as tx:
            return await directory.find_versions(tx, account_id)

    async def register_worker(self, worker_id: str, *, machine: str, lease_ms: int) -> None:
        async with self.write() as tx:
            # The data directory is this process's alone, so no other worker can be alive.
            await worker.forget_other_workers(tx, self._worker_ids)
            await worker.register_worker(tx, worker_id, machine=machine, lease_ms=lease_ms)
        self._worker_ids.append(worker_id)

    async def renew_lease(self, worker_id: str, *, lease_ms: int) -> Lease:
        async with self.write() as tx:
            return await worker.renew_lease(tx, worker_id, lease_ms=lease_ms)

    async def retire_worker(self, worker_id: str) -> bool:
        async with self.write() as tx:
            return await worker.retire_worker(tx, worker_id)

    async def list_workers(self) -> Sequence[WorkerView]:
        async with self.read() as tx:
            return await worker.list_workers(tx)

    async def take_lease(self, worker_id: str, *, only_lapsed: bool) -> bool:
        async with self.write() as tx:
            return await worker.take_lease(tx, worker_id, only_lapsed=only_lapsed)

    async def list_orphans(self, *, limit: int) -> Sequence[CallFacts]:
        async with self.read() as tx:
            return await worker.list_orphans(tx, limit=limit)

    async def close(self) -> None:
        async with self._turn:
            self._committer.shutdown()
            self._reader.close()
            self._directory_reader.close()
            self._writer.close()
