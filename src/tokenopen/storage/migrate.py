"""Bringing a database's schema up to date."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event

MIGRATIONS_DIR = Path(__file__).with_name("migrations")


class SchemaTooNew(Exception):
    """The database was written by a newer TokenOpen; the text says what to do."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration, bound to a connection where one is given."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    """Return the revision that this version's schema is."""
    revision = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert revision is not None
    return revision


def find_revision(connection: Connection) -> str | None:
    """Return the revision of a database's schema; None of one without tables."""
    return MigrationContext.configure(connection).get_current_revision()


def check_revision(connection: Connection) -> str | None:
    """Return the revision of a database's schema. Raises SchemaTooNew where it is none of ours."""
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    current = find_revision(connection)
    if current is not None and current not in known:
        raise SchemaTooNew(
            f"The database's schema ({current}) is newer than this TokenOpen knows. "
            "Start the version that wrote it, or a newer one."
        )
    return current


def upgrade_schema(connection: Connection) -> None:
    """Carry out the migrations that the database lacks, and that it does not lack by being newer."""
    command.upgrade(alembic_config(connection), "head")


def find_sqlite_revision(path: Path) -> str | None:
    """Return the revision of a file's schema; None of one without tables."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return find_revision(connection)
    finally:
        engine.dispose()


def upgrade_sqlite(path: Path) -> None:
    """Create the database file where there is none, and bring its schema up to date, whole or not at all."""
    engine = create_engine(f"sqlite:///{path}")

    # Python's driver would commit before every CREATE TABLE, so the transaction is begun by us.
    @event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    try:
        with engine.begin() as connection:
            check_revision(connection)
            upgrade_schema(connection)
    finally:
        engine.dispose()
