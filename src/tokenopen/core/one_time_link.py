"""One-time link: lets whoever holds it do one thing, once, within an hour. Stored is a keyed hash."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tokenopen.core.api_key import hash_key

LINK_LIFE_MS: Final = 3_600_000

# administrator: become an administrator with a password. password: choose a new one. sign_up: become a user.
LinkPurpose = Literal["administrator", "password", "sign_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeLink:
    """What is kept of a link. ``user_id`` is whom it is for, ``email`` the address it was sent to."""

    id: str
    purpose: LinkPurpose
    user_id: str | None
    email: str | None
    created_at_ms: int
    expires_at_ms: int


def hash_link_token(token: str, hashing_key: bytes) -> bytes:
    """Return the keyed hash under which a link is stored; other secrets' hashes never equal it."""
    return hash_key(f"link:{token}", hashing_key)


_PATHS: Final[Mapping[LinkPurpose, str]] = {
    "administrator": "/administrator-link/",
    "password": "/new-password/",
    "sign_up": "/sign-up/",
}


def path_of_link(purpose: LinkPurpose, token: str) -> str:
    """Return the console's path behind which a link's token is used."""
    return f"{_PATHS[purpose]}{token}"
