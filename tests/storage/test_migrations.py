"""The migrations lead to the schema that the code is written against."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from tokenopen.storage.migrate import SchemaTooNew, upgrade_sqlite
from tokenopen.storage.schema import metadata


def test_the_migrations_lead_to_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "migrated.sqlite3"
    upgrade_sqlite(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_a_second_upgrade_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "migrated.sqlite3"
    upgrade_sqlite(path)
    before = path.read_bytes()
    upgrade_sqlite(path)
    assert path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "newer.sqlite3"
    upgrade_sqlite(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaTooNew, match="Start the version that wrote it"):
        upgrade_sqlite(path)
