"""Kept replies: collecting one as it is made, and giving it again to the same call sent again."""

import json
from functools import cache
from typing import Final

from tokenopen.core.errors import ReplyNotKept
from tokenopen.core.kept_reply import KEPT_BYTES_MAX, AlreadyMade, Headers, KeptReply
from tokenopen.gateway.check import Plan
from tokenopen.gateway.connection import Connection
from tokenopen.ports.storage import Storage
from tokenopen.storage.kept_reply import find_kept_reply
from tokenopen.upstream.surface import StreamReader

REPLAYED: Final = (b"x-tokenopen-replayed", b"true")
# What limits were left belongs to the moment of the first reply, not to that of giving it again.
_LIMIT_PREFIX: Final = b"x-ratelimit-"


class ReplyKeeper:
    """Collects what passes to a caller, as long as it is small enough to be kept."""

    def __init__(self, headers: Headers) -> None:
        self._headers = [header for header in headers if not header[0].startswith(_LIMIT_PREFIX)]
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Take the next part of the body."""
        self._size += len(data)
        if self._size <= KEPT_BYTES_MAX:
            self._parts.append(data)
        else:
            self._parts.clear()

    def whole_json(self, body: bytes) -> KeptReply | None:
        """Return a reply that was collected anyway."""
        return KeptReply(headers=self._headers, parts=[body]) if len(body) <= KEPT_BYTES_MAX else None

    def whole_stream(self, reader: StreamReader) -> KeptReply | None:
        """Return the stream that has passed, to be ended by the reader's tail; None where it is not whole.

        The tail is made once: a reader forgets what it hands out.
        """
        if not reader.whole or self._size > KEPT_BYTES_MAX:
            return None
        return KeptReply(headers=self._headers, parts=self._parts, tail=cache(reader.tail))


async def replay(storage: Storage, plan: Plan, made: AlreadyMade, connection: Connection) -> None:
    """Answer a call with the reply of the same call before it. Raises ReplyNotKept, StorageAway."""
    facts = plan.facts
    assert facts.claim is not None
    async with storage.read() as tx:
        row = await find_kept_reply(
            tx,
            account_id=facts.account_id,
            key_id=facts.key_id,
            idempotency_key=facts.claim.key,
            call_id=made.call_id,
        )
    if row is None or row["body"] is None:
        raise ReplyNotKept(call_id=made.call_id)
    body = bytes(row["body"])
    headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(row["headers"])
    ]
    await connection.reply(200, [*headers, REPLAYED], body)
