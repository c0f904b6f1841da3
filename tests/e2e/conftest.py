"""One running platform for the tests of a module: the real server process and the simulated provider."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.running import Platform, Server
from tests.engines import ENGINE_VARIABLE, PostgresqlServer
from tokenopen.simulator.process import SimulatorProcess

SECRET_KEY = "test-secret-0123456789-0123456789-0123456789"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@contextmanager
def on_postgresql(server: PostgresqlServer) -> Iterator[dict[str, str]]:
    """What a server's environment says to use an empty PostgreSQL database."""
    with server.bare_database() as url:
        yield {"TOKENOPEN_DATABASE_URL": url, "TOKENOPEN_SECRET_KEY": SECRET_KEY}


@pytest.fixture(scope="module")
def engine_environment(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What a server's environment says of the engine that the tests run on."""
    if os.environ.get(ENGINE_VARIABLE) == "postgresql":
        with on_postgresql(request.getfixturevalue("postgresql_server")) as environment:
            yield environment
    else:
        yield {}


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, engine_environment: dict[str, str]
) -> Iterator[Platform]:
    """A platform with three models of our own and the simulated provider, which records what it is sent."""
    data_dir = tmp_path_factory.mktemp("platform") / "data"
    with (
        Server(data_dir, environment=engine_environment) as server,
        SimulatorProcess(record=True) as simulator,
    ):
        running = Platform(server, simulator)
        for model in ("small", "large", "new"):
            running.add_model(model)
        running.add_upstream(["small", "large", "new", "gpt-4o-mini", "text-embedding-3-small"])
        yield running
        running.admin.close()
