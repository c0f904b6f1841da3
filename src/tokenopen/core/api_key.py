"""API key: a secret of a user, bound to one group, which it can only narrow.

    sk-to-  <public id: 12>  <secret: 32, 190 bits>  <checksum: 6>          letters and digits

The checksum tells a mistyped or junk key from a real one without any look-up. Only a keyed hash and
the last four characters are stored. Management keys have the same shape behind ``sk-mgmt-``.
"""

import hashlib
import ipaddress
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tokenopen.core.group import matches_any
from tokenopen.core.money import Nanocredits

API_KEY_PREFIX: Final = "sk-to-"
MANAGEMENT_KEY_PREFIX: Final = "sk-mgmt-"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PUBLIC_ID_LENGTH: Final = 12
_SECRET_LENGTH: Final = 32  # 62^32 is a little more than 2^190
_CHECKSUM_LENGTH: Final = 6
# Two digits of base 62, the lower one first.
_PAIRS: Final = tuple(low + high for high in _ALPHABET for low in _ALPHABET)
_BODY_LENGTH: Final = _PUBLIC_ID_LENGTH + _SECRET_LENGTH + _CHECKSUM_LENGTH

ApiKeyState = Literal["active", "disabled", "revoked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What the gateway knows of a key. ``models`` and ``allowed_ips`` are None where not narrowed."""

    id: str
    account_id: str
    user_id: str
    group_id: str
    name: str
    last_four: str
    state: ApiKeyState
    models: Sequence[str] | None
    allowed_ips: Sequence[str] | None
    credit_limit: Nanocredits | None
    expires_at_ms: int | None
    # Set where a caller came with the secret from before a rotation: until when that works.
    former_until_ms: int | None = None

    def narrows_away(self, model: str) -> bool:
        """Tell whether the key itself excludes a model that its group may allow."""
        return self.models is not None and not matches_any(self.models, model)

    def allows_ip(self, address: str) -> bool:
        """Tell whether the key may be used from an address; one that cannot be read may not."""
        if self.allowed_ips is None:
            return True
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(mapped in ipaddress.ip_network(network) for network in self.allowed_ips)


def _checksum(text: str) -> str:
    """Return the CRC-32 of a text in base 62, lowest digits first."""
    rest, low = divmod(zlib.crc32(text.encode("ascii")), len(_PAIRS))
    high, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[low] + _PAIRS[middle] + _PAIRS[high]


def generate_key(prefix: str, choose: Callable[[str], str]) -> str:
    """Return a new key. ``choose`` picks one character at random: ``secrets.choice``."""
    body = "".join(choose(_ALPHABET) for _ in range(_PUBLIC_ID_LENGTH + _SECRET_LENGTH))
    return f"{prefix}{body}{_checksum(prefix + body)}"


def is_well_formed(key: str, prefix: str) -> bool:
    """Tell whether prefix, length and checksum are right; says nothing of whether the key exists."""
    if not key.startswith(prefix) or len(key) != len(prefix) + _BODY_LENGTH or not key.isascii():
        return False
    return _checksum(key[:-_CHECKSUM_LENGTH]) == key[-_CHECKSUM_LENGTH:]


def public_id_of(key: str) -> str:
    """Return the part of a well-formed key that may be shown."""
    body = key.rsplit("-", 1)[1]
    return body[:_PUBLIC_ID_LENGTH]


def hash_key(key: str, hashing_key: bytes) -> bytes:
    """Return the keyed hash under which a key is stored: BLAKE2b, 256 bits (RFC 7693)."""
    return hashlib.blake2b(key.encode(), digest_size=32, key=hashing_key).digest()
