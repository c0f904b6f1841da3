"""PostgreSQL: the shared engine, for any number of processes and machines.

Money and limits stay exact because rows are locked where they are decided; nothing else coordinates. Where
the server is away every method raises StorageAway, within seconds also where it is silent, and works again
without a restart once it is back. The time is always the server's.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import perf_counter_ns
from typing import Any, Final

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from tokenopen.core.admission import Stale
from tokenopen.core.call import CallFacts
from tokenopen.core.caller import Caller
from tokenopen.core.catalog import Catalog
from tokenopen.ports.clock import Clock
from tokenopen.ports.storage import (
    AccountsBusy,
    Batch,
    BatchAnswer,
    Lease,
    StorageAway,
    Transaction,
    Versions,
    WorkerView,
)
from tokenopen.storage import directory, worker
from tokenopen.storage.postgresql_connection import (
    CONTROL_SESSION,
    NOW_MS,
    READER_SESSION,
    TILL_SESSION,
    Connection,
    Pool,
    away_errors,
    close,
    commit,
    connect,
    require_durable,
    roll_back,
)
from tokenopen.storage.postgresql_till import find_busy, post_batch
from tokenopen.storage.statement import render
from tokenopen.storage.till_rows import rows_concerned

# Constructed without a driver: it only writes statements down.
_DIALECT: Final = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
_CONNECTIONS_MAX: Final = 8
# A lease is renewed also while those of others are looked at.
_LEASE_CONNECTIONS_MAX: Final = 2
# What a call waits for gives up sooner than what an administrator asks for.
_BATCH_MAX_S: Final = 5
_LOOK_UP_MAX_S: Final = 3
_STATEMENT_MAX_S: Final = 35

# Isolation is named each time: a server may be told to use another one where none is.
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BEGIN_IMPATIENT: Final = f"{_BEGIN}; SET LOCAL lock_timeout = '500ms'"
_BEGIN_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_LOCK: Final = "FOR NO KEY UPDATE"
_SELECT_NOW: Final = f"SELECT {NOW_MS}"
_SELECT_VERSIONS: Final = f"""
    /* directory: versions */
    SELECT {NOW_MS}, (SELECT value FROM versions WHERE name = 'catalog'),
      (SELECT version FROM accounts WHERE id = $1::text)"""  # noqa: S608 NOW_MS is ours


def _storable(value: Any) -> Any:
    """Return a value as the server can take it: its text holds every character but U+0000."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


class _PostgresqlTransaction:
    """A control-plane transaction. ``now_ms`` is read when it begins, and anew after each lock."""

    def __init__(self, connection: Connection, clock: Clock | None, *, statement_max_s: float | None) -> None:
        self._connection = connection
        self._clock = clock
        self._statement_max_s = statement_max_s
        self.now_ms = 0

    async def read_clock(self) -> None:
        """Set the time."""
        if self._clock is not None:
            self.now_ms = self._clock.now_ms()
            return
        with away_errors(self._connection):
            now_ms = await self._connection.fetchval(_SELECT_NOW, timeout=self._statement_max_s)
        self.now_ms = max(self.now_ms, now_ms)

    def _render(self, statement: ClauseElement) -> tuple[str, list[Any]]:
        sql, parameters = render(statement, _DIALECT)
        return sql, [_storable(value) for value in parameters]

    async def fetch_all(self, statement: ClauseElement) -> Sequence[Mapping[str, Any]]:
        sql, parameters = self._render(statement)
        with away_errors(self._connection):
            rows = await self._connection.fetch(sql, *parameters, timeout=self._statement_max_s)
        if sql.endswith(_LOCK):
            # Whoever held the lock may have written something dated later than this transaction's beginning.
            await self.read_clock()
        return [dict(row) for row in rows]

    async def fetch_one(self, statement: ClauseElement) -> Mapping[str, Any] | None:
        rows = await self.fetch_all(statement)
        return rows[0] if rows else None

    async def execute(self, statement: ClauseElement) -> int:
        sql, parameters = self._render(statement)
        with away_errors(self._connection):
            done = await self._connection.execute(sql, *parameters, timeout=self._statement_max_s)
        # "UPDATE 3", "INSERT 0 3".
        return int(done.rsplit(" ", 1)[1])


@asynccontextmanager
async def _snapshot(
    connection: Connection, clock: Clock | None, *, statement_max_s: float | None
) -> AsyncIterator[Transaction]:
    try:
        with away_errors(connection):
            await connection.execute(_BEGIN_SNAPSHOT, timeout=_LOOK_UP_MAX_S)
        tx = _PostgresqlTransaction(connection, clock, statement_max_s=statement_max_s)
        await tx.read_clock()
        yield tx
    finally:
        await roll_back(connection)


@asynccontextmanager
async def read_postgresql(url: str) -> AsyncIterator[Transaction]:
    """A read-only transaction on one snapshot, beside whatever serves the database. Raises StorageAway."""
    connection = await connect(url, READER_SESSION)
    try:
        async with _snapshot(connection, None, statement_max_s=None) as tx:
            if await connection.fetchval("SELECT to_regclass('accounts')") is None:
                raise StorageAway("tokenopen serve has not been started on it yet")
            yield tx
    finally:
        await close(connection)


async def open_postgresql(url: str, *, clock: Clock | None = None) -> "PostgresqlStorage":
    """Connect to a database whose schema is up to date. Raises StorageAway, ServerUnusable.

    Tests that move time give a clock; otherwise the time is the server's.
    """
    storage = PostgresqlStorage(url, clock)
    await storage.connect_till()
    return storage


class PostgresqlStorage:
    """The Storage port on PostgreSQL: one connection for the till, a few for everything else."""

    def __init__(self, url: str, clock: Clock | None) -> None:
        self._url = url
        self._pool = Pool(url, CONTROL_SESSION, connections_max=_CONNECTIONS_MAX)
        # Apart, so that no lease lapses while every other connection is busy.
        self._lease_pool = Pool(url, CONTROL_SESSION, connections_max=_LEASE_CONNECTIONS_MAX)
        self._clock = clock
        self._till: Connection | None = None
        # Who holds it owns the till's connection.
        self._turn = asyncio.Lock()
        # Accounts that were waited for in vain: batches wait less for them until one was locked again.
        self._busy: frozenset[str] = frozenset()

    async def connect_till(self) -> Connection:
        """Return the till's connection, a new one where there is none. Raises StorageAway, ServerUnusable."""
        if self._till is None or self._till.is_closed():
            connection = await connect(self._url, TILL_SESSION)
            try:
                with away_errors(connection):
                    await require_durable(connection)
            except BaseException:
                connection.terminate()
                raise
            self._till = connection
        return self._till

    async def post(self, batch: Batch) -> BatchAnswer:
        async with self._turn:
            connection = await self.connect_till()
            # A server that has fallen silent is given up on; what it was sent has not been committed.
            timer = asyncio.get_running_loop().call_later(_BATCH_MAX_S, connection.terminate)
            try:
                with away_errors(connection):
                    answer, written = await self._decide(connection, batch)
            except asyncio.CancelledError:
                connection.terminate()
                raise
            except BaseException:
                await roll_back(connection)
                raise
            finally:
                timer.cancel()
            if not written:
                await roll_back(connection)
                return answer
            begun_ns = perf_counter_ns()
            await commit(connection)
            return answer.changed(commit_us=(perf_counter_ns() - begun_ns) // 1000)

    async def _decide(self, connection: Connection, batch: Batch) -> tuple[BatchAnswer, bool]:
        account_ids = rows_concerned(batch).accounts
        await connection.execute(_BEGIN if self._busy.isdisjoint(account_ids) else _BEGIN_IMPATIENT)
        try:
            decided = await post_batch(connection, batch, self._clock)
        except asyncpg.LockNotAvailableError:
            await connection.execute("ROLLBACK")
            busy = await find_busy(connection, account_ids)
            self._busy |= busy
            if busy:
                raise AccountsBusy(busy) from None
            raise
        if self._busy:
            self._busy = self._busy.difference(account_ids)
        return decided

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        return self._write(self._pool, statement_max_s=_STATEMENT_MAX_S)

    @asynccontextmanager
    async def _write(self, pool: Pool, *, statement_max_s: float) -> AsyncIterator[Transaction]:
        async with pool.connection() as connection:
            try:
                with away_errors(connection):
                    await connection.execute(_BEGIN, timeout=_LOOK_UP_MAX_S)
                tx = _PostgresqlTransaction(connection, self._clock, statement_max_s=statement_max_s)
                await tx.read_clock()
                yield tx
            except BaseException:
                await roll_back(connection)
                raise
            await commit(connection)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with (
            self._pool.connection() as connection,
            _snapshot(connection, self._clock, statement_max_s=_STATEMENT_MAX_S) as tx,
        ):
            yield tx

    async def load_catalog(self) -> Catalog:
        async with (
            self._pool.connection() as connection,
            _snapshot(connection, self._clock, statement_max_s=_LOOK_UP_MAX_S) as tx,
        ):
            return await directory.load_catalog(tx)

    async def find_caller(self, key_hash: bytes, catalog: Catalog) -> Caller | Stale | None:
        async with self._pool.connection() as connection:
            # No snapshot, which would cost three round trips: the account's version is read first, so what
            # is read after it can only be newer, and the till compares the version.
            tx = _PostgresqlTransaction(connection, self._clock, statement_max_s=_LOOK_UP_MAX_S)
            return await directory.find_caller(tx, key_hash, catalog)

    async def find_versions(self, account_id: str | None) -> Versions:
        async with self._pool.connection() as connection:
            with away_errors(connection):
                now_ms, catalog, account = await connection.fetchrow(
                    _SELECT_VERSIONS, account_id, timeout=_LOOK_UP_MAX_S
                )
        assert catalog is not None, "the database has no catalog version: it has not been set up"
        if self._clock is not None:
            now_ms = self._clock.now_ms()
        return Versions(now_ms=now_ms, catalog=catalog, account=account)

    async def register_worker(self, worker_id: str, *, machine: str, lease_ms: int) -> None:
        async with self._lease_transaction() as tx:
            await worker.register_worker(tx, worker_id, machine=machine, lease_ms=lease_ms)

    async def renew_lease(self, worker_id: str, *, lease_ms: int) -> Lease:
        async with self._lease_transaction() as tx:
            return await worker.renew_lease(tx, worker_id, lease_ms=lease_ms)

    async def retire_worker(self, worker_id: str) -> bool:
        async with self._lease_transaction() as tx:
            return await worker.retire_worker(tx, worker_id)

    async def list_workers(self) -> Sequence[WorkerView]:
        async with self._lease_transaction() as tx:
            return await worker.list_workers(tx)

    async def take_lease(self, worker_id: str, *, only_lapsed: bool) -> bool:
        async with self._lease_transaction() as tx:
            return await worker.take_lease(tx, worker_id, only_lapsed=only_lapsed)

    async def list_orphans(self, *, limit: int) -> Sequence[CallFacts]:
        async with self._lease_transaction() as tx:
            return await worker.list_orphans(tx, limit=limit)

    def _lease_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._write(self._lease_pool, statement_max_s=_LOOK_UP_MAX_S)

    async def close(self) -> None:
        async with self._turn:
            if self._till is not None:
                await close(self._till)
            await self._lease_pool.close()
            await self._pool.close()
