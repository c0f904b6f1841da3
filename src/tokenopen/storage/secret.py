"""The installation's secret: the root of key hashing and credential encryption.

Lose it and no key can be told and no credential opened; hence it lies beside the embedded database, and
a database remembers a check value of the secret that it was set up with.
"""

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import insert, select

from tokenopen.ports.storage import Transaction
from tokenopen.storage.schema import platform_settings

SECRET_FILE: Final = "secret.key"  # noqa: S105 the name of a file
SECRET_LENGTH_MIN: Final = 32
_CHECK_SETTING: Final = "secret_check"


class SecretUnusable(Exception):
    """The secret does not belong to this database, or its file cannot be read; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedKeys:
    """Keys for one purpose each (HKDF, RFC 5869), so that none tells anything of another."""

    hashing_key: bytes
    sealing_key: bytes
    check: bytes


def read_or_create_secret(data_dir: Path) -> str:
    """Return the secret kept in the data directory, made at the first start. Raises SecretUnusable."""
    path = data_dir / SECRET_FILE
    try:
        if not path.exists():
            _write_secret(path)
        secret = path.read_text().strip()
    except OSError as error:
        raise SecretUnusable(
            f"The secret in {path} cannot be read or written ({error.strerror}). Give this user the right "
            "to it, or set TOKENOPEN_SECRET_KEY."
        ) from error
    if len(secret) < SECRET_LENGTH_MIN:
        raise SecretUnusable(
            f"The secret in {path} is not whole. Restore it from a backup, or set TOKENOPEN_SECRET_KEY to "
            "the one that this database was set up with."
        )
    return secret


def _write_secret(path: Path) -> None:
    # Written whole under another name first: a crash must not leave half a secret to be taken for one.
    unfinished = path.with_name(f"{path.name}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def derive_keys(secret: str) -> DerivedKeys:
    """Return the keys that a secret stands for."""

    def derive(purpose: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"tokenopen " + purpose).derive(
            secret.encode()
        )

    return DerivedKeys(
        hashing_key=derive(b"key hashing"), sealing_key=derive(b"credential sealing"), check=derive(b"check")
    )


async def is_secret_of(tx: Transaction, keys: DerivedKeys) -> bool:
    """Tell whether the database was set up with this secret."""
    row = await tx.fetch_one(
        select(platform_settings.c.value).where(platform_settings.c.name == _CHECK_SETTING)
    )
    return row is not None and hmac.compare_digest(row["value"], keys.check.hex())


async def check_secret(tx: Transaction, keys: DerivedKeys) -> None:
    """Make the first secret the database's own; raise SecretUnusable for any other one."""
    row = await tx.fetch_one(
        select(platform_settings.c.value).where(platform_settings.c.name == _CHECK_SETTING)
    )
    if row is None:
        await tx.execute(insert(platform_settings).values(name=_CHECK_SETTING, value=keys.check.hex()))
    elif not hmac.compare_digest(row["value"], keys.check.hex()):
        raise SecretUnusable(
            "This secret does not belong to this database: API keys and upstream credentials could not be "
            f"read. Set TOKENOPEN_SECRET_KEY to the one it was set up with, or restore {SECRET_FILE} in the "
            "data directory."
        )
