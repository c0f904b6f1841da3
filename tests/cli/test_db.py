"""``tokenopen db``: an embedded installation moves to PostgreSQL and back, whole, its books sound."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
import pytest

from tests.e2e.conftest import SECRET_KEY
from tests.e2e.running import Platform, Server, run_command
from tests.engines import PostgresqlServer
from tests.till_calls import TillCalls, start_calls
from tokenopen.bootstrap.database import DatabaseError, copy_database, upgrade_database
from tokenopen.control.actor import Actor
from tokenopen.settings import Settings, child_environment
from tokenopen.simulator.process import SimulatorProcess
from tokenopen.storage import row_copy
from tokenopen.storage.migrate import newest_revision
from tokenopen.storage.schema import metadata
from tokenopen.storage.sqlite import DATABASE_FILE, SqliteStorage

pytestmark = pytest.mark.slow


@pytest.fixture
def bare_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    with postgresql_server.bare_database() as url:
        yield url


def tokenopen(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_command(arguments, child_environment(environment))


def rows_of_file(path: Path) -> Mapping[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    try:
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for name in metadata.tables
        }
    finally:
        connection.close()


async def _tables(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    await connection.close()
    return [row["relname"] for row in rows]


def test_an_embedded_installation_moves_to_postgresql_and_serves_on_with_its_keys(
    tmp_path: Path, bare_url: str
) -> None:
    data = tmp_path / "data"
    with SimulatorProcess() as simulator:
        with Server(data, environment={"TOKENOPEN_SECRET_KEY": SECRET_KEY}) as server:
            platform = Platform(server, simulator)
            platform.add_upstream(["gpt-4o-mini"])
            user = platform.add_user()
            key = platform.add_key(user)
            call = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
            assert platform.admin.post(
                "/v1/chat/completions", json=call, headers={"Authorization": f"Bearer {key}"}
            ).is_success
            balance = platform.ask("GET", f"/api/admin/users/{user}")["balance"]
            assert "in use by another TokenOpen" in asyncio.run(_copy(f"sqlite:{data}", bare_url))
            assert asyncio.run(_tables(bare_url)) == []
            server.stop()
        copied = tokenopen("db", "copy", "--from", f"sqlite:{data}", "--to", bare_url)
        assert copied.returncode == 0, copied.stdout + copied.stderr
        assert "rows, as many on both sides" in copied.stdout
        assert "audit of the copy: 0 drift" in copied.stdout
        assert "TOKENOPEN_SECRET_KEY" in copied.stdout
        assert "The target is not empty" in asyncio.run(_copy(f"sqlite:{data}", bare_url))

        environment = {"TOKENOPEN_DATABASE_URL": bare_url, "TOKENOPEN_SECRET_KEY": SECRET_KEY}
        with Server(tmp_path / "moved", environment=environment) as server:
            platform = Platform(server, simulator)
            assert platform.ask("GET", f"/api/admin/users/{user}")["balance"] == balance
            assert platform.admin.post(
                "/v1/chat/completions", json=call, headers={"Authorization": f"Bearer {key}"}
            ).is_success
            assert "Stop them first" in asyncio.run(_copy(bare_url, f"sqlite:{tmp_path / 'back'}"))
            assert not (tmp_path / "back" / DATABASE_FILE).exists()


@pytest.fixture
async def till(storage: SqliteStorage, clock: object, administrator: Actor, user: Actor) -> TillCalls:
    return await start_calls(storage, clock, administrator, user)  # type: ignore[arg-type]


async def test_every_row_comes_back_as_it_was(
    till: TillCalls, database_directory: Path, bare_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There and back again, in pages of three rows."""
    for module in ("sqlite_copy", "postgresql_copy"):
        monkeypatch.setattr(f"tokenopen.storage.{module}.ROWS_A_PAGE", 3)
    for number in range(8):
        await till.call(input=number + 1, output=5)
    await till.admit()
    await till.storage.close()
    with contextlib.closing(sqlite3.connect(database_directory / DATABASE_FILE)) as file, file:
        file.execute("UPDATE workers SET lease_until_ms = 1")
    counted: list[int] = []
    pages: list[int] = []
    there = await copy_database(
        f"sqlite:{database_directory}", bare_url, on_counted=counted.append, on_copied=pages.append
    )
    assert there.audit.drift_count == 0
    assert counted == [sum(pages)] == [sum(there.rows.values())]
    assert max(pages) == 3
    await copy_database(
        bare_url, f"sqlite:{database_directory / 'back'}", on_counted=counted.append, on_copied=pages.append
    )
    assert rows_of_file(database_directory / "back" / DATABASE_FILE) == rows_of_file(
        database_directory / DATABASE_FILE
    )


async def _copy(source: str, target: str) -> str:
    with pytest.raises(DatabaseError) as refused:
        await copy_database(source, target, on_counted=lambda _: None, on_copied=lambda _: None)
    return str(refused.value)


async def test_a_database_that_is_not_sound_or_not_ours_is_refused_untouched(
    till: TillCalls, database_directory: Path, bare_url: str
) -> None:
    await till.call()
    await till.storage.close()
    source = f"sqlite:{database_directory}"
    connection = await asyncpg.connect(bare_url)
    await connection.execute("CREATE TABLE users (id text)")
    assert "not TokenOpen's (users)" in await _copy(source, bare_url)
    await connection.execute("DROP TABLE users")
    await connection.close()

    broken = database_directory / "broken"
    broken.mkdir()
    shutil.copy(database_directory / DATABASE_FILE, broken)
    with contextlib.closing(sqlite3.connect(broken / DATABASE_FILE)) as file, file:
        file.execute("UPDATE accounts SET balance = balance + 1 WHERE entry_count > 0")
    assert "finds 1 rows that break an invariant" in await _copy(f"sqlite:{broken}", bare_url)
    assert "There is no database" in await _copy(f"sqlite:{database_directory / 'none'}", bare_url)
    assert "or the other way round" in await _copy(source, source)
    assert "is named sqlite:PATH or" in await _copy(source, "mysql://x")
    assert await _tables(bare_url) == []


async def test_rows_that_do_not_arrive_leave_the_target_empty(
    till: TillCalls, database_directory: Path, bare_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await till.call()
    await till.storage.close()
    counted = row_copy.count_rows

    async def one_more(source: row_copy.RowSource) -> Mapping[str, int]:
        counts = dict(await counted(source))
        return {**counts, "calls": counts["calls"] + 1}

    monkeypatch.setattr("tokenopen.bootstrap.database.count_rows", one_more)
    assert "calls has 2 rows in the source, 1 copied" in await _copy(f"sqlite:{database_directory}", bare_url)
    connection = await asyncpg.connect(bare_url)
    assert await connection.fetchval("SELECT count(*) FROM users") == 0
    await connection.close()


async def test_an_upgrade_makes_every_table_and_starts_nothing(tmp_path: Path, bare_url: str) -> None:
    with pytest.raises(DatabaseError, match="There is no database"):
        await upgrade_database(Settings(data_dir=tmp_path / "none"))
    assert await upgrade_database(Settings(database_url=bare_url)) == newest_revision()
    assert set(await _tables(bare_url)) >= set(metadata.tables)
    done = tokenopen("db", "upgrade", TOKENOPEN_DATABASE_URL=bare_url)
    assert (done.returncode, done.stdout) == (0, f"The schema is up to date ({newest_revision()}).\n")
