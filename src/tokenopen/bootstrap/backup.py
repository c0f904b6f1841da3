"""Backup and restore of the embedded installation: database and secret in one file, checked on both ways."""

import asyncio
import datetime
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenopen import __version__
from tokenopen.bootstrap.database import DatabaseError, audit_file, database_errors
from tokenopen.bootstrap.engine import given_secret, names_postgresql
from tokenopen.control.audit_report import AuditReport
from tokenopen.ports.clock import SystemClock
from tokenopen.settings import Settings
from tokenopen.storage.backup import (
    BackupUnusable,
    Manifest,
    check_database,
    copy_database,
    pack,
    unpack,
)
from tokenopen.storage.migrate import find_sqlite_revision, upgrade_sqlite
from tokenopen.storage.secret import SECRET_FILE, DerivedKeys, derive_keys, is_secret_of
from tokenopen.storage.sqlite import DATABASE_FILE, SqliteReader, lock_data_directory

# A log that belongs to another database would be written into the restored one.
_REPLACED: Final = (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", SECRET_FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What is in a backup, and what the audit of its database found. ``moved_to`` is set by a restore."""

    manifest: Manifest
    audit: AuditReport
    moved_to: Path | None = None


def back_up(
    settings: Settings, target: Path, *, overwrite: bool, on_copied: Callable[[int, int], None]
) -> BackedUp:
    """Write the embedded installation into one file, beside a running server too. Raises DatabaseError."""
    with database_errors():
        _require_embedded(settings)
        source = settings.data_dir / DATABASE_FILE
        if not source.exists():
            raise DatabaseError(f"There is no database in {settings.data_dir}. Set TOKENOPEN_DATA_DIR.")
        if target.exists() and not overwrite:
            raise DatabaseError(f"{target} is there already. Name another file, or say --overwrite.")
        # Beside the file itself, where there has to be room for it anyway.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.absolute().parent) as name:
            directory = Path(name)
            copy = directory / DATABASE_FILE
            copy_database(source, copy, on_copied)
            if given_secret(settings) is None and (settings.data_dir / SECRET_FILE).exists():
                _copy_secret(settings.data_dir / SECRET_FILE, directory / SECRET_FILE)
            _check(copy)
            _require_secret(settings, directory)
            report = asyncio.run(audit_file(copy))
            manifest = pack(
                target,
                directory,
                version=__version__,
                schema=find_sqlite_revision(copy) or "",
                created_at=_now().isoformat(timespec="seconds"),
            )
    return BackedUp(manifest=manifest, audit=report)


def restore(settings: Settings, source: Path, *, replace: bool) -> BackedUp:
    """Make a backup the embedded installation, once everything in it was checked. Raises DatabaseError.

    What was there is refused, or moved into a directory beside it. A backup of an older version is brought up
    to date.
    """
    with database_errors():
        _require_embedded(settings)
        data_dir = settings.data_dir
        lock = lock_data_directory(data_dir)
        try:
            there = [data_dir / name for name in _REPLACED if (data_dir / name).exists()]
            if there and not replace:
                raise DatabaseError(
                    f"There is an installation in {data_dir} already. Name another directory with "
                    "TOKENOPEN_DATA_DIR, or say --replace: what is there is then moved aside."
                )
            with tempfile.TemporaryDirectory(prefix="restore-", dir=data_dir) as name:
                directory = Path(name)
                manifest = _unpack(source, directory)
                copy = directory / DATABASE_FILE
                _check(copy)
                upgrade_sqlite(copy)
                _require_secret(settings, directory)
                report = asyncio.run(audit_file(copy))
                moved_to = _move_aside(data_dir, there) if there else None
                for file in (SECRET_FILE, DATABASE_FILE):
                    if (directory / file).exists():
                        (directory / file).rename(data_dir / file)
                _sync_directory(data_dir)
        finally:
            os.close(lock)
    return BackedUp(manifest=manifest, audit=report, moved_to=moved_to)


def _require_embedded(settings: Settings) -> None:
    if names_postgresql(settings):
        raise DatabaseError(
            "This is for the embedded database. Back up PostgreSQL with its own tools, such as pg_dump or "
            "continuous archiving, and keep TOKENOPEN_SECRET_KEY apart from it (see Operation in the guide)."
        )


def _copy_secret(source: Path, target: Path) -> None:
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(source.read_bytes())


def _check(path: Path) -> None:
    try:
        check_database(path)
    except BackupUnusable as error:
        raise DatabaseError(str(error)) from error


def _unpack(source: Path, directory: Path) -> Manifest:
    try:
        return unpack(source, directory)
    except BackupUnusable as error:
        raise DatabaseError(str(error)) from error


def _require_secret(settings: Settings, directory: Path) -> None:
    """Refuse a database without the secret that it was set up with: no key could be told with another."""
    secret = given_secret(settings)
    if secret is None and (directory / SECRET_FILE).exists():
        secret = (directory / SECRET_FILE).read_text().strip()
    if secret is None:
        raise DatabaseError(
            "The secret is not with the database. Set TOKENOPEN_SECRET_KEY to the one it was set up with."
        )
    if not asyncio.run(_fits(directory / DATABASE_FILE, derive_keys(secret))):
        which = "TOKENOPEN_SECRET_KEY" if given_secret(settings) is not None else SECRET_FILE
        raise DatabaseError(
            f"The secret in {which} is not the one that this database was set up with: "
            "API keys could not be told and credentials not be opened with it."
        )


async def _fits(path: Path, keys: DerivedKeys) -> bool:
    reader = SqliteReader(path, SystemClock())
    try:
        async with reader.read() as tx:
            return await is_secret_of(tx, keys)
    finally:
        reader.close()


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(SystemClock().now_ms() // 1000, datetime.UTC)


def _move_aside(data_dir: Path, files: list[Path]) -> Path:
    aside = data_dir / f"before-restore-{_now():%Y%m%dT%H%M%SZ}"
    aside.mkdir(mode=0o700)
    for file in files:
        shutil.move(file, aside / file.name)
    return aside


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
