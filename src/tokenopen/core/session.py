"""Session: a browser that has signed in.

Its token is 256 random bits in a cookie; stored is a keyed hash. A session ends when it is not used for a
while, at the latest after a fixed time, and whenever the user's password or role changes.
"""

from dataclasses import dataclass
from typing import Final

from tokenopen.core.api_key import hash_key

SESSION_IDLE_MS: Final = 7 * 24 * 3_600_000
SESSION_LONGEST_MS: Final = 30 * 24 * 3_600_000
# Coarse, so that looking at pages does not write to the database each time.
USE_NOTED_EVERY_MS: Final = 5 * 60_000
# How long a password counts as just given, for what needs one: credentials, credit, roles.
PASSWORD_RECENT_MS: Final = 15 * 60_000
USER_AGENT_LENGTH_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What is kept of a signed-in browser. ``password_at_ms`` is when it last gave the user's password."""

    id: str
    user_id: str
    user_agent: str
    address: str
    created_at_ms: int
    last_used_at_ms: int
    expires_at_ms: int
    password_at_ms: int

    def is_over(self, now_ms: int) -> bool:
        """Tell whether the session has ended by itself: unused for too long, or as old as one may get."""
        return now_ms >= self.expires_at_ms or now_ms >= self.last_used_at_ms + SESSION_IDLE_MS

    def use_is_worth_noting(self, now_ms: int) -> bool:
        """Tell whether the last noted use is so long ago that this one has to be written down."""
        return now_ms >= self.last_used_at_ms + USE_NOTED_EVERY_MS


def is_recent_password(password_at_ms: int, now_ms: int) -> bool:
    """Tell whether a password given then still counts as just given."""
    return password_at_ms <= now_ms < password_at_ms + PASSWORD_RECENT_MS


def hash_session_token(token: str, hashing_key: bytes) -> bytes:
    """Return the keyed hash under which a session is stored; other secrets' hashes never equal it."""
    return hash_key(f"session:{token}", hashing_key)


def form_token_of(cookie_token: str, hashing_key: bytes) -> str:
    """Return the token that forms of a browser carry against cross-site requests.

    Made from the cookie's secret, so that it is the session's own and there is nothing to store; who sees
    it in a page cannot tell the cookie from it.
    """
    return hash_key(f"form:{cookie_token}", hashing_key).hex()


def readable_user_agent(text: str) -> str:
    """Return a User-Agent header as it may be stored and shown: printable, and not too long."""
    return "".join(character for character in text if character.isprintable())[:USER_AGENT_LENGTH_MAX]
