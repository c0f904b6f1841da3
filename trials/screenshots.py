"""Takes a picture of every page of the demo, in both themes and at a phone's width, to be looked at.

    python -m trials.screenshots DIRECTORY

Starts ``tokenopen demo``, signs in as its user and as its administrator, follows the links of the console,
and writes ``desktop/``, ``dark/`` and ``phone/`` with one PNG for each page.
"""

import argparse
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import typer
from playwright.sync_api import Browser
from tests.browser.chromium import started_chromium
from tests.browser.crawl import follow_links, is_theirs
from tests.browser.window import DESKTOP, PHONE, Window

from tokenopen.settings import child_environment

_END_TIMEOUT_S = 60
_VISITORS = ("/guide", "/sign-in", "/forgot-password", "/reference", "/help")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Where a demo runs, and the password of its people."""

    url: str
    password: str


@contextmanager
def running_demo() -> Iterator[Demo]:
    """Run ``tokenopen demo`` meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tokenopen.cli.main", "demo"],
        env=child_environment({"COLUMNS": "200"}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if "stays up" in line:
                break
        url = re.search(r"^ +(http://localhost:\d+)$", printed, re.MULTILINE)
        password = re.search(r"password (\S+)", printed)
        assert url is not None, f"the demo did not start:\n{printed}"
        assert password is not None
        yield Demo(url=url[1], password=password[1])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_END_TIMEOUT_S)


def _name_of(who: str, address: str) -> str:
    path = re.sub(r"[^a-z0-9-]+", "-", urlsplit(address).path.strip("/").lower()) or "start"
    return f"{who}-{path[:60].strip('-')}"


def _take(window: Window, directory: Path, name: str) -> None:
    page = window.page
    for folder, theme, size in (
        ("desktop", "light", DESKTOP),
        ("dark", "dark", DESKTOP),
        ("phone", "light", PHONE),
    ):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.screenshot(path=directory / folder / f"{name}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]


def take_all(browser: Browser, demo: Demo, directory: Path) -> int:
    """Take every picture; returns of how many pages."""
    pages = 0
    people = (
        ("nobody", None, _VISITORS),
        ("user", "ada@example.com", ("/home", "/keys/new", "/profile")),
        ("administrator", "admin@example.com", ("/admin", "/admin/settings")),
    )
    for who, email, begin in people:
        window = Window(browser, demo.url)
        if email is not None:
            window.sign_in(email, demo.password)
        for _, address in follow_links(window, begin, is_opened=partial(is_theirs, who)):
            if not is_theirs(who, address):
                continue
            _take(window, directory, _name_of(who, address))
            pages += 1
        for complaint in window.complaints:
            typer.echo(f"{who}: {complaint}", err=True)
        window.close()
    return pages


def main() -> None:
    """Take the pictures and say where they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--url", help="a demo that runs already, instead of starting one")
    parser.add_argument("--password", help="its people's password")
    wanted = parser.parse_args()
    with started_chromium() as browser:
        if wanted.url and wanted.password:
            pages = take_all(browser, Demo(url=wanted.url, password=wanted.password), wanted.directory)
        else:
            with running_demo() as demo:
                pages = take_all(browser, demo, wanted.directory)
    typer.echo(f"{pages} pages, each three times, under {wanted.directory}")


if __name__ == "__main__":
    main()
