"""Bench of lists and charts at size: loads a log of calls, then asks for every documented filter and chart.

    python -m trials.bench_logs --calls 10000000 --engine postgresql --keep /var/tmp/bench-logs

Prints p50 and p95 of each through the control API, JSON and all, with the CPU that it took here and in the
database, and ends with 1 where one is too slow. What was loaded stays in the directory ``--keep``, where the
next run asks it again.
"""

import argparse
import asyncio
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

import asyncpg
import httpx
import msgspec
import typer
from sqlalchemy import select

from tokenopen.api.control_app import create_control_app
from tokenopen.bootstrap import create_upstream
from tokenopen.cli.serve_process import settle_memory
from tokenopen.control.actor import Actor
from tokenopen.control.management_key import create_management_key
from tokenopen.control.seed_groups import SEED_GROUPS
from tokenopen.control.services import Services
from tokenopen.control.setup import set_up
from tokenopen.jobs.usage_fold import fold_usage
from tokenopen.ports.clock import SystemClock
from tokenopen.ports.storage import Storage
from tokenopen.settings import Settings
from tokenopen.storage.migrate import upgrade_sqlite
from tokenopen.storage.postgresql import open_postgresql
from tokenopen.storage.postgresql_start import upgrade_postgresql
from tokenopen.storage.schema import ledger_entries
from tokenopen.storage.sqlite import SqliteStorage
from trials.call_log import DAY_MS, DAYS, CallLog
from trials.call_log_load import Loader, PostgresqlLoader, SqliteLoader, load_log, make_accounts
from trials.call_log_queries import LogWorld, Question, Who, questions
from trials.postgresql import DatabaseServer
from trials.process import children_cpu_ms

P95_MAX_MS: Final = 300
_HASHING_KEY: Final = b"h" * 32
# The rest is as a server comes.
_SERVER: Final = {"shared_buffers": "1GB", "max_wal_size": "8GB"}
_SIZES: Final = """
    SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    ORDER BY pg_total_relation_size(oid) DESC LIMIT 6"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A database with a log in it, and who may ask."""

    storage: Storage
    world: LogWorld
    keys: Mapping[Who, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A database whose schema is up to date, what fills it, and the CPU in ms that its server has taken."""

    storage: Storage
    loader: Callable[[], Awaitable[Loader]]
    cpu_ms: Callable[[], float]


@asynccontextmanager
async def _sqlite(keep: Path | None) -> AsyncIterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="tokenopen-logs-") as passing:
        directory = keep or Path(passing)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "tokenopen.sqlite3"
        upgrade_sqlite(path)
        storage = SqliteStorage(path, SystemClock())

        async def loader() -> Loader:
            return SqliteLoader(path)

        # It runs on threads of this process.
        yield Engine(storage=storage, loader=loader, cpu_ms=lambda: 0)
        typer.echo(f"database: {path.stat().st_size / 2**30:.1f} GiB")
        await storage.close()


@asynccontextmanager
async def _postgresql(version: str, keep: Path | None) -> AsyncIterator[Engine]:
    with DatabaseServer(version=version, keep=keep, settings=_SERVER) as server:
        typer.echo(server.version)
        await upgrade_postgresql(server.url)
        storage = await open_postgresql(server.url)

        async def loader() -> Loader:
            return PostgresqlLoader(await asyncpg.connect(server.url))

        yield Engine(storage=storage, loader=loader, cpu_ms=lambda: children_cpu_ms(server.pid))
        connection = await asyncpg.connect(server.url)
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
        typer.echo(f"database: {size / 2**30:.1f} GiB")
        for table, rows, indexes in await connection.fetch(_SIZES):
            typer.echo(f"  {table}: {rows / 2**20:,.0f} MiB and {indexes / 2**20:,.0f} MiB of indexes")
        await connection.close()
        await storage.close()


async def load(
    storage: Storage,
    loader: Callable[[], Awaitable[Loader]],
    *,
    calls: int,
    accounts: int,
    days: int = DAYS,
    skew: int = 1,
) -> Loaded:
    """Set the database up and load a log that ends now; nothing is folded."""
    until_ms = SystemClock().now_ms()
    async with storage.write() as tx:
        administrator = (await set_up(tx, seed_groups=SEED_GROUPS, default_group="default")).administrator
    made = await make_accounts(storage, administrator, count=accounts, at_ms=until_ms - days * DAY_MS)
    log = CallLog(made, calls=calls, until_ms=until_ms, days=days, skew=skew)
    await load_log(storage, await loader(), log)
    async with storage.read() as tx:
        entry = await tx.fetch_one(
            select(ledger_entries.c.call_id)
            .where(ledger_entries.c.account_id == made[0].id, ledger_entries.c.kind == "charge")
            .limit(1)
        )
    assert entry is not None
    owner = replace(administrator, user_id=made[0].user_id, account_id=made[0].id, role="user")
    return Loaded(
        storage=storage,
        world=LogWorld(
            accounts=made,
            groups=[seed.slug for seed in SEED_GROUPS],
            until_ms=until_ms,
            call_id=entry["call_id"],
        ),
        keys={"administrator": await _key(storage, administrator), "user": await _key(storage, owner)},
    )


async def _key(storage: Storage, actor: Actor) -> str:
    async with storage.write() as tx:
        key, _ = await create_management_key(
            tx, actor, user_id=actor.user_id, name="Bench", hashing_key=_HASHING_KEY
        )
    return key


@asynccontextmanager
async def control_client(loaded: Loaded, who: Who) -> AsyncIterator[httpx.AsyncClient]:
    """The control API on the database, asked with the management key of one who may ask."""
    services = Services(
        storage=loaded.storage,
        clock=SystemClock(),
        upstream=create_upstream(Settings()),
        hashing_key=_HASHING_KEY,
        sealing_key=_HASHING_KEY,
        allowed_networks=(),
    )
    transport = httpx.ASGITransport(create_control_app(services))
    headers = {"Authorization": f"Bearer {loaded.keys[who]}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers) as client:
        yield client


def remember(loaded: Loaded, path: Path) -> None:
    """Write down who may ask and what there is to be asked about, for the next run."""
    path.write_bytes(msgspec.json.encode({"world": loaded.world, "keys": loaded.keys}))


def recall(storage: Storage, path: Path) -> Loaded:
    """Return what an earlier run wrote down."""
    found = msgspec.json.decode(path.read_bytes())
    return Loaded(storage=storage, world=msgspec.convert(found["world"], LogWorld), keys=found["keys"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the answers to a question took, in ms, in order; and how many rows the last of them had."""

    question: Question
    wall: Sequence[float]
    # Of this process and the database's.
    cpu: Sequence[float]
    rows: int


async def ask(
    loaded: Loaded, *, times: int, cpu_ms: Callable[[], float], words: str = ""
) -> AsyncIterator[Taken]:
    """Ask every question whose name holds ``words`` so often, one after the other."""
    async with AsyncExitStack() as stack:
        clients = {who: await stack.enter_async_context(control_client(loaded, who)) for who in get_args(Who)}
        for question in questions(loaded.world):
            if words not in question.name:
                continue
            draw = random.Random(question.name)  # noqa: S311 no secret
            wall, cpu, rows = [], [], 0
            # The first time also puts the statement together, which a process does once in its life.
            for _ in range(1 + times):
                query = question.make(draw)
                before, began = time.process_time() * 1000 + cpu_ms(), time.perf_counter()
                answer = await clients[question.who].get(question.path, params=query)
                wall.append((time.perf_counter() - began) * 1000)
                cpu.append(time.process_time() * 1000 + cpu_ms() - before)
                assert answer.status_code == 200, answer.text
                rows = len(answer.json()["data"])
            yield Taken(question=question, wall=sorted(wall[1:]), cpu=sorted(cpu[1:]), rows=rows)


def _p95(values: Sequence[float]) -> float:
    return values[math.ceil(len(values) * 0.95) - 1]


async def _loaded(engine: Engine, keep: Path | None, *, calls: int, accounts: int) -> Loaded:
    """Return what is kept, or else load."""
    notes = None if keep is None else keep / "world.json"
    if notes is not None and notes.exists():
        return recall(engine.storage, notes)
    began = time.monotonic()
    loaded = await load(engine.storage, engine.loader, calls=calls, accounts=accounts)
    typer.echo(f"loaded {calls:,} calls of {accounts:,} accounts in {time.monotonic() - began:,.0f} s")
    if notes is not None:
        remember(loaded, notes)
    return loaded


async def _run(name: str, given: argparse.Namespace) -> bool:
    keep = None if given.keep is None else given.keep / name
    opened = _sqlite(keep) if name == "sqlite" else _postgresql(given.postgresql, keep)
    async with opened as engine:
        loaded = await _loaded(engine, keep, calls=given.calls, accounts=given.accounts)
        await fold_usage(engine.storage)
        # As a worker does; else one answer of five waits for a search for unreachable objects.
        settle_memory()
        typer.echo(f"load before {os.getloadavg()[0]:.1f}")
        typer.echo(f"{'':64} {'p50 ms':>8} {'p95 ms':>8} {'CPU p50':>8} {'CPU p95':>8} {'rows':>6}")
        slow = 0
        async for taken in ask(loaded, times=given.times, cpu_ms=engine.cpu_ms, words=given.words):
            slow += _p95(taken.wall) > P95_MAX_MS
            times = statistics.median(taken.wall), _p95(taken.wall), statistics.median(taken.cpu)
            figures = " ".join(f"{value:8.1f}" for value in (*times, _p95(taken.cpu)))
            typer.echo(f"{taken.question.who + '  ' + taken.question.name:64} {figures} {taken.rows:6}")
        typer.echo(f"load after {os.getloadavg()[0]:.1f}")
        typer.echo(f"{slow} above {P95_MAX_MS} ms" if slow else f"all within {P95_MAX_MS} ms")
    return slow == 0


def main() -> None:
    """Load and ask, on one engine or on both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--engine", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--postgresql", default="18", help="version of the server")
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument(
        "--keep", type=Path, help="directory for what is loaded, used again where it is there"
    )
    parser.add_argument("--words", default="", help="ask only the questions whose name holds these")
    given = parser.parse_args()
    engines = ("sqlite", "postgresql") if given.engine == "both" else (given.engine,)
    fine = [asyncio.run(_run(engine, given)) for engine in engines]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
