"""What a page says, as somebody reads it."""

import html
import re

import httpx

_UNREAD = re.compile(r"<(script|style|svg)\b.*?</\1>|<[^>]+>", re.DOTALL)


def text_of(page: httpx.Response, *, status: int = 200) -> str:
    """Return the words of a page's main part, without markup, one space apart."""
    assert page.status_code == status, page.text[:2_000]
    return " ".join(html.unescape(_UNREAD.sub(" ", page.text.split("<main", 1)[1])).split())


def words(page: httpx.Response) -> str:
    """Return the same of a page of whatever status, such as a form that was refused."""
    return text_of(page, status=page.status_code)
