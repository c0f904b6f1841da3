"""Loading a made-up log of calls into a database that is set up, as fast as the engine takes it."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg
from sqlalchemy import insert, update

from tokenopen.control.actor import Actor
from tokenopen.control.user import create_user
from tokenopen.core.identifier import new_id
from tokenopen.ports.storage import Storage
from tokenopen.storage import schema
from trials.call_log import COLUMNS, CallLog, LogAccount, Rows

_IN: Final = "(" + ", ".join(f"'{table}'" for table in COLUMNS) + ")"


class Loader(Protocol):
    """Writes rows of a table, past everything that checks them."""

    async def write(self, rows: Mapping[str, Rows]) -> None:
        """Write rows by table."""

    async def finish(self) -> None:
        """Make what was written known to the planner, and let go."""


class SqliteLoader:
    """Writes into a file beside the storage, which writes nothing meanwhile; indexes are made at the end."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA cache_size = -1000000")
        found = self._connection.execute(
            f"""SELECT name, sql FROM sqlite_master
            WHERE sql IS NOT NULL AND type = 'index' AND tbl_name IN {_IN}"""  # noqa: S608 names are ours
        )
        self._indexes = found.fetchall()
        for name, _ in self._indexes:
            self._connection.execute(f"DROP INDEX {name}")

    async def write(self, rows: Mapping[str, Rows]) -> None:
        self._connection.execute("BEGIN")
        for table, lines in rows.items():
            columns = COLUMNS[table]
            marks = ", ".join("?" * len(columns))
            self._connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 names are ours
                lines,
            )
        self._connection.execute("COMMIT")

    async def finish(self) -> None:
        for _, made_by in self._indexes:
            self._connection.execute(made_by)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()


class PostgresqlLoader:
    """Copies into the server; indexes are made at the end."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection
        self._indexes: list[str] | None = None

    async def write(self, rows: Mapping[str, Rows]) -> None:
        if self._indexes is None:
            await self._drop_indexes()
        async with self._connection.transaction():
            for table, lines in rows.items():
                await self._connection.copy_records_to_table(table, records=lines, columns=COLUMNS[table])

    async def _drop_indexes(self) -> None:
        """Drop what only makes searches fast; keys stay, so that what is loaded is what could be stored."""
        found = await self._connection.fetch(
            f"""SELECT indexrelid::regclass AS name, pg_get_indexdef(indexrelid) AS made_by FROM pg_index
            WHERE NOT indisunique AND indrelid::regclass::text IN {_IN}"""  # noqa: S608 names are ours
        )
        for row in found:
            await self._connection.execute(f"DROP INDEX {row['name']}")
        self._indexes = [row["made_by"] for row in found]

    async def finish(self) -> None:
        await self._connection.execute("SET maintenance_work_mem = '1GB'")
        for made_by in self._indexes or ():
            await self._connection.execute(made_by)
        await self._connection.execute("VACUUM ANALYZE")
        await self._connection.close()


async def make_accounts(
    storage: Storage, administrator: Actor, *, count: int, at_ms: int
) -> Sequence[LogAccount]:
    """Create users with one to five keys each, in the groups that every platform begins with."""
    async with storage.read() as tx:
        groups = [row["id"] for row in await tx.fetch_all(schema.groups.select())]
    accounts = []
    for number in range(count):
        async with storage.write() as tx:
            user = await create_user(
                tx,
                administrator,
                email=f"user{number}@example.com",
                name=f"User {number}",
                role="user",
                password_hash=None,
            )
            group_id = groups[number % len(groups)]
            keys = [_key_row(user.id, user.account_id, group_id, at_ms) for _ in range(1 + number % 5)]
            for key in keys:
                await tx.execute(insert(schema.api_keys).values(key))
        accounts.append(
            LogAccount(
                id=user.account_id,
                user_id=user.id,
                key_ids=[key["id"] for key in keys],
                group_id=group_id,
            )
        )
    return accounts


def _key_row(user_id: str, account_id: str, group_id: str, at_ms: int) -> dict[str, Any]:
    key_id = new_id("key", at_ms)
    return {
        "id": key_id,
        "public_id": key_id,
        "key_hash": key_id.encode(),
        "last_four": key_id[-4:],
        "account_id": account_id,
        "user_id": user_id,
        "group_id": group_id,
        "name": "Made up",
        "state": "active",
        "spent": 0,
        "held": 0,
        "created_at_ms": at_ms,
    }


async def load_log(storage: Storage, loader: Loader, log: CallLog) -> None:
    """Write the log, then what it adds up to."""
    for rows in log.batches():
        await loader.write(rows)
    for account in log.accounts:
        async with storage.write() as tx:
            await tx.execute(
                update(schema.accounts)
                .where(schema.accounts.c.id == account.id)
                .values(balance=account.balance, entry_count=account.entry_count, newest_ms=account.newest_ms)
            )
            for key_id, spent in account.spent.items():
                await tx.execute(
                    update(schema.api_keys).where(schema.api_keys.c.id == key_id).values(spent=spent)
                )
    await loader.finish()
