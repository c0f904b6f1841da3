"""Bringing a database's schema up to date.

What carries migrations out is loaded only where there are any: a server would keep it in memory for good.
"""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, column, create_engine, event, inspect, select, table
from sqlalchemy.exc import SQLAlchemyError

from tokenopen.ports.storage import StorageAway

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS_DIR: Final = Path(__file__).with_name("migrations")
# Alembic's own table.
_VERSION_TABLE: Final = table("alembic_version", column("version_num"))


class SchemaTooNew(Exception):
    """The database was written by a newer TokenOpen; the text says what to do."""


def alembic_config(connection: Connection | None = None) -> "Config":
    """Return alembic's configuration, bound to a connection where one is given."""
    # Here, not at the top: 8 MB with what it imports.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_DIR))
    config.attributes["connection"] = connection
    return config


def list_revisions() -> list[str]:
    """Return the revisions that this version knows, oldest first, as the migrations' files are named."""
    return sorted(path.name[1:].partition("_")[0] for path in (MIGRATIONS_DIR / "versions").glob("r*.py"))


def newest_revision() -> str:
    """Return the revision that this version's schema is."""
    return list_revisions()[-1]


def find_revision(connection: Connection) -> str | None:
    """Return the revision of a database's schema; None of one without tables."""
    if not inspect(connection).has_table(_VERSION_TABLE.name):
        return None
    return connection.execute(select(_VERSION_TABLE)).scalar_one_or_none()


def check_revision(connection: Connection) -> str | None:
    """Return the revision of a database's schema. Raises SchemaTooNew where it is none of ours."""
    current = find_revision(connection)
    if current is not None and current not in list_revisions():
        raise SchemaTooNew(
            f"The database's schema ({current}) is newer than this TokenOpen knows. "
            "Start the version that wrote it, or a newer one."
        )
    return current


def upgrade_schema(connection: Connection) -> None:
    """Carry out the migrations that the database lacks, and that it does not lack by being newer."""
    # Here, not at the top: as above.
    from alembic import command

    command.upgrade(alembic_config(connection), "head")


def find_sqlite_revision(path: Path) -> str | None:
    """Return the revision of a file's schema; None of one without tables."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return find_revision(connection)
    finally:
        engine.dispose()


def upgrade_sqlite_apart(path: Path) -> None:
    """Do what ``upgrade_sqlite`` does in a process of its own, which takes with it what that has loaded.

    Raises SchemaTooNew; StorageAway where the database says no.
    """
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            is_current = check_revision(connection) == newest_revision()
    finally:
        engine.dispose()
    if is_current:
        return
    done = subprocess.run(  # noqa: S603 a module of ours
        [sys.executable, "-m", "tokenopen.storage.migrate", str(path)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StorageAway(f"its tables cannot be brought up to date: {done.stdout.strip()}")


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
            if check_revision(connection) != newest_revision():
                upgrade_schema(connection)
    finally:
        engine.dispose()


def _main(path: str) -> None:
    try:
        upgrade_sqlite(Path(path))
    except SQLAlchemyError as error:
        # For whoever has started us to tell; a bug shows its traceback on stderr.
        sys.stdout.write(str(error))
        sys.exit(1)


if __name__ == "__main__":
    _main(sys.argv[1])
