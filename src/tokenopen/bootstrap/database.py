"""Database: bringing its schema up to date without serving, and moving it from one engine to the other."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from tokenopen.bootstrap.engine import StartupError, names_postgresql
from tokenopen.control.audit import audit
from tokenopen.control.audit_report import AuditReport
from tokenopen.ports.clock import SystemClock
from tokenopen.ports.storage import StorageAway
from tokenopen.settings import Settings
from tokenopen.storage.migrate import SchemaTooNew, find_sqlite_revision, newest_revision, upgrade_sqlite
from tokenopen.storage.postgresql import read_postgresql
from tokenopen.storage.postgresql_copy import DatabaseUnsuitable, filling_postgresql, reading_postgresql
from tokenopen.storage.postgresql_start import starting_postgresql
from tokenopen.storage.row_copy import RowsDiffer, RowSource, RowTarget, copy_rows, count_rows
from tokenopen.storage.sqlite import (
    DATABASE_FILE,
    DataDirectoryUnusable,
    SqliteReader,
    lock_data_directory,
)
from tokenopen.storage.sqlite_copy import filling_sqlite, reading_sqlite

_SQLITE: Final = "sqlite:"
_POSTGRESQL: Final = ("postgresql://", "postgres://")


class DatabaseError(Exception):
    """It cannot be done; the text says why and what to do."""


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what goes wrong with a database into DatabaseError."""
    try:
        yield
    except (
        SchemaTooNew,
        DataDirectoryUnusable,
        DatabaseUnsuitable,
        RowsDiffer,
        StartupError,
        StorageAway,
    ) as error:
        raise DatabaseError(str(error)) from error
    except (sqlite3.Error, asyncpg.PostgresError, SQLAlchemyError, OSError) as error:
        raise DatabaseError(f"{type(error).__name__}: {error}") from error


async def upgrade_database(settings: Settings) -> str:
    """Bring the schema of the database that the settings name up to date, and return its revision.

    Raises DatabaseError. Processes of the version before go on running meanwhile on PostgreSQL.
    """
    with database_errors():
        if names_postgresql(settings):
            async with starting_postgresql(settings.database_url):
                return newest_revision()
        if not (settings.data_dir / DATABASE_FILE).exists():
            raise DatabaseError(f"There is no database in {settings.data_dir}. Set TOKENOPEN_DATA_DIR.")
        lock = lock_data_directory(settings.data_dir)
        try:
            await asyncio.to_thread(upgrade_sqlite, settings.data_dir / DATABASE_FILE)
        finally:
            os.close(lock)
    return newest_revision()


async def audit_file(path: Path) -> AuditReport:
    """Audit a database file."""
    reader = SqliteReader(path, SystemClock())
    try:
        async with reader.read() as tx:
            return await audit(tx)
    finally:
        reader.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied: rows by table, and what the audit of the copy found."""

    rows: Mapping[str, int]
    audit: AuditReport


async def copy_database(
    source: str,
    target: str,
    *,
    on_counted: Callable[[int], None],
    on_copied: Callable[[int], None],
) -> Copied:
    """Copy every row of a database at rest into an empty one of the other engine. Raises DatabaseError.

    ``source`` and ``target`` are sqlite:PATH, of a data directory or its file, and a PostgreSQL URL, either
    way round. ``on_counted`` is told how many rows there are, ``on_copied`` how many more were copied.
    """
    engines = (_engine(source), _engine(target))
    if engines[0] == engines[1]:
        raise DatabaseError("Copy from sqlite:PATH to postgresql://..., or the other way round.")
    with database_errors():
        async with AsyncExitStack() as stack:
            _require_clean("source", await _audit_source(source, stack))
            rows: RowSource
            filled: RowTarget
            if engines[0] == "sqlite":
                rows = stack.enter_context(reading_sqlite(_file(source)))
                counts = await count_rows(rows)
                on_counted(sum(counts.values()))
                async with filling_postgresql(target) as filled:
                    await copy_rows(rows, filled, counts, on_copied)
                async with read_postgresql(target) as tx:
                    return Copied(rows=counts, audit=await audit(tx))
            with _new_file(_file(target)) as unfinished:
                rows = await stack.enter_async_context(reading_postgresql(source))
                counts = await count_rows(rows)
                on_counted(sum(counts.values()))
                with filling_sqlite(unfinished) as filled:
                    await copy_rows(rows, filled, counts, on_copied)
                return Copied(rows=counts, audit=await audit_file(unfinished))


def _engine(url: str) -> str:
    if url.startswith(_SQLITE):
        return "sqlite"
    if url.startswith(_POSTGRESQL):
        return "postgresql"
    raise DatabaseError("A database is named sqlite:PATH or postgresql://USER:PASSWORD@HOST/DATABASE.")


def _file(url: str) -> Path:
    path = Path(url.removeprefix(_SQLITE))
    return path if path.name == DATABASE_FILE else path / DATABASE_FILE


async def _audit_source(source: str, stack: AsyncExitStack) -> AuditReport:
    """Audit what is to be copied; a file's data directory stays locked as long as the stack."""
    if _engine(source) == "postgresql":
        async with read_postgresql(source) as tx:
            return await audit(tx)
    path = _file(source)
    if not path.exists():
        raise DatabaseError(f"There is no database at {path}.")
    stack.callback(os.close, lock_data_directory(path.parent))
    revision = find_sqlite_revision(path)
    if revision != newest_revision():
        raise DatabaseError(
            f"The source's schema is {revision}, this version's is {newest_revision()}. Run "
            f"tokenopen db upgrade with TOKENOPEN_DATA_DIR={path.parent} first."
        )
    return await audit_file(path)


def _require_clean(which: str, report: AuditReport) -> None:
    if report.drift_count:
        raise DatabaseError(
            f"The audit of the {which} finds {report.drift_count:,} rows that break an invariant, and a copy "
            "would carry them on. See them with tokenopen audit; nothing was changed."
        )


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A file with every table under another name, which it loses at the end if all went well."""
    lock = lock_data_directory(path.parent)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        if path.exists():
            raise DatabaseError(f"There is a database at {path} already; name an empty directory.")
        unfinished.unlink(missing_ok=True)
        upgrade_sqlite(unfinished)
        unfinished.chmod(0o600)
        yield unfinished
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
        os.close(lock)
