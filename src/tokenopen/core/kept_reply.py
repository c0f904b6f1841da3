"""Kept reply: what a call with an Idempotency-Key was answered, for when the same call is sent again.

    free      no call under the key, one that cost nothing, or one of 24 hours ago   the call is made
    running   the first call's hold is open                                          wait, then 409
    done      the first call is settled                                              its reply, again

A key is claimed in the transaction that admits the call, and the reply is kept in the one that settles it,
so there is never a second charge, wherever a process ends. Keys belong to an API key: what two API keys of
an account send never meets.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tokenopen.core.call import CallState, IdempotencyClaim
from tokenopen.core.errors import CallStillRunning, IdempotencyConflict, InvalidRequest, Refusal
from tokenopen.core.money import Nanocredits, format_amount

KEPT_MS: Final = 24 * 60 * 60 * 1000
KEPT_BYTES_MAX: Final = 1024 * 1024
KEY_LENGTH_MAX: Final = 255

Headers = Sequence[tuple[bytes, bytes]]


def read_claim(key: bytes, *parts: bytes) -> IdempotencyClaim:
    """Return what a call claims under the key it was sent with; ``parts`` is all that it asks for.

    Raises InvalidRequest for what cannot be a key.
    """
    text = key.decode("latin-1")
    if not (0 < len(text) <= KEY_LENGTH_MAX and text.isascii() and text.isprintable()):
        raise InvalidRequest(
            f"Idempotency-Key must be 1 to {KEY_LENGTH_MAX} printable ASCII characters.",
            param="Idempotency-Key",
        )
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        # With its length, so that no two requests differ only in where one part ends.
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return IdempotencyClaim(key=text, request_hash=digest.digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCall:
    """The call that a key was last claimed by, as its row says."""

    call_id: str
    request_hash: bytes
    claimed_at_ms: int
    state: CallState
    has_reply: bool = False
    # The reply was given again: its charge stands, also where the first caller was answered with an error.
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadyMade:
    """The same call was made and settled: its reply is to be given again, and nothing is charged."""

    call_id: str


def decide_claim(claim: IdempotencyClaim, kept: KeptCall | None, now_ms: int) -> AlreadyMade | Refusal | None:
    """Return what stands in the way of making the call, or None where its key is free."""
    if kept is None or kept.state not in ("held", "settled"):
        return None
    if kept.state == "settled" and now_ms >= kept.claimed_at_ms + KEPT_MS:
        return None
    if kept.request_hash != claim.request_hash:
        return IdempotencyConflict(key=claim.key, call_id=kept.call_id)
    if kept.state == "held":
        return CallStillRunning(key=claim.key, call_id=kept.call_id)
    return AlreadyMade(call_id=kept.call_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReply:
    """A whole reply with status 200. ``tail`` ends a stream, and may show the charge."""

    headers: Headers
    parts: Sequence[bytes]
    tail: Callable[[str], bytes] | None = None

    def headers_at(self, charge: Nanocredits) -> Headers:
        """Return the headers to be sent again."""
        if self.tail is not None:
            return self.headers
        return (*self.headers, (b"x-tokenopen-charge", format_amount(charge).encode()))

    def body_at(self, charge: Nanocredits) -> bytes | None:
        """Return the body that goes with a charge, None where it is too large to be kept."""
        tail = b"" if self.tail is None else self.tail(format_amount(charge))
        body = b"".join((*self.parts, tail))
        return body if len(body) <= KEPT_BYTES_MAX else None
