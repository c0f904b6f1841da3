"""One running platform for the tests of a module: the real server process and the simulated provider."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Platform, Server
from tokenopen.simulator.process import SimulatorProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with three models of our own and the simulated provider, which records what it is sent."""
    data_dir = tmp_path_factory.mktemp("platform") / "data"
    with Server(data_dir) as server, SimulatorProcess(record=True) as simulator:
        running = Platform(server, simulator)
        for model in ("small", "large", "new"):
            running.add_model(model)
        running.add_upstream(["small", "large", "new", "gpt-4o-mini", "text-embedding-3-small"])
        yield running
        running.admin.close()
