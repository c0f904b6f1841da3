"""The real simulator process."""

from collections.abc import Iterator

import pytest

from tests.simulator.raw_client import RawClient
from tokenopen.simulator.process import SimulatorProcess


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(record=True) as process:
        yield process


@pytest.fixture
def raw(simulator: SimulatorProcess) -> RawClient:
    return RawClient(simulator.port)
