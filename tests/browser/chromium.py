"""Debian's chromium, driven by Playwright: where it is, and how it is started. Nothing is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, sync_playwright

HOW_TO_INSTALL: Final = "there is no chromium: make browser installs it as root, or apt-get install chromium"
# Nothing but the pages: no telemetry, no updates, and no sandbox, which root cannot have.
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    # A container may have next to none of it.
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--hide-scrollbars",
)
_START_TIMEOUT_MS: Final = 120_000


def find_chromium() -> str | None:
    """Return where the browser is, or None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def started_chromium() -> Iterator[Browser]:
    """Run the browser meanwhile, with a profile of its own."""
    path = find_chromium()
    assert path is not None, HOW_TO_INSTALL
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=list(_ARGUMENTS), timeout=_START_TIMEOUT_MS
        )
        yield browser
        browser.close()
