"""Sessions on PostgreSQL: how they are set, what they refuse to run on, and whose time it is."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from sqlalchemy import func, insert, select, text, update

from tests.engines import PostgresqlServer, opened_postgresql
from tests.storage.conftest import CLOCK_AHEAD_MS, Workers
from tests.storage.cutting_proxy import CuttingProxy
from tokenopen.ports.storage import StorageAway
from tokenopen.storage import schema
from tokenopen.storage.postgresql import PostgresqlStorage, read_postgresql
from tokenopen.storage.postgresql_connection import (
    CONTROL_SESSION,
    TILL_SESSION,
    Connection,
    ServerUnusable,
    away_errors,
    connect,
    require_durable,
)
from tokenopen.storage.postgresql_start import starting_postgresql
from tokenopen.storage.user import find_user
from tokenopen.storage.version import bump_catalog_version, lock_catalog

pytestmark = pytest.mark.slow


@pytest.fixture
async def storage(postgresql_url: str) -> AsyncIterator[PostgresqlStorage]:
    async with opened_postgresql(postgresql_url) as storage:
        yield storage


@pytest.fixture
async def bare_url(postgresql_server: PostgresqlServer) -> AsyncIterator[str]:
    """A database without any table."""
    name = f"{postgresql_server.template}_bare"
    await postgresql_server.run(f"CREATE DATABASE {name}")
    yield postgresql_server.url_of(name)
    await postgresql_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("session", [TILL_SESSION, CONTROL_SESSION])
async def test_a_session_is_set_as_it_should_be_whatever_the_server_s_defaults(
    postgresql_url: str, session: dict[str, str]
) -> None:
    connection = await connect(postgresql_url, session)
    for name, value in session.items():
        unit = await connection.fetchval("SELECT unit FROM pg_settings WHERE name = $1", name)
        shown = await connection.fetchval("SELECT setting FROM pg_settings WHERE name = $1", name)
        # A socket in the file system has no packets that could be lost, so the server shows 0 for them.
        if not name.startswith("tcp_") or shown != "0":
            assert shown == value, f"{name} in {unit}"
    await connection.close()


async def test_a_connection_over_a_network_notices_a_dead_peer(postgresql_url: str) -> None:
    async with CuttingProxy(postgresql_url).listening() as proxy:
        connection = await connect(proxy.url, TILL_SESSION)
        peer = connection._transport.get_extra_info("socket")
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert 0 < peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 30_000
        await connection.close()


async def test_a_server_that_forgets_commits_is_refused_with_what_to_do(
    postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    name = urlsplit(postgresql_url).path.removeprefix("/")
    await postgresql_server.run(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(ServerUnusable, match="ALTER ROLE"):
        async with starting_postgresql(postgresql_url):
            pass
    with pytest.raises(ServerUnusable, match="synchronous_commit is off"):
        async with opened_postgresql(postgresql_url):
            pass


async def test_a_database_that_cannot_hold_every_character_is_refused(
    postgresql_server: PostgresqlServer,
) -> None:
    name = f"{postgresql_server.template}_latin"
    await postgresql_server.run(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    connection = await connect(postgresql_server.url_of(name), TILL_SESSION)
    with pytest.raises(ServerUnusable, match="encoding is LATIN1"):
        await require_durable(connection)
    await connection.close()
    await postgresql_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://nobody:secret@127.0.0.1:1/none", "ConnectionRefused"),
        ("postgresql://nobody:se/secret@127.0.0.1/none", "in a password @ is written %40"),
        ("postgresql://nobody:secret@no-such-host.invalid/none", "gaierror"),
    ],
)
async def test_a_database_that_cannot_be_reached_is_away_and_no_secret_is_told(url: str, says: str) -> None:
    with pytest.raises(StorageAway, match=says) as away:
        await connect(url, TILL_SESSION)
    assert "secret" not in str(away.value)


async def test_the_time_is_the_server_s_wherever_it_is_asked(workers: Workers) -> None:
    """The workers' own clock is a minute ahead."""
    storage = workers.storages[0]
    async with storage.read() as tx:
        read_ms = tx.now_ms
    async with storage.write() as tx:
        written_ms = tx.now_ms
    versions = await storage.find_versions(workers.calls.user.account_id)
    admission = await workers.calls.admit()
    assert admission.facts.call_id > "call_"
    admitted_ms = await workers.ask_server("SELECT admitted_at_ms FROM calls")
    assert isinstance(admitted_ms, int)
    assert read_ms <= written_ms <= versions.now_ms <= admitted_ms < workers.calls.clock.now_ms()
    assert workers.calls.clock.now_ms() - admitted_ms < CLOCK_AHEAD_MS


async def test_the_time_is_read_anew_after_a_lock_was_waited_for(workers: Workers) -> None:
    """What the one before wrote last must not seem to lie in the future of the one after."""
    order: list[tuple[str, int]] = []

    async def change_too() -> None:
        async with workers.storages[1].write() as tx:
            began_ms = tx.now_ms
            await lock_catalog(tx)
            order.append(("second began", began_ms))
            order.append(("second", tx.now_ms))

    async with workers.storages[0].write() as tx:
        await lock_catalog(tx)
        changing = asyncio.create_task(change_too())
        await workers.until_waiting()
        now_ms = await workers.ask_server(
            "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
        )
        assert isinstance(now_ms, int)
        order.append(("first", now_ms))
        await bump_catalog_version(tx)
    await changing
    times = dict(order)
    assert times["second began"] <= times["first"] <= times["second"]


async def test_a_character_that_the_server_has_not_is_stored_as_the_one_for_none(
    storage: PostgresqlStorage,
) -> None:
    async with storage.write() as tx:
        await tx.execute(
            insert(schema.users).values(
                id="usr_1", email="a@b", name="a\0b", role="user", state="active", created_at_ms=1
            )
        )
    async with storage.read() as tx:
        assert await find_user(tx, "usr_1\0") is None
        row = await tx.fetch_one(select(schema.users))
    assert row is not None
    assert row["name"] == "a\ufffdb"


async def test_sums_of_integers_are_integers(storage: PostgresqlStorage) -> None:
    async with storage.write() as tx:
        for name in ("a", "b"):
            await tx.execute(insert(schema.versions).values(name=name, value=2**62))
        row = await tx.fetch_one(select(func.sum(schema.versions.c.value).label("sum")))
    assert row is not None
    assert (type(row["sum"]), row["sum"]) == (int, 2**63)


async def test_text_is_ordered_by_its_bytes_whatever_the_database_s_language(
    storage: PostgresqlStorage,
) -> None:
    async with storage.write() as tx:
        for name in ("b", "A", "a-b", "ab", "B"):
            await tx.execute(insert(schema.versions).values(name=name, value=1))
        rows = await tx.fetch_all(select(schema.versions.c.name).order_by(schema.versions.c.name))
    assert [row["name"] for row in rows] == ["A", "B", "a-b", "ab", "b"]


async def test_a_change_that_is_given_up_in_the_middle_leaves_nothing(storage: PostgresqlStorage) -> None:
    async def change() -> None:
        async with storage.write() as tx:
            await tx.execute(insert(schema.versions).values(name="given up", value=1))
            await tx.execute(text("SELECT pg_sleep(60)"))

    changing = asyncio.create_task(change())
    await asyncio.sleep(0.2)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    async with storage.write() as tx:
        assert await tx.fetch_all(select(schema.versions)) == []
        assert await tx.execute(update(schema.versions).values(value=2)) == 0


async def test_at_most_eight_changes_run_at_once_and_the_others_take_their_turn(
    storage: PostgresqlStorage,
) -> None:
    running = most = 0

    async def change() -> None:
        nonlocal running, most
        async with storage.write() as tx:
            running += 1
            most = max(most, running)
            await tx.execute(text("SELECT pg_sleep(0.01)"))
            running -= 1

    await asyncio.gather(*(change() for _ in range(30)))
    assert most == 8


async def test_of_processes_that_start_at_once_one_waits_for_the_other(bare_url: str) -> None:
    running = 0

    async def start() -> None:
        nonlocal running
        async with starting_postgresql(bare_url):
            running += 1
            assert running == 1
            await asyncio.sleep(0.1)
            running -= 1

    await asyncio.gather(start(), start(), start())
    async with opened_postgresql(bare_url) as storage, storage.read() as tx:
        assert await tx.fetch_all(select(schema.users)) == []


async def test_a_user_who_may_create_no_table_is_told_so_in_one_line(
    postgresql_server: PostgresqlServer, bare_url: str
) -> None:
    role = f"{postgresql_server.template}_poor"
    await postgresql_server.run(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
    parts = urlsplit(bare_url)
    netloc = f"{role}:poor@{parts.netloc.rpartition('@')[2]}"
    poor_url = urlunsplit(parts._replace(netloc=netloc))
    try:
        with pytest.raises(StorageAway, match="permission denied for schema public") as away:
            async with starting_postgresql(poor_url):
                pass
    finally:
        await postgresql_server.run(f"DROP ROLE {role}")
    assert len(str(away.value).splitlines()) == 1


async def test_a_database_that_was_never_started_on_cannot_be_audited(bare_url: str) -> None:
    with pytest.raises(StorageAway, match="tokenopen serve has not been started"):
        async with read_postgresql(bare_url):
            pass


async def test_a_bug_is_no_outage(storage: PostgresqlStorage) -> None:
    async def twice() -> None:
        async with storage.write() as tx:
            for _ in range(2):
                await tx.execute(insert(schema.versions).values(name="same", value=1))

    with pytest.raises(asyncpg.UniqueViolationError):
        await twice()
    with pytest.raises(asyncpg.DataError):
        async with storage.read() as tx:
            await tx.fetch_all(select(schema.versions).where(schema.versions.c.value == 2**70))


async def test_a_connection_lost_between_the_messages_of_a_statement_is_an_outage_and_no_bug(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver prepares a statement, then reaches for a protocol that is no longer there."""
    connection = await connect(postgresql_url, TILL_SESSION)
    prepare = Connection._get_statement

    async def prepare_and_be_lost(lost: Connection, *arguments: Any, **options: Any) -> Any:
        statement = await prepare(lost, *arguments, **options)
        lost.terminate()
        return statement

    monkeypatch.setattr(Connection, "_get_statement", prepare_and_be_lost)
    with pytest.raises(StorageAway, match="AttributeError"), away_errors(connection):
        await connection.fetch("SELECT 1")


async def test_a_mistake_of_ours_is_no_outage(postgresql_url: str) -> None:
    connection = await connect(postgresql_url, TILL_SESSION)
    with pytest.raises(AttributeError), away_errors(connection):
        raise AttributeError("a bug")
    await connection.close()
