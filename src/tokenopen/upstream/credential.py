"""Credentials of upstreams, sealed: AES-256-GCM, bound to the origin that they are meant for.

    sealed  <version: 1 byte>  <nonce: 12>  <ciphertext and tag: length of the text + 16>

The origin ("https://api.openai.com:443") is authenticated along with the text, so that a credential
cannot be made to go anywhere else by changing the base URL in the database.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEALING_KEY_LENGTH: Final = 32
_VERSION: Final = b"\x01"
_NONCE_LENGTH: Final = 12


class CredentialUnreadable(Exception):
    """The credential was sealed under another secret or for another origin; the text is for operators."""


def seal_credential(sealing_key: bytes, origin: str, text: str) -> bytes:
    """Return a credential as it is stored."""
    assert len(sealing_key) == SEALING_KEY_LENGTH
    nonce = os.urandom(_NONCE_LENGTH)
    return _VERSION + nonce + AESGCM(sealing_key).encrypt(nonce, text.encode(), origin.encode())


def open_credential(sealing_key: bytes, origin: str, sealed: bytes) -> str:
    """Return the credential that was sealed for the origin. Raises CredentialUnreadable."""
    assert len(sealing_key) == SEALING_KEY_LENGTH
    nonce, ciphertext = sealed[1 : 1 + _NONCE_LENGTH], sealed[1 + _NONCE_LENGTH :]
    if sealed[:1] != _VERSION:
        raise CredentialUnreadable("The credential was sealed by a newer TokenOpen.")
    try:
        return AESGCM(sealing_key).decrypt(nonce, ciphertext, origin.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise CredentialUnreadable(
            f"The credential cannot be opened for {origin}: it was sealed with another TOKENOPEN_SECRET_KEY "
            "or for another address. Enter it again."
        ) from error
