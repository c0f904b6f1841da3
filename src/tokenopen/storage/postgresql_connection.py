"""Connections to PostgreSQL: how a session is set, what its failures mean, and how it commits.

A session never waits for ever: locks, statements and idle transactions end on the server, a silent server
is given up on by the client, and a network that swallows packets is noticed by both. Sessions carry state,
so a pooler in between has to be in session mode.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from tokenopen.ports.storage import OutcomeUnknown, StorageAway

CONNECT_MAX_S: Final = 3
COMMIT_MAX_S: Final = 10
ROLL_BACK_MAX_S: Final = 2
CLOSE_MAX_S: Final = 1
# The server's clock is the only one: workers on several machines decide by the same time.
NOW_MS: Final = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

_SILENT_S: Final = 10
_PROBE_S: Final = 5
_PROBES: Final = 3
_UNACKNOWLEDGED_MS: Final = 20_000

# Compiling a statement just in time costs some 25 ms, many times what a batch takes.
_SESSION: Final = {
    "jit": "off",
    "tcp_keepalives_idle": str(_SILENT_S),
    "tcp_keepalives_interval": str(_PROBE_S),
    "tcp_keepalives_count": str(_PROBES),
    "tcp_user_timeout": str(_UNACKNOWLEDGED_MS),
}
# A worker that freezes in a transaction loses it, and with it its locks, within two seconds. Every plan is
# by index, whatever the statistics of a table that has just been filled say, and made once.
TILL_SESSION: Final = {
    **_SESSION,
    "application_name": "tokenopen till",
    "lock_timeout": "2000",
    "statement_timeout": "5000",
    "idle_in_transaction_session_timeout": "2000",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
CONTROL_SESSION: Final = {
    **_SESSION,
    "application_name": "tokenopen",
    "lock_timeout": "5000",
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "15000",
}
# An audit reads for as long as it takes. A start waits while another process starts.
READER_SESSION: Final = {**_SESSION, "application_name": "tokenopen reader"}
START_SESSION: Final = {**_SESSION, "application_name": "tokenopen start", "lock_timeout": "60000"}

# What happens to the server, the way to it or the rows' locks, by SQLSTATE; any other error is a bug of
# ours. Classes: connection, login, resources, operator, system. Codes: standby, timeouts in a transaction,
# serialization, deadlock, lock timeout, no such database, damaged data.
_AWAY_CLASSES: Final = frozenset({"08", "28", "53", "57", "58"})
_AWAY_CODES: Final = frozenset(
    {"25006", "25P03", "25P04", "40001", "40P01", "55P03", "3D000", "XX001", "XX002"}
)
# The driver's own: a lost connection, or one that it has lost track of since the server ended it.
_DRIVER_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_FAILURES: Final = (asyncpg.PostgresError, *_DRIVER_ERRORS)
# Waiting for a standby inside COMMIT must not be cut short: the server would then report success.
_COMMIT: Final = "SET LOCAL statement_timeout = 0; COMMIT"


class ServerUnusable(StorageAway):
    """The server's settings would break a promise; the text says what to do."""


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A session whose socket notices a dead peer."""

    __slots__ = ()

    def __init__(self, protocol: Any, transport: asyncio.Transport, *arguments: Any) -> None:
        super().__init__(protocol, transport, *arguments)
        _keep_alive(transport)


def _keep_alive(transport: asyncio.Transport) -> None:
    peer = transport.get_extra_info("socket")
    if peer is None or peer.family not in (socket.AF_INET, socket.AF_INET6):
        return
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)


async def connect(url: str, session: Mapping[str, str]) -> Connection:
    """Open a connection; of several hosts in the URL it is the one that takes writes. Raises StorageAway."""
    try:
        with away_errors():
            connection: Connection = await asyncpg.connect(
                url,
                connection_class=Connection,
                server_settings=dict(session),
                timeout=CONNECT_MAX_S,
                target_session_attrs="any" if session is READER_SESSION else "read-write",
                # Statements stay prepared for the life of a connection.
                max_cached_statement_lifetime=0,
            )
    except asyncpg.PostgresError as error:
        # Whatever the server has against this session, there is none.
        raise StorageAway(describe(error)) from error
    except ValueError:
        # Its text may hold a part of the password.
        raise StorageAway("its URL cannot be read; in a password @ is written %40, / %2F and : %3A") from None
    with away_errors(connection):
        # Sums of integers, which the server calls numeric, are read as the integers that they are.
        await connection.set_type_codec(
            "numeric", schema="pg_catalog", encoder=str, decoder=int, format="text"
        )
    return connection


class Pool:
    """Connections for one transaction each, at most so many; who finds none free waits for one."""

    def __init__(self, url: str, session: Mapping[str, str], *, connections_max: int) -> None:
        self._url = url
        self._session = session
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(connections_max)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. Raises StorageAway, also where none becomes free in time."""
        with away_errors():
            await asyncio.wait_for(self._free.acquire(), CONNECT_MAX_S)
        try:
            connection = self._find() or await connect(self._url, self._session)
            try:
                yield connection
            except asyncio.CancelledError:
                # In the middle of a statement, maybe.
                connection.terminate()
                raise
            finally:
                if not connection.is_closed() and connection.is_in_transaction():
                    connection.terminate()
                if connection.is_closed():
                    self._forget_idle()
                else:
                    self._idle.append(connection)
        finally:
            self._free.release()

    def _forget_idle(self) -> None:
        """What has ended one connection may have ended the others too, in silence."""
        while self._idle:
            self._idle.pop().terminate()

    def _find(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def close(self) -> None:
        """Close what is idle."""
        for connection in self._idle:
            await close(connection)


async def require_durable(connection: Connection) -> bool:
    """Raise ServerUnusable where a commit could be lost or text mangled.

    Tell whether commits would also survive a crash of the server's machine.
    """
    commits, encoding, syncs = await connection.fetchrow(
        "SELECT current_setting('synchronous_commit'), current_setting('server_encoding'),"
        " current_setting('fsync')"
    )
    if commits not in ("on", "remote_apply"):
        raise ServerUnusable(
            f"synchronous_commit is {commits} on this server: a charge could be lost after it was answered. "
            "Set it to on for TokenOpen's user: ALTER ROLE ... SET synchronous_commit = on"
        )
    if encoding != "UTF8":
        raise ServerUnusable(
            f"The database's encoding is {encoding}. Create it anew: CREATE DATABASE ... ENCODING 'UTF8' "
            "TEMPLATE template0"
        )
    return bool(syncs == "on")


def _is_away(error: Exception, connection: Connection | None) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        # A migration by a newer process outdates prepared statements; they are prepared anew at the next try.
        outdated = isinstance(error, asyncpg.InvalidCachedStatementError)
        return outdated or code[:2] in _AWAY_CLASSES or code in _AWAY_CODES
    # Between a statement's messages the driver reaches for a protocol that a lost connection has no more.
    lost = isinstance(error, AttributeError) and connection is not None and connection.is_closed()
    return lost or isinstance(error, _DRIVER_ERRORS)


@contextmanager
def away_errors(connection: Connection | None = None) -> Iterator[None]:
    """Turn what happens to the server or the way to it into StorageAway; bugs pass as they are."""
    try:
        yield
    except Exception as error:
        if not _is_away(error, connection):
            raise
        if connection is not None and isinstance(error, _DRIVER_ERRORS):
            connection.terminate()
        raise StorageAway(describe(error)) from error


def describe(error: Exception) -> str:
    """Return an error for operators, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


async def commit(connection: Connection) -> None:
    """Commit. Raises OutcomeUnknown, with the connection closed."""
    # Closed, not cancelled: a request to cancel could make the server report what no standby has.
    timer = asyncio.get_running_loop().call_later(COMMIT_MAX_S, connection.terminate)
    try:
        done = await connection.execute(_COMMIT)
    except _FAILURES as error:
        connection.terminate()
        raise OutcomeUnknown(describe(error)) from error
    except asyncio.CancelledError:
        connection.terminate()
        raise
    finally:
        timer.cancel()
    assert done == "COMMIT", f"the transaction had failed before: {done}"


async def close(connection: Connection) -> None:
    """Close a connection, politely where the server listens."""
    try:
        await connection.close(timeout=CLOSE_MAX_S)
    except _FAILURES:
        connection.terminate()


async def roll_back(connection: Connection) -> None:
    """Leave no transaction open; a connection on which that cannot be done is closed."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK", timeout=ROLL_BACK_MAX_S)
    except _FAILURES:
        connection.terminate()
