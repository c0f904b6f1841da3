"""Backup: one file that holds the embedded database and its secret, and can be checked.

A tar archive: manifest.json first, with each file's length and SHA-256, then the database and, where it lies
in the data directory, the secret. All of it is readable by its owner only: the secret opens every credential.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from tokenopen.storage.secret import SECRET_FILE
from tokenopen.storage.sqlite import DATABASE_FILE, connect

FORMAT: Final = 1
MANIFEST_FILE: Final = "manifest.json"
_FILES: Final = (DATABASE_FILE, SECRET_FILE)
_MANIFEST_BYTES_MAX: Final = 1_000_000
_PAGES_A_STEP: Final = 1_000
_CHUNK: Final = 1 << 20
_OWNER_ONLY: Final = 0o600


class BackupUnusable(Exception):
    """A file is no backup, or is not whole; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds. ``files`` are length in bytes and SHA-256 by name."""

    version: str
    schema: str
    created_at: str
    files: Mapping[str, tuple[int, str]]

    @property
    def has_secret(self) -> bool:
        """Tell whether the secret is in it; otherwise the operator keeps it."""
        return SECRET_FILE in self.files


def copy_database(source: Path, target: Path, on_copied: Callable[[int, int], None]) -> None:
    """Copy a database as it stood when this began, beside whatever process writes it.

    The snapshot is held by a connection that can change nothing, nor move the log into the file: only the
    server's may. ``on_copied`` is told pages copied and pages in all. Raises sqlite3.Error.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY))
    reader, writer = connect(source, read_only=True), sqlite3.connect(target)
    try:
        # With a snapshot open the copy is never begun anew, however much is written meanwhile.
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        reader.backup(
            writer,
            pages=_PAGES_A_STEP,
            progress=lambda _status, left, pages: on_copied(pages - left, pages),
            sleep=0.001,
        )
        # One file, without a log beside it.
        writer.execute("PRAGMA journal_mode = DELETE")
    finally:
        writer.close()
        reader.close()


def check_database(path: Path) -> None:
    """Read all of a database file. Raises BackupUnusable where it is damaged."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            loose = connection.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.DatabaseError as error:
        raise BackupUnusable(f"The database in it is damaged: {error}.") from error
    if found != ["ok"]:
        raise BackupUnusable(f"The database in it is damaged: {'; '.join(found)}.")
    if loose:
        raise BackupUnusable(f"The database in it is damaged: a row of {loose[0][0]} refers to nothing.")


def pack(target: Path, directory: Path, *, version: str, schema: str, created_at: str) -> Manifest:
    """Write what lies in a directory into one new file, durable at the end. Raises OSError.

    It has another name until it is whole.
    """
    present = [directory / name for name in _FILES if (directory / name).exists()]
    manifest = Manifest(
        version=version,
        schema=schema,
        created_at=created_at,
        files={path.name: (path.stat().st_size, _digest(path)) for path in present},
    )
    unfinished = target.with_name(f"{target.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                _add(archive, directory / MANIFEST_FILE, _write_manifest(directory / MANIFEST_FILE, manifest))
                for path in present:
                    _add(archive, path, path.stat().st_size)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return manifest


def _write_manifest(path: Path, manifest: Manifest) -> int:
    content = {
        "format": FORMAT,
        "version": manifest.version,
        "schema": manifest.schema,
        "created_at": manifest.created_at,
        "files": {name: {"bytes": size, "sha256": sha} for name, (size, sha) in manifest.files.items()},
    }
    return path.write_bytes(json.dumps(content, indent=2).encode())


def _add(archive: tarfile.TarFile, path: Path, size: int) -> None:
    entry = tarfile.TarInfo(path.name)
    entry.size, entry.mode, entry.mtime = size, _OWNER_ONLY, int(path.stat().st_mtime)
    with path.open("rb") as file:
        archive.addfile(entry, file)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(source: Path, directory: Path) -> Manifest:
    """Write what a backup holds into an empty directory, each file compared with the manifest.

    Raises BackupUnusable, OSError.
    """
    try:
        with tarfile.open(source, mode="r:") as archive:
            manifest = _read_manifest(archive)
            for name, (size, sha256) in manifest.files.items():
                entry = archive.next()
                if entry is None or entry.name != name or not entry.isreg() or entry.size != size:
                    raise BackupUnusable(f"{source} is not whole: {name} is missing or has another length.")
                file = archive.extractfile(entry)
                assert file is not None
                if _write_out(file, directory / name) != sha256:
                    raise BackupUnusable(f"{source} is damaged: {name} is not what was backed up.")
    except (tarfile.TarError, EOFError) as error:
        raise BackupUnusable(f"{source} is no backup of TokenOpen, or is not whole: {error}.") from error
    return manifest


def _read_manifest(archive: tarfile.TarFile) -> Manifest:
    entry = archive.next()
    if entry is None or entry.name != MANIFEST_FILE or entry.size > _MANIFEST_BYTES_MAX:
        raise BackupUnusable("It is no backup of TokenOpen: it does not begin with a manifest.")
    file = archive.extractfile(entry)
    assert file is not None
    try:
        content: Any = json.loads(file.read())
        manifest = Manifest(
            version=str(content["version"]),
            schema=str(content["schema"]),
            created_at=str(content["created_at"]),
            files={
                name: (int(each["bytes"]), str(each["sha256"])) for name, each in content["files"].items()
            },
        )
        known = content["format"] == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupUnusable(f"Its manifest cannot be read: {error}.") from error
    if not known:
        raise BackupUnusable(f"It was written by TokenOpen {manifest.version}, in a format of its own.")
    if DATABASE_FILE not in manifest.files or not set(manifest.files) <= set(_FILES):
        raise BackupUnusable("Its manifest names other files than a database and a secret.")
    return manifest


def _write_out(file: IO[bytes], path: Path) -> str:
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as out:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()
