"""Passwords: hashed with Argon2id (RFC 9106) on threads of their own, a few at a time.

Hashing is slow on purpose, so never inside a transaction. More than a few dozen that wait are refused: a
flood of sign-ins must take neither the memory nor the cores that calls need.
"""

import asyncio
import functools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from tokenopen.core.errors import InvalidRequest, TooManyAttempts
from tokenopen.core.password import PASSWORD_LENGTH_MAX, normal_form, why_unacceptable

_THREADS: Final = 2
_WAITING_MAX: Final = 32
_WAIT_S: Final = 5

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Whether a password is the right one; ``rehashed`` is to be stored where parameters have changed."""

    is_right: bool
    rehashed: str | None = None


class Hashing:
    """Hashes and verifies passwords, a few at a time. Refuses TooManyAttempts where too many wait."""

    def __init__(self, hasher: PasswordHasher, *, waiting_max: int = _WAITING_MAX) -> None:
        self._hasher = hasher
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="password")
        self._waiting_max = waiting_max
        self._under_way = 0
        # Verified against where there is no password, so that it takes as long as where there is one.
        self._nobodys = functools.cache(lambda: hasher.hash(secrets.token_urlsafe()))

    async def hash(self, password: str) -> str:
        """Return what is stored of a password."""
        return await self._run(lambda: self._hasher.hash(normal_form(password)))

    async def verify(self, stored: str | None, password: str) -> Verified:
        """Tell whether a password is the stored one; never where nothing is stored, after as long."""
        # What is longer than a password may be is wrong anyway, and not worth its memory.
        typed = normal_form(password[: PASSWORD_LENGTH_MAX + 1])
        return await self._run(lambda: self._verify(stored, typed))

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        if self._under_way >= self._waiting_max:
            raise TooManyAttempts(retry_after_s=_WAIT_S)
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1

    def _verify(self, stored: str | None, password: str) -> Verified:
        try:
            self._hasher.verify(self._nobodys() if stored is None else stored, password)
        except VerificationError:
            return Verified(is_right=False)
        if stored is None:
            return Verified(is_right=False)
        changed = self._hasher.check_needs_rehash(stored)
        return Verified(is_right=True, rehashed=self._hasher.hash(password) if changed else None)


# 64 MiB and three passes (RFC 9106, second recommendation) on one core each: the others are for calls.
HASHING: Final = Hashing(PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1))


async def hash_new_password(password: str, *, email: str) -> str:
    """Return what is stored of a password that a user chooses. Refuses a short or common one."""
    why = why_unacceptable(password, email=email)
    if why is not None:
        raise InvalidRequest(why, param="password")
    return await HASHING.hash(password)


async def verify_password(stored: str | None, password: str) -> Verified:
    """Tell whether a password is the stored one, in the same time where there is none."""
    return await HASHING.verify(stored, password)
