"""The migrations lead to the schema that the code is written against, on PostgreSQL too."""

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from tokenopen.storage.migrate import SchemaTooNew
from tokenopen.storage.postgresql_start import upgrade_postgresql
from tokenopen.storage.schema import metadata

pytestmark = pytest.mark.slow


async def test_the_migrations_lead_to_the_schema(postgresql_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

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
