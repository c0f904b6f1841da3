"""Page: a stretch of a list, and where the next one begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

PAGE_LIMIT_MAX: Final = 200
PAGE_LIMIT: Final = 50

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """So many items at most, from after the one that the cursor ``after`` names."""

    limit: int = PAGE_LIMIT
    after: str | None = None

    @property
    def fetch(self) -> int:
        """How many rows to read: one more than is shown tells whether there is a next page."""
        return self.limit + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """Some items of a list; ``next_cursor`` is None at its end."""

    items: Sequence[Item]
    next_cursor: str | None = None


def cut_page(rows: Sequence[Item], page: PageRequest, *, cursor_of: Callable[[Item], str]) -> Page[Item]:
    """Return the page that ``page.fetch`` rows make."""
    shown = rows[: page.limit]
    more = len(rows) > page.limit
    return Page(items=shown, next_cursor=cursor_of(shown[-1]) if more else None)
