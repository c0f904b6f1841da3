"""Headers that TokenOpen adds to replies, and the few of the provider's that pass."""

from collections.abc import Iterable
from typing import Final

from tokenopen.core.errors import Refusal
from tokenopen.core.rate_limit import LimitUse

# Of a provider's reply headers only these reach the caller; the rest may tell of the operator's account.
PASSED_REPLY_HEADERS: Final = frozenset({b"content-type", b"openai-processing-ms"})
JSON_TYPE: Final = (b"content-type", b"application/json")


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
    for use, suffix in ((minute, b"requests"), (today, b"requests-day"), (tokens, b"tokens")):
        if use is not None:
            headers += [
                (b"x-ratelimit-limit-" + suffix, b"%d" % use.limit),
                (b"x-ratelimit-remaining-" + suffix, b"%d" % use.remaining),
                (b"x-ratelimit-reset-" + suffix, format_duration(use.resets_in_s)),
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
