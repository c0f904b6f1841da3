"""Attempts: counted in the database, so that a throttle holds over every worker."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenopen.core.api_key import hash_key
from tokenopen.core.errors import TooManyAttempts
from tokenopen.core.throttle import Throttle
from tokenopen.ports.storage import Transaction
from tokenopen.storage import attempt as storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is throttled: ``name`` says it in full and is stored as a keyed hash only."""

    name: str
    throttle: Throttle


async def count_attempt(tx: Transaction, subjects: Sequence[Subject], hashing_key: bytes) -> None:
    """Count an attempt before it is made, so that many at once are counted too. Refuses TooManyAttempts.

    A refused attempt is not counted: whoever waits as long as they are told gets in.
    """
    # Locked in one order, so that no two attempts wait for each other.
    hashed = sorted(
        ((_hash(subject, hashing_key), subject.throttle) for subject in subjects), key=lambda pair: pair[0]
    )
    found = [(key, throttle, await storage.lock_attempts(tx, key)) for key, throttle in hashed]
    wait_ms = max(throttle.wait_ms(attempts, tx.now_ms) for _, throttle, attempts in found)
    if wait_ms:
        raise TooManyAttempts(retry_after_s=-(-wait_ms // 1000))
    for key, throttle, attempts in found:
        await storage.store_attempts(tx, key, throttle.after_one_more(attempts, tx.now_ms))


async def forget_attempts(tx: Transaction, subject: Subject, hashing_key: bytes) -> None:
    """Forget the attempts that led to success."""
    await storage.forget_attempts(tx, _hash(subject, hashing_key))


def _hash(subject: Subject, hashing_key: bytes) -> bytes:
    return hash_key(f"attempt:{subject.name}", hashing_key)
