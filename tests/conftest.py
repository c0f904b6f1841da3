"""What tests of the control plane share: a real database of their own, a clock that tests move, and
clients of the control API."""

import asyncio
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.e2e import running
from tests.e2e.command import Forking
from tests.engines import (
    ENGINE_VARIABLE,
    OpenStorage,
    PostgresqlServer,
    opened_postgresql,
    opened_sqlite,
    postgresql,
)
from tests.fakes.clock import MovableClock
from tests.fakes.upstream import FakeUpstream
from tokenopen.api.control_app import create_control_app
from tokenopen.control.actor import Actor
from tokenopen.control.management_key import create_management_key
from tokenopen.control.seed_groups import SEED_GROUPS
from tokenopen.control.services import Services
from tokenopen.control.setup import set_up
from tokenopen.control.user import create_user
from tokenopen.core.user import Role
from tokenopen.ports.storage import Storage
from tokenopen.storage.migrate import upgrade_sqlite

MakeControlApp = Callable[[Services], FastAPI]

# Files here are memory (shm_overview(7)). A test's database takes a few MiB.
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 40 << 20
HASHING_KEY = b"h" * 32
SEALING_KEY = b"s" * 32


_forking = Forking()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start commands in the way that takes the least."""
    running.start_command = _forking.start


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave no process behind."""
    _forking.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, or one worker is left with one of them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what is there for good, modules and thousands of tests, out of every collection of garbage; it
    took half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server, which all processes of a test run share."""
    with postgresql() as server:
        yield server


@pytest.fixture
async def postgresql_url(postgresql_server: PostgresqlServer) -> AsyncIterator[str]:
    """An empty PostgreSQL database of one's own."""
    async with postgresql_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every table and no row, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "tokenopen.sqlite3"
    upgrade_sqlite(path)
    return path


@pytest.fixture(scope="session")
def set_up_file(empty_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that has been started with, to be copied: seeded groups, settings, an administrator."""
    path = tmp_path_factory.mktemp("set-up") / empty_file.name

    async def fill() -> None:
        async with opened_sqlite(empty_file, path.parent, MovableClock()) as storage:
            await _set_up(storage)

    asyncio.run(fill())
    return path


@pytest.fixture
def engine() -> str:
    """The engine that a test runs on."""
    return os.environ.get(ENGINE_VARIABLE, "sqlite")


@pytest.fixture
def database_directory(tmp_path: Path) -> Iterator[Path]:
    """Where a test's embedded database lies: in memory where there is room, since each commit waits for a
    disk, and no test in this process cuts the power."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN:
        with tempfile.TemporaryDirectory(prefix="tokenopen-test-", dir=MEMORY) as directory:
            yield Path(directory)
    else:
        yield tmp_path


@pytest.fixture
def open_storage(engine: str, request: pytest.FixtureRequest) -> OpenStorage:
    """What opens an empty database on the test's engine; a server starts only where one is asked for."""
    if engine == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        return lambda clock: opened_postgresql(url, clock)
    assert engine == "sqlite", f"{ENGINE_VARIABLE}: there is no engine {engine}"
    # For most tests a start is where they begin, not what they are about.
    file = "set_up_file" if "administrator" in request.fixturenames else "empty_file"
    template, directory = request.getfixturevalue(file), request.getfixturevalue("database_directory")
    return lambda clock: opened_sqlite(template, directory, clock)


@pytest.fixture
def clock() -> MovableClock:
    """A clock that stands at noon until it is moved."""
    return MovableClock()


@pytest.fixture
async def storage(open_storage: OpenStorage, clock: MovableClock) -> AsyncIterator[Storage]:
    """An empty database of one's own."""
    async with open_storage(clock) as storage:
        yield storage


@pytest.fixture
async def administrator(storage: Storage) -> Actor:
    """The administrator of a database that has been started with: seeded groups, settings."""
    return await _set_up(storage)


async def _set_up(storage: Storage) -> Actor:
    async with storage.write() as tx:
        return (await set_up(tx, seed_groups=SEED_GROUPS, default_group="default")).administrator


@pytest.fixture
def upstream() -> FakeUpstream:
    """Every provider there is."""
    return FakeUpstream()


@pytest.fixture
def services(storage: Storage, clock: MovableClock, upstream: FakeUpstream, administrator: Actor) -> Services:
    """What the control API works with, on a database that has been set up."""
    return Services(
        storage=storage,
        clock=clock,
        upstream=upstream,
        hashing_key=HASHING_KEY,
        sealing_key=SEALING_KEY,
        allowed_networks=(),
    )


# FastAPI prepares an application's routes at its first request, which takes longer than a test does.
_idle_control_apps: list[FastAPI] = []


@pytest.fixture
def make_control_app() -> Iterator[MakeControlApp]:
    """What makes a control API, each of a test another one; those of tests that have ended are taken over."""
    made: list[FastAPI] = []

    def make(services: Services) -> FastAPI:
        app = _idle_control_apps.pop() if _idle_control_apps else create_control_app(services)
        app.state.services = services
        made.append(app)
        return app

    yield make
    _idle_control_apps.extend(made)


@pytest.fixture
def control_app(make_control_app: MakeControlApp, services: Services) -> FastAPI:
    """The control API."""
    return make_control_app(services)


async def make_user(storage: Storage, administrator: Actor, email: str, *, role: Role = "user") -> Actor:
    """Create a user and return them as one who may ask for things."""
    async with storage.write() as tx:
        user = await create_user(
            tx, administrator, email=email, name=email.split("@")[0].title(), role=role, password_hash=None
        )
    return Actor(
        user_id=user.id, email=user.email, role=role, account_id=user.account_id, via="management_key"
    )


@pytest.fixture
async def user(storage: Storage, administrator: Actor) -> Actor:
    """A user without any rights or credit."""
    return await make_user(storage, administrator, "ada@example.com")


@pytest.fixture
async def other_user(storage: Storage, administrator: Actor) -> Actor:
    """Another user, whose things are none of the first one's."""
    return await make_user(storage, administrator, "bob@example.com")


async def _client(app: FastAPI, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
        yield client


async def make_management_key(storage: Storage, actor: Actor) -> str:
    """Create a management key of the actor's and return its secret."""
    async with storage.write() as tx:
        key, _ = await create_management_key(
            tx, actor, user_id=actor.user_id, name="Test", hashing_key=HASHING_KEY
        )
    return key


@pytest.fixture
async def admin_client(
    control_app: FastAPI, storage: Storage, administrator: Actor
) -> AsyncIterator[httpx.AsyncClient]:
    """The control API with an administrator's management key."""
    async for client in _client(control_app, await make_management_key(storage, administrator)):
        yield client


@pytest.fixture
async def user_client(
    control_app: FastAPI, storage: Storage, user: Actor
) -> AsyncIterator[httpx.AsyncClient]:
    """The control API with the user's management key."""
    async for client in _client(control_app, await make_management_key(storage, user)):
        yield client


@pytest.fixture
async def other_client(
    control_app: FastAPI, storage: Storage, other_user: Actor
) -> AsyncIterator[httpx.AsyncClient]:
    """The control API with the other user's management key."""
    async for client in _client(control_app, await make_management_key(storage, other_user)):
        yield client


@pytest.fixture
async def anonymous_client(control_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The control API without any key."""
    async for client in _client(control_app, None):
        yield client
