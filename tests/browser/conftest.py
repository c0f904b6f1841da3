"""A real browser for the tests of a module, and the real process that it talks to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.accessibility import read_axe
from tests.browser.chromium import HOW_TO_INSTALL, find_chromium, started_chromium
from tests.browser.populated import Populated, populate
from tests.browser.window import Window
from tests.e2e.running import Platform, Server
from tokenopen.simulator.process import SimulatorProcess

OpenWindow = Callable[..., Window]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here starts processes, and takes its time on a machine that is busy."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(1_200))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser; where there is none, its tests are skipped and say how to have it."""
    if find_chromium() is None:
        pytest.skip(HOW_TO_INSTALL)
    with started_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's script."""
    return read_axe()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A server that was just started for the first time, and the simulated provider."""
    with Server(tmp_path_factory.mktemp("console") / "data") as server, SimulatorProcess() as simulator:
        running = Platform(server, simulator)
        yield running
        running.admin.close()


@pytest.fixture(scope="module")
def populated(platform: Platform) -> Populated:
    """The platform with people, keys, calls and whatever else pages are about."""
    return populate(platform)


@pytest.fixture
def open_window(chromium: Browser, platform: Platform) -> Iterator[OpenWindow]:
    """What opens windows; all are closed at the end, and nothing may have been complained about in any."""
    windows: list[Window] = []

    def open_one(*, scripts: bool = True, phone: bool = False) -> Window:
        windows.append(Window(chromium, platform.server.url, scripts=scripts, phone=phone))
        return windows[-1]

    yield open_one
    complaints = [complaint for window in windows for complaint in window.complaints]
    for window in windows:
        window.close()
    assert not complaints
