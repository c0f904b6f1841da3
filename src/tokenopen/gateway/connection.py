"""Connection: the caller's side of one call, whatever carries it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]


class ClientLeft(Exception):
    """The caller is gone; nothing more can reach it."""


class Connection(Protocol):
    """Where a reply goes. After the caller has gone, sending does nothing."""

    gone: bool
    """The caller has closed its side, or has read nothing for 60 s."""
    address: str
    """The caller's IP address."""

    def abort_on_leave(self, *, grace_s: float = 0) -> AbstractContextManager[None]:
        """Raise ClientLeft inside the block, ``grace_s`` after the caller has gone."""

    async def start(self, status: int, headers: Headers) -> None:
        """Send the reply's head."""

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole reply; its content-length is added."""

    async def send(self, data: bytes) -> None:
        """Send a part of the body, more of which follows."""

    async def finish(self, data: bytes) -> None:
        """Send the last part of the body: from then on the reply is whole."""

    def cut(self) -> None:
        """End the connection so that the caller sees that the reply is not whole."""
