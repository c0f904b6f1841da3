"""Finds every page by following links, as people do: one address for each route of the pages' own table."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from tests.browser.window import Window
from tests.web.route_table import ROUTES

_LINKS: Final = "[...document.querySelectorAll('a[href]')].map((link) => link.getAttribute('href'))"
# Each page of the guide is a page of its own, whatever route serves it.
BOOKS: Final = ("/guide", "/reference", "/help")
# Of calls a few are opened, since one that was charged and one that was refused have little in common.
_CALLS_OPENED: Final = 4


def _pattern_of(path: str) -> re.Pattern[str]:
    named = re.sub(r"\\\{\w+:path\\\}", ".+", re.escape(path))
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", named))


# Exact ones first, then as the application finds them: /calls/refused is not /calls/{call_id}.
_PATTERNS: Final = [
    (path, _pattern_of(path))
    for path in sorted((path for method, path in ROUTES if method == "GET"), key=lambda each: "{" in each)
]


def is_page(path: str) -> bool:
    """Tell whether a route answers with a page, not with a file."""
    return not path.endswith((".md", ".csv", ".txt"))


def is_theirs(who: str, address: str) -> bool:
    """Tell whether a page is looked at as somebody's, so that each is once: books are nobody's."""
    if who == "administrator":
        return address.startswith("/admin")
    return who == "nobody" or not address.startswith(BOOKS)


def route_of(path: str) -> str | None:
    """Return the route that serves a path, or None."""
    return next((route for route, pattern in _PATTERNS if pattern.fullmatch(path)), None)


def follow_links(
    window: Window, begin: Sequence[str], *, is_opened: Callable[[str], bool]
) -> Iterator[tuple[str, str]]:
    """Open one page of each route that links lead to, from ``begin`` on.

    Yields route and address while the page is open; a page that leads on stands for where it leads. Of what
    is not to be opened the answer's status is taken and nothing more.
    """
    waiting = list(begin)
    opened: Counter[str] = Counter()
    addresses: set[str] = set()
    while waiting:
        address = waiting.pop(0)
        mark = _mark_of(address)
        if address in addresses or opened[mark] >= (_CALLS_OPENED if mark.endswith("{call_id}") else 1):
            continue
        addresses.add(address)
        opened[mark] += 1
        if not is_opened(address):
            window.ask_for(address)
            yield mark, address
            continue
        reached = _mark_of(window.open(address).url)
        if reached != mark:
            if opened[reached]:
                continue
            opened[reached] += 1
        yield route_of(urlsplit(window.page.url).path) or "", address
        for link in window.page.evaluate(_LINKS):
            path = urlsplit(link).path
            if link.startswith("/") and route_of(path) is not None and is_page(path):
                waiting.append(link.split("#")[0])


def _mark_of(address: str) -> str:
    """What two addresses have in common that one page stands for."""
    path = urlsplit(address).path
    return path if path.startswith(BOOKS) else route_of(path) or path
