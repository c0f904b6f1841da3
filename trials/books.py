"""The records that a trial joins: the platform's books at one moment, and logs of lines."""

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

DATABASE_FILE: Final = "tokenopen.sqlite3"
_COLUMNS: Final = {
    "accounts": "id, balance, held",
    "api_keys": "id, spent, held",
    "calls": "id, account_id, key_id, group_id, model, state, worker_id, hold, charge, absorbed, refunded,"
    " usage_source, admitted_at_ms, input_units, output_units",
    "ledger_entries": "id, account_id, number, kind, amount, balance_after, call_id",
    "usage_hours": "key_id, calls, charge, input_units, output_units",
}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the checker reads of the platform's tables at one moment."""

    accounts: Sequence[Row]
    keys: Sequence[Row]
    calls: Sequence[Row]
    entries: Sequence[Row]
    hours: Sequence[Row]


def read_sqlite_books(data_dir: Path, scratch_dir: Path) -> Books:
    """Return the books as the files have them, from a copy: nothing that is read changes the files."""
    scratch_dir.mkdir(exist_ok=True)
    copy = scratch_dir / DATABASE_FILE
    for suffix in ("", "-wal"):
        path = data_dir / (DATABASE_FILE + suffix)
        copied = scratch_dir / (DATABASE_FILE + suffix)
        copied.unlink(missing_ok=True)
        if path.exists():
            shutil.copyfile(path, copied)
    connection = sqlite3.connect(copy)
    connection.row_factory = sqlite3.Row
    try:
        return _books([connection.execute(statement).fetchall() for statement in _statements()])
    finally:
        connection.close()


async def read_postgresql_books(url: str) -> Books:
    """Return the books of one snapshot of a PostgreSQL database."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return _books([await connection.fetch(statement) for statement in _statements()])
    finally:
        await connection.close()


def _statements() -> list[str]:
    return [f"SELECT {columns} FROM {table}" for table, columns in _COLUMNS.items()]  # noqa: S608 - ours


def _books(tables: Sequence[Sequence[Row]]) -> Books:
    accounts, keys, calls, entries, hours = tables
    return Books(accounts=accounts, keys=keys, calls=calls, entries=entries, hours=hours)


def read_log(path: Path, kind: type[Any]) -> list[Any]:
    """Return a log's lines, each as ``kind``."""
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]
