"""Books kept from batch to batch decide as books do that are read anew each time."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.contracts.test_storage import World, settle, void
from tests.fakes.clock import MovableClock
from tokenopen.core.admission import Admission, Admitted, Resolution, Resolved
from tokenopen.core.errors import InsufficientCredit
from tokenopen.core.group import Limits
from tokenopen.ports.storage import Batch, BatchAnswer, StorageAway
from tokenopen.storage import schema, sqlite_books
from tokenopen.storage.sqlite import SqliteStorage
from tokenopen.storage.version import bump_account_version

LIMITS = (
    Limits(requests_per_minute=None, requests_per_day=None),
    Limits(requests_per_minute=6, requests_per_day=None),
    Limits(requests_per_minute=None, requests_per_day=40, tokens_per_minute=2_000, concurrent_calls=4),
)
STATEMENTS = 40


class Pair:
    """Two databases that the same happens to; the books of the second are dropped before each batch."""

    def __init__(self, kept: World, forgetful: World) -> None:
        self.worlds = (kept, forgetful)
        self.admitted: list[Admission] = []

    async def set_up(self) -> None:
        for world in self.worlds:
            await world.set_up(balance=5_000, credit_limit=4_000)

    async def post(self, batch: Batch) -> BatchAnswer:
        """Post the batch to both, which have to answer alike."""
        first, second = self.worlds
        answer = await first.storage.post(batch)
        assert isinstance(second.storage, SqliteStorage)
        second.storage._books.drop()
        again = await second.storage.post(batch)
        assert _told(answer) == _told(again)
        return answer

    async def write(self, **values: object) -> None:
        """Change the account by hand of an administrator."""
        for world in self.worlds:
            async with world.storage.write() as tx:
                await tx.execute(update(schema.accounts).values(**values))

    async def tables(self) -> list[dict[str, list[dict[str, object]]]]:
        names = ("accounts", "api_keys", "calls", "ledger_entries", "rate_windows", "token_windows")
        tables = [{name: await world.rows(name) for name in names} for world in self.worlds]
        for each in tables:
            for entry in each["ledger_entries"]:
                # Of a refund it is made by chance.
                del entry["id"]
        return tables


def _told(answer: BatchAnswer) -> list[object]:
    """Return the answers so that they can be compared: refusals are no values."""
    items = [*answer.resolutions, *answer.admissions]
    return [vars(item) if isinstance(item, Exception) else item for item in items]


@pytest.fixture
def pair(empty_file: Path, tmp_path: Path, clock: MovableClock) -> Pair:
    storages = []
    for name in ("kept", "forgetful"):
        path = tmp_path / f"{name}.sqlite3"
        shutil.copy(empty_file, path)
        storages.append(SqliteStorage(path, clock))
    kept, forgetful = (World(storage=storage, clock=clock) for storage in storages)
    return Pair(kept, forgetful)


def _batch(chance: random.Random, pair: Pair) -> Batch:
    """Return some calls to admit and some of the earlier ones to resolve, now and then a second time."""
    world = pair.worlds[0]
    resolutions: list[Resolution] = []
    for _ in range(chance.randrange(4)):
        if not pair.admitted:
            break
        at = chance.randrange(len(pair.admitted))
        admission = pair.admitted[at] if chance.random() < 0.2 else pair.admitted.pop(at)
        ends = settle(admission, chance.randrange(400)), void(admission, must_not_cost=chance.random() < 0.3)
        resolutions.append(chance.choice(ends))
    admissions = [
        world.admission(
            hold=chance.randrange(300),
            limits=chance.choice(LIMITS),
            group_id=chance.choice(("grp_1", "grp_2")),
        )
        for _ in range(chance.randrange(4))
    ]
    return Batch(resolutions=resolutions, admissions=admissions)


@pytest.mark.parametrize("seed", range(6))
async def test_kept_books_decide_and_write_what_books_read_anew_do(
    pair: Pair, clock: MovableClock, seed: int
) -> None:
    chance = random.Random(seed)
    await pair.set_up()
    answered: set[str] = set()
    for _ in range(STATEMENTS):
        match chance.randrange(6):
            case 0:
                clock.move(milliseconds=chance.choice((1, 900, 30_000)))
            case 1:
                await pair.write(balance=schema.accounts.c.balance + chance.randrange(500))
            case _:
                batch = _batch(chance, pair)
                answer = await pair.post(batch)
                answered.update(type(each).__name__ for each in (*answer.admissions, *answer.resolutions))
                pair.admitted += [
                    item
                    for item, decided in zip(batch.admissions, answer.admissions, strict=True)
                    if isinstance(decided, Admitted)
                ]
    kept, forgetful = await pair.tables()
    assert kept == forgetful
    # Otherwise nothing was compared.
    assert {"Admitted", "Resolved", "AlreadyResolved", "RpmExceeded"} <= answered
    for world in pair.worlds:
        await world.storage.close()


@pytest.fixture
async def world(storage: SqliteStorage, clock: MovableClock) -> World:
    world = World(storage=storage, clock=clock)
    await world.set_up(balance=1_000)
    return world


async def test_a_change_by_an_administrator_is_seen_by_the_next_batch(world: World) -> None:
    await world.admit(world.admission(hold=100))
    async with world.storage.write() as tx:
        await bump_account_version(tx, "acc_1")
        await tx.execute(update(schema.accounts).values(balance=150))
    (stale,) = await world.admit(world.admission(hold=1))
    (refused,) = await world.admit(world.admission(hold=100, account_version=2))
    (admitted,) = await world.admit(world.admission(hold=50, account_version=2))
    assert not isinstance(stale, Admitted)
    assert isinstance(refused, InsufficientCredit)
    assert isinstance(admitted, Admitted)


async def test_what_somebody_writes_to_the_file_by_hand_is_seen(world: World, storage: SqliteStorage) -> None:
    await world.admit(world.admission(hold=100))
    ((_, _, path),) = storage._writer.execute("PRAGMA database_list")
    with closing(sqlite3.connect(path)) as stranger, stranger:
        stranger.execute("UPDATE accounts SET balance = 150")
    (refused,) = await world.admit(world.admission(hold=100))
    assert isinstance(refused, InsufficientCredit)


async def test_a_batch_that_finds_no_room_on_the_disk_leaves_nothing_in_the_books(
    world: World, storage: SqliteStorage
) -> None:
    call = world.admission(hold=100)
    await world.admit(call)
    (pages,) = storage._writer.execute("PRAGMA page_count").fetchone()
    storage._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageAway):
        await world.admit(*(world.admission(hold=1) for _ in range(200)))
    storage._writer.execute("PRAGMA max_page_count = 1000000")
    (resolved,) = await world.resolve(settle(call, 7))
    assert isinstance(resolved, Resolved)
    account = await world.row("accounts")
    assert account["held"] == 0
    assert account["balance"] == 993


async def test_the_books_do_not_grow_without_bound(
    world: World, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_books, "ROWS_MAX", 3)
    calls = [world.admission(hold=1) for _ in range(5)]
    await world.admit(*calls)
    await world.admit(world.admission(hold=1))
    assert len(storage._books._calls) <= 3 + 1
    assert all(
        isinstance(each, Resolved) for each in await world.resolve(*(settle(call, 1) for call in calls))
    )
    async with storage.read() as tx:
        row = await tx.fetch_one(select(schema.accounts))
    assert row is not None
    assert row["balance"] == 995
