"""Unread replies: a connection whose caller takes nothing of what was written to it is let go of.

A reply that is written waits in memory for its caller to read, and a connection that is closed does so only
when all of it is out. Without an end to that, whoever asks for much and reads nothing keeps megabytes and a
descriptor for as long as it likes.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Who takes no byte of a reply for so long is gone.
READ_NOTHING_S: Final = 60


class UnreadBoundedProtocol(HttpToolsProtocol):
    """Looks every minute whether any of what waits has been read, as long as something does."""

    _unread_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        # Nearly all has been read, and what is written next begins to wait anew.
        self._stop_waiting()
        super().resume_writing()

    def close(self) -> None:
        """Close once what has been written is out, or once none of it has been read for a minute."""
        self.transport.close()
        self._await_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _stop_waiting(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _await_reading(self) -> None:
        # While it waits nothing is added, so what is unread only grows less.
        if self._unread_timer is None and (unread := self.transport.get_write_buffer_size()):
            self._unread_timer = self.loop.call_later(READ_NOTHING_S, self._abort_unread, unread)

    def _abort_unread(self, unread_before: int) -> None:
        """Let go of a caller who has read nothing since; whoever reads slowly has all the time there is."""
        self._unread_timer = None
        if self.transport.get_write_buffer_size() >= unread_before:
            self.transport.abort()
        else:
            self._await_reading()
