"""Headers that TokenOpen adds to replies, and the few of the provider's that pass."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from tokenopen.core.errors import Refusal
from tokenopen.core.rate_limit import LimitUse

# Of a provider's reply headers only these reach the caller; the rest may tell of the operator's account.
PASSED_REPLY_HEADERS: Final = frozenset({b"content-type", b"openai-processing-ms"})
JSON_TYPE: Final = (b"content-type", b"application/json")


# Of each limit the names of limit, remaining and reset.
_LIMIT_NAMES: Final = tuple(
    tuple(b"x-ratelimit-%b-%b" % (what, of) for what in (b"limit", b"remaining", b"reset"))
    for of in (b"requests", b"requests-day", b"tokens")
)


@lru_cache(maxsize=1024)
def format_duration(seconds: int) -> bytes:
    """Return a duration as OpenAI writes it in rate-limit headers: ``1s``, ``6m0s``, ``2h3m4s``."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return b"%dh%dm%ds" % (hours, minutes, rest)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def limit_headers(
    group_slug: str, minute: LimitUse | None, today: LimitUse | None, tokens: LimitUse | None
) -> list[tuple[bytes, bytes]]:
    """Return the group and, for each limit that is set, limit, remaining and reset."""
    headers = [(b"x-tokenopen-group", group_slug.encode())]
    for use, (limit, remaining, reset) in zip((minute, today, tokens), _LIMIT_NAMES, strict=True):
        if use is not None:
            headers += [
                (limit, b"%d" % use.limit),
                (remaining, b"%d" % use.remaining),
                (reset, format_duration(use.resets_in_s)),
            ]
    return headers


def refusal_headers(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    """Return what tells a client whether and when to try again."""
    headers = []
    if refusal.group_slug is not None:
        headers += limit_headers(refusal.group_slug, refusal.minute, refusal.today, refusal.tokens)
    if refusal.status == 401:
        # RFC 9110, 11.6.1: a 401 names a way to authenticate.
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % refusal.retry_after_s))
    if refusal.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if refusal.should_retry else b"false"))
    return headers


def passed_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return those of a provider's reply headers that may reach the caller."""
    return [header for header in headers if header[0] in PASSED_REPLY_HEADERS]
