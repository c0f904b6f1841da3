"""The migrations lead to the schema that the code is written against."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from tokenopen.ports.storage import StorageAway
from tokenopen.storage.migrate import (
    SchemaTooNew,
    alembic_config,
    find_sqlite_revision,
    list_revisions,
    newest_revision,
    upgrade_sqlite,
    upgrade_sqlite_apart,
)
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
    with pytest.raises(SchemaTooNew, match="Start the version that wrote it"):
        upgrade_sqlite_apart(path)


def test_files_are_named_after_the_revisions_in_them() -> None:
    """A start reads the names alone."""
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    assert list_revisions() == [script.revision for script in scripts][::-1]


def test_a_process_of_its_own_brings_a_database_up_to_date_and_none_is_started_for_a_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "migrated.sqlite3"
    upgrade_sqlite_apart(path)
    assert find_sqlite_revision(path) == newest_revision()
    monkeypatch.setattr("tokenopen.storage.migrate.subprocess.run", None)
    upgrade_sqlite_apart(path)


def test_what_a_database_says_to_the_process_of_its_own_is_told(tmp_path: Path) -> None:
    path = tmp_path / "strange.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE accounts (id TEXT)")
    with pytest.raises(StorageAway, match="table accounts already exists"):
        upgrade_sqlite_apart(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("accounts",)]
