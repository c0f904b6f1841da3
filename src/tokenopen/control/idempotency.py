"""Idempotency: a money POST that is sent again is answered again, not done again.

The answer is kept in the transaction that did the work, so there is never one without the other. A
request that was refused leaves nothing behind and may be sent again under the same key.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenopen.control.actor import Actor
from tokenopen.core.errors import Conflict, InvalidRequest
from tokenopen.ports.storage import Transaction
from tokenopen.storage import idempotency as statements

KEY_LENGTH_MAX: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a money POST answered: ``body`` is JSON."""

    status: int
    body: bytes


def _hash_request(request: object) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(request, order="sorted"), digest_size=32).digest()


async def answer_once(
    tx: Transaction,
    actor: Actor,
    *,
    key: str | None,
    request: object,
    act: Callable[[], Awaitable[Answer]],
) -> Answer:
    """Return what ``act`` answers, or what it answered when the actor sent the same request before.

    ``request`` is all that was asked, as JSON values: path and body. Without a key every request is done.
    Raises Conflict where the key went with another request, InvalidRequest where it cannot be a key.
    """
    if key is None:
        return await act()
    if not (0 < len(key) <= KEY_LENGTH_MAX and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"Idempotency-Key must be 1 to {KEY_LENGTH_MAX} printable ASCII characters.",
            param="Idempotency-Key",
        )
    await statements.lock_actor(tx, actor.user_id)
    request_hash = _hash_request(request)
    earlier = await statements.find_answer(tx, actor.user_id, key)
    if earlier is not None:
        if bytes(earlier["request_hash"]) != request_hash:
            raise Conflict(
                f"Idempotency-Key {key} was used for another request. Use a new key for a new request."
            )
        return Answer(status=earlier["status"], body=bytes(earlier["body"]))
    answer = await act()
    await statements.insert_answer(
        tx, actor.user_id, key, request_hash=request_hash, status=answer.status, body=answer.body
    )
    return answer
