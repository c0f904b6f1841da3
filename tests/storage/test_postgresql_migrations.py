"""The migrations lead to the schema that the code is written against, on PostgreSQL too."""

import asyncio
import re
from typing import Any

import asyncpg
import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from tests.engines import PostgresqlServer
from tokenopen.storage.migrate import SchemaTooNew, newest_revision
from tokenopen.storage.postgresql_start import upgrade_postgresql
from tokenopen.storage.schema import with_postgresql_options

pytestmark = pytest.mark.slow


async def test_the_migrations_lead_to_the_schema(postgresql_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), with_postgresql_options()))

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(postgresql_url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_a_second_upgrade_changes_nothing(postgresql_url: str) -> None:
    connection = await asyncpg.connect(postgresql_url)
    await connection.execute("INSERT INTO versions VALUES ('catalog', 7)")
    tables = "SELECT oid, relname, relfilenode FROM pg_class ORDER BY oid"
    before = await connection.fetch(tables)
    await upgrade_postgresql(postgresql_url)
    assert await connection.fetch(tables) == before
    assert await connection.fetchval("SELECT value FROM versions") == 7
    await connection.close()


async def test_an_upgrade_that_waits_for_a_reader_holds_up_nobody_behind_it(postgresql_url: str) -> None:
    """A column is added to the very table that an audit reads, while calls come."""
    older, auditor, worker = [await asyncpg.connect(postgresql_url) for _ in range(3)]
    await older.execute(
        "ALTER TABLE upstreams DROP COLUMN cost_multiplier_ppm; DROP TABLE key_usage_weeks;"
        "UPDATE alembic_version SET version_num = '0012'"
    )
    async with auditor.transaction():
        await auditor.fetch("SELECT * FROM upstreams")
        upgrading = asyncio.create_task(upgrade_postgresql(postgresql_url))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not await older.fetchval(waiting):
            assert not upgrading.done()
            await asyncio.sleep(0.01)
        # A batch gives up after two seconds.
        await worker.execute("SET lock_timeout = '2s'")
        await worker.fetch("SELECT * FROM upstreams")
        assert not upgrading.done()
    await upgrading
    assert await worker.fetchval("SELECT version_num FROM alembic_version") == newest_revision()
    for connection in (older, auditor, worker):
        await connection.close()


async def test_rows_that_every_call_changes_have_room_for_their_next_versions(postgresql_url: str) -> None:
    """Else each change of a balance would have to change the account's indexes too."""
    connection = await asyncpg.connect(postgresql_url)
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE 'fillfactor=50' = ANY(reloptions)")
    await connection.close()
    assert {row["relname"] for row in rows} == {"accounts", "api_keys", "rate_windows"}


async def test_a_database_of_a_newer_version_is_refused_with_what_to_do(postgresql_url: str) -> None:
    connection = await asyncpg.connect(postgresql_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(SchemaTooNew, match="Start the version that wrote it"):
        await upgrade_postgresql(postgresql_url)


async def _migrate(url: str) -> list[str]:
    """Carry every migration out; return its statements in order."""
    said: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(" ".join(statement.split()))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        await upgrade_postgresql(url)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return said


async def test_migrations_change_nothing_that_an_older_worker_reads_or_writes(
    postgresql_server: PostgresqlServer,
) -> None:
    """Tables, settings, columns that may be left empty, indexes that are built beside its calls: no more."""
    name = f"{postgresql_server.template}_older"
    await postgresql_server.run(f"CREATE DATABASE {name}")
    said = await _migrate(postgresql_server.url_of(name))
    await postgresql_server.run(f"DROP DATABASE {name} WITH (FORCE)")
    first = next(number for number, each in enumerate(said) if each.startswith("INSERT INTO alembic_version"))
    changes = [each for each in said[first + 1 :] if re.match("ALTER|CREATE|DROP|UPDATE|DELETE|INSERT", each)]
    seen = {"columns": 0, "tables": 0}
    # In the migration that runs: nobody knows them yet.
    made: set[str] = set()
    for change in changes:
        table = re.match(r"CREATE TABLE (\w+)|CREATE (?:UNIQUE )?INDEX \w+ ON (\w+)", change)
        if change.startswith("UPDATE alembic_version"):
            made.clear()
        elif table is not None and table[1] is not None:
            made.add(table[1])
            seen["tables"] += 1
        elif re.match(r"ALTER TABLE \w+ ADD COLUMN ", change):
            assert "NOT NULL" not in change or "DEFAULT" in change, change
            seen["columns"] += 1
        else:
            # To forget an index takes no time.
            concurrently = re.match(r"(CREATE (UNIQUE )?INDEX CONCURRENTLY)|DROP INDEX", change)
            # Keys are so few that an index over a column that is still empty is there at once.
            new = table is not None and table[2] in {*made, "api_keys"}
            assert concurrently or new or change.startswith("INSERT INTO platform_settings"), change
    assert min(seen.values()) > 5


async def test_an_upgrade_that_is_cut_short_while_an_index_is_built_is_carried_out_by_the_next_start(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever that is: nothing but the index is left of its migration."""
    name = f"{postgresql_server.template}_cut"
    await postgresql_server.run(f"CREATE DATABASE {name}")
    # The first and the last of one migration, and the only one of another.
    create_index, cut = (
        op.create_index,
        {"ix_calls_key_id_id", "ix_usage_hours_hour", "ix_calls_held_in_group"},
    )

    def create_and_be_cut(index: str, *arguments: Any, **options: Any) -> None:
        create_index(index, *arguments, **options)
        if index in cut:
            assert options["postgresql_concurrently"]
            cut.remove(index)
            raise CutShort

    monkeypatch.setattr(op, "create_index", create_and_be_cut)
    for _ in range(len(cut)):
        with pytest.raises(CutShort):
            await upgrade_postgresql(postgresql_server.url_of(name))
    await upgrade_postgresql(postgresql_server.url_of(name))
    await postgresql_server.run(f"DROP DATABASE {name} WITH (FORCE)")


class CutShort(Exception):
    """What stands for the process being killed."""
